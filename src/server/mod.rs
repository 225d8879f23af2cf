//! The manager's half of the protocol. One thread accepts connections; each connection has a thread of its own.
//!
//! The manager's life has these phases, in order:
//! ```text
//!  Running   accepts connections, answers calls
//!  Draining  objects refuse new items and hand out those that they have (only with a drain_timeout)
//!  Stopping  blocked calls end and new calls are refused; a client may still take a reference to an
//!            object that it was just handed, and drop it (for at most a second)
//!  Closing   no new connections; the open ones are closed, and their threads awaited
//!  Ended     all objects are released
//! ```

mod accept;
mod buffers;
mod functions;
mod log;
mod objects;
mod outbox;
mod peer;
mod registry;
mod session;

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::limits::Limits;
use crate::net::{Address, Listener, Stream, deadline};
use crate::wait::{Condition, Locked, Wait};
use buffers::Buffers;
pub(crate) use log::Log;
use log::Logger;
use objects::{Entry, Objects};
use peer::Connection;
pub use registry::Registration;
pub(crate) use registry::Registry;

/// How long threads may take to end after each step of closing.
const GRACE: Duration = Duration::from_millis(300);
/// How long the client that asked for the shutdown may take to drop its references.
const DROP_REFERENCES: Duration = Duration::from_millis(100);
/// How long clients of a drained manager may stay connected, to learn that there is nothing left.
const LAST_CALLS: Duration = Duration::from_secs(1);
/// The stack of a connection's thread. It bounds `Limits::depth`. Unoptimized code takes up to four times as much,
/// on Windows more.
const STACK: usize = if cfg!(debug_assertions) { 4 << 20 } else { 512 * 1024 };

/// The manager's registry and configuration.
pub(crate) struct Settings {
    pub(crate) registry: Registry,
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

/// The state that the manager's threads share.
pub(crate) struct ServerState {
    settings: Settings,
    log: Option<Arc<Logger>>,
    pub(crate) address: Address,
    objects: Arc<Objects>,
    buffers: Arc<Buffers>,
    /// A [`Phase`]. Changed only under the lock of `lifecycle`, and never back.
    phase: AtomicU8,
    lifecycle: Locked<Lifecycle>,
    phase_changed: Condition,
    /// A connection or the accept loop ended, or a reference was dropped.
    progress: Condition,
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Phase {
    Running,
    Draining,
    Stopping,
    Closing,
    Ended,
}

#[derive(Default)]
struct Lifecycle {
    accepting: bool,
    connections: HashMap<u64, Arc<Connection>>,
    /// The number of the last connection.
    last: u64,
    /// The unauthenticated connections; the lowest number is the oldest.
    unauthenticated: BTreeSet<u64>,
    /// The number of evicted connections whose threads have not ended yet.
    evicted: usize,
    /// The client that asked for the shutdown may still have to `incref` an object that it was handed.
    hand_over: bool,
}

impl fmt::Debug for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerState").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ServerState {
    pub(crate) fn new(mut settings: Settings, address: Address) -> Result<Self> {
        let (objects, registry) = (Objects::new()?, &settings.registry);
        // The ids of the others are random: nobody can compute the id of what clients may not create.
        for (typeid, registration) in registry.iter().filter(|(_, found)| found.create_method) {
            if let Some(object) = registration.shared.clone() {
                let id = objects::shared_id(&settings.authkey, typeid, &address)?;
                objects.share(id, Entry::new(registry, typeid, object));
            }
        }
        Ok(Self {
            log: settings.log.take().map(Logger::new),
            settings,
            address,
            objects: Arc::new(objects),
            buffers: Arc::default(),
            phase: AtomicU8::new(Phase::Running as u8),
            lifecycle: Locked::new(Lifecycle::default()),
            phase_changed: Condition::default(),
            progress: Condition::default(),
        })
    }

    /// Begins the shutdown. Calling it twice is fine.
    pub(crate) fn shut_down(&self, by_client: bool) {
        self.lifecycle.lock().hand_over |= by_client;
        let drains = !self.settings.drain_timeout.is_zero();
        self.advance(if drains { Phase::Draining } else { Phase::Stopping });
    }

    /// Waits until the manager has ended; `false` after the timeout.
    pub(crate) fn wait_ended(&self, timeout: Option<Duration>) -> bool {
        self.wait_for_phase(Phase::Ended, timeout)
    }

    fn is_stopping(&self) -> bool {
        self.has_reached(Phase::Stopping)
    }

