//! `threading.Lock` and `threading.RLock`, shared.
//!
//! ```text
//!             acquire                     acquire again (RLock, its owner)
//!   free ────────────────► owner, depth 1 ◄──────────────────► depth 2 …
//!        ◄────────────────     release                release
//!          release, or the owner's connection ends (RLock; Lock, if it is to)
//! ```

use std::fmt;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::args::none;
use super::number::{duration, not_seconds, number};
use crate::error::{Exception, Result};
use crate::shared::call::{Call, ConnectionId};
use crate::shared::element::Item;
use crate::shared::wait::{Interrupted, Monitor, Patience};
use crate::shared::{Return, SharedObject};
use crate::value::{Pickle, Value};

/// A lock that whoever likes may release. A clone is the same lock.
///
/// ```
/// use std::time::Duration;
/// use basemanager::Lock;
/// let lock = Lock::new();
/// assert!(lock.acquire(None));
/// assert!(!lock.acquire(Some(Duration::ZERO)));
/// lock.release()?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lock(pub(super) Arc<Shared>);

/// A lock that its owner may acquire again, and must release as often. A clone is the same lock.
///
/// The owner is a client's connection, as in CPython the thread that serves it; or a thread of this
/// process. When the connection ends the lock is released (CPython keeps it locked for ever).
///
/// ```
/// use basemanager::RLock;
/// let lock = RLock::new();
/// assert!(lock.acquire(None) && lock.acquire(None));
/// lock.release()?;
/// lock.release()?;
/// assert!(lock.release().is_err());
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RLock(pub(super) Arc<Shared>);

/// Who may hold a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Connection(ConnectionId),
    Thread(ThreadId),
}

impl Owner {
    pub(super) fn this_thread() -> Self {
        Self::Thread(thread::current().id())
    }

    pub(super) fn of(call: &Call<'_>) -> Self {
        Self::Connection(call.connection())
    }
}

/// Both kinds of lock.
#[derive(Debug)]
pub(super) struct Shared {
    state: Monitor<State>,
    reentrant: bool,
    /// Whether it is released when the connection that acquired it ends.
    follows: bool,
}

#[derive(Debug, Default)]
struct State {
    owner: Option<Owner>,
    depth: usize,
}

const FREE: usize = 0;

