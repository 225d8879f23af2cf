//! What Python does with any value: compares, hashes, orders, indexes and iterates over it, and takes it for a
//! number. Results and exception classes are CPython's; the texts are this crate's own.

mod iterate;
mod key;
mod order;
mod path;
pub(in crate::sync) mod slice;

use std::time::Duration;

use crate::exception::Exception;
use crate::limits::Limits;
use crate::object::call::{Call, duration};
pub(super) use crate::object::stored::size;
use crate::object::stored::{Element, Stored};
use crate::pickle::{Instance, Pickle};
use crate::value::Value;
pub(super) use crate::value::write_items;
pub(super) use iterate::{elements, items, iterator, not_implemented, referent};
pub(crate) use key::Key;
pub(super) use order::{eq_unopened, sort};

/// The name of a value's class, for error messages.
pub(super) fn type_name(value: &Value) -> String {
    match value {
        Value::Opaque(pickle) => pickle.class().map_or("object".to_owned(), |(_, name)| name),
        plain => plain.type_name().to_owned(),
    }
}

/// The class, arguments and state of an instance that is not plain data.
pub(super) fn instance(value: &Value) -> Option<Instance> {
    match value {
        Value::Opaque(pickle) => pickle.as_instance(&Limits::default()),
        _ => None,
    }
}

/// An object that Python makes by calling `module.name(*args)`.
///
/// # Errors
/// If the arguments cannot be pickled.
pub(super) fn construct(
    module: &str,
    name: &str,
    args: Stored<Vec<Value>>,
) -> Result<Element, Exception> {
    let Stored { data, references } = args;
    Ok(Stored { data: Pickle::instance(module, name, data.as_slice())?.into(), references })
}

/// The value of an `int`, a `bool` or a `NumPy` scalar of these kinds.
pub(super) fn int(value: &Value) -> Option<i128> {
    match &*value.plain() {
        Value::Bool(truth) => Some(i128::from(*truth)),
        Value::Int(int) => Some(*int),
        _ => None,
    }
}

/// The value of any number, as the nearest `f64`.
#[expect(clippy::cast_precision_loss, reason = "as Python's float() does")]
pub(super) fn float(value: &Value) -> Option<f64> {
    match &*value.plain() {
        Value::Float(float) => Some(*float),
        other => int(other).map(|int| int as f64),
    }
}

/// An integer argument.
///
/// # Errors
/// `TypeError` if it is not an integer, `OverflowError` if it does not fit 64 bits.
pub(super) fn integer(call: &Call<'_>, arg: &Pickle) -> Result<i64, Exception> {
    let value = call.value(arg)?;
    let int = int(&value).ok_or_else(|| wrong_type("an integer", &value))?;
    let too_large = |_| overflow(format!("{int} does not fit 64 bits"));
    i64::try_from(int).map_err(too_large)
}

/// An argument that counts something, `min` or more.
///
/// # Errors
/// `ValueError` if it is less; else as [`integer`].
pub(super) fn count(call: &Call<'_>, arg: &Pickle, min: usize) -> Result<usize, Exception> {
    let count = integer(call, arg)?;
    let allowed = usize::try_from(count).ok().filter(|count| *count >= min);
    allowed.ok_or_else(|| Exception::value_error(format!("must be {min} or more, not {count}")))
}

/// An argument in seconds.
///
/// # Errors
/// `TypeError` if it is not a number.
pub(super) fn seconds(call: &Call<'_>, arg: &Pickle) -> Result<f64, Exception> {
    let value = call.value(arg)?;
    float(&value).ok_or_else(|| wrong_type("a timeout in seconds", &value))
}

/// A timeout. `None` waits for ever; negative seconds do not wait, as in Python's `threading`.
///
/// # Errors
/// `TypeError` if it is not a number, `ValueError` for nan, `OverflowError` if it exceeds 292 years.
pub(super) fn timeout(
    call: &Call<'_>,
    arg: Option<&Pickle>,
) -> Result<Option<Duration>, Exception> {
    match arg {
        Some(arg) if !call.value(arg)?.is_none() => seconds(call, arg).and_then(duration).map(Some),
        _ => Ok(None),
    }
}

pub(super) fn wrong_type(expected: &str, value: &Value) -> Exception {
    Exception::type_error(format!("expected {expected}, got '{}'", type_name(value)))
}

pub(super) fn overflow(text: String) -> Exception {
    Exception::builtin("OverflowError", text)
}
