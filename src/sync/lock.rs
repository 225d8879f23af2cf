//! `threading.Lock` and `threading.RLock`, shared.
//!
//! ```text
//!             acquire                     acquire again (RLock, by its owner)
//!   free ────────────────► owner, depth 1 ◄──────────────────► depth 2 ...
//!        ◄────────────────     release                release
//!          release, or disconnect of the owner (RLock, `new_released_on_disconnect`)
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::python;
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::{Call, ConnectionId, Owner, duration};
use crate::object::stored::Item;
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::{Monitor, Wait, WaitError};

/// A lock that any thread or client may release. A clone is the same lock.
///
/// ```
/// use std::time::Duration;
/// use basemanager::sync::Lock;
/// let lock = Lock::new();
/// assert!(lock.acquire(None));
/// assert!(!lock.acquire(Some(Duration::ZERO)));
/// lock.release()?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lock(pub(super) Arc<Shared>);

/// A reentrant lock: its owner may acquire it again, and must release it as often. A clone is the same lock.
///
/// The owner is a client's connection (in CPython, the server thread of that connection) or a thread of this
/// process. The lock is released when the owner's connection ends; CPython keeps it locked for ever.
///
/// ```
/// use basemanager::sync::RLock;
/// let lock = RLock::new();
/// assert!(lock.acquire(None) && lock.acquire(None));
/// lock.release()?;
/// lock.release()?;
/// assert!(lock.release().is_err());
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RLock(pub(super) Arc<Shared>);

macro_rules! handle {
    ($lock:ident) => {
        shared!($lock, default);

        impl $lock {
            /// Creates a lock from a client's call without arguments: a callable for
            /// [`Manager::register`](crate::Manager::register).
            ///
            /// # Errors
            /// `TypeError` for any argument.
            pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
                call.no_args()?;
                Ok(Self::new())
            }

            /// Acquires the lock for this thread; `false` if it could not within the timeout. `None` waits for
            /// ever.
            #[must_use]
            pub fn acquire(&self, timeout: Option<Duration>) -> bool {
                // A thread of this process cannot be interrupted.
                let mut wait = Wait::new(timeout);
                self.0.acquire(Owner::this_thread(), &mut wait).unwrap_or(false)
            }

            /// Releases the lock.
            ///
            /// # Errors
            /// `RuntimeError` if it is not locked or, for an [`RLock`], this thread is not its owner.
            pub fn release(&self) -> Result<()> {
                Ok(self.0.release(Owner::this_thread())?)
            }

            /// Whether the lock is held.
            #[doc(alias = "locked")]
            #[must_use]
            pub fn is_locked(&self) -> bool {
                self.0.state.lock().depth > 0
            }
        }
    };
}

handle!(Lock);
handle!(RLock);

impl Lock {
    /// A lock that is free.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared::new(false, false)))
    }

    /// A lock that is also released when the connection that acquired it ends. A [`Lock::new`] stays locked
    /// then, as in Python, since another client may be meant to release it.
    #[must_use]
    pub fn new_released_on_disconnect() -> Self {
        Self(Arc::new(Shared::new(false, true)))
    }
}

impl RLock {
    /// A lock that is free.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared::new(true, true)))
    }
}

/// The state and the methods of both kinds of lock, and of the lock in a condition.
#[derive(Debug)]
pub(super) struct Shared {
    state: Monitor<State>,
    reentrant: bool,
    release_on_disconnect: bool,
}

#[derive(Debug, Default)]
struct State {
    owner: Option<Owner>,
    depth: usize,
}

impl Shared {
    fn new(reentrant: bool, release_on_disconnect: bool) -> Self {
        Self { state: Monitor::new(State::default()), reentrant, release_on_disconnect }
    }

    pub(super) fn acquire(&self, owner: Owner, wait: &mut Wait<'_>) -> Result<bool, WaitError> {
        let mine = |state: &State| self.reentrant && state.owner == Some(owner);
        let ready = |state: &State| state.depth == 0 || mine(state);
        let Some(mut state) = self.state.wait(wait, ready)? else { return Ok(false) };
        state.owner = Some(owner);
        state.depth += 1;
        Ok(true)
    }

