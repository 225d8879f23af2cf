//! The one place that blocks.
//!
//! ```text
//!            ready? ── yes ─────────────────────────────► caller still there? ── yes ──► go on
//!              │ no                                            │ no
//!    first let others run, then                                 └─► pass the wake-up on, give up
//!   ┌──────────▼─────────┐   notified: look again
//!   │ parked on condvar  │   deadline: give up
//!   └──────────┬─────────┘   every few seconds: caller still there?
//!              └──────────►  manager ends: give up
//! ```
//! A caller that had to wait is checked before it is handed anything, so that nothing is taken for one
//! that is gone, and a wake-up meant for it goes to the next. Where the state is ready at once there is no
//! check, which would take three system calls.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{self, Arc, PoisonError};
use std::time::{Duration, Instant};

use super::sync::{AtomicUsize, Condvar, Mutex, MutexGuard, yield_now};
use crate::error::{Error, Exception};
use crate::limits::PIPELINED;
use crate::transport::deadline;

/// How long a parked thread goes without asking whether its caller is still there.
pub(crate) const CHECK: Duration = Duration::from_secs(2);

/// The least time between two looks at what becomes ready with time.
const SHORTEST: Duration = Duration::from_millis(1);

/// The time of a wait that has no deadline but needs a number.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// State under a mutex, and `N` conditions that threads wait for.
///
/// What Python's objects build on `threading.Condition`. A clone is the same monitor.
#[derive(Debug)]
pub struct Monitor<S, const N: usize = 1>(Arc<Inner<S, N>>);

#[derive(Debug)]
struct Inner<S, const N: usize> {
    state: Mutex<S>,
    conditions: [Condition; N],
}

#[derive(Debug, Default)]
struct Condition {
    condvar: Condvar,
    /// The threads parked on it. Changed under the lock, so that whoever has made the state ready
    /// sees everyone who did not: without anyone, waking costs no system call.
    parked: AtomicUsize,
}

impl Condition {
    fn notify_one(&self) {
        if self.parked.load(Ordering::Relaxed) > 0 {
            self.condvar.notify_one();
        }
    }

    fn notify_all(&self) {
        if self.parked.load(Ordering::Relaxed) > 0 {
            self.condvar.notify_all();
        }
    }
}

impl<S, const N: usize> Clone for Monitor<S, N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A condition of one waiting thread's own: whoever makes the state ready for it wakes no other.
#[derive(Debug, Default)]
pub(crate) struct Bell(Condition);

impl Bell {
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}

/// A thread that is parked at its bell.
struct AtBell<S, const N: usize>(Arc<Inner<S, N>>, Arc<Bell>);

impl<S: Send, const N: usize> Wake for AtBell<S, N> {
    fn wake(&self) {
        // As below.
        drop(self.0.lock());
        self.1.ring();
    }
}

/// Wakes whoever is parked, so that they look around.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

impl<S, const N: usize> Inner<S, N> {
    fn lock(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Send, const N: usize> Wake for Inner<S, N> {
    fn wake(&self) {
        // With the lock held once, nobody is between looking around and parking.
        drop(self.lock());
        self.conditions.iter().for_each(Condition::notify_all);
    }
}

/// The other end of a wait: whoever called the method that blocks.
pub(crate) trait Caller {
    /// Sends what the caller should have before this thread parks.
    fn settle(&mut self);
    /// Whether the caller is still connected, and has kept to what it may send meanwhile.
    fn is_there(&mut self) -> Result<(), Interrupted>;
    /// Whether the manager is ending.
    fn is_ending(&self) -> bool;
    /// The longest that a call may wait, whatever it asks for.
    fn longest_wait(&self) -> Option<Duration>;
    /// Tells where this thread is parked; `None` when it no longer is.
    fn park(&self, at: Option<Arc<dyn Wake>>);
}

/// How long to wait, and for whom.
pub struct Patience<'a> {
    deadline: Option<Instant>,
    /// The manager's bound, which applies where it is shorter.
    longest: Option<Duration>,
    /// The longest time without a look at the state.
    look_every: Duration,
    caller: Option<&'a mut dyn Caller>,
}

impl fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl<'a> Patience<'a> {
    /// For a thread of this process. `None` waits for ever, zero not at all.
    #[must_use]
    pub fn new(timeout: Option<Duration>) -> Self {
        Self { deadline: timeout.map(deadline), longest: None, look_every: FOREVER, caller: None }
    }

