//! The relay: listens, and connects each client to the manager.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::channel::{Frames, Sink, channel};
use super::connection::{self, Link};
use super::gate::Check;
use super::{Frame, Kind, Sender};
use crate::error::{Error, Result};
use crate::net::{Address, Listener, PeerAddress, Stream};

/// The most connections at a time. Each takes two threads and two buffers of 32 KiB.
const MAX_CONNECTIONS: usize = 1024;
/// How long connecting to the manager may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after the system had no resources for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// The stack of a connection's thread. The guard reads pickles on it.
pub(crate) const STACK: usize = 512 << 10;

/// Relays connections between clients and a manager, and shows each frame that passes.
///
/// The bytes pass unchanged. Either side can be Python or Rust, on TCP or a Unix socket.
///
/// ```
/// use basemanager::tap::{Exchanges, Relay};
/// # use basemanager::{Client, Manager, Queue};
/// # let tasks = Queue::new();
/// # let manager = Manager::new("key").share("tasks", &tasks).bind("127.0.0.1:0")?.start()?;
/// # let manager_address = manager.address().clone();
///
/// let (relay, frames) = Relay::bind("127.0.0.1:0", manager_address)?;
/// let (address, handle) = (relay.address().clone(), relay.handle());
/// let relay = std::thread::spawn(move || relay.run());
///
/// Client::connect(&address, "key")?.queue("tasks")?.put(7)?;
///
/// handle.stop();
/// let mut exchanges = Exchanges::new();
/// let shown: Vec<String> =
///     frames.flat_map(|frame| exchanges.read(&frame).exchanges).map(|it| it.to_string()).collect();
/// assert!(shown.iter().any(|line| line.contains("tasks.put(7) ← None")), "{shown:?}");
/// # relay.join().expect("no panic");
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Debug)]
pub struct Relay {
    listener: Listener,
    state: Arc<State>,
    check: Option<Arc<Check>>,
}

/// What the relay, its handles and its connections share.
#[derive(Debug)]
struct State {
    manager: Address,
    address: Address,
    sink: Sink,
    started: Instant,
    stopped: AtomicBool,
    /// The connections that are relayed, by their numbers.
    links: Mutex<HashMap<u64, Arc<Link>>>,
    /// These, and those for which the relay connects to the manager.
    permits: AtomicUsize,
}

