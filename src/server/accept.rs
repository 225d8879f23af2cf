//! The accept loop, and the limits on the number of connections.
//!
//! ```text
//!  accept ──► unauthenticated (at most max_handshakes) ── handshake ──► authenticated
//!                   │  a further connection evicts the oldest              (together at most
//!                   └──────────────────► evicted, until its thread ends     max_connections)
//! ```

use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::peer::Connection;
use super::{Lifecycle, Phase, STACK, ServerState, session};
use crate::error::{Error, Result};
use crate::net::{Listener, PeerAddress, Stream};
use crate::wait::{Condition, Locked};

/// The pause when the system has no file descriptor for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Starts the thread that accepts connections.
pub(super) fn start(state: &Arc<ServerState>, listener: Listener) -> Result<()> {
    let accepting = state.clone();
    state.lifecycle.lock().accepting = true;
    let thread = thread::Builder::new().name("basemanager-accept".to_owned()).spawn(move || {
        accept(&accepting, &listener);
        drop(listener);
        let (lifecycle, progress) = (accepting.lifecycle.clone(), accepting.progress.clone());
        drop(accepting);
        lifecycle.lock().accepting = false;
        progress.notify_all();
    });
    thread.map(drop).map_err(Error::io("start a thread"))
}

fn accept(state: &Arc<ServerState>, listener: &Listener) {
    loop {
        let accepted = listener.accept();
        if state.has_reached(Phase::Closing) {
            return;
        }
        match accepted {
            Ok((stream, address)) => {
                if let Err(error) = admit(state, stream, address) {
                    state.log(format_args!("rejected {address}: {}", error.reason()));
                }
            }
            // That connection failed before it was accepted.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionAborted
                        | ErrorKind::ConnectionReset
                        | ErrorKind::Interrupted
                ) => {}
            Err(error) => {
                state.log(format_args!("a connection could not be accepted: {error}"));
                // Out of file descriptors or memory: another connection must end first.
                let mut lifecycle = state.lifecycle.lock();
                let (before, oldest) = (lifecycle.connections.len(), lifecycle.evict());
                drop(lifecycle);
                close(state, oldest);
                state.wait_for_progress(EXHAUSTED, |it| {
                    it.connections.len() < before || state.has_reached(Phase::Closing)
                });
            }
        }
    }
}

/// Starts a thread that serves a connection, if there is room for another.
fn admit(state: &Arc<ServerState>, stream: Stream, address: PeerAddress) -> Result<()> {
    let (max, max_handshakes) = (state.settings.max_connections, state.settings.max_handshakes);
    let mut lifecycle = state.lifecycle.lock();
    let is_full = lifecycle.connections.len() - lifecycle.evicted >= max;
    let mut oldest = None;
    if is_full || lifecycle.unauthenticated.len() >= max_handshakes {
        // The connection that has not authenticated for the longest is most likely part of a flood.
        let can_evict = lifecycle.evicted < max_handshakes.min(max);
        oldest = if can_evict { lifecycle.evict() } else { None };
        if oldest.is_none() {
            let handshakes = Error::limit("number of handshakes", max_handshakes);
            return Err(if is_full {
                Error::limit("number of connections", max)
            } else {
                handshakes
            });
        }
    }
    lifecycle.last += 1;
    let id = lifecycle.last;
    let connection = Arc::new(Connection::new(id, stream, address, state.buffers.clone()));
    lifecycle.connections.insert(id, connection.clone());
    lifecycle.unauthenticated.insert(id);
    drop(lifecycle);
    close(state, oldest);
    let (lifecycle, progress) = (state.lifecycle.clone(), state.progress.clone());
    let permit = ConnectionPermit { lifecycle, progress, id, authenticated: false };
    let serving = state.clone();
    thread::Builder::new()
        .name(format!("basemanager-{id}"))
        .stack_size(STACK)
        .spawn(move || {
            // Dropped in the opposite order.
            let mut permit = permit;
            let serving = serving;
            session::serve(&mut permit, &serving, connection);
        })
        .map(drop)
        .map_err(|error| {
            // Makes room for the next connection.
            let oldest = state.lifecycle.lock().evict();
            close(state, oldest);
            Error::io("start a thread")(error)
        })
}

/// Closes an evicted connection.
fn close(state: &ServerState, evicted: Option<Arc<Connection>>) {
    if let Some(connection) = evicted {
        connection.stream.shutdown(Shutdown::Both);
        state.log(format_args!(
            "rejected {}: the oldest unauthenticated connection was closed to admit another",
            connection.address
        ));
    }
}

impl Lifecycle {
    /// Takes the oldest unauthenticated connection's place. The connection is to be closed.
    fn evict(&mut self) -> Option<Arc<Connection>> {
        let oldest = self.unauthenticated.pop_first()?;
        self.evicted += 1;
        self.connections.get(&oldest).cloned()
    }
}

/// A connection's place among `max_connections`, and among `max_handshakes` until it is authenticated. Dropped
/// when the connection's thread holds nothing else of the manager's, so that when the last permit is gone, the
/// manager's end can release all objects.
pub(super) struct ConnectionPermit {
    lifecycle: Locked<Lifecycle>,
    progress: Condition,
    id: u64,
    pub(super) authenticated: bool,
}

impl ConnectionPermit {
    /// The client has proved that it knows the authkey; `false` if it was evicted before.
    pub(super) fn authenticate(&mut self) -> bool {
        self.authenticated = self.lifecycle.lock().unauthenticated.remove(&self.id);
        self.authenticated
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut lifecycle = self.lifecycle.lock();
        if let Some(connection) = lifecycle.connections.remove(&self.id) {
            connection.stream.shutdown(Shutdown::Both);
        }
        if !self.authenticated && !lifecycle.unauthenticated.remove(&self.id) {
            lifecycle.evicted -= 1;
        }
        drop(lifecycle);
        self.progress.notify_all();
    }
}