    /// For the same caller, without a deadline.
    pub fn unbounded(&mut self) -> &mut Self {
        self.bound(None);
        self
    }

    fn bound(&mut self, timeout: Option<Duration>) {
        let longest = self.caller.as_ref().and_then(|caller| caller.longest_wait());
        self.longest = longest.filter(|longest| timeout.is_none_or(|timeout| timeout > *longest));
        self.deadline = self.longest.or(timeout).map(deadline);
    }

    /// Sends what the caller should have before this thread parks, unless it is not going to. That blocks while
    /// the caller reads nothing.
    pub(crate) fn settle(&mut self) {
        if let Some(caller) = &mut self.caller
            && self.deadline.is_none_or(|deadline| deadline > Instant::now())
        {
            caller.settle();
        }
    }

    /// What comes of a wait whose time has run out, which is the caller's own or the manager's.
    fn out_of_time<T>(&self) -> Result<Option<T>, Interrupted> {
        if self.longest.is_some() { Err(Interrupted::WaitedTooLong) } else { Ok(None) }
    }

    /// Looks at the state at least this often, though nobody notifies: it may become ready with time.
    pub(crate) fn look_every(&mut self, time: Duration) {
        self.look_every = self.look_every.min(time).max(SHORTEST);
    }

    pub(crate) fn of(caller: &'a mut dyn Caller, timeout: Option<Duration>) -> Self {
        let mut patience = Self { caller: Some(caller), look_every: CHECK, ..Self::new(None) };
        patience.bound(timeout);
        patience
    }
}

/// Why a wait ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interrupted {
    /// The caller has disconnected.
    CallerGone,
    /// The caller sent so much behind this call that its end could not be noticed: its connection is closed.
    PipelinedTooMuch,
    /// The manager is ending.
    ManagerEnding,
    /// The manager lets no call wait as long as this one asked for.
    WaitedTooLong,
}

impl From<Interrupted> for Exception {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            // What a Python client sees when a manager vanishes, with the reason. One that is gone
            // itself never gets it.
            Interrupted::CallerGone | Interrupted::ManagerEnding => {
                Self::builtin("EOFError", "the manager has been shut down")
            }
            Interrupted::PipelinedTooMuch => {
                let text = format!("{}: the connection is closed", pipelined_too_much());
                Self::builtin("ConnectionAbortedError", text)
            }
            Interrupted::WaitedTooLong => {
                Self::builtin("TimeoutError", "the manager lets no call wait any longer")
            }
        }
    }
}

pub(crate) fn pipelined_too_much() -> Error {
    Error::Limit("number of bytes sent behind a call that waits", PIPELINED as u64)
}

