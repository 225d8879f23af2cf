//! The manager's public interface for the process that runs it.
//!
//! ```text
//!  Manager::new ─ register … ─ bind ──► Server ──► serve_forever      on this thread
//!                                              └─► start ──► ServerHandle   on a new thread
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::net::{Address, BoundListener, Listener};
use crate::object::call::Call;
use crate::object::{IntoReturn, Return};
use crate::server::{self, Logger, Registration, ServerState, ServerStats, Settings};
use crate::wait::lock;
use crate::wire::handshake::Authkey;

/// A manager that is not bound to an address yet: its registered typeids, and its settings. Python's `BaseManager`.
///
/// ```
/// use basemanager::{Client, Manager, Queue};
/// let tasks = Queue::new();
/// let server = Manager::new("secret").share("tasks", &tasks).bind("127.0.0.1:0")?;
/// let handle = server.start()?;
/// let client = Client::connect(handle.address(), "secret")?;
/// client.queue("tasks")?.put("work")?;
/// # Ok::<(), basemanager::Error>(())
/// ```
pub struct Manager {
    authkey: Option<Authkey>,
    allow_empty_authkey: bool,
    socket_mode: u32,
    settings: Settings,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("typeids", &self.settings.typeids()).finish_non_exhaustive()
    }
}

impl Default for Manager {
    /// A manager with this process's key ([`Authkey::process`]), as in Python without the argument `authkey`.
    fn default() -> Self {
        let settings = Settings {
            registry: Mutex::default(),
            limits: Limits::default(),
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            drain_timeout: Duration::ZERO,
            max_wait: None,
            max_connections: 16_384,
            max_handshakes: 1024,
            max_objects: 1 << 20,
            remote_shutdown: true,
            legacy_md5: true,
            log: None,
        };
        Self { authkey: None, allow_empty_authkey: false, socket_mode: 0o600, settings }
    }
}

impl Manager {
    /// A manager with this key.
    #[must_use]
    pub fn new(authkey: impl Into<Authkey>) -> Self {
        Self { authkey: Some(authkey.into()), ..Self::default() }
    }

    /// Shares one object with all clients, under this typeid: a [`Queue`](crate::Queue), an
    /// `Arc<impl SharedObject>`, or anything else that a registered callable may return. A client that creates an
    /// object of the typeid gets a proxy for this object; if it passes arguments, it gets a `TypeError`. An earlier
    /// registration of the typeid is replaced.
    ///
    /// The object lives as long as the manager, and its id is the same after a restart with the same
    /// authkey at the same address, so existing proxies still work. The id is an HMAC of the typeid and of
    /// the address as [`Server::address`] shows it, so two managers with one authkey that listen on the
    /// same address (both on `0.0.0.0:5000`, on different hosts) have the same ids.
    ///
    /// ```
    /// use basemanager::{Client, Manager, Queue};
    /// let tasks = Queue::new();
    /// let handle = Manager::new("secret").share("tasks", &tasks).bind("127.0.0.1:0")?.start()?;
    /// Client::connect(handle.address(), "secret")?.queue("tasks")?.put("work")?;
    /// assert_eq!(tasks.get()?, "work".into());
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// To choose what is exposed, use [`Manager::register_with`] and [`Registration::shared`].
    #[must_use]
    pub fn share(self, typeid: impl Into<String>, object: impl Into<Return>) -> Self {
        self.register_with(typeid, Registration::shared(object))
    }

    /// Registers a typeid. Each time a client creates an object of this typeid, the manager calls `callable` with the
    /// client's arguments. An earlier registration of the typeid is replaced.
    ///
    /// - [`Queue`](crate::Queue) or `Arc<impl SharedObject>`: the client gets a proxy. A new object lives until its
    ///   last proxy is dropped. If the callable returns the same object again, it keeps its id while it lives. To share
    ///   one object with all clients, use [`Manager::share`].
    /// - A value: the client reads a copy with `_getvalue()` ([`Proxy::value`](crate::Proxy::value)).
    /// - `Err(`[`Exception`](crate::Exception)`)`: the client's request fails with the text of the exception.
    #[must_use]
    pub fn register<F, R>(self, typeid: impl Into<String>, callable: F) -> Self
    where
        F: Fn(&mut Call<'_>) -> R + Send + Sync + 'static,
        R: IntoReturn,
    {
        self.register_with(typeid, Registration::new(callable))
    }

    /// Registers a typeid with the other arguments of Python's `register`: see [`Registration`].
    #[must_use]
    pub fn register_with(self, typeid: impl Into<String>, registration: Registration) -> Self {
        lock(&self.settings.registry).insert(typeid.into(), Arc::new(registration));
        self
    }

    /// The limits on one message. Defaults to [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Closes a connection whose client has not authenticated within this time. Defaults to 10 s.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// Closes a connection whose client has read nothing for this long. Undelivered items return to their queue. Bytes
    /// that fit into the system's socket buffers count as read, so the connection can stay open three times as long.
    /// Defaults to 60 s.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        // The system does not accept a timeout of 0.
        self.settings.write_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// The longest time that a call may wait. After this time the call raises `TimeoutError`, even if its own timeout
    /// is longer. Defaults to no limit.
    #[must_use]
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.settings.max_wait = Some(time);
        self
    }

