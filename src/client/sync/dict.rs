//! The proxy of a dict, in the manager of either language.

use super::found;
use crate::client::Proxy;
use crate::error::{Error, Result};
use crate::value::Value;

/// A `dict` in a manager. A clone is the same dict.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Dict, DictProxy};
/// # let server = Manager::new("key").register("dict", Dict::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let ages: DictProxy = client.create("dict", ())?.into();
/// ages.insert("Guido", 69)?;
/// assert_eq!(ages.get_as::<u8>("Guido")?, Some(69));
/// for name in &ages {
///     println!("{}", name?);
/// }
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DictProxy(Proxy);

typed!(DictProxy, sized, cleared);

impl DictProxy {
    /// The value of a key; `None` if the key is not there.
    ///
    /// # Errors
    /// `TypeError` if the key is not hashable, and whatever [`Proxy::call`] may give.
    pub fn get(&self, key: impl Into<Value>) -> Result<Option<Value>> {
        found(self.0.call("__getitem__", (key,)), "KeyError")
    }

    /// The value of a key as a Rust type; `None` if the key is not there.
    ///
    /// # Errors
    /// [`Error::Conversion`] if the value is not of that type; else as [`DictProxy::get`].
    pub fn get_as<T>(&self, key: impl Into<Value>) -> Result<Option<T>>
    where
        T: crate::value::FromValue,
    {
        self.get(key)?.map(Value::to).transpose()
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// As [`DictProxy::get`].
    pub fn insert(&self, key: impl Into<Value>, value: impl Into<Value>) -> Result<()> {
        self.0.call("__setitem__", (key, value)).map(drop)
    }

    /// Takes a key out; gives its value, or `None` if it was not there.
    ///
    /// # Errors
    /// As [`DictProxy::get`].
    #[doc(alias = "pop")]
    pub fn remove(&self, key: impl Into<Value>) -> Result<Option<Value>> {
        found(self.0.call("pop", (key,)), "KeyError")
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// As [`DictProxy::get`].
    pub fn contains(&self, key: impl Into<Value>) -> Result<bool> {
        self.0.call("__contains__", (key,))?.to()
    }

    /// A copy of the keys and values, in order of insertion, got at once.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn items(&self) -> Result<Vec<(Value, Value)>> {
        match self.0.call("copy", ())? {
            Value::Dict(items) => Ok(items),
            other => Err(Error::conversion(format!("expected dict, got {}", other.type_name()))),
        }
    }

    /// The keys, one by one, got when they are asked for. If the dict grows or shrinks meanwhile, the
    /// next is an error: `RuntimeError`. Ends after an error.
    #[must_use]
    pub fn iter(&self) -> DictIter<'_> {
        DictIter { dict: self, keys: None, ended: false }
    }
}

impl<'a> IntoIterator for &'a DictProxy {
    type Item = Result<Value>;
    type IntoIter = DictIter<'a>;

    fn into_iter(self) -> DictIter<'a> {
        self.iter()
    }
}

/// The keys of a dict, one by one: [`DictProxy::iter`].
#[derive(Debug)]
pub struct DictIter<'a> {
    dict: &'a DictProxy,
    /// The iterator in the manager.
    keys: Option<Proxy>,
    ended: bool,
}

impl DictIter<'_> {
    fn get(&mut self) -> Result<Value> {
        let keys = match &mut self.keys {
            Some(keys) => keys,
            none => none.insert(self.dict.0.call_proxy("__iter__", ())?),
        };
        keys.call("__next__", ())
    }
}

impl Iterator for DictIter<'_> {
    type Item = Result<Value>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let key = self.get();
        self.ended = key.is_err();
        match key {
            Err(Error::Exception(end)) if end.is("builtins", "StopIteration") => None,
            key => Some(key),
        }
    }
}
