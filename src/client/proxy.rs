//! A proxy: stands for one object in the manager.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::connection::Connection;
use super::{Client, returned};
use crate::error::{Error, Result};
use crate::pickle::Pickle;
use crate::value::{IntoArgs, Value};
use crate::wire::message::{PickledProxy, Reply, Token, names};

/// How long dropping a proxy or a guard may block.
pub(super) const DROP_TIMEOUT: Duration = Duration::from_secs(2);

/// Stands for an object in the manager, whose methods it calls. A clone stands for the same object. Dropping the last
/// clone releases the object in the manager, and waits for that for at most 2 s; [`Proxy::close`] reports errors.
///
/// A typed proxy, such as [`QueueProxy`](crate::QueueProxy), is any type that is `From<Proxy>`
/// (Python's `proxytype`).
#[derive(Clone)]
pub struct Proxy(Arc<ProxyInner>);

struct ProxyInner {
    client: Client,
    typeid: String,
    /// Empty once the object has been released.
    id: String,
    exposed: Vec<String>,
    /// The pickle that the proxy was made from, if any: it goes back with the same Python class.
    stored: Option<Pickle>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("typeid", &self.0.typeid).field("id", &self.0.id).finish()
    }
}

impl Proxy {
    /// A proxy that takes over a reference which the manager has counted already.
    pub(super) fn adopt(client: Client, typeid: &str, id: String, exposed: Vec<String>) -> Self {
        let typeid = typeid.to_owned();
        Self(Arc::new(ProxyInner { client, typeid, id, exposed, stored: None }))
    }

    /// The client that the proxy belongs to.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// The methods that can be called.
    #[must_use]
    pub fn exposed(&self) -> &[String] {
        &self.0.exposed
    }

    /// Whether this method can be called.
    #[must_use]
    pub fn exposes(&self, method: &str) -> bool {
        self.0.exposed.iter().any(|exposed| exposed == method)
    }

