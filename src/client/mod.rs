//! Floor 5: the clients' half: a [`Client`] knows the manager, a [`Proxy`] one object in it.

mod connection;
#[cfg(feature = "objects")]
pub(crate) mod objects;
mod proxy;
mod put_each;
mod queue;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::handshake::Authkey;
use crate::limits::Limits;
use crate::message::{Reply, names};
use crate::shared::wait::lock;
use crate::transport::Address;
use crate::value::Value;
use connection::{Connection, unsent};
pub use proxy::Proxy;
pub use put_each::PutEach;
pub use queue::{Consumer, QueueIter, QueueProxy};

/// More than CPython can wait is refused there.
const LONGEST: Duration = Duration::from_secs(1 << 33);

/// Connections that are kept for the next call.
const KEEP_IDLE: usize = 16;

/// A manager, as seen from another process. A clone is the same client.
///
/// Each call uses a connection of its own while it lasts, so that clients and proxies may be used from
/// many threads at once, and a call that waits holds up no other.
///
/// ```no_run
/// use basemanager::Client;
/// let client = Client::connect("127.0.0.1:5000", "producer")?;
/// let tasks = client.queue("task_queue")?;
/// tasks.put(7)?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    settings: Connector,
    idle: Mutex<Vec<Connection>>,
    /// Whether the manager did not answer when a proxy was dropped, and has not answered since.
    silent: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", self.address()).finish_non_exhaustive()
    }
}

/// What a client needs to connect.
///
/// ```no_run
/// use std::time::Duration;
/// use basemanager::Client;
/// let client = Client::to("127.0.0.1:5000", "producer")
///     .connect_timeout(Duration::from_secs(2))
///     .call_timeout(Duration::from_secs(5))
///     .connect()?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Connector {
    address: Address,
    authkey: Authkey,
    connect_timeout: Duration,
    greeting_timeout: Duration,
    call_timeout: Option<Duration>,
    reconnects: u32,
    reconnect_pause: Duration,
    limits: Limits,
}

impl Connector {
    /// How long connecting and the handshake may take, and as long again the manager's first word after it,
    /// or its last to a proxy that is dropped, if no [`call_timeout`](Self::call_timeout) says how long. The
    /// system does not let this bound the wait for a place in a Unix socket's queue of connections, when that
    /// is full. Defaults to 20 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the manager may take to send its first byte once the connection is there. A manager speaks first; most
    /// other services wait for their clients to, so that without a bound both sides would wait for all of the
    /// [`connect_timeout`](Self::connect_timeout). Defaults to 5 s, and is never longer than that.
    #[must_use]
    pub fn greeting_timeout(mut self, timeout: Duration) -> Self {
        self.greeting_timeout = timeout;
        self
    }

    /// How long the manager may take to answer, beyond the time that a call itself may wait: with 5 s here a
    /// `get_timeout` of 1 s has 6 s. What may wait for ever, such as `get` or `put`, has no limit: where the
    /// manager's host may vanish, call `get_timeout` again and again. Defaults to no limit.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = Some(timeout);
        self
    }

    /// How often to try again, and after which pause, when nobody listens at the manager's address: it may
    /// be about to start, or to come back. A service that accepts the connection, but does not answer in time,
    /// is not tried again. Each call connects if it has to, and only before it has sent anything; one that was
    /// under way when its connection broke is never repeated ([`Error::may_have_taken_effect`]). Defaults to
    /// not at all.
    #[must_use]
    pub fn reconnect(mut self, times: u32, pause: Duration) -> Self {
        (self.reconnects, self.reconnect_pause) = (times, pause);
        self
    }

    /// What one message may cost. Defaults to [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long the answer may take to what nobody asked for by name.
    fn first_wait(&self) -> Duration {
        self.call_timeout.unwrap_or(self.connect_timeout)
    }

    /// Connects, and checks the key.
    ///
    /// # Errors
    /// [`Error::Io`] if nobody listens there, or nobody answers; [`Error::Authentication`] if the keys
    /// differ, or another service answers: the text names its protocol.
    pub fn connect(self) -> Result<Client> {
        let connection = Connection::open(&self)?;
        let client = Client(Arc::new(Shared {
            settings: self,
            idle: Mutex::default(),
            silent: AtomicBool::new(false),
        }));
        let settings = &client.0.settings;
        let answer = client.ask(connection, "dummy", &[], &[], Some(settings.first_wait()));
        answer.map_err(unsent(settings))?;
        Ok(client)
    }
}

