//! Python's iteration: the items of an argument, and what Python's iterators are pickled as.

use super::{construct, instance, int, overflow, size, type_name};
use crate::exception::Exception;
use crate::object::Return;
use crate::object::call::Call;
use crate::object::stored::{Element, Stored};
use crate::pickle::Pickle;
use crate::value::{self, Value};

/// The items of an argument, each with references to the objects that it names.
///
/// # Errors
/// As [`items`].
pub(in crate::sync) fn elements(call: &Call<'_>, arg: &Pickle) -> Result<Vec<Element>, Exception> {
    let Stored { data, references: _until_held } = items(call, call.value(arg)?, 0)?;
    data.into_iter().map(|item| call.hold(item)).collect()
}

/// The items of a value: plain data, a `range`, or a proxy of a container in this manager. What they name
/// lives as long as the result. Charges the call `overhead` bytes for each item that its message does not
/// spell out.
///
/// # Errors
/// `TypeError` if it is anything else, `MemoryError` if the items exceed what the call may allocate.
pub(in crate::sync) fn items(
    call: &Call<'_>,
    value: Value,
    overhead: usize,
) -> Result<Stored<Vec<Value>>, Exception> {
    let spelled_out =
        !matches!(value, Value::Str(_) | Value::Bytes(_) | Value::ByteArray(_) | Value::Opaque(_));
    let Stored { data, references } = referent(call, value)?;
    let items = match data {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            items
        }
        Value::Dict(pairs) => pairs.into_iter().map(|(key, _)| key).collect(),
        Value::Str(text) => {
            // Each character has an allocation of its own.
            spend(call, 2 * text.chars().count())?;
            text.chars().map(|char| char.to_string().into()).collect()
        }
        Value::Bytes(bytes) | Value::ByteArray(bytes) => {
            spend(call, bytes.len())?;
            bytes.into_iter().map(Value::from).collect()
        }
        other => range(call, &other)?,
    };
    if !spelled_out {
        call.spend(items.len().saturating_mul(overhead))?;
    }
    Ok(Stored { data: items, references })
}

/// A copy of the object that a proxy stands for. Any other value is returned as it is.
///
/// # Errors
/// `MemoryError` if the copy exceeds what the call may allocate.
pub(in crate::sync) fn referent(call: &Call<'_>, value: Value) -> Result<Element, Exception> {
    let Some(object) = call.object(&value) else { return Ok(value.into()) };
    // Before the copy is made; it may have grown meanwhile.
    let expected = object.size();
    call.spend(expected)?;
    let Ok(copy) = object.value() else { return Ok(value.into()) };
    call.spend(size(&copy).saturating_sub(expected))?;
    Ok(copy)
}

fn range(call: &Call<'_>, value: &Value) -> Result<Vec<Value>, Exception> {
    let range = instance(value).filter(|range| range.module == "builtins" && range.name == "range");
    let Some([from, to, step]) = range.as_ref().map(|range| range.args.as_slice()) else {
        return Err(not_iterable(value));
    };
    let bound = |value| int(value).and_then(|int| i64::try_from(int).ok());
    let (Some(from), Some(to), Some(step)) = (bound(from), bound(to), bound(step)) else {
        return Err(overflow("the bounds of a range must fit 64 bits".to_owned()));
    };
    let steps = value::range(from, to, step);
    let steps = steps.ok_or_else(|| Exception::value_error("the step of a range must not be 0"))?;
    spend(call, steps.size_hint().0)?;
    Ok(steps.map(Value::from).collect())
}

fn not_iterable(value: &Value) -> Exception {
    let name = type_name(value);
    Exception::type_error(match value {
        Value::Opaque(_) => format!(
            "'{name}' object is not iterable in this manager: pass list(...) or dict(...) of it, and add items \
             that hold one another one by one"
        ),
        _ => format!("'{name}' object is not iterable"),
    })
}

fn spend(call: &Call<'_>, items: usize) -> Result<(), Exception> {
    call.spend(items.saturating_mul(size_of::<Element>()))
}

/// A Python iterator over these items: `iter([...])`.
///
/// # Errors
/// If the items cannot be pickled.
pub(in crate::sync) fn iterator(items: Stored<Vec<Value>>) -> Result<Element, Exception> {
    construct("builtins", "iter", items.map(|items| vec![Value::List(items)]))
}

/// What an operator returns for an operand of another type: the client then raises `TypeError`.
pub(in crate::sync) fn not_implemented() -> Return {
    Value::from(Pickle::global("builtins", "NotImplemented")).into()
}
