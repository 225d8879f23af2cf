//! The proxy of a namespace, in the manager of either language.

use super::found;
use crate::client::Proxy;
use crate::error::Result;
use crate::value::Value;

/// A `Namespace` in a manager: attributes. A clone is the same namespace.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Namespace, NamespaceProxy};
/// use basemanager::value::Args;
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
    /// An attribute; `None` if it is not there.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn get(&self, name: &str) -> Result<Option<Value>> {
        found(self.0.call("__getattribute__", (name,)), "AttributeError")
    }

    /// An attribute as a Rust type; `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Conversion`](crate::Error::Conversion) if it is not of that type; else as [`NamespaceProxy::get`].
    pub fn get_as<T>(&self, name: &str) -> Result<Option<T>>
    where
        T: crate::value::FromValue,
    {
        self.get(name)?.map(Value::to).transpose()
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn set(&self, name: &str, value: impl Into<Value>) -> Result<()> {
        self.0.call("__setattr__", (name, value)).map(drop)
    }

    /// Removes an attribute; gives whether it was there.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn remove(&self, name: &str) -> Result<bool> {
        Ok(found(self.0.call("__delattr__", (name,)), "AttributeError")?.is_some())
    }
}
