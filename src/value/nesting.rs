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

/// Whether two values are equal with all that is in them in the same order. Unlike `==` it never compares in
/// another way then, which would go over a set in a set in a set as often as it is deep.
pub(super) fn in_same_order(a: &Value, b: &Value) -> bool {
    let all = |a: &[Value], b: &[Value]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| in_same_order(a, b))
    };
    match (a, b) {
        (Value::List(a), Value::List(b))
        | (Value::Tuple(a), Value::Tuple(b))
        | (Value::Set(a) | Value::FrozenSet(a), Value::Set(b) | Value::FrozenSet(b)) => all(a, b),
        (Value::Dict(a), Value::Dict(b)) => {
            let mut pairs = a.iter().zip(b);
            a.len() == b.len()
                && pairs.all(|((a, x), (b, y))| in_same_order(a, b) && in_same_order(x, y))
        }
        _ => a == b,
    }
}
