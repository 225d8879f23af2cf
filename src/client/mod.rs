//! The client: calls the objects in a manager.
//!
//! ```text
//!  Client ── call_server ──► a new connection          the manager's own functions: create, decref, ...
//!    │
//!  Proxy ─── call_on ──► Session ── call ──► Connection  methods of one object
//!                          │
//!                          ├─ from the pool, and back to it: calls that leave nothing behind
//!                          └─ a connection of its own: Consumer, LockGuard
//! ```

mod builder;
mod connection;
mod proxy;
mod put_each;
mod queue;
pub(super) mod session;
#[cfg(feature = "sync")]
pub(crate) mod sync;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::net::Address;
use crate::value::{Args, IntoArgs, Value};
use crate::wait::lock;
use crate::wire::handshake::Authkey;
use crate::wire::message::{Reply, names};
pub use builder::ClientBuilder;
use connection::{Connection, connect_error};
pub use proxy::Proxy;
pub use put_each::PutEach;
pub use queue::{Consumer, QueueIter, QueueProxy};

/// A connection to a manager in another process. A clone is the same client.
///
/// Clients and proxies can be shared by threads. Each call uses a connection of its own while it lasts, so that a
/// call that waits does not hold up others.
///
/// ```no_run
/// use basemanager::Client;
/// let client = Client::connect("127.0.0.1:5000", "producer")?;
/// let tasks = client.queue("task_queue")?;
/// tasks.put(7)?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone)]
pub struct Client(Arc<ClientInner>);

struct ClientInner {
    settings: ClientBuilder,
    /// Connections that are ready for the next call.
    idle: Mutex<Vec<Connection>>,
    /// Whether the manager did not answer when a proxy was dropped, and has not answered since.
    unresponsive: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", self.address()).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to a manager, and proves the key. Python's `connect()`.
    ///
    /// # Errors
    /// See [`ClientBuilder::connect`].
    pub fn connect(address: impl Into<Address>, authkey: impl Into<Authkey>) -> Result<Self> {
        Self::builder(address, authkey).connect()
    }

    /// Like [`Client::connect`], with settings.
    pub fn builder(address: impl Into<Address>, authkey: impl Into<Authkey>) -> ClientBuilder {
        ClientBuilder::new(address.into(), authkey.into())
    }

    fn new(settings: ClientBuilder) -> Result<Self> {
        let connection = Connection::open(&settings)?;
        let (idle, unresponsive) = (Mutex::default(), AtomicBool::new(false));
        let client = Self(Arc::new(ClientInner { settings, idle, unresponsive }));
        let timeout = Some(client.0.settings.reply_timeout());
        let answer = client.call_server_on(connection, "dummy", (), timeout);
        answer.map_err(connect_error(&client.0.settings))?;
        Ok(client)
    }

