//! The accept loop, which never waits for a client, and the limits on the number of connections.
//!
//! ```text
//!  accept ──► unauthenticated (at most max_handshakes) ── handshake ──► authenticated
//!                   │  a further connection evicts the oldest              (together at most
//!                   └──────────────────► evicted, until its thread ends     max_connections)
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::lifecycle::Phase;
use super::peer::Connection;
use super::{STACK, ServerState, session};
use crate::error::{Error, Result};
use crate::net::{Listener, PeerAddress, Stream};
use crate::object::call::ConnectionId;

/// The threads that must end before the manager does.
#[derive(Default)]
pub(super) struct Threads {
    /// Whether the accept loop runs.
    pub(super) accepting: bool,
    pub(super) connections: HashMap<ConnectionId, Arc<Connection>>,
    /// The number of the last connection.
    last: u64,
    /// The unauthenticated connections; the lowest number is the oldest.
    unauthenticated: BTreeSet<ConnectionId>,
    /// Connections that were closed to admit others; their threads have not ended yet.
    evicted: HashSet<ConnectionId>,
    /// How many connections ended without proving the key.
    pub(super) rejected: u64,
}

/// The longest pause after the system had no resources for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Starts the thread that accepts connections.
pub(super) fn start(state: &Arc<ServerState>, listener: Listener) -> Result<()> {
    let state = state.clone();
    state.threads.lock().accepting = true;
    let thread = thread::Builder::new().name("basemanager-accept".to_owned()).spawn(move || {
        accept(&state, &listener);
        drop(listener);
        state.threads.lock().accepting = false;
        state.progress.notify_all();
    });
    thread.map(drop).map_err(Error::io("start a thread"))
}

fn accept(state: &Arc<ServerState>, listener: &Listener) {
    use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    loop {
        let accepted = listener.accept();
        if state.has_reached(Phase::Closing) {
            return;
        }
        match accepted {
            Ok((stream, address)) => {
                if let Err(error) = serve(state, stream, address) {
                    state.log(format_args!("rejected {address}: {}", error.reason()));
                }
            }
            // That connection failed before it was accepted.
            Err(error)
                if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) => {}
            Err(error) => {
                state.log(format_args!("a connection could not be accepted: {error}"));
                // Out of file descriptors or memory: another connection must end first.
                let before = state.connections().len();
                state.threads.lock().evict();
                state.wait(&state.progress, Some(EXHAUSTED), |threads| {
                    threads.connections.len() < before || state.has_reached(Phase::Closing)
                });
            }
        }
    }
}

/// Starts a thread that serves a connection, if there is room for another.
fn serve(state: &Arc<ServerState>, stream: Stream, address: PeerAddress) -> Result<()> {
    let (max, max_handshakes) = (state.settings.max_connections, state.settings.max_handshakes);
    let mut threads = state.threads.lock();
    let is_full = threads.connections.len() - threads.evicted.len() >= max;
    if is_full || threads.unauthenticated.len() >= max_handshakes {
        // The connection that has not authenticated for the longest is most likely part of a flood.
        let may_evict = threads.evicted.len() < max_handshakes.min(max);
        if !(may_evict && threads.evict()) {
            threads.rejected += 1;
            return Err(if is_full {
                Error::limit("number of connections", max)
            } else {
                Error::limit("number of handshakes", max_handshakes)
            });
        }
    }
    threads.last += 1;
    let id = ConnectionId(threads.last);
    let (buffers, wake) = (state.buffers.clone(), Mutex::default());
    let connection = Arc::new(Connection { id, stream, address, buffers, wake });
    threads.connections.insert(id, connection.clone());
    threads.unauthenticated.insert(id);
    drop(threads);
    let permit = ConnectionPermit { state: state.clone(), id };
    let thread = thread::Builder::new().name(format!("basemanager-{}", id.0)).stack_size(STACK);
    let thread = thread.spawn(move || session::serve(&permit, connection));
    thread.map(drop).map_err(|error| {
        state.threads.lock().evict();
        Error::io("start a thread")(error)
    })
}

impl Threads {
    /// Closes the oldest unauthenticated connection, to make room; `false` if there is none.
    fn evict(&mut self) -> bool {
        let Some(oldest) = self.unauthenticated.pop_first() else { return false };
        self.evicted.insert(oldest);
        if let Some(connection) = self.connections.get(&oldest) {
            connection.stream.shutdown(Shutdown::Both);
        }
        true
    }
}

/// A connection's place among `max_connections`, and among `max_handshakes` until it is authenticated. Dropped
/// when the connection's thread holds no object any more.
pub(super) struct ConnectionPermit {
    pub(super) state: Arc<ServerState>,
    id: ConnectionId,
}

impl ConnectionPermit {
    /// The client has proved that it knows the authkey; `false` if it was evicted before.
    pub(super) fn authenticate(&self) -> bool {
        self.state.threads.lock().unauthenticated.remove(&self.id)
    }

    pub(super) fn is_authenticated(&self) -> bool {
        let threads = self.state.threads.lock();
        !threads.unauthenticated.contains(&self.id) && !threads.evicted.contains(&self.id)
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.state.threads.lock().evicted.contains(&self.id)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut threads = self.state.threads.lock();
        if let Some(connection) = threads.connections.remove(&self.id) {
            connection.stream.shutdown(Shutdown::Both);
        }
        let rejected = threads.unauthenticated.remove(&self.id) || threads.evicted.remove(&self.id);
        threads.rejected += u64::from(rejected);
        drop(threads);
        self.state.progress.notify_all();
    }
}
