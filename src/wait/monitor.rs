//! State under a mutex, and the conditions on which threads wait for it to change.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::primitives::{AtomicUsize, Condvar, Mutex, MutexGuard, yield_now};
use super::{CHECK, FOREVER, Wait, WaitError, Wake};

/// State under a mutex with one condition variable, as Python's `threading.Condition`, that a method of a
/// [`SharedObject`](crate::object::SharedObject) can wait on. A clone is the same monitor.
///
/// A wait ends early if the client disconnects or the manager shuts down.
///
/// ```
/// use basemanager::Exception;
/// use basemanager::object::{Call, Exposed, Monitor, Return, SharedObject};
///
/// /// Counts down; `wait()` returns when it reaches 0.
/// struct Latch(Monitor<u32>);
///
/// impl SharedObject for Latch {
///     fn exposed(&self) -> Exposed {
///         ["count_down", "wait"].into()
///     }
///
///     fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
///         match call.method() {
///             "count_down" => {
///                 call.no_args()?;
///                 let mut count = self.0.lock();
///                 *count = count.saturating_sub(1);
///                 drop(count);
///                 self.0.notify_all();
///                 Ok(().into())
///             }
///             "wait" => {
///                 let ([], [timeout]) = call.args([], ["timeout"])?;
///                 let timeout = call.timeout(timeout)?;
///                 let opened = self.0.wait(&mut call.wait(timeout), |count| *count == 0)?;
///                 Ok(opened.is_some().into())
///             }
///             _ => Err(call.no_such_method()),
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Monitor<S> {
    state: Locked<S>,
    changed: Condition,
}

impl<S> Clone for Monitor<S> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), changed: self.changed.clone() }
    }
}

impl<S: Send + 'static> Monitor<S> {
    /// A monitor of this state.
    pub fn new(state: S) -> Self {
        Self { state: Locked::new(state), changed: Condition::default() }
    }

    /// Locks the state. A panic under the lock does not poison it.
    pub fn lock(&self) -> MutexGuard<'_, S> {
        self.state.lock()
    }

    /// Wakes one waiting thread, after a change that lets one continue.
    pub fn notify_one(&self) {
        self.changed.notify_one();
    }

    /// Wakes all waiting threads.
    pub fn notify_all(&self) {
        self.changed.notify_all();
    }

    /// Waits until the state is `ready`, and returns it locked; `None` after the timeout.
    ///
    /// # Errors
    /// [`WaitError`] if the client disconnects, the manager shuts down, or the manager's `max_wait` is shorter
    /// than the timeout and has passed.
    pub fn wait(
        &self,
        wait: &mut Wait<'_>,
        ready: impl FnMut(&S) -> bool,
    ) -> Result<Option<MutexGuard<'_, S>>, WaitError> {
        self.wait_from(self.lock(), wait, ready)
    }

    /// [`Monitor::wait`], from a state that is locked already.
    ///
    /// # Errors
    /// As [`Monitor::wait`].
    pub fn wait_from<'m>(
        &'m self,
        state: MutexGuard<'m, S>,
        wait: &mut Wait<'_>,
        ready: impl FnMut(&S) -> bool,
    ) -> Result<Option<MutexGuard<'m, S>>, WaitError> {
        self.state.wait(state, &self.changed, wait, ready)
    }
}

/// A condition variable. A clone is the same condition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Condition(Arc<Waiters>);

#[derive(Debug, Default)]
struct Waiters {
    condvar: Condvar,
    /// The number of parked threads. It changes under the state's lock, so a thread that has just changed the
    /// state sees every thread that parked before. With none, notifying costs no system call.
    parked: AtomicUsize,
}

impl Condition {
    /// The number of waiting threads.
    pub(crate) fn waiting(&self) -> usize {
        self.0.parked.load(Ordering::Relaxed)
    }

