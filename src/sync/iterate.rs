//! What Python iterates over, and hands out as an iterator.

use super::{python, typecode};
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::saturated;
use crate::object::stored::{Element, Held, References};
use crate::pickle::Writer;
use crate::value::{Steps, Value};

/// How deep iterators of iterators may nest, such as `zip(reversed(…))`: each takes some of the stack.
const NESTED: usize = 16;

/// The items of a value that Python can iterate over: plain data, a proxy of a container, a `range`, a
/// `zip`, a container of [`collections`](contents), and what pickles as `list(…)`, `iter(…)` or the like. What they name lives as long as the result.
/// They are for a container in which each takes so many bytes for its `place`, beside its own.
///
/// # Errors
/// `TypeError` for any other, `MemoryError` if they are more than the call may make.
pub(super) fn items(
    call: &Call<'_>,
    value: Value,
    place: usize,
) -> Result<Held<Vec<Value>>, Exception> {
    items_within(call, value, place, NESTED)
}

/// [`items`], of what nests in at most so many iterators.
fn items_within(
    call: &Call<'_>,
    value: Value,
    place: usize,
    levels: usize,
) -> Result<Held<Vec<Value>>, Exception> {
    // What the message spells out, item by item, is paid for.
    let dense = matches!(value, Value::Str(_) | Value::Bytes(_) | Value::ByteArray(_));
    let place = if dense || matches!(value, Value::Opaque(_)) { place } else { 0 };
    let Held { data, references } = referent(call, value)?;
    let items = match data {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            items
        }
        Value::Dict(pairs) => pairs.into_iter().map(|(key, _)| key).collect(),
        Value::Str(text) => {
            // Each is allocated by itself.
            make(call, 2 * text.chars().count())?;
            text.chars().map(|char| char.to_string().into()).collect()
        }
        Value::Bytes(bytes) | Value::ByteArray(bytes) => {
            make(call, bytes.len())?;
            bytes.into_iter().map(Value::from).collect()
        }
        other @ Value::Opaque(_) => {
            let Held { data, references: inner } = opaque(call, &other, levels)?;
            call.spend(data.len().saturating_mul(place))?;
            let references = References::union([&references, &inner]);
            return Ok(Held { data, references });
        }
        other => return Err(not_iterable(&other)),
    };
    call.spend(items.len().saturating_mul(place))?;
    Ok(Held { data: items, references })
}

/// Allows the call to make so many items.
fn make(call: &Call<'_>, items: usize) -> Result<(), Exception> {
    call.spend(items.saturating_mul(size_of::<Element>()))
}

/// What a proxy stands for, if it can be copied; what a [container](contents) holds; any other value is
/// itself.
///
/// # Errors
/// `MemoryError` if the copy is more than the call may make.
pub(super) fn referent(call: &Call<'_>, value: Value) -> Result<Element, Exception> {
    let (copy, paid) = match call.object(&value) {
        Some(object) => {
            // Before the copy is made.
            let size = object.size();
            call.spend(size)?;
            (object.value().ok(), size)
        }
        None => (contents(&value).map(Element::from), 0),
    };
    let Some(copy) = copy else { return Ok(value.into()) };
    call.spend(python::size(&copy).saturating_sub(paid))?;
    Ok(copy)
}

/// The list or dict that an instance of a subclass of theirs holds, or of `collections`.
fn contents(value: &Value) -> Option<Value> {
    let mut instance = python::instance(value)?;
    if instance.items.is_some() {
        return instance.items;
    }
    match (instance.module.as_str(), instance.name.as_str(), instance.args.as_slice()) {
        ("collections", "Counter", [Value::Dict(_)]) => instance.args.pop(),
        ("collections", "OrderedDict", []) | ("collections", "defaultdict", _) => {
            Some(Value::Dict(Vec::new()))
        }
        ("collections", "deque", _) => Some(Value::List(Vec::new())),
        _ => None,
    }
}

fn not_iterable(value: &Value) -> Exception {
    Exception::type_error(format!("'{}' object is not iterable", python::type_name(value)))
}

fn opaque(call: &Call<'_>, value: &Value, levels: usize) -> Result<Held<Vec<Value>>, Exception> {
    let Some(instance) = python::instance(value) else {
        return Err(Exception::type_error(
            "'object' object is not iterable: it cannot be opened here, for its items hold one another \
             or it is text with lone surrogates",
        ));
    };
    let inside = |inner: &Value| {
        let text = || format!("iterators of iterators nest deeper than the limit of {NESTED}");
        let levels = levels.checked_sub(1).ok_or_else(|| Exception::value_error(text()))?;
        call.spend(python::size(inner))?;
        items_within(call, inner.clone(), 0, levels)
    };
    let state = instance.state.as_ref().and_then(Value::as_i64);
    match (instance.module.as_str(), instance.name.as_str(), instance.args.as_slice()) {
        ("builtins", "range", [from, to, step]) => range(call, [from, to, step]).map(Held::own),
        ("builtins", "list" | "set" | "frozenset" | "tuple", [inner]) => inside(inner),
        // The state of an iterator is the place that comes next.
        ("builtins", "iter", [inner]) => {
            let next = saturated(state.unwrap_or(0));
            Ok(inside(inner)?.map(|items| items.into_iter().skip(next).collect()))
        }
        ("builtins", "reversed", [inner]) => {
            let left = saturated(state.map_or(0, |next| next.saturating_add(1)));
            Ok(inside(inner)?.map(|items| items.into_iter().take(left).rev().collect()))
        }
        ("builtins", "zip", sources) if instance.state.is_none() => {
            zip(call, sources.iter().map(inside).collect::<Result<_, _>>()?)
        }
        ("builtins", "enumerate", [inner, Value::Int(first)]) => {
            let items = inside(inner)?;
            let numbers = (i128::from(*first)..).take(items.data.len()).map(Value::from);
            zip(call, vec![Held::own(numbers.collect()), items])
        }
        _ => {
            let items = typecode::items(value).ok_or_else(|| not_iterable(value))?;
            make(call, items.len()).map(|()| Held::own(items))
        }
    }
}

/// The tuples of an item of each, as many as the shortest has.
fn zip(call: &Call<'_>, sources: Vec<Held<Vec<Value>>>) -> Result<Held<Vec<Value>>, Exception> {
    let count = sources.iter().map(|source| source.data.len()).min().unwrap_or(0);
    make(call, count.saturating_mul(1 + sources.len()))?;
    let mut tuples = vec![Vec::new(); count];
    let references = References::union(sources.iter().map(|source| &source.references));
    for Held { data, .. } in sources {
        tuples.iter_mut().zip(data).for_each(|(tuple, item)| tuple.push(item));
    }
    Ok(Held { data: tuples.into_iter().map(Value::Tuple).collect(), references })
}

fn range(call: &Call<'_>, bounds: [&Value; 3]) -> Result<Vec<Value>, Exception> {
    let [Some(from), Some(to), Some(step)] = bounds.map(Value::as_i64) else {
        let text = "a range beyond 64 bits is not written out here";
        return Err(Exception::builtin("OverflowError", text));
    };
    let steps = Steps::new(from, to, step);
    let steps = steps.ok_or_else(|| Exception::value_error("range() arg 3 must not be zero"))?;
    make(call, steps.total())?;
    Ok(steps.map(Value::from).collect())
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