    pub(super) fn release(&self, owner: Owner) -> Result<(), Exception> {
        let mut state = self.state.lock();
        if self.reentrant && state.owner != Some(owner) {
            return Err(Exception::runtime_error("cannot release un-acquired lock"));
        }
        let left = state.depth.checked_sub(1);
        state.depth = left.ok_or_else(|| Exception::runtime_error("release unlocked lock"))?;
        if state.depth == 0 {
            state.owner = None;
            drop(state);
            self.state.notify_one();
        }
        Ok(())
    }

    /// Whether a condition may be used by this owner: it must own an `RLock`; a `Lock` must be locked.
    pub(super) fn is_owned(&self, owner: Owner) -> bool {
        let state = self.state.lock();
        if self.reentrant { state.owner == Some(owner) } else { state.depth > 0 }
    }

    /// Releases every level of the lock; returns how many there were.
    pub(super) fn release_all(&self) -> usize {
        self.release_if(|_| true)
    }

    fn release_if(&self, condition: impl FnOnce(&State) -> bool) -> usize {
        let mut state = self.state.lock();
        if !condition(&state) {
            return 0;
        }
        let State { depth, .. } = std::mem::take(&mut *state);
        drop(state);
        self.state.notify_one();
        depth
    }

    /// Waits until the lock is free, and acquires this many levels.
    pub(super) fn acquire_all(
        &self,
        owner: Owner,
        depth: usize,
        wait: &mut Wait<'_>,
    ) -> Result<(), WaitError> {
        if let Some(mut state) = self.state.wait(wait, |state| state.depth == 0)? {
            *state = State { owner: Some(owner), depth };
        }
        Ok(())
    }

    /// `acquire(blocking=True, timeout=-1)`.
    fn acquire_call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let ([], [blocking, timeout]) = call.args([], ["blocking", "timeout"])?;
        let blocking = call.is_true(blocking, true)?;
        let seconds = timeout.map_or(Ok(-1.0), |timeout| python::seconds(call, timeout))?;
        let timeout = match (blocking, seconds) {
            (true, -1.0) => None,
            (false, -1.0) => Some(Duration::ZERO),
            (true, 0.0..) => Some(duration(seconds)?),
            (true, _) => {
                return Err(Exception::value_error("a timeout must be -1 (for ever), 0 or more"));
            }
            (false, _) => {
                return Err(Exception::value_error("a call that does not block takes no timeout"));
            }
        };
        if self.release_on_disconnect {
            call.watch_connection();
        }
        let acquired = self.acquire(Owner::of(call), &mut call.wait(timeout))?;
        if acquired && !self.release_on_disconnect {
            // `take_back` releases the lock if this reply cannot be sent.
            return Ok(Return::Item(Pickle::encode(&Value::Bool(true))?.into()));
        }
        Ok(acquired.into())
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["acquire", "locked", "release"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        if call.method() == "acquire" {
            return self.acquire_call(call);
        }
        call.no_args()?;
        match call.method() {
            "locked" => Ok((self.state.lock().depth > 0).into()),
            "release" => Ok(self.release(Owner::of(call))?.into()),
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self) -> String {
        let state = self.state.lock();
        let locked = if state.depth > 0 { "locked" } else { "unlocked" };
        if self.reentrant {
            let owner = state.owner.map_or_else(|| "0".to_owned(), |owner| owner.to_string());
            let count = state.depth;
            format!("<{locked} _thread.RLock object owner={owner} count={count} at {self:p}>")
        } else {
            format!("<{locked} _thread.lock object at {self:p}>")
        }
    }

    fn take_back(&self, _: Item, connection: ConnectionId) {
        // Only if it is still this connection's: another client may have released and acquired it.
        self.release_if(|state| state.owner == Some(Owner::Connection(connection)));
    }

    fn disconnected(&self, connection: ConnectionId) {
        if self.release_on_disconnect {
            self.release_if(|state| state.owner == Some(Owner::Connection(connection)));
        }
    }
}

impl fmt::Display for Owner {
    /// A number, as CPython shows the thread.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(ConnectionId(id)) => id.fmt(f),
            Self::Thread(id) => write!(f, "{id:?}"),
        }
    }
}
