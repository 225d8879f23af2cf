//! Numbers as Python's synchronization objects take them, refused in CPython 3.14's words.

use std::time::Duration;

use crate::exception::Exception;
use crate::object::call::Call;
pub(super) use crate::object::call::duration;
use crate::pickle::Pickle;
use crate::value::Value;

/// How a `TypeError` names what is no number, given its type.
pub(super) type Refusal = fn(&str) -> String;

/// `'str' object cannot be …`, as CPython's C code says it.
pub(super) fn not_seconds(name: &str) -> String {
    format!("'{name}' object cannot be interpreted as an integer or float")
}

/// As Python code says it that compares a timeout with 0.
pub(super) fn not_compared(name: &str) -> String {
    format!("'<=' not supported between instances of '{name}' and 'int'")
}

/// As Python code says it that adds a timeout to the time of day.
pub(super) fn not_added(name: &str) -> String {
    format!("unsupported operand type(s) for +: 'float' and '{name}'")
}

/// Any number.
pub(super) fn number(call: &Call<'_>, arg: &Pickle, refusal: Refusal) -> Result<f64, Exception> {
    let value = call.value(arg)?;
    let name = value.type_name();
    match value {
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => value.to().ok(),
        // Greater than any limit, whatever it is.
        Value::BigInt(int) if int.is_negative() => Some(f64::NEG_INFINITY),
        Value::BigInt(_) => Some(f64::INFINITY),
        _ => None,
    }
    .ok_or_else(|| Exception::type_error(refusal(name)))
}

/// A timeout in seconds; without one, or with `None`, for ever.
pub(super) fn timeout(
    call: &Call<'_>,
    arg: Option<&Pickle>,
    refusal: Refusal,
) -> Result<Option<Duration>, Exception> {
    match arg {
        Some(arg) if !call.value(arg)?.is_none() => {
            number(call, arg, refusal).and_then(duration).map(Some)
        }
        _ => Ok(None),
    }
}

/// How many; fewer than `least` are refused in these words.
pub(super) fn count(
    call: &Call<'_>,
    arg: &Pickle,
    least: i64,
    refusal: &str,
) -> Result<usize, Exception> {
    let value = call.value(arg)?;
    match (value.as_i64(), &value) {
        (Some(count), _) if count >= least => {
            usize::try_from(count).map_err(|_| Exception::builtin("OverflowError", "int too large"))
        }
        (Some(_), _) => Err(Exception::value_error(refusal)),
        (None, Value::BigInt(int)) if int.is_negative() => Err(Exception::value_error(refusal)),
        (None, Value::BigInt(_)) => Err(Exception::builtin("OverflowError", "int too large")),
        (None, Value::Float(_)) => {
            let text = "'float' object cannot be interpreted as an integer";
            Err(Exception::type_error(text))
        }
        (None, other) => {
            let name = other.type_name();
            let text = format!("'<' not supported between instances of '{name}' and 'int'");
            Err(Exception::type_error(text))
        }
    }
}
