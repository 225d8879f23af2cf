//! The proxy of a list, in the manager of either language.

use super::found;
use crate::client::Proxy;
use crate::error::Result;
use crate::value::Value;

/// A `list` in a manager. A clone is the same list.
///
/// A place counts from 0, or from the end: -1 is the last. What is a proxy in the list comes back as a
/// value, of which [`Client::proxy_of`](crate::Client::proxy_of) makes a proxy again.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{List, ListProxy};
/// # let server = Manager::new("key").register("list", List::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let words: ListProxy = client.create("list", ())?.into();
/// words.extend(["a", "b", "c"])?;
/// assert_eq!(words.get_as::<String>(-1)?, Some("c".to_owned()));
/// for word in &words {
///     println!("{}", word?);
/// }
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ListProxy(Proxy);

typed!(ListProxy, sized, cleared, indexed);

impl ListProxy {
    /// Adds an item at the end.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    #[doc(alias = "append")]
    pub fn push(&self, item: impl Into<Value>) -> Result<()> {
        self.0.call("append", (item,)).map(drop)
    }

    /// Adds many items at the end, at once.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn extend<T: Into<Value>>(&self, items: impl IntoIterator<Item = T>) -> Result<()> {
        let items: Vec<Value> = items.into_iter().map(Into::into).collect();
        self.0.call("extend", (items,)).map(drop)
    }

    /// Puts an item before the one at a place; beyond the ends, at the end that is nearer.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn insert(&self, index: i64, item: impl Into<Value>) -> Result<()> {
        self.0.call("insert", (index, item)).map(drop)
    }

    /// Takes the last item; `None` if there is none.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn pop(&self) -> Result<Option<Value>> {
        found(self.0.call("pop", ()), "IndexError")
    }

    /// Takes the item at a place; `None` beyond the ends.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn remove(&self, index: i64) -> Result<Option<Value>> {
        found(self.0.call("pop", (index,)), "IndexError")
    }

    /// Whether an item is there.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn contains(&self, item: impl Into<Value>) -> Result<bool> {
        self.0.call("__contains__", (item,))?.to()
    }

    /// Sorts the items, stably.
    ///
    /// # Errors
    /// `TypeError` if two of them have no order, and whatever [`Proxy::call`] may give.
    pub fn sort(&self) -> Result<()> {
        self.0.call("sort", ()).map(drop)
    }

    /// A copy of all items, got at once.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    #[doc(alias = "copy")]
    pub fn to_vec(&self) -> Result<Vec<Value>> {
        self.0.call("copy", ())?.to()
    }

    /// The items, one by one, got when they are asked for, as Python iterates over a `ListProxy`. Ends
    /// after an error.
    #[must_use]
    pub fn iter(&self) -> ListIter<'_> {
        ListIter { list: self, next: Some(0) }
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