impl Client {
    /// Connects to a manager, and checks the key. Python's `connect()`.
    ///
    /// # Errors
    /// See [`Connector::connect`].
    pub fn connect(address: impl Into<Address>, authkey: impl Into<Authkey>) -> Result<Self> {
        Self::to(address, authkey).connect()
    }

    /// What [`Client::connect`] does, with settings.
    #[must_use]
    pub fn to(address: impl Into<Address>, authkey: impl Into<Authkey>) -> Connector {
        Connector {
            address: address.into(),
            authkey: authkey.into(),
            connect_timeout: Duration::from_secs(20),
            greeting_timeout: Duration::from_secs(5),
            call_timeout: None,
            reconnects: 0,
            reconnect_pause: Duration::ZERO,
            limits: Limits::default(),
        }
    }

    /// The manager's address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.0.settings.address
    }

    /// Has the manager call what is registered as `typeid`, and gives a proxy for the result. Python's
    /// `manager.typeid(*args, **kwargs)`.
    ///
    /// # Errors
    /// [`Error::Remote`] if there is no such typeid, or the callable failed; else what went wrong with
    /// the connection.
    pub fn create(&self, typeid: &str, args: &[Value], kwargs: &[(&str, Value)]) -> Result<Proxy> {
        let mut all = vec![Value::from(typeid)];
        all.extend_from_slice(args);
        let made = self.function("create", &all, kwargs)?;
        let made = match made {
            Value::Tuple(parts) => <[Value; 2]>::try_from(parts).ok(),
            _ => None,
        };
        match made {
            Some([Value::Str(id), exposed]) => {
                Ok(Proxy::adopt(self.clone(), typeid, id, names(exposed).unwrap_or_default()))
            }
            _ => Err(Error::Protocol("create() gave no id and methods".to_owned())),
        }
    }

    /// A proxy for the queue that is registered as `typeid`.
    ///
    /// # Errors
    /// See [`Client::create`].
    pub fn queue(&self, typeid: &str) -> Result<QueueProxy> {
        self.create(typeid, &[], &[]).map(QueueProxy::from)
    }

    /// How many objects the manager shares (`_number_of_objects()`).
    ///
    /// # Errors
    /// What went wrong with the connection.
    pub fn number_of_objects(&self) -> Result<usize> {
        self.function("number_of_objects", &[], &[])?.try_into()
    }

    /// The objects' ids, references and representations, as text (`_debug_info()`). This crate's manager
    /// abridges the ids: whoever knows an id can call the object.
    ///
    /// # Errors
    /// What went wrong with the connection.
    pub fn debug_info(&self) -> Result<String> {
        self.function("debug_info", &[], &[])?.try_into()
    }

    /// Asks the manager to end, as Python's own `shutdown()` does.
    ///
    /// # Errors
    /// What went wrong with the connection.
    pub fn shutdown(&self) -> Result<()> {
        self.function("shutdown", &[], &[]).map(drop)
    }

    /// Calls a function of the manager itself, on a connection for this one call.
    fn function(&self, name: &str, args: &[Value], kwargs: &[(&str, Value)]) -> Result<Value> {
        let connection = Connection::open(&self.0.settings).map_err(Error::unreachable)?;
        self.ask(connection, name, args, kwargs, self.0.settings.call_timeout)
    }

    /// Lets go of a reference. A manager that is gone holds none: nobody waits for it to come back. Nor does
    /// each of many proxies wait for a host that does not answer: only the first one does.
    fn release(&self, id: &str) -> Result<()> {
        if self.0.silent.load(Ordering::Relaxed) {
            return Err(Error::TimedOut);
        }
        let wait = Some(self.0.settings.first_wait());
        Connection::try_open(&self.0.settings)
            .and_then(|connection| self.ask(connection, "decref", &[id.into()], &[], wait))
            .inspect_err(|error| self.0.silent.store(error.is_timeout(), Ordering::Relaxed))
            .map(drop)
    }

    fn ask(
        &self,
        mut connection: Connection,
        name: &str,
        args: &[Value],
        kwargs: &[(&str, Value)],
        wait: Option<Duration>,
    ) -> Result<Value> {
        let reply = connection.call(&self.0.settings, None, name, args, kwargs, wait)?;
        self.answered();
        match reply {
            Reply::Return(value) => Ok(value),
            other => Err(failure(other)),
        }
    }

    /// Calls a method of an object. `wait` is how long the call itself may wait; `None` is for ever.
    fn method(
        &self,
        id: &str,
        method: &str,
        args: &[Value],
        kwargs: &[(&str, Value)],
        wait: Option<Duration>,
    ) -> Result<Reply> {
        self.session()?.method(id, method, args, kwargs, wait)
    }

    /// A connection for several calls, which serves others afterwards.
    fn session(&self) -> Result<Session> {
        Ok(Session { client: self.clone(), connection: Some(self.checkout()?), pooled: true })
    }

    /// A connection for calls that leave it something in the manager, such as an item that is not done or
    /// a lock: a new one, so that it owns nothing yet, and never used for anything else.
    fn own_session(&self) -> Result<Session> {
        let connection = self.connect_for_calls()?;
        Ok(Session { client: self.clone(), connection: Some(connection), pooled: false })
    }

    /// A connection to call methods on: one that is idle and still open, or a new one.
    fn checkout(&self) -> Result<Connection> {
        while let Some(connection) = self.idle() {
            if connection.is_open() {
                return Ok(connection);
            }
        }
        self.connect_for_calls()
    }

    fn connect_for_calls(&self) -> Result<Connection> {
        Connection::accepted(&self.0.settings).map_err(Error::unreachable)
    }

    fn idle(&self) -> Option<Connection> {
        lock(&self.0.idle).pop()
    }

    /// Notes that the manager has answered.
    fn answered(&self) {
        if self.0.silent.load(Ordering::Relaxed) {
            self.0.silent.store(false, Ordering::Relaxed);
        }
    }

    /// Drops the idle connections after one has failed. A router may have forgotten them all, and then each would
    /// cost a timeout of its own.
    fn drop_idle(&self, error: &Error) {
        if matches!(error, Error::TimedOut | Error::Disconnected | Error::Io(..)) {
            lock(&self.0.idle).clear();
        }
    }
}

