//! Floor 5: the manager's half. One thread accepts, one serves each connection.
//!
//! ```text
//!  running ── stop() ──► draining: objects take nothing new, and give what they have (no time at all,
//!                        unless the owner grants some)
//!                   ──► stopping: blocked calls end, calls are refused; whoever was just handed an
//!                        object may still take its reference, and drop it (a second at most)
//!                   ──► closed: no more connections, the open ones are ended and waited for
//! ```

mod buffers;
mod connection;
mod link;
mod log;
mod objects;
mod registry;

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::shared::element::Keeper;
use crate::shared::wait::{Monitor, Patience, lock};
use crate::transport::{Address, Listener, Peer, Stream, deadline};
use buffers::Buffers;
use link::Connection;
pub(crate) use log::Log;
use log::Logger;
use objects::Objects;
pub use registry::Registration;

/// How long connections that are told to end may take, before they are cut, and after.
const GRACE: Duration = Duration::from_millis(300);
/// How long whoever asked for the end is given to drop what it was handed.
const DROPPED: Duration = Duration::from_millis(100);
/// How long clients may stay, once all is drained, to be told so.
const TOLD: Duration = Duration::from_secs(1);
/// The pause after the system could not give another connection or thread.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// A connection's stack: what a peer can make deep is limited to what this holds. Unoptimized code takes up
/// to four times as much of it, on Windows more.
const STACK: usize = if cfg!(debug_assertions) { 4 << 20 } else { 512 * 1024 };

/// What the owner sets, and the registry.
pub(crate) struct Settings {
    pub(crate) registry: HashMap<String, Registration>,
    pub(crate) authkey: Vec<u8>,
    pub(crate) limits: Limits,
    pub(crate) handshake_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) max_wait: Option<Duration>,
    pub(crate) max_connections: usize,
    pub(crate) max_handshakes: usize,
    pub(crate) max_objects: usize,
    pub(crate) remote_shutdown: bool,
    pub(crate) log: Option<Log>,
}

/// What all of a manager's threads share.
pub(crate) struct Core {
    settings: Settings,
    log: Option<Arc<Logger>>,
    pub(crate) address: Address,
    objects: Objects,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    next_connection: AtomicU64,
    buffers: Buffers,
    stopping: AtomicBool,
    lingers: AtomicBool,
    closed: AtomicBool,
    /// Whatever the end waits for: notified when it may have changed.
    life: Monitor<Life>,
}

