//! Values in values: how deep, and compared without going over them again and again.

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

/// Whether two values are equal, if going over both once tells; `None` if what is in them has another order, or
/// is opaque and to be opened.
pub(crate) fn equal_at_once(a: &Value, b: &Value) -> Option<bool> {
    match (a, b) {
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            if a.len() == b.len() { all(a.iter().zip(b)) } else { Some(false) }
        }
        (Value::Set(a) | Value::FrozenSet(a), Value::Set(b) | Value::FrozenSet(b)) => {
            if a.len() == b.len() {
                all(a.iter().zip(b)).filter(|equal| *equal)
            } else {
                Some(false)
            }
        }
        (Value::Dict(a), Value::Dict(b)) => {
            let parts = a.iter().zip(b).flat_map(|((a, x), (b, y))| [(a, b), (x, y)]);
            if a.len() == b.len() { all(parts).filter(|equal| *equal) } else { Some(false) }
        }
        (Value::Opaque(a), Value::Opaque(b)) => (a == b).then_some(true),
        _ => Some(a == b),
    }
}

/// Whether all of these are equal; `None` at the first of which it is not known.
fn all<'a>(mut pairs: impl Iterator<Item = (&'a Value, &'a Value)>) -> Option<bool> {
    pairs
        .find_map(|(a, b)| match equal_at_once(a, b) {
            Some(true) => None,
            other => Some(other),
        })
        .unwrap_or(Some(true))
}