macro_rules! handle {
    ($lock:ident) => {
        impl Default for $lock {
            fn default() -> Self {
                Self::new()
            }
        }

        impl From<$lock> for Return {
            fn from(lock: $lock) -> Self {
                Self::Shared(lock.0)
            }
        }

        impl $lock {
            /// Acquires the lock for this thread, within this time; `None` waits for ever. Gives
            /// whether it did.
            #[must_use]
            pub fn acquire(&self, timeout: Option<Duration>) -> bool {
                // Nobody interrupts a thread of this process.
                let mut patience = Patience::new(timeout);
                self.0.acquire(Owner::this_thread(), &mut patience).unwrap_or(false)
            }

            /// Releases the lock.
            ///
            /// # Errors
            /// `RuntimeError` if it is not locked, or not by this owner.
            pub fn release(&self) -> Result<()> {
                Ok(self.0.release(Owner::this_thread())?)
            }

            /// Whether anybody holds it.
            #[doc(alias = "locked")]
            #[must_use]
            pub fn is_locked(&self) -> bool {
                self.0.is_locked()
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

    /// What Python's constructor makes of a client's arguments.
    ///
    /// # Errors
    /// `TypeError`: there are none.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let [] = call.bind(0, [])?;
        Ok(Self::new())
    }

    /// One that is released, too, when the connection that acquired it ends. Defaults to not so, as in
    /// Python: another may be meant to release it.
    #[must_use]
    pub fn released_on_disconnect(self) -> Self {
        Self(Arc::new(Shared::new(false, true)))
    }
}

impl RLock {
    /// A lock that is free.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared::new(true, true)))
    }

    /// What Python's constructor makes of a client's arguments: nothing, whatever they are.
    ///
    /// # Errors
    /// None so far.
    pub fn from_call(_: &mut Call<'_>) -> Result<Self, Exception> {
        Ok(Self::new())
    }
}

impl Shared {
    fn new(reentrant: bool, follows: bool) -> Self {
        Self { state: Monitor::new(State::default()), reentrant, follows }
    }

    pub(super) fn acquire(
        &self,
        owner: Owner,
        patience: &mut Patience<'_>,
    ) -> Result<bool, Interrupted> {
        let mine = |state: &State| self.reentrant && state.owner == Some(owner);
        let ready = |state: &State| state.depth == 0 || mine(state);
        let Some(mut state) = self.state.wait(FREE, patience, ready)? else { return Ok(false) };
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
            self.state.notify_one(FREE);
        }
        Ok(())
    }

    fn is_locked(&self) -> bool {
        self.state.lock().depth > 0
    }

    /// Whether it is locked, and this owner's if it minds owners: what a `Condition` asks.
    pub(super) fn is_owned(&self, owner: Owner) -> bool {
        let state = self.state.lock();
        if self.reentrant { state.owner == Some(owner) } else { state.depth > 0 }
    }

    /// Releases it however often it was acquired; gives how often.
    pub(super) fn release_all(&self) -> usize {
        self.release_if(|_| true)
    }

    fn release_if(&self, wanted: impl FnOnce(&State) -> bool) -> usize {
        let mut state = self.state.lock();
        if !wanted(&state) {
            return 0;
        }
        let was = std::mem::take(&mut *state);
        drop(state);
        self.state.notify_one(FREE);
        was.depth
    }

    /// Waits until it is free, and acquires it that often.
    pub(super) fn acquire_all(
        &self,
        owner: Owner,
        depth: usize,
        patience: &mut Patience<'_>,
    ) -> Result<(), Interrupted> {
        if let Some(mut state) = self.state.wait(FREE, patience, |state| state.depth == 0)? {
            *state = State { owner: Some(owner), depth };
        }
        Ok(())
    }

    /// `acquire(blocking=True, timeout=-1)`.
    fn acquire_call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let given = call.positional().len() + call.keywords().count();
        if given > 2 {
            let text = format!("acquire() takes at most 2 arguments ({given} given)");
            return Err(Exception::type_error(text));
        }
        let [blocking, timeout] = call.bind(0, ["blocking", "timeout"])?;
        let blocking = blocking.map_or(Ok(true), |blocking| blocking.truthy())?;
        let seconds = timeout.map_or(Ok(-1.0), |timeout| number(&timeout, not_seconds))?;
        let within = duration(seconds.abs())?;
        let unset = seconds < 0.0 && within == Duration::from_secs(1);
        let within = match (blocking, unset) {
            (true, true) => None,
            (false, true) => Some(Duration::ZERO),
            (false, false) => {
                let text = "can't specify a timeout for a non-blocking call";
                return Err(Exception::value_error(text));
            }
            (true, false) if seconds < 0.0 => {
                let text = "timeout value must be a non-negative number";
                return Err(Exception::value_error(text));
            }
            (true, false) => Some(within),
        };
        if self.follows {
            call.watch_connection();
        }
        let acquired = self.acquire(Owner::of(call), &mut call.patience(within))?;
        if acquired && !self.follows {
            // Whoever cannot be told of it never knew: see `take_back`.
            return Ok(Return::Item(Pickle::from(&Value::Bool(true)).into()));
        }
        Ok(acquired.into())
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> &[&str] {
        &["acquire", "locked", "release"]
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        if call.method() == "acquire" {
            return self.acquire_call(call);
        }
        none(call, if self.reentrant { "RLock" } else { "lock" })?;
        match call.method() {
            "locked" => Ok(self.is_locked().into()),
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

    fn take_back(&self, _: Item) {
        // Another may have released it already.
        let _ = self.release(Owner::this_thread());
    }

    fn disconnected(&self, connection: ConnectionId) {
        if self.follows {
            self.release_if(|state| state.owner == Some(Owner::Connection(connection)));
        }
    }
}

impl fmt::Display for Owner {
    /// A number, as CPython shows a thread.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(ConnectionId(id)) => id.fmt(f),
            Self::Thread(id) => write!(f, "{id:?}"),
        }
    }
}
