//! What Python's built-in types do with any argument: name its type, iterate over it, take it for an
//! integer.

use super::iterate;
use crate::error::Exception;
use crate::limits::Limits;
use crate::message::PickledProxy;
use crate::pickle::{Instance, Writer};
use crate::shared::call::{Arg, Call};
use crate::shared::element::{Element, Held};
use crate::value::Value;

/// Python's name of a value's type, as an error says it.
pub(super) fn type_name(value: &Value) -> String {
    let Value::Opaque(pickle) = value else { return value.type_name().to_owned() };
    if let Some(proxy) = PickledProxy::read(pickle) {
        return proxy.class.1;
    }
    let Some(Instance { module, name, .. }) = instance(value) else { return "object".to_owned() };
    match (module.as_str(), name.as_str()) {
        // Classes written in C bear their module's name.
        ("array" | "datetime" | "decimal", _)
        | ("collections", "OrderedDict" | "defaultdict" | "deque") => format!("{module}.{name}"),
        ("builtins", "iter") => "list_iterator".to_owned(),
        _ => name.rsplit('.').next().unwrap_or_default().to_owned(),
    }
}

/// What an opaque value is made of.
pub(super) fn instance(value: &Value) -> Option<Instance> {
    match value {
        Value::Opaque(pickle) => pickle.instance(&Limits::default()),
        _ => None,
    }
}

/// An instance of a class in `multiprocessing.managers`, with these attributes.
pub(super) fn object(class: &str, attributes: Vec<(Value, Value)>) -> Value {
    let mut writer = Writer::default();
    writer.global("multiprocessing.managers", class);
    writer.tuple(0, |_| ());
    writer.newobj();
    writer.value(&Value::Dict(attributes));
    writer.build();
    writer.into_pickle().into()
}

/// The items of an argument that Python can iterate over, a proxy of this manager among them.
pub(super) fn elements(call: &Call<'_>, arg: Arg<'_>) -> Result<Vec<Element>, Exception> {
    let Held { data, references: _until_held } = iterate::items(call, arg.value()?, 0)?;
    data.into_iter().map(|item| call.hold(item)).collect()
}

/// Whether Python takes a value for an integer.
pub(super) fn is_int(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::BigInt(_))
}

/// The `TypeError` for a value that is none.
pub(super) fn no_int(value: &Value) -> Exception {
    let name = type_name(value);
    Exception::type_error(format!("'{name}' object cannot be interpreted as an integer"))
}

/// An integer argument; one out of a C `ssize_t`'s range is an `OverflowError` with this text.
pub(super) fn integer(arg: Arg<'_>, too_large: &str) -> Result<i64, Exception> {
    let value = arg.value()?;
    if !is_int(&value) {
        return Err(no_int(&value));
    }
    value.as_i64().ok_or_else(|| Exception::builtin("OverflowError", too_large))
}

/// About how many bytes a value takes.
pub(super) fn size(value: &Value) -> usize {
    let inside = match value {
        Value::Str(text) => text.len(),
        Value::Bytes(bytes) | Value::ByteArray(bytes) => bytes.len(),
        Value::BigInt(int) => int.to_le_bytes().len(),
        Value::Opaque(pickle) => pickle.len(),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            items.iter().map(size).sum()
        }
        Value::Dict(items) => items.iter().map(|(key, value)| size(key) + size(value)).sum(),
        _ => 0,
    };
    size_of::<Element>() + inside
}
