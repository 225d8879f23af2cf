//! Which values can be keys of a dict, or members of a set.

use crate::exception::Exception;
use crate::value::{Key, Value};

impl Key {
    /// The key of a value that is to be a `role`, such as `dict key`.
    ///
    /// # Errors
    /// `TypeError` if the value, or one in it, can be changed: a list, dict, set or bytearray. In the
    /// words of Python 3.14; what is in brackets is all that earlier ones say.
    pub(crate) fn new(value: &Value, role: &str) -> Result<Self, Exception> {
        match unhashable(value) {
            None => Ok(Self::of(value)),
            Some(inside) => Err(Exception::type_error(format!(
                "cannot use '{}' as a {role} (unhashable type: '{inside}')",
                value.type_name()
            ))),
        }
    }
}

/// The name of a type that is not hashable, if there is one in a value.
fn unhashable(value: &Value) -> Option<&'static str> {
    match value {
        Value::List(_) | Value::Dict(_) | Value::Set(_) | Value::ByteArray(_) => {
            Some(value.type_name())
        }
        Value::Tuple(items) | Value::FrozenSet(items) => items.iter().find_map(unhashable),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_changed_is_no_key() {
        for (value, outside, inside) in [
            (Value::List(vec![]), "list", "list"),
            (Value::Dict(vec![]), "dict", "dict"),
            (Value::Set(vec![]), "set", "set"),
            (Value::ByteArray(vec![]), "bytearray", "bytearray"),
            (Value::from((1, Value::List(vec![]))), "tuple", "list"),
        ] {
            let text =
                format!("cannot use '{outside}' as a dict key (unhashable type: '{inside}')");
            assert_eq!(Key::new(&value, "dict key"), Err(Exception::type_error(text)));
        }
    }
}
