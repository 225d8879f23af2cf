//! The phases of the manager's life, in order:
//! ```text
//!  Running   accepts connections, answers calls
//!  Draining  objects refuse new items and hand out those that they have (only with a drain_timeout)
//!  Stopping  blocked calls end and new calls are refused; a client may still take a reference to an
//!            object that it was just handed, and drop it (for at most a second)
//!  Closing   no new connections; the open ones are closed, and their threads awaited
//!  Ended     all objects are released
//! ```

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::accept::Threads;
use super::peer::Connection;
use super::{ServerState, guarded, objects};
use crate::net::{Stream, deadline};
use crate::wait::{Condition, Wait};

/// How long threads may take to end after each step of closing.
pub(super) const GRACE: Duration = Duration::from_millis(300);
/// How long the client that asked for the shutdown may take to drop its references.
const DROP_REFERENCES: Duration = Duration::from_millis(100);
/// How long clients of a drained manager may stay connected, to learn that there is nothing left.
const LAST_CALLS: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Phase {
    Running,
    Draining,
    Stopping,
    Closing,
    Ended,
}

impl ServerState {
    /// Begins the shutdown. Calling it twice is fine.
    pub(crate) fn shut_down(&self, by_client: bool) {
        self.hand_over.fetch_or(by_client, Ordering::Relaxed);
        let drains = !self.settings.drain_timeout.is_zero();
        self.advance(if drains { Phase::Draining } else { Phase::Stopping });
    }

    /// Waits until the manager has ended; `false` after the timeout.
    pub(crate) fn wait_ended(&self, timeout: Duration) -> bool {
        let ended = |_: &Threads| self.has_reached(Phase::Ended);
        self.wait(&self.phase_changed, Some(timeout), ended)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.has_reached(Phase::Stopping)
    }

    pub(super) fn has_reached(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) >= phase as u8
    }

    pub(super) fn advance(&self, phase: Phase) {
        let threads = self.threads.lock();
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        drop(threads);
        self.phase_changed.notify_all();
        self.progress.notify_all();
    }

    /// Waits for `condition`, one of the two; `false` after the timeout.
    pub(super) fn wait(
        &self,
        condition: &Condition,
        timeout: Option<Duration>,
        ready: impl FnMut(&Threads) -> bool,
    ) -> bool {
        let threads = self.threads.lock();
        let waited = self.threads.wait(threads, condition, &mut Wait::new(timeout), ready);
        matches!(waited, Ok(Some(_)))
    }

    pub(super) fn notify_progress(&self) {
        // No thread is between its look at the state and parking while the lock is held.
        drop(self.threads.lock());
        self.progress.notify_all();
    }

    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        self.threads.lock().connections.values().cloned().collect()
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
        let timeout = left().min(LAST_CALLS);
        let alone = |threads: &Threads| threads.connections.is_empty();
        self.wait(&self.progress, Some(timeout), alone);
    }

    /// Carries out the shutdown.
    pub(super) fn end(&self) {
        let wait = |timeout, ready: &dyn Fn(&Threads) -> bool| {
            self.wait(&self.progress, Some(timeout), ready);
        };
        self.drain();
        self.advance(Phase::Stopping);
        self.connections().iter().for_each(|connection| connection.wake());
        if self.hand_over.load(Ordering::Relaxed) {
            wait(objects::HAND_OVER, &|_| !self.objects.handing_over());
            // The client drops its references on further connections. On Linux, one that arrives just when the
            // listener is closed may be lost without an error, and its client would wait forever.
            wait(DROP_REFERENCES, &|_| self.objects.count() == 0);
        }

        self.advance(Phase::Closing);
        // If this reaches no listener, or another one, the accept thread is left to the end of the process.
        let _ = Stream::knock(&self.address);
        for how in [Shutdown::Read, Shutdown::Both] {
            self.connections().iter().for_each(|connection| connection.stream.shutdown(how));
            wait(GRACE, &|threads| !threads.accepting && threads.connections.is_empty());
        }
        let left = self.connections().len();
        if left > 0 {
            self.log(format_args!(
                "the manager has ended, but the threads of {left} connections are still in calls"
            ));
        }
    }
}
