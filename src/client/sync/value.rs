//! The proxy of a value, in the manager of either language.

use crate::client::Proxy;
use crate::error::Result;
use crate::value::Value;

/// A `Value` in a manager: one value, to get and to set. A clone is the same one.
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
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn get(&self) -> Result<Value> {
        self.0.call("get", ())
    }

    /// The value as a Rust type.
    ///
    /// # Errors
    /// [`Error::Conversion`](crate::Error::Conversion) if it is not of that type; else as [`ValueProxy::get`].
    pub fn get_as<T>(&self) -> Result<T>
    where
        T: crate::value::FromValue,
    {
        self.get()?.to()
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn set(&self, value: impl Into<Value>) -> Result<()> {
        self.0.call("set", (value,)).map(drop)
    }
}