/// A connection that several calls have to themselves: to the manager they are one owner's.
#[derive(Debug)]
struct Session {
    client: Client,
    /// Gone once a call has failed: it may be out of step.
    connection: Option<Connection>,
    /// Whether the connection serves other calls afterwards.
    pooled: bool,
}

impl Session {
    /// Adds a call with one argument to those that [`send`](Self::send) sends, and gives its size.
    fn request(&mut self, id: &str, method: &str, arg: &Value) -> Result<usize> {
        let args = std::slice::from_ref(arg);
        self.connection.as_mut().map_or(Ok(0), |connection| connection.request(id, method, args))
    }

    /// Sends the first so many bytes of what was requested. If that fails so does
    /// [`receive`](Self::receive), in its turn.
    fn send(&mut self, bytes: usize) {
        if let Some(connection) = &mut self.connection {
            // Replies to earlier calls may have come all the same.
            let _ = connection.send(bytes);
        }
    }

    /// The reply to the oldest call under way.
    fn receive(&mut self) -> Result<Reply> {
        let mut connection = self.connection.take().ok_or(Error::Disconnected)?;
        let reply = connection.receive(&self.client.0.settings);
        let reply = reply.inspect_err(|error| self.client.drop_idle(error))?;
        self.connection = Some(connection);
        Ok(reply)
    }

    /// Whether no call has failed so far.
    fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Ends the connection, which would serve other calls otherwise.
    fn close(mut self) {
        self.connection = None;
    }

    /// See [`Client::method`].
    fn method(
        &mut self,
        id: &str,
        method: &str,
        args: &[Value],
        kwargs: &[(&str, Value)],
        wait: Option<Duration>,
    ) -> Result<Reply> {
        let settings = &self.client.0.settings;
        let mut connection = self.connection.take().ok_or(Error::Disconnected)?;
        let wait = wait.and_then(|wait| Some(settings.call_timeout?.saturating_add(wait)));
        let reply = connection.call(settings, Some(id), method, args, kwargs, wait);
        let reply = reply.inspect_err(|error| self.client.drop_idle(error))?;
        self.client.answered();
        self.connection = Some(connection);
        Ok(reply)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.pooled {
            return;
        }
        let mut idle = lock(&self.client.0.idle);
        if idle.len() < KEEP_IDLE {
            idle.extend(self.connection.take());
        }
    }
}

/// What a reply that is no result means.
fn failure(reply: Reply) -> Error {
    match reply {
        Reply::Error(exception) => Error::Exception(exception),
        Reply::Traceback(text) | Reply::Unserializable(text) => Error::Remote(text),
        Reply::Return(_) | Reply::Proxy(..) => {
            Error::Protocol("a reply of another kind than was asked for".to_owned())
        }
    }
}

/// A timeout as Python takes it.
fn seconds(timeout: Option<Duration>) -> Value {
    timeout.map(|timeout| timeout.min(LONGEST).as_secs_f64()).into()
}