impl Relay {
    /// Listens at an address, to relay what comes to the manager. The manager may start later.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot listen there, [`Error::Invalid`] if that is no address.
    pub fn bind(listen: impl Into<Address>, manager: impl Into<Address>) -> Result<(Self, Frames)> {
        let manager = manager.into();
        manager.check_target()?;
        let listener = Listener::bind(Some(&listen.into()), 0o600)?;
        let (sink, frames) = channel();
        let state = State {
            manager,
            address: listener.address.clone(),
            sink,
            started: Instant::now(),
            stopped: AtomicBool::new(false),
            links: Mutex::default(),
            permits: AtomicUsize::new(0),
        };
        Ok((Self { listener, state: Arc::new(state), check: None }, frames))
    }

    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.state.address
    }

    /// Checks each request before the manager gets it. If `check` returns a reason, the manager does not get the
    /// request, the client gets the reason as a `#TRACEBACK`, and the connection goes on.
    ///
    /// A request of more than `limit` bytes is refused. The relay holds requests until they are complete: at most four
    /// times `limit` bytes of those over 64 KiB, on all connections.
    #[must_use]
    pub fn check(
        mut self,
        limit: u64,
        check: impl Fn(&[u8]) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let held = AtomicUsize::new(0);
        self.check = Some(Arc::new(Check { allows: Box::new(check), limit, held }));
        self
    }

    /// Returns a handle that can stop the relay from another thread.
    #[must_use]
    pub fn handle(&self) -> RelayHandle {
        RelayHandle(self.state.clone())
    }

    /// Relays until [`RelayHandle::stop`] is called. On return, all connections are closed.
    pub fn run(self) {
        let mut last = 0;
        while !self.state.stopped.load(Ordering::SeqCst) {
            match self.listener.accept() {
                Ok((client, peer)) if !self.state.stopped.load(Ordering::SeqCst) => {
                    last += 1;
                    self.serve(last, client, peer);
                }
                Ok(_) => break,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted
                            | ErrorKind::ConnectionReset
                            | ErrorKind::Interrupted
                    ) => {}
                // Out of file descriptors or memory: another connection must end first.
                Err(_) => thread::sleep(EXHAUSTED),
            }
        }
        self.state.close();
    }

    fn serve(&self, number: u64, client: Stream, peer: PeerAddress) {
        let state = self.state.clone();
        let check = self.check.clone();
        let permit = Permit::new(&state);
        if state.permits.load(Ordering::SeqCst) > MAX_CONNECTIONS {
            let why = format!("refused {peer}: more than {MAX_CONNECTIONS} connections at a time");
            return state.fail(number, why);
        }
        state.show(number, Sender::Client, Kind::Opened(peer.to_string()));
        let connect = move || {
            let _permit = permit;
            let manager = match Stream::connect(&state.manager, CONNECT_TIMEOUT) {
                Ok(manager) => manager,
                Err(error) => {
                    return state.fail(number, error.reason());
                }
            };
            let link = Arc::new(Link::new(number, client, manager, check));
            let mut links = state.links();
            links.insert(number, link.clone());
            // Stopped before it was in the list.
            if state.stopped.load(Ordering::SeqCst) {
                state.stop(number, &link);
            }
            drop(links);
            connection::relay(&link, &state.sink, state.started);
            state.links().remove(&number);
        };
        let thread = thread::Builder::new().name(format!("tap-{number}")).stack_size(STACK);
        if let Err(error) = thread.spawn(connect) {
            self.state.fail(number, Error::io("start a thread")(error).reason());
        }
    }
}

impl State {
    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is not relayed, and why.
    fn fail(&self, connection: u64, why: String) {
        self.show(connection, Sender::Manager, Kind::Note(why));
        self.show(connection, Sender::Manager, Kind::Closed);
        self.show(connection, Sender::Client, Kind::Closed);
    }

    fn show(&self, connection: u64, sender: Sender, kind: Kind) {
        let time = connection::since(self.started);
        self.sink.push(Frame { time, connection, sender, kind }, &mut 0);
    }

    /// Closes a connection because the relay was stopped, and shows that first. Called with the list of links locked.
    fn stop(&self, number: u64, link: &Link) {
        if link.stop() {
            self.show(number, Sender::Manager, Kind::Stopped);
        }
        link.close();
    }

    /// Ends all connections, and then the stream of frames.
    fn close(&self) {
        loop {
            let links = self.links();
            if links.is_empty() {
                break;
            }
            links.iter().for_each(|(number, link)| self.stop(*number, link));
            drop(links);
            // Their threads wait for nothing else any more.
            thread::sleep(Duration::from_millis(1));
        }
        self.sink.close();
    }
}

/// Counts a connection until its thread ends.
struct Permit(Arc<State>);

impl Permit {
    fn new(state: &Arc<State>) -> Self {
        state.permits.fetch_add(1, Ordering::SeqCst);
        Self(state.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.permits.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Stops a [`Relay`].
#[derive(Clone, Debug)]
pub struct RelayHandle(Arc<State>);

impl RelayHandle {
    /// Ends all connections, the frames, and [`Relay::run`]. Calling it twice is fine. If the file of the relay's Unix
    /// socket was removed or replaced, [`Relay::run`] does not return.
    pub fn stop(&self) {
        if !self.0.stopped.swap(true, Ordering::SeqCst) {
            // Wakes the accept loop, unless the file of its Unix socket is gone, or another's.
            let _ = Stream::knock(&self.0.address);
            self.0.close();
        }
    }

    /// The time since the relay was started, as in [`Frame::time`].
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        connection::since(self.0.started)
    }
}
