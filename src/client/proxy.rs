//! A proxy: stands for one object in the manager.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Client, failure};
use crate::error::{Error, Result};
use crate::message::{Reply, Token};
use crate::value::Value;

/// Stands for an object in the manager: its methods are called from here. A clone stands for the same
/// object; when the last one is dropped the manager is told.
///
/// A typed proxy, such as [`QueueProxy`](crate::QueueProxy), is any type that is `From<Proxy>`
/// (Python's `proxytype`).
#[derive(Clone)]
pub struct Proxy(Arc<Reference>);

struct Reference {
    client: Client,
    typeid: String,
    id: String,
    exposed: Vec<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("typeid", &self.0.typeid).field("id", &self.0.id).finish()
    }
}

impl Proxy {
    /// A proxy that owns a reference which the manager has counted already.
    pub(super) fn adopt(client: Client, typeid: &str, id: String, exposed: Vec<String>) -> Self {
        Self(Arc::new(Reference { client, typeid: typeid.to_owned(), id, exposed }))
    }

    /// The methods that may be called.
    #[must_use]
    pub fn exposed(&self) -> &[String] {
        &self.0.exposed
    }

    /// The object's id in the manager.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Calls a method and waits for its result, a copy. Python's `_callmethod`. It may take as long as
    /// it likes: a [`call_timeout`](crate::Connector::call_timeout) is for calls that say how long they
    /// wait.
    ///
    /// ```no_run
    /// # let client = basemanager::Client::connect("127.0.0.1:5000", "producer")?;
    /// let counter = client.create("counter", &[], &[])?;
    /// let now = counter.call("increment", &[], &[("by", 5.into())])?;
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Exception`] if the method raised, [`Error::Remote`] if it could not be called;
    /// [`Error::Disconnected`] if the connection broke, when the call may have taken effect.
    pub fn call(&self, method: &str, args: &[Value], kwargs: &[(&str, Value)]) -> Result<Value> {
        self.call_waiting(method, args, kwargs, None)
    }

    /// Calls a method whose result stays in the manager, and gives a proxy for it.
    ///
    /// # Errors
    /// As [`Proxy::call`].
    pub fn call_proxy(
        &self,
        method: &str,
        args: &[Value],
        kwargs: &[(&str, Value)],
    ) -> Result<Proxy> {
        match self.0.client.method(&self.0.id, method, args, kwargs, None)? {
            Reply::Proxy(exposed, token) => Ok(self.nested(exposed, token)),
            Reply::Return(value) => {
                let got = value.type_name();
                Err(Error::Conversion(format!("{method}() gave a {got}, not a proxy")))
            }
            other => Err(failure(other)),
        }
    }

    /// A copy of the object, if it can be had. Python's `_getvalue()`.
    ///
    /// # Errors
    /// As [`Proxy::call`].
    pub fn value(&self) -> Result<Value> {
        self.call("#GETVALUE", &[], &[])
    }

    /// What Python's `str(proxy)` shows.
    ///
    /// # Errors
    /// As [`Proxy::call`].
    pub fn repr(&self) -> Result<String> {
        self.call("__repr__", &[], &[])?.try_into()
    }

    /// [`Proxy::call`] of a method that itself waits at most this long; `None` is for ever.
    pub(super) fn call_waiting(
        &self,
        method: &str,
        args: &[Value],
        kwargs: &[(&str, Value)],
        wait: Option<Duration>,
    ) -> Result<Value> {
        match self.0.client.method(&self.0.id, method, args, kwargs, wait)? {
            Reply::Return(value) => Ok(value),
            Reply::Proxy(exposed, token) => {
                // Nobody wants the object: its reference goes.
                drop(self.nested(exposed, token));
                Err(Error::Conversion(format!("{method}() gives a proxy: use call_proxy")))
            }
            other => Err(failure(other)),
        }
    }

    fn nested(&self, exposed: Vec<String>, token: Token) -> Self {
        Self::adopt(self.0.client.clone(), &token.typeid, token.id, exposed)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // A manager that is gone holds no references.
        let _ = self.client.function("decref", &[self.id.as_str().into()], &[]);
    }
}
