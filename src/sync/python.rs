//! What Python's built-in types do with any argument: name its type, iterate over it, take it for an
//! integer.

use std::fmt;

use super::iterate;
use crate::exception::Exception;
use crate::limits::Limits;
use crate::object::call::Call;
pub(super) use crate::object::stored::size;
use crate::object::stored::{Element, Held};
use crate::pickle::Pickle;
use crate::pickle::{Instance, Writer};
use crate::value::Value;
pub(super) use crate::value::beginning;
use crate::wire::message::PickledProxy;

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
        Value::Opaque(pickle) => pickle.as_instance(&Limits::default()),
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
pub(super) fn elements(call: &Call<'_>, arg: &Pickle) -> Result<Vec<Element>, Exception> {
    let Held { data, references: _until_held } = iterate::items(call, call.value(arg)?, 0)?;
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
pub(super) fn integer(call: &Call<'_>, arg: &Pickle, too_large: &str) -> Result<i64, Exception> {
    let value = call.value(arg)?;
    if !is_int(&value) {
        return Err(no_int(&value));
    }
    value.as_i64().ok_or_else(|| Exception::builtin("OverflowError", too_large))
}

/// Writes items between brackets, with commas.
pub(super) fn write_items<T: fmt::Display>(
    out: &mut dyn fmt::Write,
    open: &str,
    items: impl IntoIterator<Item = T>,
    close: &str,
) -> fmt::Result {
    out.write_str(open)?;
    for (at, item) in items.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(out, "{comma}{item}")?;
    }
    out.write_str(close)
}
