//! What Python iterates over, and hands out as an iterator.

use super::{python, typecode};
use crate::error::Exception;
use crate::pickle::Writer;
use crate::shared::call::Call;
use crate::shared::element::{Element, Held};
use crate::value::Value;

/// The most items that a `range` is written out to.
const RANGE: usize = 10_000_000;

/// The items of a value that Python can iterate over: plain data, a proxy of a container, a `range`,
/// and what pickles as `list(…)`, `iter(…)` or the like. What they name lives as long as the result.
///
/// # Errors
/// `TypeError` for any other.
pub(super) fn items(call: &Call<'_>, value: Value) -> Result<Held<Vec<Value>>, Exception> {
    let Held { data, references } = referent(call, value);
    let data = match data {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            items
        }
        Value::Dict(pairs) => pairs.into_iter().map(|(key, _)| key).collect(),
        Value::Str(text) => text.chars().map(|char| char.to_string().into()).collect(),
        Value::Bytes(bytes) | Value::ByteArray(bytes) => {
            bytes.into_iter().map(Value::from).collect()
        }
        other @ Value::Opaque(_) => {
            let Held { data, references: inner } = opaque(call, &other)?;
            return Ok(Held { data, references: references.and(inner) });
        }
        other => return Err(not_iterable(&other)),
    };
    Ok(Held { data, references })
}

/// What a proxy stands for, if it can be copied; any other value is itself.
pub(super) fn referent(call: &Call<'_>, value: Value) -> Element {
    let copy = call.object(&value).and_then(|object| object.value().ok());
    copy.unwrap_or_else(|| value.into())
}

fn not_iterable(value: &Value) -> Exception {
    Exception::type_error(format!("'{}' object is not iterable", python::type_name(value)))
}

fn opaque(call: &Call<'_>, value: &Value) -> Result<Held<Vec<Value>>, Exception> {
    let Some(instance) = python::instance(value) else { return Err(not_iterable(value)) };
    match (instance.module.as_str(), instance.name.as_str(), instance.args.as_slice()) {
        ("builtins", "range", [from, to, step]) => match [from, to, step].map(Value::as_i64) {
            [Some(from), Some(to), Some(step)] => range(from, to, step).map(Held::from),
            _ => Err(too_long()),
        },
        // A value cannot hold itself: what is inside is smaller.
        ("builtins", "list" | "set" | "frozenset" | "tuple", [inner]) => items(call, inner.clone()),
        // The state of an iterator is the place that comes next.
        ("builtins", "iter", [inner]) => {
            let next = instance.state.as_ref().and_then(Value::as_i64).unwrap_or(0);
            let next = usize::try_from(next).unwrap_or(0);
            let items = items(call, inner.clone())?;
            Ok(items.map(|items| items.into_iter().skip(next).collect()))
        }
        ("builtins", "reversed", [inner]) => {
            let next = instance.state.as_ref().and_then(Value::as_i64).unwrap_or(-1);
            let left = usize::try_from(next.saturating_add(1)).unwrap_or(0);
            let items = items(call, inner.clone())?;
            Ok(items.map(|items| items.into_iter().take(left).rev().collect()))
        }
        _ => typecode::items(value).map(Held::from).ok_or_else(|| not_iterable(value)),
    }
}

fn range(from: i64, to: i64, step: i64) -> Result<Vec<Value>, Exception> {
    let next = |at: &i64| at.checked_add(step);
    let inside = |at: &i64| if step > 0 { *at < to } else { *at > to };
    if step == 0 {
        return Err(Exception::value_error("range() arg 3 must not be zero"));
    }
    let items = std::iter::successors(Some(from), next).take_while(inside);
    let items: Vec<Value> = items.take(RANGE + 1).map(Value::from).collect();
    if items.len() > RANGE {
        return Err(too_long());
    }
    Ok(items)
}

fn too_long() -> Exception {
    let text = format!("a range of more than {RANGE} items is not written out here");
    Exception::builtin("MemoryError", text)
}

/// What Python's own iterators of containers pickle as: `iter([…])`.
pub(super) fn iterator(items: Vec<Value>) -> Value {
    let mut writer = Writer::default();
    writer.global("builtins", "iter");
    writer.tuple(1, |writer| writer.value(&Value::List(items)));
    writer.reduce();
    writer.into_pickle().into()
}

/// What an operator returns for an operand that it does not know.
pub(super) fn not_implemented() -> Value {
    let mut writer = Writer::default();
    writer.global("builtins", "NotImplemented");
    writer.into_pickle().into()
}