    /// Wakes this many threads.
    pub(crate) fn notify(&self, count: usize) {
        match self.waiting() {
            0 => {}
            waiting if waiting <= count => self.0.condvar.notify_all(),
            _ => (0..count).for_each(|_| self.0.condvar.notify_one()),
        }
    }

    pub(crate) fn notify_one(&self) {
        self.notify(1);
    }

    pub(crate) fn notify_all(&self) {
        self.notify(usize::MAX);
    }
}

/// State under a mutex, without a condition: for a state with several conditions, which are named fields next
/// to it. A clone is the same state.
#[derive(Debug, Default)]
pub(crate) struct Locked<S>(Arc<Mutex<S>>);

impl<S> Clone for Locked<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Send + 'static> Locked<S> {
    pub(crate) fn new(state: S) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// Locks the state.
    pub(crate) fn lock(&self) -> MutexGuard<'_, S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`Monitor::wait_from`] on one of several conditions. Code that makes the state `ready` notifies `condition`.
    pub(crate) fn wait<'m>(
        &'m self,
        mut state: MutexGuard<'m, S>,
        condition: &Condition,
        wait: &mut Wait<'_>,
        mut ready: impl FnMut(&S) -> bool,
    ) -> Result<Option<MutexGuard<'m, S>>, WaitError> {
        if ready(&state) {
            return Ok(Some(state));
        }
        if wait.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return wait.timed_out();
        }
        if let Some(caller) = &mut wait.caller {
            drop(state);
            caller.flush();
            caller.set_wake(Some(self.wake(condition)));
            state = self.lock();
        }
        let result = self.park(state, condition, wait, &mut ready);
        if let Some(caller) = &wait.caller {
            caller.set_wake(None);
        }
        if !matches!(result, Ok(Some(_))) && ready(&self.lock()) {
            // This thread may have consumed a notification but is giving up: pass it on.
            condition.notify_one();
        }
        result
    }

    /// A function that wakes the threads that wait on this condition. It locks the state first: then no thread is
    /// between its check of the state and parking, where it would miss the notification.
    fn wake(&self, condition: &Condition) -> Wake {
        let (state, condition) = (self.clone(), condition.clone());
        Arc::new(move || {
            drop(state.lock());
            condition.notify_all();
        })
    }

    fn park<'m>(
        &'m self,
        mut state: MutexGuard<'m, S>,
        condition: &Condition,
        wait: &mut Wait<'_>,
        // Not generic: all waits on this state share one copy of the loop.
        ready: &mut dyn FnMut(&S) -> bool,
    ) -> Result<Option<MutexGuard<'m, S>>, WaitError> {
        let mut checked = Instant::now();
        let mut yielded = false;
        loop {
            let mut is_ready = ready(&state);
            if let Some(caller) = &mut wait.caller
                && (is_ready || checked.elapsed() >= CHECK)
            {
                // The check is a system call: not under the lock.
                drop(state);
                caller.is_connected()?;
                checked = Instant::now();
                state = self.lock();
                is_ready = ready(&state);
            }
            if is_ready {
                return Ok(Some(state));
            }
            if wait.caller.as_ref().is_some_and(|caller| caller.is_stopping()) {
                return Err(WaitError::ShuttingDown);
            }
            let now = Instant::now();
            let left = wait.deadline.map(|deadline| deadline.saturating_duration_since(now));
            if left.is_some_and(|left| left.is_zero()) {
                return wait.timed_out();
            }
            if !std::mem::replace(&mut yielded, true) {
                // Often another thread is about to make the state ready, and only needs the processor: to let
                // it run is cheaper than to sleep and be woken.
                drop(state);
                yield_now();
                state = self.lock();
                continue;
            }
            let nap = left.unwrap_or(FOREVER).min(wait.interval);
            condition.0.parked.fetch_add(1, Ordering::Relaxed);
            let woken = condition.0.condvar.wait_timeout(state, nap);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            condition.0.parked.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