    fn has_reached(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) >= phase as u8
    }

    fn advance(&self, phase: Phase) {
        let lifecycle = self.lifecycle.lock();
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        drop(lifecycle);
        self.phase_changed.notify_all();
        self.progress.notify_all();
    }

    fn wait_for_phase(&self, phase: Phase, timeout: Option<Duration>) -> bool {
        let ready = |_: &Lifecycle| self.has_reached(phase);
        let reached = self.lifecycle.wait(&self.phase_changed, &mut Wait::new(timeout), ready);
        matches!(reached, Ok(Some(_)))
    }

    fn wait_for_progress(&self, timeout: Duration, ready: impl FnMut(&Lifecycle) -> bool) {
        let _ = self.lifecycle.wait(&self.progress, &mut Wait::new(Some(timeout)), ready);
    }

    fn notify_progress(&self) {
        // No thread is between its look at the state and parking while the lock is held.
        drop(self.lifecycle.lock());
        self.progress.notify_all();
    }

    /// Lets objects hand out what they have, within `drain_timeout`.
    fn drain(&self) {
        let deadline = deadline(self.settings.drain_timeout);
        let left = || deadline.saturating_duration_since(Instant::now());
        while !left().is_zero() {
            let objects = self.objects.to_drain();
            if objects.is_empty() {
                break;
            }
            // All refuse new items before the first is waited for.
            for waits in [false, true] {
                for object in &objects {
                    let timeout = if waits { left() } else { Duration::ZERO };
                    // An object that panics counts as drained.
                    let _ = guarded(|| object.drain(&mut Wait::new(Some(timeout))));
                }
            }
            objects.into_iter().for_each(objects::drop_guarded);
        }
        // The clients that got the last items ask once more, and learn that there are no others.
        self.wait_for_progress(left().min(LAST_CALLS), |it| it.connections.is_empty());
    }

    fn open_connections(&self) -> Vec<Arc<Connection>> {
        self.lifecycle.lock().connections.values().cloned().collect()
    }

    fn log(&self, event: fmt::Arguments<'_>) {
        if let Some(log) = &self.log {
            log.write(event.to_string());
        }
    }
}

/// Serves until the shutdown, and carries that out.
pub(crate) fn serve(state: &Arc<ServerState>, listener: Listener) -> Result<()> {
    let result = accept::start(state, listener);
    if result.is_ok() {
        state.wait_for_phase(Phase::Draining, None);
        end(state);
    }
    if let Some(log) = &state.log {
        log.flush();
    }
    state.objects.clear();
    state.advance(Phase::Ended);
    result
}

fn end(state: &ServerState) {
    state.drain();
    state.advance(Phase::Stopping);
    state.open_connections().iter().for_each(|connection| connection.wake());
    if state.lifecycle.lock().hand_over {
        state.wait_for_progress(objects::HAND_OVER, |_| !state.objects.handing_over());
        // The client drops its references on further connections. On Linux, one that arrives just when the
        // listener is closed may be lost without an error, and its client would wait forever.
        state.wait_for_progress(DROP_REFERENCES, |_| state.objects.count() == 0);
    }

    state.advance(Phase::Closing);
    // If this reaches no listener, or another one, the accept thread is left to the end of the process.
    let _ = Stream::knock(&state.address);
    state.wait_for_progress(GRACE, |it| !it.accepting);
    for how in [Shutdown::Read, Shutdown::Both] {
        state.open_connections().iter().for_each(|connection| connection.stream.shutdown(how));
        state.wait_for_progress(GRACE, |it| it.connections.is_empty());
    }
    let left = state.lifecycle.lock().connections.len();
    if left > 0 {
        state.log(format_args!(
            "the manager has ended, but the threads of {left} connections are still in calls"
        ));
    }
}

/// Runs code of the manager's owner, such as a method; a panic becomes an error text.
pub(super) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("the manager's code panicked: {}", text.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::limits::DEEPEST;
    use crate::pickle::Pickle;
    use crate::value::Value;
    use crate::wire::message::Token;

    /// Goes over a value in every way.
    fn use_all(value: &Value) {
        let copy = value.clone();
        assert!(copy == *value);
        #[cfg(feature = "sync")]
        assert!(crate::sync::python::Key::of(&copy) == crate::sync::python::Key::of(value));
        assert!(!copy.to_string().is_empty() && !format!("{copy:?}").is_empty());
        assert!(!Pickle::encode(&copy).unwrap().is_empty() && copy.fits(usize::MAX));
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
