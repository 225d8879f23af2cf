//! `threading.Lock`, `RLock`, `Semaphore` and `BoundedSemaphore`, shared: permits that are acquired and released.
//! A lock has one permit.
//!
//! ```text
//!              acquire                      acquire again (RLock, by its owner)
//!   free 1 ────────────────► free 0, held 1 ◄────────────────────► free 0, held 2 ...
//!          ◄────────────────     release                   release
//!            release, or disconnect of the owner (RLock, `new_released_on_disconnect`)
//! ```

use std::collections::HashMap;
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

macro_rules! lock {
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
                self.0.acquire_here(timeout)
            }

            /// Releases the lock.
            ///
            /// # Errors
            /// `RuntimeError` if it is not locked or, for an [`RLock`], this thread is not its owner.
            pub fn release(&self) -> Result<()> {
                Ok(self.0.release(Owner::this_thread(), 1)?)
            }

            /// Whether the lock is held.
            #[doc(alias = "locked")]
            #[must_use]
            pub fn is_locked(&self) -> bool {
                self.0.is_locked()
            }
        }
    };
}

lock!(Lock);
lock!(RLock);

impl Lock {
    /// A lock that is free.
    #[must_use]
    pub fn new() -> Self {
        Self(Shared::new(Kind::Lock, 1, 1, false))
    }

    /// A lock that is also released when the connection that acquired it ends. A [`Lock::new`] stays locked
    /// then, as in Python, since another client may be meant to release it.
    #[must_use]
    pub fn new_released_on_disconnect() -> Self {
        Self(Shared::new(Kind::Lock, 1, 1, true))
    }
}

impl RLock {
    /// A lock that is free.
    #[must_use]
    pub fn new() -> Self {
        Self(Shared::new(Kind::RLock, 1, 1, true))
    }
}

macro_rules! semaphore {
    ($semaphore:ident, $max:expr) => {
        shared!($semaphore);

        impl Default for $semaphore {
            fn default() -> Self {
                Self::new(1)
            }
        }

        impl $semaphore {
            /// A semaphore with this many permits. Python's default is 1.
            #[must_use]
            pub fn new(value: usize) -> Self {
                Self(Shared::new(Kind::Semaphore, value, $max(value), false))
            }

            /// A semaphore that also gets back the permits that a connection acquired and did not release,
            /// when that ends. [`new`](Self::new) does not, as in Python, since another client may be meant
            /// to release them.
            #[must_use]
            pub fn new_released_on_disconnect(value: usize) -> Self {
                Self(Shared::new(Kind::Semaphore, value, $max(value), true))
            }

            /// Creates a semaphore from a client's argument `value=1`: a callable for
            /// [`Manager::register`](crate::Manager::register).
            ///
            /// # Errors
            /// `ValueError` if it is negative, `TypeError` if it is not an integer.
            pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
                let ([], [value]) = call.args([], ["value"])?;
                Ok(Self::new(value.map_or(Ok(1), |value| python::count(call, value, 0))?))
            }

            /// Takes a permit; `false` if there was none within the timeout. `None` waits for ever.
            #[must_use]
            pub fn acquire(&self, timeout: Option<Duration>) -> bool {
                self.0.acquire_here(timeout)
            }

            /// Returns `n` permits.
            ///
            /// # Errors
            /// `ValueError` if `n` is 0, or if a bounded semaphore would exceed its first value.
            pub fn release(&self, n: usize) -> Result<()> {
                Ok(self.0.release(Owner::this_thread(), n)?)
            }
        }
    };
}

semaphore!(Semaphore, |_| usize::MAX);
semaphore!(BoundedSemaphore, |value| value);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Lock,
    RLock,
    Semaphore,
}

/// The state and the methods of all kinds, and of the lock in a condition.
#[derive(Debug)]
pub(super) struct Shared {
    state: Monitor<State>,
    kind: Kind,
    /// The most permits that can be free; `usize::MAX` if there is no bound.
    max: usize,
    release_on_disconnect: bool,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// The levels of a lock that its owner holds. Of a semaphore, the permits of each connection, counted for
    /// `release_on_disconnect` only.
    held: HashMap<Owner, usize>,
}

impl Shared {
    fn new(kind: Kind, free: usize, max: usize, release_on_disconnect: bool) -> Arc<Self> {
        let state = Monitor::new(State { free, held: HashMap::new() });
        Arc::new(Self { state, kind, max, release_on_disconnect })
    }

    pub(super) fn is_semaphore(&self) -> bool {
        self.kind == Kind::Semaphore
    }

    fn is_locked(&self) -> bool {
        self.state.lock().free == 0
    }

    /// Whether a condition may be used by this owner: it must own an `RLock`; a `Lock` must be locked.
    pub(super) fn is_owned(&self, owner: Owner) -> bool {
        match self.kind {
            Kind::RLock => self.state.lock().held.contains_key(&owner),
            _ => self.is_locked(),
        }
    }

    /// Acquires a permit, or this many levels of a lock.
    pub(super) fn acquire(
        &self,
        owner: Owner,
        levels: usize,
        wait: &mut Wait<'_>,
    ) -> Result<bool, WaitError> {
        let again = |state: &State| self.kind == Kind::RLock && state.held.contains_key(&owner);
        let ready = |state: &State| state.free > 0 || again(state);
        let Some(mut state) = self.state.wait(wait, ready)? else { return Ok(false) };
        if !again(&state) {
            state.free -= 1;
        }
        let is_connection = matches!(owner, Owner::Connection(_));
        if !self.is_semaphore() || self.release_on_disconnect && is_connection {
            *state.held.entry(owner).or_default() += levels;
        }
        Ok(true)
    }

