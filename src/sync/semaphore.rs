//! `threading.Semaphore` and `threading.BoundedSemaphore`, shared: a counter that `acquire` decrements, waiting
//! while it is 0, and `release` increments.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::python::{count, timeout};
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::{Call, ConnectionId};
use crate::object::stored::Item;
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::{Monitor, Wait, WaitError};

/// A number of permits. A clone is the same semaphore.
///
/// ```
/// use std::time::Duration;
/// use basemanager::sync::Semaphore;
/// let semaphore = Semaphore::new(2);
/// assert!(semaphore.acquire(None) && semaphore.acquire(None));
/// assert!(!semaphore.acquire(Some(Duration::ZERO)));
/// semaphore.release(1)?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Semaphore(Arc<Shared>);

/// A semaphore that cannot be released more often than it was acquired. A clone is the same semaphore.
///
/// ```
/// use basemanager::sync::BoundedSemaphore;
/// let semaphore = BoundedSemaphore::new(2);
/// assert!(semaphore.release(1).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct BoundedSemaphore(Arc<Shared>);

macro_rules! handle {
    ($semaphore:ident, $bound:expr) => {
        impl Default for $semaphore {
            fn default() -> Self {
                Self::new(1)
            }
        }

        shared!($semaphore);

        impl $semaphore {
            /// A semaphore with this many permits. Python's default is 1.
            #[must_use]
            pub fn new(value: usize) -> Self {
                Self(Arc::new(Shared::new(value, $bound(value), false)))
            }

            /// A semaphore that also gets back the permits that a connection acquired and did not release,
            /// when that ends. [`new`](Self::new) does not, as in Python, since another client may be meant
            /// to release them.
            #[must_use]
            pub fn new_released_on_disconnect(value: usize) -> Self {
                Self(Arc::new(Shared::new(value, $bound(value), true)))
            }

            /// Creates a semaphore from a client's argument `value=1`: a callable for
            /// [`Manager::register`](crate::Manager::register).
            ///
            /// # Errors
            /// `ValueError` if it is negative, `TypeError` if it is not an integer.
            pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
                let ([], [value]) = call.args([], ["value"])?;
                Ok(Self::new(value.map_or(Ok(1), |value| count(call, value, 0))?))
            }

            /// Takes a permit; `false` if there was none within the timeout. `None` waits for ever.
            #[must_use]
            pub fn acquire(&self, timeout: Option<Duration>) -> bool {
                // A thread of this process cannot be interrupted.
                self.0.acquire(None, &mut Wait::new(timeout)).unwrap_or(false)
            }

            /// Returns `n` permits.
            ///
            /// # Errors
            /// `ValueError` if `n` is 0, or if a bounded semaphore would exceed its first value.
            pub fn release(&self, n: usize) -> Result<()> {
                Ok(self.0.release(None, n)?)
            }
        }
    };
}

handle!(Semaphore, |_| None);
handle!(BoundedSemaphore, Some);

/// The state and the methods of both kinds of semaphore.
#[derive(Debug)]
struct Shared {
    state: Monitor<State>,
    /// The maximum of a bounded semaphore.
    bound: Option<usize>,
    release_on_disconnect: bool,
}

#[derive(Debug, Default)]
struct State {
    value: usize,
    /// The permits of each connection; counted for `release_on_disconnect` only.
    taken: HashMap<ConnectionId, usize>,
}

impl Shared {
    fn new(value: usize, bound: Option<usize>, release_on_disconnect: bool) -> Self {
        let state = State { value, taken: HashMap::new() };
        Self { state: Monitor::new(state), bound, release_on_disconnect }
    }

    /// Takes a permit, and counts it for a connection if one is named.
    fn acquire(&self, by: Option<ConnectionId>, wait: &mut Wait<'_>) -> Result<bool, WaitError> {
        let left = self.state.wait(wait, |state| state.value > 0)?;
        let Some(mut state) = left else { return Ok(false) };
        state.value -= 1;
        if let Some(by) = by {
            *state.taken.entry(by).or_default() += 1;
        }
        Ok(true)
    }

    fn release(&self, by: Option<ConnectionId>, n: usize) -> Result<(), Exception> {
        if n < 1 {
            return Err(Exception::value_error("n must be 1 or more"));
        }
        let mut state = self.state.lock();
        let value = state.value.checked_add(n);
        let value = value.filter(|value| self.bound.is_none_or(|bound| *value <= bound));
        let too_many = || Exception::value_error("semaphore released too many times");
        state.value = value.ok_or_else(too_many)?;
        if let Some(taken) = by.and_then(|by| state.taken.get_mut(&by)) {
            *taken = taken.saturating_sub(n);
        }
        drop(state);
        self.wake(n);
        Ok(())
    }

    fn wake(&self, n: usize) {
        if n == 1 { self.state.notify_one() } else { self.state.notify_all() }
    }

    /// The caller's connection, if its permits are counted.
    fn by(&self, call: &Call<'_>) -> Option<ConnectionId> {
        self.release_on_disconnect.then(|| call.connection())
    }

    /// `acquire(blocking=True, timeout=None)`.
    fn acquire_call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let ([], [blocking, wait]) = call.args([], ["blocking", "timeout"])?;
        let wait = match (call.is_true(blocking, true)?, timeout(call, wait)?) {
            (true, wait) => wait,
            (false, None) => Some(Duration::ZERO),
            (false, Some(_)) => {
                return Err(Exception::value_error("a call that does not block takes no timeout"));
            }
        };
        if self.release_on_disconnect {
            call.watch_connection();
        }
        let acquired = self.acquire(self.by(call), &mut call.wait(wait))?;
        if acquired && !self.release_on_disconnect {
            // `take_back` returns the permit if this reply cannot be sent.
            return Ok(Return::Item(Pickle::encode(&Value::Bool(true))?.into()));
        }
        Ok(acquired.into())
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["acquire", "release"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "acquire" => self.acquire_call(call),
            "release" => {
                let ([], [n]) = call.args([], ["n"])?;
                let n = n.map_or(Ok(1), |n| count(call, n, 1))?;
                Ok(self.release(self.by(call), n)?.into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self) -> String {
        let value = self.state.lock().value;
        match self.bound {
            Some(bound) => {
                format!("<threading.BoundedSemaphore at {self:p}: value={value}/{bound}>")
            }
            None => format!("<threading.Semaphore at {self:p}: value={value}>"),
        }
    }

    fn take_back(&self, _: Item, _: ConnectionId) {
        // A bounded semaphore may have reached its bound meanwhile: then the permit is there already.
        let _ = self.release(None, 1);
    }

    fn disconnected(&self, connection: ConnectionId) {
        let mut state = self.state.lock();
        let Some(taken) = state.taken.remove(&connection) else { return };
        let value = state.value.saturating_add(taken);
        state.value = self.bound.map_or(value, |bound| value.min(bound));
        drop(state);
        self.wake(taken);
    }
}