    /// The manager's address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.0.settings.address
    }

    /// Has the manager call what is registered as `typeid`, and returns a proxy for the result; for a shared object,
    /// returns a proxy for it. Python's `manager.typeid(*args, **kwargs)`.
    ///
    /// ```no_run
    /// # let client = basemanager::Client::connect("127.0.0.1:5000", "producer")?;
    /// let barrier = client.create("Barrier", (2,))?;
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Remote`] if there is no such typeid, or the callable failed; else an error of the connection.
    pub fn create(&self, typeid: &str, args: impl IntoArgs) -> Result<Proxy> {
        match self.call_server("create", Args::prepend(typeid, args))?.to() {
            Ok((id, exposed)) => {
                Ok(Proxy::adopt(self.clone(), typeid, id, names(exposed).unwrap_or_default()))
            }
            Err(_) => Err(Error::protocol("create() must return an id and the exposed methods")),
        }
    }

    /// A proxy for the queue that is shared or registered as `typeid`.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn queue(&self, typeid: &str) -> Result<QueueProxy> {
        self.create(typeid, ()).map(QueueProxy::from)
    }

    /// The number of objects that the manager holds for clients (`_number_of_objects()`).
    ///
    /// # Errors
    /// An error of the connection.
    pub fn number_of_objects(&self) -> Result<usize> {
        self.call_server("number_of_objects", ())?.to()
    }

    /// The ids, reference counts and representations of the objects, as text (`_debug_info()`). This crate's
    /// manager abbreviates the ids, because an id is enough to call an object.
    ///
    /// # Errors
    /// An error of the connection.
    pub fn debug_info(&self) -> Result<String> {
        self.call_server("debug_info", ())?.to()
    }

    /// Shuts the manager down, as Python's own `shutdown()` does.
    ///
    /// # Errors
    /// An error of the connection.
    pub fn shutdown(&self) -> Result<()> {
        self.call_server("shutdown", ()).map(drop)
    }

    /// Calls a function of the manager itself, on a new connection.
    fn call_server(&self, function: &str, args: impl IntoArgs) -> Result<Value> {
        let connection = Connection::open(&self.0.settings).map_err(Error::unreachable)?;
        self.call_server_on(connection, function, args, self.0.settings.call_timeout)
    }

    fn call_server_on(
        &self,
        mut connection: Connection,
        function: &str,
        args: impl IntoArgs,
        timeout: Option<Duration>,
    ) -> Result<Value> {
        let reply = args.with_args(|args, kwargs| {
            connection.call(&self.0.settings, None, function, args, kwargs, timeout)
        })?;
        self.note_answer();
        match reply {
            Reply::Return(value) => Ok(value),
            other => Err(failure(other)),
        }
    }

    /// Releases a reference, without retries: a manager that is gone holds none. When many proxies are dropped, only
    /// the first waits for a manager that does not answer.
    fn release(&self, id: &str) -> Result<()> {
        if self.0.unresponsive.load(Ordering::Relaxed) {
            return Err(Error::TimedOut);
        }
        let timeout = Some(self.0.settings.reply_timeout());
        Connection::try_open(&self.0.settings)
            .and_then(|connection| self.call_server_on(connection, "decref", (id,), timeout))
            .inspect_err(|error| self.note_unresponsive(error.is_timeout()))
            .map(drop)
    }

    fn note_unresponsive(&self, unresponsive: bool) {
        self.0.unresponsive.store(unresponsive, Ordering::Relaxed);
    }

    fn note_answer(&self) {
        if self.0.unresponsive.load(Ordering::Relaxed) {
            self.note_unresponsive(false);
        }
    }

    /// A connection to call methods on: an idle one that is still open, or a new one.
    fn checkout(&self) -> Result<Connection> {
        loop {
            let idle = lock(&self.0.idle).pop();
            match idle {
                Some(connection) if connection.is_open() => return Ok(connection),
                Some(_) => {}
                None => return self.accepted(),
            }
        }
    }

    fn accepted(&self) -> Result<Connection> {
        Connection::accepted(&self.0.settings).map_err(Error::unreachable)
    }

    /// Closes the idle connections after one has failed. A router may have forgotten them all, and then each would
    /// cost a timeout of its own.
    fn drop_idle(&self, error: &Error) {
        if matches!(error, Error::TimedOut | Error::Disconnected | Error::Connection { .. }) {
            lock(&self.0.idle).clear();
        }
    }
}

/// The error of a reply that carries no result.
fn failure(reply: Reply) -> Error {
    match reply {
        Reply::Error(exception) => Error::Exception(exception),
        Reply::Traceback(traceback) | Reply::Unserializable(traceback) => {
            Error::Remote { traceback }
        }
        Reply::Return(_) | Reply::Proxy(..) => {
            Error::protocol("the reply is of another kind than the call expects")
        }
    }
}

/// A timeout as Python takes it.
fn seconds(timeout: Option<Duration>) -> Value {
    /// CPython refuses to wait longer.
    const LONGEST: Duration = Duration::from_secs(1 << 33);
    timeout.map(|timeout| timeout.min(LONGEST).as_secs_f64()).into()
}