    /// [`Shared::acquire`] for this thread, which cannot be interrupted.
    pub(super) fn acquire_here(&self, timeout: Option<Duration>) -> bool {
        self.acquire(Owner::this_thread(), 1, &mut Wait::new(timeout)).unwrap_or(false)
    }

    /// Releases a level of a lock, or `n` permits.
    pub(super) fn release(&self, owner: Owner, n: usize) -> Result<(), Exception> {
        if n == 0 {
            return Err(Exception::value_error("n must be 1 or more"));
        }
        let mut state = self.state.lock();
        if self.kind == Kind::RLock {
            let not_owned = || Exception::runtime_error("cannot release un-acquired lock");
            let levels = state.held.get_mut(&owner).ok_or_else(not_owned)?;
            *levels = levels.saturating_sub(1);
            if *levels > 0 {
                return Ok(());
            }
        }
        let free = state.free.checked_add(n).filter(|free| *free <= self.max);
        state.free = free.ok_or_else(|| match self.kind {
            Kind::Semaphore => Exception::value_error("semaphore released too many times"),
            _ => Exception::runtime_error("release unlocked lock"),
        })?;
        if !self.is_semaphore() {
            state.held.clear();
        } else if let Some(held) = state.held.get_mut(&owner) {
            *held = held.saturating_sub(n);
        }
        drop(state);
        self.wake(n);
        Ok(())
    }

    /// Releases all that these owners hold; returns the number of levels or permits.
    pub(super) fn release_all(&self, of: impl Fn(&Owner) -> bool) -> usize {
        let mut state = self.state.lock();
        let held: usize = state.held.extract_if(|owner, _| of(owner)).map(|(_, held)| held).sum();
        if held > 0 {
            // All levels of a lock are one permit.
            state.free = state.free.saturating_add(held).min(self.max);
            drop(state);
            self.wake(held);
        }
        held
    }

    fn wake(&self, n: usize) {
        if n == 1 { self.state.notify_one() } else { self.state.notify_all() }
    }

    /// `acquire(blocking=True, timeout=-1)`; of a semaphore, `timeout=None`.
    fn acquire_call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let ([], [blocking, timeout]) = call.args([], ["blocking", "timeout"])?;
        let blocking = call.is_true(blocking, true)?;
        let timeout = if self.is_semaphore() {
            python::timeout(call, timeout)?
        } else {
            lock_timeout(call, timeout)?
        };
        let timeout = match (blocking, timeout) {
            (true, timeout) => timeout,
            (false, None) => Some(Duration::ZERO),
            (false, Some(_)) => {
                return Err(Exception::value_error("a call that does not block takes no timeout"));
            }
        };
        if self.release_on_disconnect {
            call.watch_connection();
        }
        let acquired = self.acquire(Owner::of(call), 1, &mut call.wait(timeout))?;
        if acquired && !self.release_on_disconnect {
            // `take_back` releases it if this reply cannot be sent.
            return Ok(Return::Item(Pickle::encode(&Value::Bool(true))?.into()));
        }
        Ok(acquired.into())
    }
}

/// The timeout of a lock: -1 waits for ever.
fn lock_timeout(call: &Call<'_>, arg: Option<&Pickle>) -> Result<Option<Duration>, Exception> {
    match arg.map_or(Ok(-1.0), |arg| python::seconds(call, arg))? {
        -1.0 => Ok(None),
        seconds if seconds < 0.0 => {
            Err(Exception::value_error("a timeout must be -1 (for ever), 0 or more"))
        }
        seconds => duration(seconds).map(Some),
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        let locked = (!self.is_semaphore()).then_some("locked");
        ["acquire", "release"].into_iter().chain(locked).collect()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "acquire" => self.acquire_call(call),
            "release" if self.is_semaphore() => {
                let ([], [n]) = call.args([], ["n"])?;
                let n = n.map_or(Ok(1), |n| python::count(call, n, 1))?;
                Ok(self.release(Owner::of(call), n)?.into())
            }
            "release" => {
                call.no_args()?;
                Ok(self.release(Owner::of(call), 1)?.into())
            }
            "locked" => {
                call.no_args()?;
                Ok(self.is_locked().into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let State { free, held } = &*self.state.lock();
        let locked = if *free == 0 { "locked" } else { "unlocked" };
        match self.kind {
            Kind::Lock => write!(out, "<{locked} _thread.lock object at {self:p}>"),
            Kind::RLock => {
                let owner = match held.keys().next() {
                    Some(Owner::Connection(ConnectionId(id))) => id.to_string(),
                    Some(Owner::Thread(id)) => format!("{id:?}"),
                    None => "0".to_owned(),
                };
                let count: usize = held.values().sum();
                write!(
                    out,
                    "<{locked} _thread.RLock object owner={owner} count={count} at {self:p}>"
                )
            }
            Kind::Semaphore if self.max == usize::MAX => {
                write!(out, "<threading.Semaphore at {self:p}: value={free}>")
            }
            Kind::Semaphore => {
                write!(out, "<threading.BoundedSemaphore at {self:p}: value={free}/{}>", self.max)
            }
        }
    }

    fn take_back(&self, _: Item, connection: ConnectionId) {
        let owner = Owner::Connection(connection);
        if self.is_semaphore() {
            // A bounded semaphore may have reached its bound meanwhile: then the permit is there already.
            let _ = self.release(owner, 1);
        } else {
            // Only if it is still this connection's: another client may have released and acquired it.
            self.release_all(|holder| *holder == owner);
        }
    }

    fn disconnected(&self, connection: ConnectionId) {
        if self.release_on_disconnect {
            self.release_all(|holder| *holder == Owner::Connection(connection));
        }
    }
}
