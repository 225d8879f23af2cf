//! The proxy of a set, in the manager of either language.

use crate::client::Proxy;
use crate::error::Result;
use crate::value::Value;

/// A `set` in a manager. A clone is the same set.
///
/// Python's own managers share sets since 3.14, unless they register the type themselves.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Set, SetProxy};
/// # let server = Manager::new("key").register("set", Set::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let seen: SetProxy = client.create("set", ())?.into();
/// seen.insert("a")?;
/// assert!(seen.contains("a")?);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SetProxy(Proxy);

typed!(SetProxy, sized, cleared);

impl SetProxy {
    /// Adds a member.
    ///
    /// # Errors
    /// `TypeError` if the value is not hashable, and whatever [`Proxy::call`] may give.
    #[doc(alias = "add")]
    pub fn insert(&self, member: impl Into<Value>) -> Result<()> {
        self.0.call("add", (member,)).map(drop)
    }

    /// Takes a member out, if it is there.
    ///
    /// # Errors
    /// As [`SetProxy::insert`].
    #[doc(alias = "discard")]
    pub fn remove(&self, member: impl Into<Value>) -> Result<()> {
        self.0.call("discard", (member,)).map(drop)
    }

    /// Whether a value is a member.
    ///
    /// # Errors
    /// As [`SetProxy::insert`].
    pub fn contains(&self, member: impl Into<Value>) -> Result<bool> {
        self.0.call("__contains__", (member,))?.to()
    }

    /// A copy of the members, got at once.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn members(&self) -> Result<Vec<Value>> {
        self.0.call("copy", ())?.to()
    }
}
