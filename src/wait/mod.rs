//! The one place where threads block, for a change of some state. The guide draws the loop (`guide::waiting`).
//!
//! A call that waited checks its client's connection before it takes anything, so no item is handed to a
//! client that left in the meantime. A call that finds the state ready at once does not check: that would
//! cost three system calls.

mod monitor;
pub(crate) mod primitives;

use std::fmt;
use std::sync::{self, Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::exception::Exception;
use crate::limits::PIPELINED;
use crate::net::deadline;
pub use monitor::Monitor;
pub(crate) use monitor::{Condition, Locked};

/// How often a parked thread checks that its client is still connected.
pub(crate) const CHECK: Duration = Duration::from_secs(2);

/// The shortest interval for [`Wait::check_every`].
const SHORTEST: Duration = Duration::from_millis(1);

/// Stands for no timeout where a number is needed.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// Makes a parked thread look at its state again.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// The client for which a thread waits.
pub(crate) trait Caller {
    /// Sends buffered replies, because the thread is about to park.
    fn flush(&mut self);
    /// Checks that the client is still connected and within the limit on pipelined bytes.
    fn is_connected(&mut self) -> Result<(), WaitError>;
    /// Whether the manager is stopping.
    fn is_stopping(&self) -> bool;
    /// The manager's limit on each wait.
    fn max_wait(&self) -> Option<Duration>;
    /// Stores how to wake this thread while it is parked.
    fn set_wake(&self, wake: Option<Wake>);
}

/// How long a thread waits, and for which client.
///
/// Made by [`Call::wait`](crate::object::Call::wait) for a client's call, and by [`Wait::new`] for a thread of this
/// process. The timeout starts when it is made.
pub struct Wait<'a> {
    deadline: Option<Instant>,
    /// The manager's limit, if it is shorter than the timeout.
    limit: Option<Duration>,
    /// The longest time to park before looking at the state again.
    interval: Duration,
    caller: Option<&'a mut dyn Caller>,
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl<'a> Wait<'a> {
    /// For a thread of this process. `None` waits forever, zero not at all.
    #[must_use]
    pub fn new(timeout: Option<Duration>) -> Self {
        let deadline = timeout.map(deadline);
        Self { deadline, limit: None, interval: FOREVER, caller: None }
    }

    /// For a client's call.
    pub(crate) fn of(caller: &'a mut dyn Caller, timeout: Option<Duration>) -> Self {
        let mut wait = Self { caller: Some(caller), interval: CHECK, ..Self::new(None) };
        wait.restart(timeout);
        wait
    }

    /// Removes the timeout, for a second wait of the same call. The manager's limit starts anew.
    pub fn unbounded(&mut self) -> &mut Self {
        self.restart(None);
        self
    }

    /// Looks at the state at least this often, for a state that becomes ready with time.
    pub(crate) fn check_every(&mut self, interval: Duration) {
        self.interval = self.interval.min(interval).max(SHORTEST);
    }

    /// For a call that waits for another program: does what a thread does that parks, without parking.
    #[cfg(feature = "redis")]
    pub(crate) fn check(&mut self) -> Result<(), WaitError> {
        let Some(caller) = &mut self.caller else { return Ok(()) };
        caller.flush();
        if caller.is_stopping() {
            return Err(WaitError::ShuttingDown);
        }
        caller.is_connected()
    }

    /// The time until the deadline; `None` if that has passed.
    #[cfg(feature = "redis")]
    pub(crate) fn left(&self) -> Result<Option<Duration>, WaitError> {
        let now = Instant::now();
        let left = self.deadline.map_or(FOREVER, |at| at.saturating_duration_since(now));
        if left.is_zero() { self.timed_out() } else { Ok(Some(left)) }
    }

    fn restart(&mut self, timeout: Option<Duration>) {
        let max_wait = self.caller.as_ref().and_then(|caller| caller.max_wait());
        self.limit = max_wait.filter(|max| timeout.is_none_or(|timeout| timeout > *max));
        self.deadline = self.limit.or(timeout).map(deadline);
    }

    /// The result of a wait that reached its deadline.
    fn timed_out<T>(&self) -> Result<Option<T>, WaitError> {
        self.limit.map_or(Ok(None), |max| Err(WaitError::MaxWait(max)))
    }
}

/// Why a wait ended before the state was ready and before its timeout.
///
/// A method returns it with `?`: it becomes the [`Exception`] that the client's call raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// The client disconnected.
    Disconnected,
    /// The client pipelined more than 1 MiB behind the call, so that the manager could no longer notice a
    /// disconnect. Its connection is closed.
    PipelineLimit,
    /// The manager is shutting down.
    ShuttingDown,
    /// The wait reached the manager's limit, [`Manager::max_wait`](crate::Manager::max_wait).
    MaxWait(Duration),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("the client disconnected"),
            Self::PipelineLimit => write!(f, "{}: the connection is closed", pipeline_limit()),
            Self::ShuttingDown => f.write_str("the manager has been shut down"),
            Self::MaxWait(max) => write!(f, "wait exceeded the manager's max_wait of {max:?}"),
        }
    }
}

impl std::error::Error for WaitError {}

impl From<WaitError> for Exception {
    fn from(error: WaitError) -> Self {
        let class = match error {
            // What a Python client raises when its manager vanishes.
            WaitError::Disconnected | WaitError::ShuttingDown => "EOFError",
            WaitError::PipelineLimit => "ConnectionAbortedError",
            WaitError::MaxWait(_) => "TimeoutError",
        };
        Self::builtin(class, error.to_string())
    }
}

pub(crate) fn pipeline_limit() -> Error {
    Error::limit("number of bytes pipelined behind a blocked call", PIPELINED)
}

/// Locks a mutex. Every update of a state is complete before anything can panic, so a poisoned lock is usable.
pub(crate) fn lock<T>(mutex: &sync::Mutex<T>) -> sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
