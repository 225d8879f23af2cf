//! Floor 5: the manager's half. One thread accepts, one serves each connection.
//!
//! ```text
//!  running ── stop() ──► stopping: blocked calls end, calls are refused; whoever was just handed an
//!                        object may still take its reference (a second at most)
//!                   ──► closed: no more connections, the open ones are ended and waited for
//! ```

mod connection;
mod link;
mod objects;
mod registry;

use std::collections::HashMap;
use std::fmt;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::shared::element::Keeper;
use crate::shared::wait::{Monitor, Patience, lock};
use crate::transport::{Address, Listener, Stream};
use link::Connection;
use objects::Objects;
pub use registry::Registration;

/// How long connections that are told to end may take, before they are cut, and after.
const GRACE: Duration = Duration::from_millis(500);
/// The pause after the system could not give another connection or thread.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// A connection's stack: no peer can make it deep.
const STACK: usize = 512 * 1024;

/// Who is told of what goes wrong.
pub(crate) type Log = Box<dyn Fn(&str) + Send + Sync>;

/// What the owner sets, and the registry.
pub(crate) struct Settings {
    pub(crate) registry: HashMap<String, Registration>,
    pub(crate) authkey: Vec<u8>,
    pub(crate) limits: Limits,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) log: Option<Log>,
}

/// What all of a manager's threads share.
pub(crate) struct Core {
    settings: Settings,
    pub(crate) address: Address,
    objects: Objects,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    next_connection: AtomicU64,
    stopping: AtomicBool,
    closed: AtomicBool,
    /// Whatever the end waits for: notified when it may have changed.
    life: Monitor<Life>,
}

#[derive(Default)]
struct Life {
    connections: usize,
    ended: bool,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(settings: Settings, address: Address) -> Result<Self> {
        Ok(Self {
            settings,
            address,
            objects: Objects::new()?,
            connections: Mutex::default(),
            next_connection: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            life: Monitor::new(Life::default()),
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Begins the end. Again is fine.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.changed();
    }

    /// Waits until the end is complete; `false` if that took longer than `timeout`.
    pub(crate) fn wait_ended(&self, timeout: Option<Duration>) -> bool {
        self.wait_for(timeout, |life| life.ended)
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
        if let Some(log) = &self.settings.log {
            // A log that panics is its owner's affair, and no connection's.
            let _ = catch_unwind(AssertUnwindSafe(|| log(&event.to_string())));
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
    let accepting = core.clone();
    let accepter = thread::Builder::new()
        .name("basemanager-accept".to_owned())
        .spawn(move || accept(&accepting, &listener))
        .map_err(Error::io("start a thread"))?;

    core.wait_for(None, |_| core.is_stopping());
    core.open_connections().iter().for_each(|connection| connection.wake());
    core.wait_for(Some(objects::HAND_OVER), |_| !core.objects.handing_over());

    core.closed.store(true, Ordering::Release);
    // Nobody can reach a listener whose path is gone; its thread is left to the process's end.
    if Stream::knock(&core.address).is_ok() && accepter.join().is_err() {
        core.log(format_args!("the accepting thread panicked"));
    }
    for how in [Shutdown::Read, Shutdown::Both] {
        core.open_connections().iter().for_each(|connection| connection.stream.shutdown(how));
        core.wait_for(Some(GRACE), |life| life.connections == 0);
    }
    core.objects.clear();
    core.life.lock().ended = true;
    core.changed();
    Ok(())
}

fn accept(core: &Arc<Core>, listener: &Listener) {
    loop {
        let accepted = listener.accept();
        if core.closed.load(Ordering::Acquire) {
            return;
        }
        match accepted {
            Ok(stream) => {
                if let Err(error) = admit(core, stream) {
                    core.log(format_args!("a connection was refused: {error}"));
                }
            }
            Err(error) => {
                core.log(format_args!("a connection could not be accepted: {error}"));
                // Out of file descriptors or memory: others must end first.
                core.wait_for(Some(EXHAUSTED), |_| core.is_stopping());
            }
        }
    }
}

/// Gives a connection a thread of its own, which does everything else.
fn admit(core: &Arc<Core>, stream: Stream) -> Result<()> {
    let most = core.settings.max_connections;
    {
        let mut life = core.life.lock();
        if life.connections >= most {
            return Err(Error::Limit("number of connections", most as u64));
        }
        life.connections += 1;
    }
    let id = core.next_connection.fetch_add(1, Ordering::Relaxed);
    let connection = Arc::new(Connection::new(id, stream));
    lock(&core.connections).insert(id, connection.clone());
    let seat = Seat { core: core.clone(), id };
    thread::Builder::new()
        .name(format!("basemanager-{id}"))
        .stack_size(STACK)
        .spawn(move || connection::serve(&seat.core, connection))
        .map(drop)
        .map_err(Error::io("start a thread"))
}

/// A connection's place among those that are open; given up when dropped.
struct Seat {
    core: Arc<Core>,
    id: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(connection) = lock(&self.core.connections).remove(&self.id) {
            connection.stream.shutdown(Shutdown::Both);
        }
        self.core.life.lock().connections -= 1;
        if self.core.is_stopping() {
            self.core.changed();
        }
    }
}
