//! `threading.Semaphore` and `threading.BoundedSemaphore`, shared: a number that `acquire` takes from
//! and `release` adds to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::number::{count, not_added, timeout};
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::{Call, ConnectionId};
use crate::object::stored::Item;
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::{Interrupted, Monitor, Patience};

/// So many may have it at once. A clone is the same semaphore.
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

/// A semaphore that refuses to be released more often than it was acquired. A clone is the same one.
///
/// ```
/// use basemanager::sync::BoundedSemaphore;
/// let semaphore = BoundedSemaphore::new(2);
/// assert!(semaphore.release(1).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct BoundedSemaphore(Arc<Shared>);

/// Both kinds of semaphore.
#[derive(Debug)]
struct Shared {
    state: Monitor<State>,
    /// The most it may hold, for a bounded one.
    bound: Option<usize>,
    /// Whether a connection that ends gives back what it took.
    follows: bool,
}

#[derive(Debug, Default)]
struct State {
    value: usize,
    /// What each connection took and did not give back; kept for one that follows.
    taken: HashMap<ConnectionId, usize>,
}

const LEFT: usize = 0;

macro_rules! handle {
    ($semaphore:ident, $bound:expr) => {
        impl Default for $semaphore {
            fn default() -> Self {
                Self::new(1)
            }
        }

        shared!($semaphore);

        impl $semaphore {
            /// A semaphore for so many. Python's default is 1.
            #[must_use]
            pub fn new(value: usize) -> Self {
                Self(Arc::new(Shared::new(value, $bound(value), false)))
            }

            /// One to which a connection that ends gives back what it had acquired and not released.
            /// Defaults to not so, as in Python: another may be meant to release it.
            #[must_use]
            pub fn released_on_disconnect(self) -> Self {
                let value = self.0.state.lock().value;
                Self(Arc::new(Shared::new(value, self.0.bound, true)))
            }

            /// What Python's constructor makes of a client's arguments: `value=1`.
            ///
            /// # Errors
            /// `ValueError` or `TypeError`, in Python's words.
            pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
                let ([], [value]) = call.args([], ["value"])?;
                let refusal = "semaphore initial value must be >= 0";
                Ok(Self::new(value.map_or(Ok(1), |value| count(call, value, 0, refusal))?))
            }

            /// Takes one, and waits for it no longer than this; `None` waits for ever. Gives whether it
            /// did.
            #[must_use]
            pub fn acquire(&self, timeout: Option<Duration>) -> bool {
                // Nobody interrupts a thread of this process.
                self.0.acquire(None, &mut Patience::new(timeout)).unwrap_or(false)
            }

            /// Gives back so many.
            ///
            /// # Errors
            /// `ValueError` if that is none, or more than there may be.
            pub fn release(&self, n: usize) -> Result<()> {
                Ok(self.0.release(None, n)?)
            }
        }
    };
}

handle!(Semaphore, |_| None);
handle!(BoundedSemaphore, Some);

impl Shared {
    fn new(value: usize, bound: Option<usize>, follows: bool) -> Self {
        let state = State { value, taken: HashMap::new() };
        Self { state: Monitor::new(state), bound, follows }
    }

    /// Takes one. A connection is given if it is to be remembered.
    fn acquire(
        &self,
        by: Option<ConnectionId>,
        patience: &mut Patience<'_>,
    ) -> Result<bool, Interrupted> {
        let left = self.state.wait(LEFT, patience, |state| state.value > 0)?;
        let Some(mut state) = left else { return Ok(false) };
        state.value -= 1;
        if let Some(by) = by {
            *state.taken.entry(by).or_default() += 1;
        }
        Ok(true)
    }

    fn release(&self, by: Option<ConnectionId>, n: usize) -> Result<(), Exception> {
        if n < 1 {
            return Err(Exception::value_error("n must be one or more"));
        }
        let mut state = self.state.lock();
        let value = state.value.checked_add(n);
        let value = value.filter(|value| self.bound.is_none_or(|bound| *value <= bound));
        state.value =
            value.ok_or_else(|| Exception::value_error("Semaphore released too many times"))?;
        if let Some(taken) = by.and_then(|by| state.taken.get_mut(&by)) {
            *taken = taken.saturating_sub(n);
        }
        drop(state);
        self.wake(n);
        Ok(())
    }

    fn wake(&self, n: usize) {
        if n == 1 { self.state.notify_one(LEFT) } else { self.state.notify_all(LEFT) }
    }

    /// The caller's connection, if it is to be remembered.
    fn by(&self, call: &Call<'_>) -> Option<ConnectionId> {
        self.follows.then(|| call.connection())
    }

    /// `acquire(blocking=True, timeout=None)`.
    fn acquire_call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let ([], [blocking, within]) = call.args([], ["blocking", "timeout"])?;
        let blocking = call.is_true(blocking, true)?;
        if !blocking
            && within.map_or(Ok(false), |within| call.value(within).map(|t| !t.is_none()))?
        {
            let text = "can't specify timeout for non-blocking acquire";
            return Err(Exception::value_error(text));
        }
        if self.follows {
            call.watch_connection();
        }
        let by = self.by(call);
        let mut acquired = self.acquire(by, &mut call.patience(Some(Duration::ZERO)))?;
        if !acquired && blocking {
            // Only whoever has to wait looks at the timeout.
            let within = timeout(call, within, not_added)?;
            acquired = self.acquire(by, &mut call.patience(within))?;
        }
        if acquired && !self.follows {
            // Whoever cannot be told of it never knew: see `take_back`.
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
                if self.bound.is_some() {}
                let ([], [n]) = call.args([], ["n"])?;
                let n = n.map_or(Ok(1), |n| count(call, n, 1, "n must be one or more"))?;
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
        // The call is as good as not made. Who released how often meanwhile does not matter: nobody
        // holds a semaphore, it is a number. Only a bounded one may have come to its bound.
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