impl<S: Send + 'static, const N: usize> Monitor<S, N> {
    /// A monitor of this state.
    pub fn new(state: S) -> Self {
        let conditions = std::array::from_fn(|_| Condition::default());
        Self(Arc::new(Inner { state: Mutex::new(state), conditions }))
    }

    /// Locks the state. A panic under the lock does not poison it.
    pub fn lock(&self) -> MutexGuard<'_, S> {
        self.0.lock()
    }

    /// Wakes one thread that waits for a condition.
    pub fn notify_one(&self, condition: usize) {
        if let Some(condition) = self.0.conditions.get(condition) {
            condition.notify_one();
        }
    }

    /// Wakes every thread that waits for a condition.
    pub fn notify_all(&self, condition: usize) {
        if let Some(condition) = self.0.conditions.get(condition) {
            condition.notify_all();
        }
    }

    /// Waits until the state is `ready`, and gives it, locked; `None` if the time ran out first.
    ///
    /// Whoever makes the state ready notifies `condition`, one of `0..N`.
    ///
    /// # Errors
    /// [`Interrupted`] if the caller has gone or the manager is ending.
    pub fn wait(
        &self,
        condition: usize,
        patience: &mut Patience<'_>,
        ready: impl FnMut(&S) -> bool,
    ) -> Result<Option<MutexGuard<'_, S>>, Interrupted> {
        self.wait_from(self.lock(), condition, patience, ready)
    }

    /// [`Monitor::wait`], from a lock that is held.
    ///
    /// # Errors
    /// [`Interrupted`] if the caller has gone or the manager is ending.
    pub fn wait_from<'m>(
        &'m self,
        state: MutexGuard<'m, S>,
        condition: usize,
        patience: &mut Patience<'_>,
        mut ready: impl FnMut(&S) -> bool,
    ) -> Result<Option<MutexGuard<'m, S>>, Interrupted> {
        let Some(condition) = self.0.conditions.get(condition) else { return Ok(None) };
        self.wait_at(state, condition, patience, &mut ready, || self.0.clone())
    }

    /// [`Monitor::wait`] for this thread's own bell. If it was rung and nothing came of the wait, others may
    /// be ready, which is for the caller to see to.
    pub(crate) fn wait_for_bell(
        &self,
        bell: &Arc<Bell>,
        patience: &mut Patience<'_>,
        mut ready: impl FnMut(&S) -> bool,
    ) -> Result<Option<MutexGuard<'_, S>>, Interrupted> {
        let wake = || Arc::new(AtBell(self.0.clone(), bell.clone()));
        self.wait_at(self.lock(), &bell.0, patience, &mut ready, wake)
    }

    fn wait_at<'m, W: Wake + 'static>(
        &'m self,
        mut state: MutexGuard<'m, S>,
        condition: &Condition,
        patience: &mut Patience<'_>,
        ready: &mut impl FnMut(&S) -> bool,
        wake: impl FnOnce() -> Arc<W>,
    ) -> Result<Option<MutexGuard<'m, S>>, Interrupted> {
        if ready(&state) {
            return Ok(Some(state));
        }
        if patience.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return patience.out_of_time();
        }
        // The slow path: from here on the caller may disappear.
        if let Some(caller) = &mut patience.caller {
            drop(state);
            caller.settle();
            caller.park(Some(wake()));
            state = self.lock();
        }
        let result = self.parked(state, condition, patience, ready);
        if let Some(caller) = &patience.caller {
            caller.park(None);
        }
        if !matches!(result, Ok(Some(_))) && ready(&self.lock()) {
            // The wake-up was for this thread, which has no use for it.
            condition.notify_one();
        }
        result
    }

    fn parked<'m>(
        &'m self,
        mut state: MutexGuard<'m, S>,
        condition: &Condition,
        patience: &mut Patience<'_>,
        ready: &mut impl FnMut(&S) -> bool,
    ) -> Result<Option<MutexGuard<'m, S>>, Interrupted> {
        let mut checked = Instant::now();
        let mut first = true;
        loop {
            // Whether the caller is there takes a system call: not under the lock.
            let mut known = patience.caller.is_none();
            while ready(&state) || checked.elapsed() >= CHECK {
                if known && ready(&state) {
                    return Ok(Some(state));
                }
                if let Some(caller) = &mut patience.caller {
                    drop(state);
                    caller.is_there()?;
                    state = self.lock();
                }
                checked = Instant::now();
                known = true;
            }
            if patience.caller.as_ref().is_some_and(|caller| caller.is_ending()) {
                return Err(Interrupted::ManagerEnding);
            }
            let now = Instant::now();
            let left = patience.deadline.map(|deadline| deadline.saturating_duration_since(now));
            if left.is_some_and(|left| left.is_zero()) {
                return patience.out_of_time();
            }
            if std::mem::take(&mut first) {
                // Whoever makes it ready is often about to, in a thread that has only to be let run:
                // that takes less time than to sleep and be woken.
                drop(state);
                yield_now();
                state = self.lock();
                continue;
            }
            let nap = left.unwrap_or(FOREVER).min(patience.look_every);
            condition.parked.fetch_add(1, Ordering::Relaxed);
            let woken = condition.condvar.wait_timeout(state, nap);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            condition.parked.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Locks a mutex. What a panic may have left is valid: no state here is ever half changed.
pub(crate) fn lock<T>(mutex: &sync::Mutex<T>) -> sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