    /// The object's id in the manager.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Calls a method and returns a copy of its result. Python's `_callmethod`.
    ///
    /// The reply must come within the [`call_timeout`](crate::ClientBuilder::call_timeout), if one is set. For a
    /// method that waits, use [`Proxy::call_waiting`].
    ///
    /// Any of the client's connections may carry the call. Where the manager keeps something for a connection (an
    /// unacknowledged item, a lock), use the types that have a connection of their own, such as
    /// [`Consumer`](crate::Consumer) and `LockGuard`.
    ///
    /// ```no_run
    /// use basemanager::value::Args;
    /// # let client = basemanager::Client::connect("127.0.0.1:5000", "producer")?;
    /// let counter = client.create("counter", ())?;
    /// counter.call("increment", (2,))?;
    /// let now: i64 = counter.call("increment", Args::new().kwarg("by", 5))?.to()?;
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Exception`] if the method raised; [`Error::Remote`] if it could not be called;
    /// [`Error::Disconnected`] if the connection broke, when the call may have taken effect; [`Error::TimedOut`].
    pub fn call(&self, method: &str, args: impl IntoArgs) -> Result<Value> {
        self.call_waiting(method, args, Some(Duration::ZERO))
    }

    /// Calls a method that itself may wait as long as `wait`; `None` is forever.
    ///
    /// The reply must come within `wait` and the [`call_timeout`](crate::ClientBuilder::call_timeout) together, if
    /// both are set. Otherwise there is no limit.
    ///
    /// # Errors
    /// As [`Proxy::call`].
    pub fn call_waiting(
        &self,
        method: &str,
        args: impl IntoArgs,
        wait: Option<Duration>,
    ) -> Result<Value> {
        let mut connection = self.0.client.checkout()?;
        let result = self.call_on(&mut connection, method, args, wait);
        self.0.client.checkin(connection);
        result
    }

    /// Calls a method whose result stays in the manager, and returns a proxy for it.
    ///
    /// # Errors
    /// As [`Proxy::call`].
    pub fn call_proxy(&self, method: &str, args: impl IntoArgs) -> Result<Self> {
        let ProxyInner { client, id, .. } = &*self.0;
        let mut connection = client.checkout()?;
        let reply = connection.call(Some(id), method, args, client.shared.settings.call_timeout);
        client.checkin(connection);
        match reply? {
            Reply::Proxy(exposed, token) => Ok(self.nested(exposed, token)),
            other => {
                let got = returned(other)?.type_name();
                let what = format!("{method}() returned {got}, not a proxy; use call()");
                Err(Error::conversion(what))
            }
        }
    }

    /// A copy of the object, if it can be copied. Python's `_getvalue()`.
    ///
    /// # Errors
    /// As [`Proxy::call`].
    pub fn value(&self) -> Result<Value> {
        self.call("#GETVALUE", ())
    }

    /// The text that Python's `str(proxy)` shows.
    ///
    /// # Errors
    /// As [`Proxy::call`].
    pub fn repr(&self) -> Result<String> {
        self.call("__repr__", ())?.to()
    }

    /// Releases the object in the manager, unless another clone of the proxy still uses it. Dropping the proxy does
    /// the same, but hides errors and waits for at most 2 s.
    ///
    /// # Errors
    /// An error of the connection. [`Error::TimedOut`] at once if the manager has not answered when another proxy
    /// was released, and not since.
    pub fn close(self) -> Result<()> {
        match Arc::into_inner(self.0) {
            Some(mut last) => last.client.release(&std::mem::take(&mut last.id)),
            None => Ok(()),
        }
    }

    /// [`Proxy::call_waiting`] on this connection.
    pub(super) fn call_on(
        &self,
        connection: &mut Connection,
        method: &str,
        args: impl IntoArgs,
        wait: Option<Duration>,
    ) -> Result<Value> {
        let call_timeout = self.0.client.shared.settings.call_timeout;
        let timeout = call_timeout.zip(wait).map(|(timeout, wait)| timeout.saturating_add(wait));
        match connection.call(Some(&self.0.id), method, args, timeout)? {
            Reply::Proxy(exposed, token) => {
                // Releases the object.
                drop(self.nested(exposed, token));
                Err(Error::conversion(format!("{method}() returned a proxy; use call_proxy()")))
            }
            other => returned(other),
        }
    }

    fn nested(&self, exposed: Vec<String>, token: Token) -> Self {
        Self::adopt(self.0.client.clone(), &token.typeid, token.id, exposed)
    }
}

impl Drop for ProxyInner {
    /// Releases the object on another thread: looking a host name up, or waiting for a place in the backlog of a
    /// Unix socket, has no timeout of its own.
    fn drop(&mut self) {
        let (client, id) = (self.client.clone(), std::mem::take(&mut self.id));
        if id.is_empty() {
            return;
        }
        let (tx, rx) = mpsc::channel::<()>();
        let release = move || {
            // There is nowhere to report an error.
            let _ = client.release(&id);
            drop(tx);
        };
        let thread = thread::Builder::new().name("release".to_owned()).spawn(release);
        if thread.is_ok() && rx.recv_timeout(DROP_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            self.client.shared.unresponsive.store(true, Ordering::Relaxed);
        }
    }
}

impl Client {
    /// A proxy of the object that a value, a pickled proxy, stands for; `None` if the value is something else.
    /// Pickled proxies come from containers and queues.
    ///
    /// The value alone does not keep the object alive. Keep its container until this has returned.
    ///
    /// ```no_run
    /// # let client = basemanager::Client::connect("127.0.0.1:5000", "producer")?;
    /// let outer = client.create("list", ())?;
    /// let inner = client.create("list", ())?;
    /// outer.call("append", (&inner,))?;
    /// drop(inner); // outer keeps it
    ///
    /// let first = outer.call("__getitem__", (0,))?;
    /// let inner = client.proxy_of(&first)?.expect("a proxy was put in");
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Remote`] if the object no longer exists, or is in another manager; else an error of the connection.
    pub fn proxy_of(&self, value: &Value) -> Result<Option<Proxy>> {
        let Value::Opaque(pickle) = value else { return Ok(None) };
        let Some(proxy) = PickledProxy::read(pickle) else { return Ok(None) };
        let PickledProxy { token, exposed, .. } = proxy;
        let exposed = match exposed {
            Some(exposed) => exposed,
            None => names(self.call_server("get_methods", (&token,))?)
                .ok_or_else(|| Error::protocol("get_methods() must return names"))?,
        };
        self.call_server("incref", (&token.id,))?;
        let Token { typeid, id, .. } = token;
        let (client, stored) = (self.clone(), Some(pickle.clone()));
        Ok(Some(Proxy(Arc::new(ProxyInner { client, typeid, id, exposed, stored }))))
    }
}

impl From<&Proxy> for Value {
    /// The proxy as Python pickles it, for a container or a queue. Keep the proxy until the value has arrived there; a
    /// container of the same manager keeps the object alive from then on.
    fn from(proxy: &Proxy) -> Self {
        let ProxyInner { client, typeid, id, exposed, stored } = &*proxy.0;
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
