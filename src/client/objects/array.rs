//! The proxy of an array, in the manager of either language.

use std::time::Duration;

use super::found;
use crate::client::Proxy;
use crate::error::{Error, Result};
use crate::shared::objects::typecode;
use crate::value::Value;

/// An `Array` in a manager: numbers of one type. A clone is the same array.
///
/// ```
/// # use basemanager::{Array, ArrayProxy, Client, Manager};
/// # let server = Manager::new("key").register("Array", Array::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let array: ArrayProxy = client.create("Array", &["d".into(), [0.0, 1.5].into()], &[])?.into();
/// array.set(0, 7)?;
/// assert_eq!(array.get_as::<f64>(0)?, Some(7.0));
/// assert_eq!(array.to_vec()?, [7.0.into(), 1.5.into()]);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ArrayProxy(Proxy);

impl From<Proxy> for ArrayProxy {
    fn from(proxy: Proxy) -> Self {
        Self(proxy)
    }
}

impl ArrayProxy {
    /// The item at a place, which counts from 0, or from the end: -1 is the last; `None` beyond the
    /// ends.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn get(&self, index: i64) -> Result<Option<Value>> {
        found(self.call("__getitem__", &[index.into()]), "IndexError")
    }

    /// The item at a place as a Rust type; `None` beyond the ends.
    ///
    /// # Errors
    /// [`Error::Conversion`] if the item is not of that type; else as [`ArrayProxy::get`].
    pub fn get_as<T>(&self, index: i64) -> Result<Option<T>>
    where
        T: TryFrom<Value, Error = Error>,
    {
        self.get(index)?.map(T::try_from).transpose()
    }

    /// Replaces the item at a place.
    ///
    /// # Errors
    /// `IndexError` beyond the ends, `OverflowError` or `TypeError` if the item does not fit, and
    /// whatever [`Proxy::call`] may give.
    pub fn set(&self, index: i64, item: impl Into<Value>) -> Result<()> {
        self.call("__setitem__", &[index.into(), item.into()]).map(drop)
    }

    /// The number of items.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn len(&self) -> Result<usize> {
        self.call("__len__", &[])?.try_into()
    }

    /// Whether there is none.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// A copy of all items, got at once.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn to_vec(&self) -> Result<Vec<Value>> {
        let array = self.call("#GETVALUE", &[])?;
        typecode::items(&array).ok_or_else(|| {
            Error::Conversion(format!("expected an array, got {}", array.type_name()))
        })
    }

    /// The untyped proxy.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.0
    }

    fn call(&self, method: &str, args: &[Value]) -> Result<Value> {
        self.0.call_waiting(method, args, &[], Some(Duration::ZERO))
    }
}