    /// How long a shutdown waits for consumers to empty the queues. Meanwhile the queues refuse puts. When a queue has
    /// neither items nor unacknowledged items left, `get` raises `queue.ShutDown`. When all queues are drained, clients
    /// that are still connected have up to one second to call `get` and receive this exception.
    ///
    /// The shutdown drains all shared queues, and all queues that a callable returned and that still exist, even if no
    /// client has a proxy. If a queue has items but no consumers, the shutdown takes the whole time. Dead letters
    /// that no consumer takes remain in their queue, where this process can read them. Defaults to zero.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain_timeout = timeout;
        self
    }

    /// Whether clients may shut the manager down with its function `shutdown`, as in Python. Defaults to `true`. A
    /// registered callable may shut it down in any case.
    #[must_use]
    pub fn remote_shutdown(mut self, allowed: bool) -> Self {
        self.settings.remote_shutdown = allowed;
        self
    }

    /// Whether clients may prove the key with HMAC-MD5, as Python up to 3.11 does. Defaults to `true`.
    #[cfg(feature = "legacy-md5")]
    #[must_use]
    pub fn legacy_md5(mut self, allowed: bool) -> Self {
        self.settings.legacy_md5 = allowed;
        self
    }

    /// Whether the key may be empty, so that every program can authenticate. Defaults to `false`.
    #[must_use]
    pub fn allow_empty_authkey(mut self, allowed: bool) -> Self {
        self.allow_empty_authkey = allowed;
        self
    }

    /// The permissions of a Unix socket's file. Defaults to `0o600`: its owner alone can connect. An abstract
    /// socket (`@name`) has no file and no permissions.
    #[must_use]
    pub fn socket_mode(mut self, mode: u32) -> Self {
        self.socket_mode = mode;
        self
    }

    /// The most objects created by clients that may exist at once. Objects that this process also holds do not count,
    /// and are never refused: shared objects ([`Manager::share`]), and objects that a callable returns and keeps.
    /// Defaults to 1,048,576 (2²⁰).
    #[must_use]
    pub fn max_objects(mut self, count: usize) -> Self {
        self.settings.max_objects = count;
        self
    }

    /// The most connections that may be unauthenticated at once. A further connection closes the oldest of them, so that
    /// a flood of silent connections keeps no client out. The threads of closed connections need a moment to end, so
    /// there may be twice as many threads. Defaults to 1024.
    #[must_use]
    pub fn max_handshakes(mut self, count: usize) -> Self {
        self.settings.max_handshakes = count;
        self
    }

    /// The most connections that may be open at once; a further one is closed. Each has a thread. Defaults to 16,384.
    #[must_use]
    pub fn max_connections(mut self, count: usize) -> Self {
        self.settings.max_connections = count;
        self
    }

    /// Calls `log` with a line for each connection that failed: `rejected` before the client has authenticated,
    /// `closed` after that, then the client's address and the reason. The calls are made on a separate thread, which
    /// ends when there are no more lines. While `log` blocks, up to 1024 lines are buffered. Further lines are dropped,
    /// and the number of dropped lines is logged. Defaults to no log.
    ///
    /// ```text
    /// rejected 10.0.0.7:51234: HMAC-MD5 client (Python 3.11 or older); build with feature legacy-md5
    /// closed 10.0.0.8:40022: the peer did not answer in time
    /// ```
    #[must_use]
    pub fn log(mut self, log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.settings.log = Some(Logger::new(log));
        self
    }

    /// Listens on an address. Clients that connect before the server is started wait for it.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot listen on the address, [`Error::Invalid`] for an empty key.
    pub fn bind(self, address: impl Into<Address>) -> Result<Server> {
        let address = address.into();
        self.serve_on(|mode| Listener::bind(Some(&address), mode))
    }

    /// Serves on a socket that is already listening: a [`TcpListener`](std::net::TcpListener), or a
    /// [`UnixListener`](std::os::unix::net::UnixListener) with a path, whose file the manager neither changes nor
    /// removes. Use it for socket options that std cannot set (crate `socket2`), or for socket activation by systemd
    /// (crate `listenfd`):
    ///
    /// - Backlog. std's is 128: of 1,000 clients that connect at the same moment, hundreds wait for seconds, or fail. With
    ///   4,096 all are served (on Linux, `net.core.somaxconn` bounds it too).
    /// - Keep-alive. Without it, the connection of a host that vanishes (power failure, cable) stays open until the
    ///   manager writes to it. Until then it keeps its thread, its `RLock`s, and its items of an at-least-once queue
    ///   without a lease. On Linux, connections inherit keep-alive from the listener.
    ///
    /// ```
    /// use std::time::Duration;
    /// use basemanager::{Client, Manager, Queue};
    /// use socket2::{Domain, Socket, TcpKeepalive, Type};
    /// let address: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    /// let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    /// let probes = TcpKeepalive::new().with_time(Duration::from_secs(30));
    /// socket.set_tcp_keepalive(&probes.with_interval(Duration::from_secs(10)))?;
    /// #[cfg(unix)] // elsewhere it would let others take the port
    /// socket.set_reuse_address(true)?;
    /// socket.bind(&address.into())?;
    /// socket.listen(4096)?;
    ///
    /// let manager = Manager::new("secret").share("tasks", Queue::new());
    /// let handle = manager.bind_listener(std::net::TcpListener::from(socket))?.start()?;
    /// Client::connect(handle.address(), "secret")?.queue("tasks")?.put(1)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] if the listener has no address, [`Error::Invalid`] for an empty key or a Unix socket
    /// without a path.
    pub fn bind_listener(self, listener: impl Into<BoundListener>) -> Result<Server> {
        self.serve_on(|_| Listener::adopt(listener.into()))
    }

    /// Listens on a new Unix socket in a private temporary directory, as Python does without an address. On platforms
    /// without Unix sockets, listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// As [`Manager::bind`].
    pub fn bind_private(self) -> Result<Server> {
        self.serve_on(|mode| Listener::bind(None, mode))
    }

    fn serve_on(self, listen: impl FnOnce(u32) -> Result<Listener>) -> Result<Server> {
        let authkey = self.authkey.map_or_else(Authkey::process, Ok)?;
        if authkey.as_bytes().is_empty() && !self.allow_empty_authkey {
            return Err(Error::invalid(
                "authkey: it is empty; set one, or call allow_empty_authkey",
            ));
        }
        let listener = listen(self.socket_mode)?;
        let state = ServerState::new(self.settings, authkey, listener.address.clone())?;
        Ok(Server { state: Arc::new(state), listener })
    }
}

