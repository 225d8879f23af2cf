//! The proxy of a list, in the manager of either language.

use std::time::Duration;

use super::found;
use crate::client::Proxy;
use crate::error::{Error, Result};
use crate::value::Value;

/// A `list` in a manager. A clone is the same list.
///
/// A place counts from 0, or from the end: -1 is the last. What is a proxy in the list comes back as a
/// value, of which [`Client::proxy_of`](crate::Client::proxy_of) makes a proxy again.
///
/// ```
/// # use basemanager::{Client, List, ListProxy, Manager};
/// # let server = Manager::new("key").register("list", List::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let words: ListProxy = client.create("list", &[], &[])?.into();
/// words.extend(["a", "b", "c"])?;
/// assert_eq!(words.get_as::<String>(-1)?, Some("c".to_owned()));
/// for word in &words {
///     println!("{}", word?);
/// }
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ListProxy(Proxy);

impl From<Proxy> for ListProxy {
    fn from(proxy: Proxy) -> Self {
        Self(proxy)
    }
}

impl ListProxy {
    /// The item at a place; `None` beyond the ends.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn get(&self, index: i64) -> Result<Option<Value>> {
        found(self.call("__getitem__", &[index.into()]), "IndexError")
    }

    /// The item at a place as a Rust type; `None` beyond the ends.
    ///
    /// # Errors
    /// [`Error::Conversion`] if the item is not of that type; else as [`ListProxy::get`].
    pub fn get_as<T>(&self, index: i64) -> Result<Option<T>>
    where
        T: TryFrom<Value, Error = Error>,
    {
        self.get(index)?.map(T::try_from).transpose()
    }

    /// Replaces the item at a place.
    ///
    /// # Errors
    /// `IndexError` beyond the ends, and whatever [`Proxy::call`] may give.
    pub fn set(&self, index: i64, item: impl Into<Value>) -> Result<()> {
        self.call("__setitem__", &[index.into(), item.into()]).map(drop)
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    #[doc(alias = "append")]
    pub fn push(&self, item: impl Into<Value>) -> Result<()> {
        self.call("append", &[item.into()]).map(drop)
    }

    /// Adds many items at the end, at once.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn extend<T: Into<Value>>(&self, items: impl IntoIterator<Item = T>) -> Result<()> {
        let items: Vec<Value> = items.into_iter().map(Into::into).collect();
        self.call("extend", &[items.into()]).map(drop)
    }

    /// Puts an item before the one at a place; beyond the ends, at the end that is nearer.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn insert(&self, index: i64, item: impl Into<Value>) -> Result<()> {
        self.call("insert", &[index.into(), item.into()]).map(drop)
    }

    /// Takes the last item; `None` if there is none.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn pop(&self) -> Result<Option<Value>> {
        found(self.call("pop", &[]), "IndexError")
    }

    /// Takes the item at a place; `None` beyond the ends.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn remove(&self, index: i64) -> Result<Option<Value>> {
        found(self.call("pop", &[index.into()]), "IndexError")
    }

    /// Whether an item is there.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn contains(&self, item: impl Into<Value>) -> Result<bool> {
        self.call("__contains__", &[item.into()])?.try_into()
    }

    /// Sorts the items, stably.
    ///
    /// # Errors
    /// `TypeError` if two of them have no order, and whatever [`Proxy::call`] may give.
    pub fn sort(&self) -> Result<()> {
        self.call("sort", &[]).map(drop)
    }

    /// Takes everything out.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn clear(&self) -> Result<()> {
        self.call("clear", &[]).map(drop)
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
    #[doc(alias = "copy")]
    pub fn to_vec(&self) -> Result<Vec<Value>> {
        self.call("copy", &[])?.try_into()
    }

    /// The items, one by one, got when they are asked for, as Python iterates over a `ListProxy`. Ends
    /// after an error.
    #[must_use]
    pub fn iter(&self) -> ListIter<'_> {
        ListIter { list: self, next: Some(0) }
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

impl<'a> IntoIterator for &'a ListProxy {
    type Item = Result<Value>;
    type IntoIter = ListIter<'a>;

    fn into_iter(self) -> ListIter<'a> {
        self.iter()
    }
}

/// The items of a list, one by one: [`ListProxy::iter`].
#[derive(Debug)]
pub struct ListIter<'a> {
    list: &'a ListProxy,
    next: Option<i64>,
}

impl Iterator for ListIter<'_> {
    type Item = Result<Value>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next.take()?;
        let item = self.list.get(index).transpose()?;
        self.next = item.is_ok().then_some(index + 1);
        Some(item)
    }
}
