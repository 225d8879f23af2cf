//! The proxy of a set, in the manager of either language.

use std::time::Duration;

use crate::client::Proxy;
use crate::error::Result;
use crate::value::Value;

/// A `set` in a manager. A clone is the same set.
///
/// Python's own managers share sets since 3.14, unless they register the type themselves.
///
/// ```
/// # use basemanager::{Client, Manager, Set, SetProxy};
/// # let server = Manager::new("key").register("set", Set::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let seen: SetProxy = client.create("set", &[], &[])?.into();
/// seen.insert("a")?;
/// assert!(seen.contains("a")?);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SetProxy(Proxy);

impl From<Proxy> for SetProxy {
    fn from(proxy: Proxy) -> Self {
        Self(proxy)
    }
}

impl SetProxy {
    /// Adds a member.
    ///
    /// # Errors
    /// `TypeError` if the value is not hashable, and whatever [`Proxy::call`] may give.
    #[doc(alias = "add")]
    pub fn insert(&self, member: impl Into<Value>) -> Result<()> {
        self.call("add", &[member.into()]).map(drop)
    }

    /// Takes a member out, if it is there.
    ///
    /// # Errors
    /// As [`SetProxy::insert`].
    #[doc(alias = "discard")]
    pub fn remove(&self, member: impl Into<Value>) -> Result<()> {
        self.call("discard", &[member.into()]).map(drop)
    }

    /// Whether a value is a member.
    ///
    /// # Errors
    /// As [`SetProxy::insert`].
    pub fn contains(&self, member: impl Into<Value>) -> Result<bool> {
        self.call("__contains__", &[member.into()])?.try_into()
    }

    /// The number of members.
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

    /// Takes everything out.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn clear(&self) -> Result<()> {
        self.call("clear", &[]).map(drop)
    }

    /// A copy of the members, got at once.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn members(&self) -> Result<Vec<Value>> {
        self.call("copy", &[])?.try_into()
    }

    /// The untyped proxy, for the other methods: `proxy().call("union", …)`.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.0
    }

    fn call(&self, method: &str, args: &[Value]) -> Result<Value> {
        self.0.call_waiting(method, args, &[], Some(Duration::ZERO))
    }
}
