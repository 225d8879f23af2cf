//! A proxy: stands for one object in the manager.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Client, Session, failure};
use crate::error::{Error, Result};
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wire::message::{PickledProxy, Reply, Token, names};

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
    /// What it was stored as, if it came from there: it goes back with the same Python class.
    stored: Option<Pickle>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("typeid", &self.0.typeid).field("id", &self.0.id).finish()
    }
}

impl Proxy {
    /// A proxy that owns a reference which the manager has counted already.
    pub(super) fn adopt(client: Client, typeid: &str, id: String, exposed: Vec<String>) -> Self {
        let typeid = typeid.to_owned();
        Self(Arc::new(Reference { client, typeid, id, exposed, stored: None }))
    }

    /// The manager that the object is in.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
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
    /// Which of the client's connections carries a call is not specified. Where the manager remembers
    /// something of a connection (an item that is not done, the owner of a lock), use the types that have a
    /// connection of their own: [`Consumer`](crate::Consumer), `LockGuard`, `ConditionGuard`.
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
        self.ask("#GETVALUE", &[])
    }

    /// What Python's `str(proxy)` shows.
    ///
    /// # Errors
    /// As [`Proxy::call`].
    pub fn repr(&self) -> Result<String> {
        self.ask("__repr__", &[])?.try_into()
    }

    /// [`Proxy::call`] of a method that itself waits at most this long; `None` is for ever.
    ///
    /// # Errors
    /// As [`Proxy::call`]; [`Error::TimedOut`] if the manager takes longer than that and the
    /// [`call_timeout`](crate::Connector::call_timeout).
    pub fn call_waiting(
        &self,
        method: &str,
        args: &[Value],
        kwargs: &[(&str, Value)],
        wait: Option<Duration>,
    ) -> Result<Value> {
        self.call_in(&mut self.session()?, method, args, kwargs, wait)
    }

    /// [`Proxy::call`] of a method that does not wait.
    pub(super) fn ask(&self, method: &str, args: &[Value]) -> Result<Value> {
        self.call_waiting(method, args, &[], Some(Duration::ZERO))
    }

    /// A connection for several calls, which serves others afterwards.
    pub(super) fn session(&self) -> Result<Session> {
        self.0.client.session()
    }

    /// A connection for calls that leave it something in the manager.
    pub(super) fn own_session(&self) -> Result<Session> {
        self.0.client.own_session()
    }

    /// [`Proxy::call_waiting`] on this connection.
    pub(super) fn call_in(
        &self,
        session: &mut Session,
        method: &str,
        args: &[Value],
        kwargs: &[(&str, Value)],
        wait: Option<Duration>,
    ) -> Result<Value> {
        match session.method(&self.0.id, method, args, kwargs, wait)? {
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

impl Client {
    /// The proxy that a value is: one that was stored in a container or a queue, or passed on. `None` if
    /// the value is something else.
    ///
    /// The value alone does not keep the object: whatever it came from must, until this has returned.
    ///
    /// ```no_run
    /// # let client = basemanager::Client::connect("127.0.0.1:5000", "producer")?;
    /// let outer = client.create("list", &[], &[])?;
    /// let inner = client.create("list", &[], &[])?;
    /// outer.call("append", &[(&inner).into()], &[])?;
    /// drop(inner); // outer keeps it
    ///
    /// let first = outer.call("__getitem__", &[0.into()], &[])?;
    /// let inner = client.proxy_of(&first)?.expect("a proxy was put in");
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Remote`] if there is no such object any more, or it is in another manager; else what
    /// went wrong with the connection.
    pub fn proxy_of(&self, value: &Value) -> Result<Option<Proxy>> {
        let Value::Opaque(pickle) = value else { return Ok(None) };
        let Some(proxy) = PickledProxy::read(pickle) else { return Ok(None) };
        let PickledProxy { token, exposed, .. } = proxy;
        let exposed = match exposed {
            Some(exposed) => exposed,
            None => names(self.function("get_methods", &[Value::from(&token)], &[])?)
                .ok_or_else(|| Error::Protocol("get_methods() gave no names".to_owned()))?,
        };
        self.function("incref", &[token.id.as_str().into()], &[])?;
        let Token { typeid, id, .. } = token;
        let (client, stored) = (self.clone(), Some(pickle.clone()));
        Ok(Some(Proxy(Arc::new(Reference { client, typeid, id, exposed, stored }))))
    }
}

impl From<&Proxy> for Value {
    /// The proxy as Python pickles it: to be stored in a container or a queue, or passed on. Keep the
    /// proxy until it has arrived there; a container of the same manager keeps the object from then on.
    fn from(proxy: &Proxy) -> Self {
        let Reference { client, typeid, id, exposed, stored } = &*proxy.0;
        if let Some(stored) = stored {
            return stored.clone().into();
        }
        let class = python_class(typeid);
        let exposed = (class == "AutoProxy").then(|| exposed.clone());
        let class = ("multiprocessing.managers".to_owned(), class.to_owned());
        let address = Token::address(client.address());
        let token = Token { typeid: typeid.clone(), address, id: id.clone() };
        PickledProxy { class, token, exposed }.to_pickle().into()
    }
}

/// The proxy type that Python's `SyncManager` has for a typeid.
fn python_class(typeid: &str) -> &'static str {
    match typeid {
        "list" => "ListProxy",
        "dict" => "DictProxy",
        "Array" => "ArrayProxy",
        "Barrier" => "BarrierProxy",
        "Condition" => "ConditionProxy",
        "Event" => "EventProxy",
        "Iterator" => "IteratorProxy",
        "Namespace" => "NamespaceProxy",
        "Value" => "ValueProxy",
        "Lock" | "RLock" | "Semaphore" | "BoundedSemaphore" => "AcquirerProxy",
        // It takes any methods. Before Python 3.14 there was no SetProxy.
        _ => "AutoProxy",
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // There is nobody to tell of a failure.
        let _ = self.client.release(&self.id);
    }
}