/// A manager that listens. Python's `get_server()`.
#[derive(Debug)]
pub struct Server {
    state: Arc<ServerState>,
    listener: Listener,
}

impl Server {
    /// The address on which it listens, with the actual port if port 0 was requested.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.state.address
    }

    /// The key that clients must know.
    #[must_use]
    pub fn authkey(&self) -> &Authkey {
        &self.state.authkey
    }

    /// Serves on this thread until a client or a callable shuts the manager down ([`Call::shut_down_manager`]). Then
    /// blocked calls are woken, connections are closed, and a Unix socket's file is removed. Calls that still run after
    /// 600 ms are not waited for; the number of their threads is logged.
    ///
    /// # Errors
    /// [`Error::Io`] if no thread can be started.
    pub fn serve_forever(self) -> Result<()> {
        server::serve(&self.state, self.listener)
    }

    /// Serves on a new thread.
    ///
    /// # Errors
    /// [`Error::Io`] if no thread can be started.
    pub fn start(self) -> Result<ServerHandle> {
        self.start_with(|| ())
    }

    /// Serves on a new thread, which first runs `initializer`. Returns when `initializer` has returned.
    ///
    /// # Errors
    /// [`Error::Io`] if no thread can be started, [`Error::Invalid`] if the initializer panicked.
    pub fn start_with(self, initializer: impl FnOnce() + Send + 'static) -> Result<ServerHandle> {
        let Self { state, listener } = self;
        let serving = state.clone();
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("basemanager".to_owned())
            .spawn(move || {
                initializer();
                let _ = ready.send(());
                server::serve(&serving, listener)
            })
            .map_err(Error::io("start a thread"))?;
        if is_ready.recv().is_err() {
            // The listener is closed before this returns.
            let _ = thread.join();
            return Err(Error::invalid("initializer: it panicked"));
        }
        Ok(ServerHandle { state, thread: Some(thread) })
    }
}

/// A manager that serves on another thread. Dropping the handle shuts the manager down and waits until it has ended.
#[derive(Debug)]
pub struct ServerHandle {
    state: Arc<ServerState>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl ServerHandle {
    /// The address on which it listens, with the actual port if port 0 was requested.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.state.address
    }

    /// The key that clients must know.
    #[must_use]
    pub fn authkey(&self) -> &Authkey {
        &self.state.authkey
    }

    /// The state of the manager, and its totals since it was started.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.state.stats()
    }

    /// Begins the shutdown; [`ServerHandle::join`] waits for its end. Calling it twice is fine.
    pub fn shutdown(&self) {
        self.state.shut_down(false);
    }

    /// Waits until the manager has ended; returns `false` after `timeout`. Does not shut it down.
    #[must_use]
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.state.wait_ended(timeout)
    }

    /// Waits until the manager has ended. Does not shut it down.
    ///
    /// # Errors
    /// [`Error::Io`] if it could not serve.
    pub fn join(mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            // This thread runs no code of the manager's owner after the initializer.
            Some(Err(_)) => Err(Error::invalid("state: the serving thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.state.shut_down(false);
            let _ = thread.join();
        }
    }
}
