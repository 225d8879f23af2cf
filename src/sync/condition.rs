//! `threading.Condition`, shared: a lock, and a FIFO of waiters.
//!
//! ```text
//!  holds the lock ── wait ──► in the FIFO, lock released ── notified, in order ──► waits for the lock
//!        ▲                           └── timeout ───────────────────────────────►        │
//!        └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//! As in CPython each waiter waits for something of its own, here a [`Monitor`]: a notification wakes the oldest
//! waiter, and no other.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::lock::{self, Lock, RLock};
use super::python;
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::{Call, ConnectionId, Owner};
use crate::object::stored::{Element, Item};
use crate::object::{Exposed, Return, SharedObject, saturated};
use crate::value::Value;
use crate::wait::{Monitor, Wait, WaitError, lock};

/// A lock whose owner can wait to be notified. A clone is the same condition.
///
/// ```
/// use basemanager::sync::Condition;
/// let condition = Condition::new();
/// assert!(condition.acquire(None));
/// condition.notify(1)?; // no effect: there is no waiter
/// condition.release()?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Condition(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lock: Arc<lock::Shared>,
    /// The proxy of a lock that clients share, which keeps that alive; dropped after the lock.
    _proxy: Element,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    /// By place in the FIFO, each with whether it was notified.
    fifo: BTreeMap<u64, Monitor<bool>>,
    next: u64,
}

shared!(Condition, default);

impl Condition {
    /// A condition with an [`RLock`] of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::with_rlock(&RLock::new())
    }

    /// A condition with a given lock.
    #[must_use]
    pub fn with_lock(lock: &Lock) -> Self {
        Self::on(lock.0.clone(), Value::None.into())
    }

    /// A condition with a given lock.
    #[must_use]
    pub fn with_rlock(lock: &RLock) -> Self {
        Self::on(lock.0.clone(), Value::None.into())
    }

    /// Creates a condition from a client's argument `lock=None`, which may be a proxy of a lock in this manager: a
    /// callable for [`Manager::register`](crate::Manager::register).
    ///
    /// # Errors
    /// `AttributeError` if it is not a lock.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let ([], [lock]) = call.args([], ["lock"])?;
        let proxy = lock.map_or(Ok(Value::None), |lock| call.value(lock))?;
        if proxy.is_none() {
            return Ok(Self::new());
        }
        let object = call.object(&proxy).map(|object| object as Arc<dyn Any + Send + Sync>);
        let lock = object.and_then(|object| object.downcast::<lock::Shared>().ok());
        let lock = lock.filter(|lock| !lock.is_semaphore()).ok_or_else(|| {
            let name = python::type_name(&proxy);
            Exception::attribute_error(format!("expected a lock of this manager, got '{name}'"))
        })?;
        Ok(Self::on(lock, call.hold(proxy)?))
    }

    fn on(lock: Arc<lock::Shared>, proxy: Element) -> Self {
        Self(Arc::new(Shared { lock, _proxy: proxy, waiters: Mutex::default() }))
    }

    /// Acquires the lock, as [`RLock::acquire`].
    #[must_use]
    pub fn acquire(&self, timeout: Option<Duration>) -> bool {
        self.0.lock.acquire_here(timeout)
    }

    /// Releases the lock.
    ///
    /// # Errors
    /// `RuntimeError` if this thread does not hold it.
    pub fn release(&self) -> Result<()> {
        Ok(self.0.lock.release(Owner::this_thread(), 1)?)
    }

    /// Releases the lock, waits to be notified, and acquires the lock again; `false` if it was not notified within
    /// the timeout. `None` waits for ever.
    ///
    /// # Errors
    /// `RuntimeError` if this thread does not hold the lock.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        let owner = Owner::this_thread();
        self.0.check(owner, "wait")?;
        Ok(self.0.wait(owner, &mut Wait::new(timeout)).unwrap_or(false))
    }

    /// Wakes the `n` oldest waiters.
    ///
    /// # Errors
    /// `RuntimeError` if this thread does not hold the lock.
    pub fn notify(&self, n: usize) -> Result<()> {
        self.0.check(Owner::this_thread(), "notify")?;
        self.0.notify(n);
        Ok(())
    }

    /// Wakes all waiters.
    ///
    /// # Errors
    /// `RuntimeError` if this thread does not hold the lock.
    pub fn notify_all(&self) -> Result<()> {
        self.notify(usize::MAX)
    }
}

impl Shared {
    fn check(&self, owner: Owner, to: &str) -> Result<(), Exception> {
        if self.lock.is_owned(owner) {
            return Ok(());
        }
        Err(Exception::runtime_error(format!("cannot {to} on un-acquired lock")))
    }

    fn wait(&self, owner: Owner, wait: &mut Wait<'_>) -> Result<bool, WaitError> {
        let waiter = Monitor::new(false);
        let place = {
            let mut waiters = lock(&self.waiters);
            waiters.next += 1;
            let place = waiters.next;
            waiters.fifo.insert(place, waiter.clone());
            place
        };
        let levels = self.lock.release_all(|_| true);
        let woken = waiter.wait(wait, |notified| *notified).map(|woken| woken.is_some());
        // A waiter that is no longer in the FIFO was notified.
        let notified = lock(&self.waiters).fifo.remove(&place).is_none();
        let back = match woken {
            // After WaitError::MaxWait the caller holds the lock too, as after any exception of `wait` in Python.
            Ok(_) | Err(WaitError::MaxWait(_)) => {
                self.lock.acquire(owner, levels.max(1), wait.unbounded())
            }
            Err(interrupted) => Err(interrupted),
        };
        if back.is_err() && notified {
            self.notify(1);
        }
        back?;
        if notified { Ok(true) } else { woken.map(|_| false) }
    }

    fn notify(&self, n: usize) {
        let mut waiters = lock(&self.waiters);
        for (_, waiter) in std::iter::from_fn(|| waiters.fifo.pop_first()).take(n) {
            *waiter.lock() = true;
            waiter.notify_one();
        }
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["acquire", "locked", "notify", "notify_all", "release", "wait"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let owner = Owner::of(call);
        if !matches!(call.method(), "wait" | "notify" | "notify_all") {
            // The lock itself is told when the connection ends, since it may outlive this condition.
            let lock: Weak<dyn SharedObject> = Arc::<lock::Shared>::downgrade(&self.lock);
            call.watch_connection_for(lock);
            return self.lock.call(call);
        }
        match call.method() {
            "wait" => {
                let ([], [timeout]) = call.args([], ["timeout"])?;
                self.check(owner, "wait")?;
                let timeout = python::timeout(call, timeout)?;
                Ok(self.wait(owner, &mut call.wait(timeout))?.into())
            }
            "notify" => {
                let ([], [n]) = call.args([], ["n"])?;
                self.check(owner, "notify")?;
                let n = n.map_or(Ok(1), |n| python::integer(call, n))?;
                self.notify(saturated(n));
                Ok(().into())
            }
            _ => {
                call.no_args()?;
                self.check(owner, "notify")?;
                self.notify(usize::MAX);
                Ok(().into())
            }
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("<Condition(")?;
        self.lock.repr(out)?;
        write!(out, ", {})>", lock(&self.waiters).fifo.len())
    }

    fn take_back(&self, item: Item, connection: ConnectionId) {
        self.lock.take_back(item, connection);
    }
}