#[derive(Default)]
struct Life {
    connections: usize,
    /// Unauthenticated connections by their numbers: the oldest is first.
    handshakes: BTreeSet<u64>,
    /// Unauthenticated connections that were evicted, and whose threads have yet to end.
    evicted: usize,
    /// The accept loop waits for a connection to end.
    exhausted: bool,
    accepting: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
enum Phase {
    #[default]
    Running,
    /// The end was asked for.
    Draining,
    Stopping,
    Ended,
}

impl Life {
    /// Takes its place from the oldest unauthenticated connection, which is to be closed.
    fn evict(&mut self) -> Option<u64> {
        let oldest = self.handshakes.pop_first();
        self.evicted += usize::from(oldest.is_some());
        oldest
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(mut settings: Settings, address: Address) -> Result<Self> {
        let (objects, registry) = (Objects::new()?, &settings.registry);
        // The ids of the others are random: nobody can compute the id of what clients may not create.
        for (typeid, registration) in registry.iter().filter(|(_, found)| found.create_method) {
            if let Some(object) = registration.shared.clone() {
                let id = objects::shared_id(&settings.authkey, typeid, &address)?;
                objects.share(id, connection::new_entry(registry, typeid, object));
            }
        }
        Ok(Self {
            log: settings.log.take().map(Logger::new),
            settings,
            address,
            objects,
            connections: Mutex::default(),
            next_connection: AtomicU64::new(0),
            buffers: Buffers::default(),
            stopping: AtomicBool::new(false),
            lingers: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            life: Monitor::new(Life::default()),
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Begins the end. Again is fine. A client that asked for it may still take the reference that it
    /// was just handed, if the end is to linger.
    pub(crate) fn stop(&self, linger: bool) {
        self.lingers.fetch_or(linger, Ordering::Relaxed);
        let mut life = self.life.lock();
        if self.settings.drain_timeout.is_zero() {
            self.refuse_calls(&mut life);
        } else if life.phase == Phase::Running {
            life.phase = Phase::Draining;
        }
        drop(life);
        self.life.notify_all(0);
    }

    fn refuse_calls(&self, life: &mut Life) {
        if life.phase < Phase::Stopping {
            life.phase = Phase::Stopping;
        }
        self.stopping.store(true, Ordering::Release);
    }

    /// Lets objects give away what they have, for as long as the owner grants.
    fn drain(&self) {
        let until = deadline(self.settings.drain_timeout);
        let left = || until.saturating_duration_since(Instant::now());
        while !left().is_zero() {
            let fresh = self.objects.to_drain();
            if fresh.is_empty() {
                break;
            }
            // All refuse what is new before any is waited for.
            for waits in [false, true] {
                for object in &fresh {
                    let time = if waits { left() } else { Duration::ZERO };
                    // One that panics is as good as empty.
                    let _ = guarded(|| object.drain(&mut Patience::new(Some(time))));
                }
            }
            fresh.into_iter().for_each(objects::let_go);
        }
        // Whoever took the last of it comes back, and is told that there is no more.
        self.wait_for(Some(left().min(TOLD)), |life| life.connections == 0);
    }

    /// Waits until the end is complete; `false` if that took longer than `timeout`.
    pub(crate) fn wait_ended(&self, timeout: Option<Duration>) -> bool {
        self.wait_for(timeout, |life| life.phase == Phase::Ended)
    }

    fn wait_for(&self, timeout: Option<Duration>, ready: impl FnMut(&Life) -> bool) -> bool {
        matches!(self.life.wait(0, &mut Patience::new(timeout), ready), Ok(Some(_)))
    }

    /// Makes whoever waits for the manager's life look again.
    fn changed(&self) {
        drop(self.life.lock());
        self.life.notify_all(0);
    }

    fn log(&self, event: fmt::Arguments<'_>) {
        if let Some(log) = &self.log {
            log.write(event.to_string());
        }
    }

    /// Closes a connection that was evicted.
    fn close(&self, evicted: Option<u64>) {
        let connection = evicted.and_then(|id| lock(&self.connections).get(&id).cloned());
        if let Some(connection) = connection {
            connection.stream.shutdown(Shutdown::Both);
            self.log(format_args!(
                "rejected {}: the oldest unauthenticated connection was closed to admit another",
                connection.peer
            ));
        }
    }

    fn open_connections(&self) -> Vec<Arc<Connection>> {
        lock(&self.connections).values().cloned().collect()
    }
}

impl Keeper for Core {
    fn release(&self, id: &str) {
        self.objects.decref(id);
    }
}

/// Serves until [`Core::stop`], then ends in order.
pub(crate) fn serve(core: &Arc<Core>, listener: Listener) -> Result<()> {
    let result = serve_until_stopped(core, listener);
    if let Some(log) = &core.log {
        log.flush();
    }
    core.objects.clear();
    core.life.lock().phase = Phase::Ended;
    core.changed();
    result
}

fn serve_until_stopped(core: &Arc<Core>, listener: Listener) -> Result<()> {
    let accepting = core.clone();
    core.life.lock().accepting = true;
    thread::Builder::new()
        .name("basemanager-accept".to_owned())
        .spawn(move || {
            accept(&accepting, &listener);
            drop(listener);
            let life = accepting.life.clone();
            drop(accepting);
            life.lock().accepting = false;
            life.notify_all(0);
        })
        .map(drop)
        .map_err(Error::io("start a thread"))?;

    core.wait_for(None, |life| life.phase > Phase::Running);
    core.drain();
    core.refuse_calls(&mut core.life.lock());
    core.open_connections().iter().for_each(|connection| connection.wake());
    if core.lingers.load(Ordering::Relaxed) {
        core.wait_for(Some(objects::HAND_OVER), |_| !core.objects.handing_over());
        // It drops that again by another connection. Linux may lose one that comes just as the listener is
        // closed, without a word to its client, which would wait for its challenge for ever.
        core.wait_for(Some(DROPPED), |_| core.objects.count() == 0);
    }

    core.closed.store(true, Ordering::Release);
    // If its path leads nowhere, or elsewhere by now, its thread is left to the process's end.
    let _ = Stream::knock(&core.address);
    core.wait_for(Some(GRACE), |life| !life.accepting);
    for how in [Shutdown::Read, Shutdown::Both] {
        core.open_connections().iter().for_each(|connection| connection.stream.shutdown(how));
        core.wait_for(Some(GRACE), |life| life.connections == 0);
    }
    Ok(())
}

fn accept(core: &Arc<Core>, listener: &Listener) {
    loop {
        let accepted = listener.accept();
        if core.closed.load(Ordering::Acquire) {
            return;
        }
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = admit(core, stream, peer) {
                    core.log(format_args!("rejected {peer}: {}", error.reason()));
                }
            }
            Err(error) => {
                core.log(format_args!("a connection could not be accepted: {error}"));
                // Out of file descriptors or memory: another connection must end first.
                let mut life = core.life.lock();
                let (before, oldest) = (life.connections, life.evict());
                life.exhausted = true;
                drop(life);
                core.close(oldest);
                let closed = || core.closed.load(Ordering::Acquire);
                core.wait_for(Some(EXHAUSTED), |life| life.connections < before || closed());
                core.life.lock().exhausted = false;
            }
        }
    }
}

/// Gives a connection a thread of its own, which does everything else.
fn admit(core: &Arc<Core>, stream: Stream, peer: Peer) -> Result<()> {
    let most = core.settings.max_connections;
    let id = core.next_connection.fetch_add(1, Ordering::Relaxed);
    let mut life = core.life.lock();
    let unproved = core.settings.max_handshakes;
    let is_full = life.connections - life.evicted >= most;
    let mut oldest = None;
    if is_full || life.handshakes.len() >= unproved {
        // Whoever is not served at once is most likely a flood's. An evicted thread ends soon.
        oldest = if life.evicted < unproved.min(most) { life.evict() } else { None };
        if oldest.is_none() {
            let (what, most) = if is_full {
                ("number of connections", most)
            } else {
                ("number of handshakes", unproved)
            };
            return Err(Error::Limit(what, most as u64));
        }
    }
    life.connections += 1;
    life.handshakes.insert(id);
    drop(life);
    core.close(oldest);
    let connection = Arc::new(Connection::new(id, stream, peer));
    lock(&core.connections).insert(id, connection.clone());
    let leave = Leave { life: core.life.clone(), id, proved: false };
    let mut seat = Seat { core: core.clone(), id, leave };
    thread::Builder::new()
        .name(format!("basemanager-{id}"))
        .stack_size(STACK)
        .spawn(move || connection::serve(&mut seat, connection))
        .map(drop)
        .map_err(|error| {
            // The next one finds a place.
            let oldest = core.life.lock().evict();
            core.close(oldest);
            Error::io("start a thread")(error)
        })
}

/// A connection's place among those that are open; given up when dropped.
struct Seat {
    core: Arc<Core>,
    id: u64,
    /// Dropped after the above: whoever waits for the last connection finds nothing held by it.
    leave: Leave,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(connection) = lock(&self.core.connections).remove(&self.id) {
            connection.stream.shutdown(Shutdown::Both);
        }
    }
}

/// A stranger's place among strangers is kept as long as its connection's: its thread has yet to end.
struct Leave {
    life: Monitor<Life>,
    id: u64,
    proved: bool,
}

impl Leave {
    /// The peer is no stranger any more; `false` if it was evicted.
    fn prove(&mut self) -> bool {
        self.proved = self.life.lock().handshakes.remove(&self.id);
        self.proved
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut life = self.life.lock();
        life.connections -= 1;
        if !self.proved && !life.handshakes.remove(&self.id) {
            life.evicted -= 1;
        }
        let awaited = life.phase > Phase::Running || life.exhausted;
        drop(life);
        if awaited {
            self.life.notify_all(0);
        }
    }
}

/// Runs a user's code; a panic becomes a text, and costs only this call.
pub(super) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("the manager's code panicked: {}", text.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DEEPEST;
    use crate::message::Token;
    use crate::value::{Key, Pickle, Value};

    /// Goes over a value in every way.
    fn use_all(value: &Value) {
        let copy = value.clone();
        assert!(copy == *value && Key::of(&copy) == Key::of(value));
        assert!(!copy.to_string().is_empty() && !format!("{copy:?}").is_empty());
        assert!(!Pickle::from(&copy).is_empty() && copy.fits(usize::MAX));
        Token::all_in(&copy, &mut Vec::new());
    }

    #[test]
    fn deepest_value_fits_the_stack_of_a_connection() {
        let wraps: [fn(Value) -> Value; 3] = [
            |inner| Value::List(vec![inner]),
            |inner| Value::FrozenSet(vec![inner]),
            |inner| Value::Dict(vec![(1.into(), inner)]),
        ];
        for wrap in wraps {
            // Replies add a little, as iterators of iterators do.
            let deep = (0..DEEPEST + 20).fold(Value::None, |inner, _| wrap(inner));
            // The rest is for what calls.
            let small = thread::Builder::new().stack_size(STACK / 4 * 3);
            assert!(small.spawn(move || use_all(&deep)).is_ok_and(|thread| thread.join().is_ok()));
        }
    }
}
