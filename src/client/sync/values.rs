//! Typed proxies of an `Array`, a `Value` and a `Namespace`.
//!
//! Every method returns the errors of [`Proxy::call`], and the exceptions that Python raises.
#![allow(clippy::missing_errors_doc, reason = "stated once, above")]

use super::{call, found, typed};
use crate::client::Proxy;
use crate::error::{Error, Result};
use crate::sync::python::array::Typecode;
use crate::value::{FromValue, Value};

/// An `Array` in a manager: numbers of one type. A clone is the same array.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Array, ArrayProxy};
/// # let server = Manager::new("key").register("Array", Array::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let array: ArrayProxy = client.create("Array", ("d", [0.0, 1.5]))?.into();
/// array.set(0, 7)?;
/// assert_eq!(array.get_as::<f64>(0)?, Some(7.0));
/// assert_eq!(array.to_vec()?, [7.0.into(), 1.5.into()]);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ArrayProxy(Proxy);

typed!(ArrayProxy, sized, indexed);

impl ArrayProxy {
    /// A copy of all items, in one call.
    pub fn to_vec(&self) -> Result<Vec<Value>> {
        let copy = self.0.value()?;
        let mismatch = || Error::conversion(format!("expected an array, got {}", copy.type_name()));
        Typecode::unpickle(&copy).map(|(_, items)| items).ok_or_else(mismatch)
    }
}

/// A `Value` in a manager: one value, to get and to set. A clone is the same value.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{SharedValue, ValueProxy};
/// # let server = Manager::new("key").register("Value", SharedValue::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let best: ValueProxy = client.create("Value", ("d", 0.5))?.into();
/// best.set(0.25)?;
/// assert_eq!(best.get_as::<f64>()?, 0.25);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ValueProxy(Proxy);

typed!(ValueProxy);

impl ValueProxy {
    /// A copy of the value.
    pub fn get(&self) -> Result<Value> {
        call(&self.0, "get", &[])
    }

    /// [`get`](Self::get) as a Rust type; [`Error::Conversion`] if the value is of another type.
    pub fn get_as<T: FromValue>(&self) -> Result<T> {
        self.get()?.to()
    }

    /// Replaces the value.
    pub fn set(&self, value: impl Into<Value>) -> Result<()> {
        call(&self.0, "set", &[value.into()]).map(drop)
    }
}

/// A `Namespace` in a manager: attributes. A clone is the same namespace.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Namespace, NamespaceProxy};
/// # use basemanager::value::Args;
/// # let server = Manager::new("key").register("Namespace", Namespace::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let settings: NamespaceProxy = client.create("Namespace", Args::new().kwarg("depth", 3))?.into();
/// settings.set("name", "x")?;
/// assert_eq!(settings.get_as::<u8>("depth")?, Some(3));
/// assert_eq!(settings.get("width")?, None);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NamespaceProxy(Proxy);

typed!(NamespaceProxy);

impl NamespaceProxy {
    /// A copy of an attribute; `None` if there is none of this name.
    pub fn get(&self, name: &str) -> Result<Option<Value>> {
        found(call(&self.0, "__getattribute__", &[name.into()]), "AttributeError")
    }

    /// [`get`](Self::get) as a Rust type; [`Error::Conversion`] if the attribute is of another type.
    pub fn get_as<T: FromValue>(&self, name: &str) -> Result<Option<T>> {
        self.get(name)?.map(Value::to).transpose()
    }

    /// Sets an attribute.
    pub fn set(&self, name: &str, value: impl Into<Value>) -> Result<()> {
        call(&self.0, "__setattr__", &[name.into(), value.into()]).map(drop)
    }

    /// Removes an attribute; `false` if there was none of this name.
    pub fn remove(&self, name: &str) -> Result<bool> {
        Ok(found(call(&self.0, "__delattr__", &[name.into()]), "AttributeError")?.is_some())
    }
}
