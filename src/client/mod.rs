//! The client: calls the objects in a manager.
//!
//! ```text
//!  Client ────► Connection   a new one for each of the manager's own functions: create, decref, ...
//!  Proxy ─────► Connection   from the pool and back to it: methods whose calls leave nothing behind in the manager
//!  Consumer ──► Connection   of its own: the manager returns the items that are not done when it ends
//!  LockGuard ─► Connection   of its own: it owns the lock
//! ```

mod builder;
mod connection;
mod proxy;
mod put_each;
mod queue;
#[cfg(feature = "sync")]
pub(crate) mod sync;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::net::Address;
use crate::value::{Args, IntoArgs, Value};
use crate::wait::lock;
use crate::wire::handshake::Authkey;
use crate::wire::message::{Reply, names};
pub use builder::ClientBuilder;
use connection::Connection;
pub use proxy::Proxy;
pub use put_each::PutEach;
pub use queue::{Consumer, QueueIter, QueueProxy};

/// The most connections that are kept for later calls.
const MAX_IDLE: usize = 16;

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
pub struct Client {
    shared: Arc<Shared>,
    /// Connections that are ready for the next call.
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// The part of a client that its connections refer to.
#[derive(Debug)]
struct Shared {
    settings: ClientBuilder,
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
        let shared = Arc::new(Shared { settings, unresponsive: AtomicBool::new(false) });
        Connection::open(&shared, Some(("dummy", &[])))?;
        Ok(Self { shared, idle: Arc::default() })
    }

    /// The manager's address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.shared.settings.address
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
        let timeout = self.shared.settings.call_timeout;
        let mut connection = Connection::open(&self.shared, None).map_err(Error::unreachable)?;
        returned(connection.call(None, function, args, timeout)?)
    }

    /// Releases a reference, without retries: a manager that is gone holds none. When many proxies are dropped, only
    /// the first waits for a manager that does not answer.
    fn release(&self, id: &str) -> Result<()> {
        let Shared { settings, unresponsive } = &*self.shared;
        if unresponsive.load(Ordering::Relaxed) {
            return Err(Error::TimedOut);
        }
        let released = Connection::try_open(&self.shared, None).and_then(|mut connection| {
            returned(connection.call(None, "decref", (id,), settings.reply_timeout())?)
        });
        let note = |error: &Error| unresponsive.store(error.is_timeout(), Ordering::Relaxed);
        released.inspect_err(note).map(drop)
    }

    /// A connection for calls that leave nothing behind in the manager: an idle one that is still open, or a new one.
    fn checkout(&self) -> Result<Connection> {
        let pop = || lock(&self.idle).pop();
        while let Some(connection) = pop() {
            if connection.is_open() {
                return Ok(connection);
            }
        }
        self.connect_own()
    }

    /// Keeps a connection for later calls.
    fn checkin(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if !connection.is_in_step() {
            // A router may have forgotten all connections, and each would cost a timeout of its own.
            idle.clear();
        } else if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    /// A new connection. The manager keeps what its calls leave behind, such as an unacknowledged item or a lock, for as
    /// long as it is open.
    fn connect_own(&self) -> Result<Connection> {
        let name = thread::current().name().unwrap_or("rust").into();
        Connection::open(&self.shared, Some(("accept_connection", &[name])))
            .map_err(Error::unreachable)
    }
}

/// The result in a reply.
fn returned(reply: Reply) -> Result<Value> {
    match reply {
        Reply::Return(value) => Ok(value),
        Reply::Error(exception) => Err(Error::Exception(exception)),
        Reply::Traceback(traceback) | Reply::Unserializable(traceback) => {
            Err(Error::Remote { traceback })
        }
        Reply::Proxy(..) => Err(Error::protocol("the reply is a proxy instead of a value")),
    }
}

/// A timeout as Python takes it.
fn seconds(timeout: Option<Duration>) -> Value {
    /// CPython refuses to wait longer.
    const LONGEST: Duration = Duration::from_secs(1 << 33);
    timeout.map(|timeout| timeout.min(LONGEST).as_secs_f64()).into()
}
