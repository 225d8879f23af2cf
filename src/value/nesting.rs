//! How deep values nest.

use super::Value;

impl Value {
    /// Whether containers nest in it no deeper than that.
    pub(crate) fn fits(&self, depth: usize) -> bool {
        let inner = depth.checked_sub(1);
        let fit = |value: &Self| inner.is_some_and(|inner| value.fits(inner));
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Set(items) | Self::FrozenSet(items) => {
                items.iter().all(fit)
            }
            Self::Dict(pairs) => pairs.iter().all(|(key, value)| fit(key) && fit(value)),
            _ => true,
        }
    }
}
