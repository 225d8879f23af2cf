//! The manager's half of the protocol. One thread accepts connections; each connection has a thread of its own.

mod accept;
mod buffers;
mod functions;
mod lifecycle;
mod log;
mod objects;
mod outbox;
mod peer;
mod registry;
mod session;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::Result;
use crate::limits::Limits;
use crate::net::{Address, Listener};
use crate::wait::{Condition, Locked, lock};
use crate::wire::handshake::Authkey;
use crate::wire::message::Reply;
use accept::Threads;
use buffers::Buffers;
use lifecycle::Phase;
pub(crate) use log::Logger;
use objects::{Entry, Objects};
pub use registry::Registration;
pub(crate) use registry::Registry;

/// The stack of a connection's thread. It bounds `Limits::depth`. Unoptimized code takes up to four times as much,
/// on Windows more.
const STACK: usize = if cfg!(debug_assertions) { 4 << 20 } else { 512 * 1024 };

/// The manager's registry and configuration.
pub(crate) struct Settings {
    pub(crate) registry: Mutex<Registry>,
    pub(crate) limits: Limits,
    pub(crate) handshake_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) max_wait: Option<Duration>,
    pub(crate) max_connections: usize,
    pub(crate) max_handshakes: usize,
    pub(crate) max_objects: usize,
    pub(crate) remote_shutdown: bool,
    pub(crate) legacy_md5: bool,
    pub(crate) log: Option<Arc<Logger>>,
}

impl Settings {
    /// The typeids of which clients may create objects, sorted.
    pub(crate) fn typeids(&self) -> Vec<String> {
        let registry = lock(&self.registry);
        let open = registry.iter().filter(|(_, found)| found.create_method);
        open.map(|(typeid, _)| typeid.clone()).collect()
    }
}

/// The state of a manager: [`ServerHandle::stats`](crate::ServerHandle::stats).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// The open connections, including those that have not authenticated yet.
    pub connections: usize,
    /// The connections that ended before they had proved the key, since the start.
    pub rejected: u64,
    /// The objects to which clients hold references.
    pub objects: usize,
}

/// The state that the manager's threads share.
pub(crate) struct ServerState {
    pub(crate) settings: Settings,
    pub(crate) authkey: Authkey,
    pub(crate) address: Address,
    objects: Arc<Objects>,
    buffers: Arc<Buffers>,
    /// A [`Phase`]. Changed only under the lock of `threads`, and never back.
    phase: AtomicU8,
    threads: Locked<Threads>,
    phase_changed: Condition,
    /// A thread ended, or a reference was dropped.
    progress: Condition,
    /// The client that asked for the shutdown may still have to `incref` an object that it was handed.
    hand_over: AtomicBool,
}

impl fmt::Debug for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerState").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ServerState {
    pub(crate) fn new(settings: Settings, authkey: Authkey, address: Address) -> Result<Self> {
        let objects = Objects::new()?;
        // Clients can compute these ids. An object that clients may not create has a random id instead.
        for (typeid, registration) in lock(&settings.registry).iter() {
            if let (true, Some(object)) = (registration.create_method, &registration.shared) {
                let id = objects::shared_id(authkey.as_bytes(), typeid, &address)?;
                objects.share(id, Entry::new(Some(registration), typeid, object.clone()));
            }
        }
        Ok(Self {
            settings,
            authkey,
            address,
            objects: Arc::new(objects),
            buffers: Arc::default(),
            phase: AtomicU8::new(Phase::Running as u8),
            threads: Locked::new(Threads::default()),
            phase_changed: Condition::default(),
            progress: Condition::default(),
            hand_over: AtomicBool::new(false),
        })
    }

    /// Finds an object by its id. One that is shared by name is made again after a restart.
    #[inline]
    fn entry(&self, id: &str) -> Result<Arc<Entry>, Reply> {
        match self.objects.entry(id) {
            Some(entry) => Ok(entry),
            None => self.make_named(id),
        }
    }

    #[cold]
    fn make_named(&self, id: &str) -> Result<Arc<Entry>, Reply> {
        let unknown = || functions::unknown_id(id);
        let (registration, typeid, name) = self.named(id).ok_or_else(unknown)?;
        let make = registration.named.as_ref().ok_or_else(unknown)?;
        let object = guarded(|| make(name)).map_err(Reply::Traceback)?.map_err(Reply::Error)?;
        self.objects.share(id.to_owned(), Entry::new(Some(&registration), typeid, object));
        self.objects.entry(id).ok_or_else(unknown)
    }

    /// The registration, typeid and name of an object that is shared by name, whether or not it was made.
    fn named<'id>(&self, id: &'id str) -> Option<(Arc<Registration>, &'id str, &'id str)> {
        let (typeid, name) = objects::split_named_id(id)?;
        let registration = self.registration(typeid).filter(|found| found.named.is_some())?;
        let is_right = self.named_id(typeid, name).ok().as_deref() == Some(id);
        is_right.then_some((registration, typeid, name))
    }

    /// The id of the object with a name: a MAC, the typeid and the name.
    fn named_id(&self, typeid: &str, name: &str) -> Result<String> {
        let path = format!("{typeid}/{name}");
        let mac = objects::shared_id(self.authkey.as_bytes(), &path, &self.address)?;
        Ok(format!("{mac}/{path}"))
    }

    pub(crate) fn stats(&self) -> ServerStats {
        let threads = self.threads.lock();
        let (connections, rejected) = (threads.connections.len(), threads.rejected);
        drop(threads);
        ServerStats { connections, rejected, objects: self.objects.count() }
    }

    fn registration(&self, typeid: &str) -> Option<Arc<Registration>> {
        lock(&self.settings.registry).get(typeid).cloned()
    }

    fn log(&self, event: fmt::Arguments<'_>) {
        if let Some(log) = &self.settings.log {
            log.write(event.to_string());
        }
    }
}

/// Serves until the shutdown, and carries that out.
pub(crate) fn serve(state: &Arc<ServerState>, listener: Listener) -> Result<()> {
    let result = accept::start(state, listener);
    if result.is_ok() {
        state.wait(&state.phase_changed, None, |_| state.has_reached(Phase::Draining));
        state.end();
    }
    if let Some(log) = &state.settings.log {
        log.flush();
    }
    state.objects.clear();
    // Callables may hold objects, too.
    let registry = std::mem::take(&mut *lock(&state.settings.registry));
    drop(registry);
    state.advance(Phase::Ended);
    result
}

/// Runs code that the program supplies, such as a method; a panic becomes an error text.
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
