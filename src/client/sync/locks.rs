//! Typed proxies of what clients wait for: locks, semaphores, events, conditions and barriers.
//!
//! Every method returns the errors of [`Proxy::call`], and the exceptions that Python raises.
#![allow(clippy::missing_errors_doc, reason = "stated once, above")]

use std::time::{Duration, Instant};

use super::{call, not_exposed, typed};
use crate::client::connection::Connection;
use crate::client::proxy::DROP_TIMEOUT;
use crate::client::{Proxy, seconds};
use crate::error::Result;
use crate::value::Value;

/// A `Lock`, `RLock`, `Semaphore` or `BoundedSemaphore` in a manager (Python's `AcquirerProxy`). A clone is the same
/// object.
///
/// Each guard has a connection of its own, by which the manager knows the owner. So guards exclude each other on any
/// thread, those of an `RLock` too.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Lock, LockProxy};
/// # let server = Manager::new("key").register("Lock", |_| Lock::new()).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let lock: LockProxy = client.create("Lock", ())?.into();
/// let guard = lock.lock()?;
/// assert!(lock.try_lock()?.is_none());
/// drop(guard);
/// assert!(!lock.is_locked()?);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LockProxy(Proxy);

typed!(LockProxy);

impl LockProxy {
    /// Acquires the lock, waiting for ever.
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<LockGuard> {
        LockGuard::new(&self.0, None)
    }

    /// Acquires the lock; `None` if it is not free.
    pub fn try_lock(&self) -> Result<Option<LockGuard>> {
        self.lock_timeout(Duration::ZERO)
    }

    /// Acquires the lock; `None` if it could not within the timeout.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<LockGuard>> {
        let guard = LockGuard::new(&self.0, Some(timeout))?;
        Ok(guard.held.then_some(guard))
    }

    /// Releases the lock, also if another client holds it; an `RLock` can be released by its guard only.
    /// `RuntimeError` or `ValueError` if it is not held.
    pub fn release(&self) -> Result<()> {
        call(&self.0, "release", &[]).map(drop)
    }

    /// Whether the lock is held. Semaphores do not have this method, nor do managers of Python before 3.14.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> Result<bool> {
        call(&self.0, "locked", &[])?.to()
    }
}

/// Holds a lock, and the connection that acquired it, which ends with the guard. Releases the lock when dropped, and
/// waits for that for at most 2 s; [`LockGuard::release`] reports errors.
///
/// If this process dies instead, the manager releases what has an owner: an `RLock`, a `Condition`.
#[derive(Debug)]
#[must_use = "the lock is released when its guard is dropped"]
pub struct LockGuard {
    proxy: Proxy,
    connection: Connection,
    held: bool,
}

impl LockGuard {
    /// Tries to acquire the lock; `held` says whether it did within the timeout.
    fn new(proxy: &Proxy, timeout: Option<Duration>) -> Result<Self> {
        let connection = proxy.client().connect_own()?;
        let mut guard = Self { proxy: proxy.clone(), connection, held: false };
        let acquired = match timeout {
            None => guard.call("acquire", &[], None),
            timeout => guard.call("acquire", &[true.into(), seconds(timeout)], timeout),
        };
        guard.held = acquired?.to()?;
        Ok(guard)
    }

    /// Releases the lock, and returns any error. `RuntimeError` or `ValueError` if another client has released it.
    pub fn release(mut self) -> Result<()> {
        self.held = false;
        self.call("release", &[], Some(Duration::ZERO)).map(drop)
    }

    /// Drops the guard without releasing the lock, for another client to do so: for example a permit of a semaphore
    /// that is used up. What belongs to the connection (an `RLock`, or a lock that is released on disconnect) is
    /// released all the same, for the connection ends.
    pub fn forget(mut self) {
        self.held = false;
    }

    fn call(&mut self, method: &str, args: &[Value], wait: Option<Duration>) -> Result<Value> {
        let result = self.proxy.call_on(&mut self.connection, method, args, wait);
        result.map_err(|error| not_exposed(error, method))
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.held {
            // If it fails, the connection is gone, and an owner's lock with it.
            let id = Some(self.proxy.id());
            let _ = self.connection.call(id, "release", (), Some(DROP_TIMEOUT));
        }
    }
}

/// A condition in a manager. A clone is the same condition.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Condition, ConditionProxy};
/// # let server = Manager::new("key").register("Condition", |_| Condition::new());
/// # let handle = server.bind("127.0.0.1:0")?.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let condition: ConditionProxy = client.create("Condition", ())?.into();
/// let other = condition.clone();
/// let mut guard = condition.lock()?;
/// let thread = std::thread::spawn(move || other.lock()?.notify_all());
/// assert!(guard.wait(None)?);
/// # thread.join().unwrap()?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConditionProxy(Proxy);

typed!(ConditionProxy);

impl ConditionProxy {
    /// Acquires the condition's lock, waiting for ever.
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<ConditionGuard> {
        LockGuard::new(&self.0, None).map(ConditionGuard)
    }

    /// Acquires the lock; `None` if it is not free.
    pub fn try_lock(&self) -> Result<Option<ConditionGuard>> {
        self.lock_timeout(Duration::ZERO)
    }

    /// Acquires the lock; `None` if it could not within the timeout.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<ConditionGuard>> {
        let guard = LockGuard::new(&self.0, Some(timeout))?;
        Ok(guard.held.then_some(ConditionGuard(guard)))
    }
}

/// Holds a condition's lock, and the connection that acquired it. Releases the lock when dropped.
#[derive(Debug)]
#[must_use = "the lock is released when its guard is dropped"]
pub struct ConditionGuard(LockGuard);

impl ConditionGuard {
    /// Releases the lock, waits to be notified, and acquires the lock again; `false` if it was not notified within
    /// the timeout. `None` waits for ever. After an error the lock is released.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool> {
        // Without a timeout of the call: to acquire the lock again may take any time.
        self.0.call("wait", &[seconds(timeout)], None)?.to()
    }

    /// Waits until a predicate holds, which is called at once and after each notification. Returns its last
    /// result: `false` after the timeout. Returns the predicate's errors.
    pub fn wait_for(
        &mut self,
        timeout: Option<Duration>,
        mut predicate: impl FnMut() -> Result<bool>,
    ) -> Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        while !predicate()? {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            self.wait(left)?;
        }
        Ok(true)
    }

    /// Wakes the `n` oldest waiters.
    pub fn notify(&mut self, n: usize) -> Result<()> {
        self.0.call("notify", &[n.into()], Some(Duration::ZERO)).map(drop)
    }

    /// Wakes all waiters.
    pub fn notify_all(&mut self) -> Result<()> {
        self.0.call("notify_all", &[], Some(Duration::ZERO)).map(drop)
    }

    /// Releases the lock, and returns any error.
    pub fn release(self) -> Result<()> {
        self.0.release()
    }
}

/// A flag in a manager. A clone is the same flag.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Event, EventProxy};
/// # let server = Manager::new("key").register("Event", |_| Event::new()).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let event: EventProxy = client.create("Event", ())?.into();
/// event.set()?;
/// assert!(event.wait(None)?);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EventProxy(Proxy);

typed!(EventProxy);

impl EventProxy {
    /// Whether the flag is set.
    pub fn is_set(&self) -> Result<bool> {
        call(&self.0, "is_set", &[])?.to()
    }

    /// Sets the flag, and wakes every thread and client that waits.
    pub fn set(&self) -> Result<()> {
        call(&self.0, "set", &[]).map(drop)
    }

    /// Clears the flag.
    pub fn clear(&self) -> Result<()> {
        call(&self.0, "clear", &[]).map(drop)
    }

    /// Waits until the flag is set; `false` if it was not within the timeout. `None` waits for ever.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        self.0.call_waiting("wait", (seconds(timeout),), timeout)?.to()
    }
}

/// A barrier in a manager. A clone is the same barrier.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Barrier, BarrierProxy};
/// # let server = Manager::new("key").register("Barrier", |call| Barrier::from_call(call));
/// # let handle = server.bind("127.0.0.1:0")?.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let barrier: BarrierProxy = client.create("Barrier", (2,))?.into();
/// let other = barrier.clone();
/// let thread = std::thread::spawn(move || other.wait(None));
/// assert_eq!(barrier.wait(None)? + thread.join().unwrap()?, 1);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BarrierProxy(Proxy);

typed!(BarrierProxy);

impl BarrierProxy {
    /// Waits until all parties have arrived. Returns the place of this one, from 0. `None` waits for the barrier's
    /// default timeout. `threading.BrokenBarrierError`
    /// ([`Error::is_broken_barrier`](crate::Error::is_broken_barrier)) if the barrier is broken, or times out.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<usize> {
        self.0.call_waiting("wait", (seconds(timeout),), timeout)?.to()
    }

    /// Breaks the barrier: every `wait`, now and later, returns an error.
    pub fn abort(&self) -> Result<()> {
        call(&self.0, "abort", &[]).map(drop)
    }

    /// Breaks the round of those that wait, and repairs the barrier for the next.
    pub fn reset(&self) -> Result<()> {
        call(&self.0, "reset", &[]).map(drop)
    }

    /// The number of parties.
    pub fn parties(&self) -> Result<usize> {
        self.attribute("parties")?.to()
    }

    /// The number of parties that wait.
    pub fn n_waiting(&self) -> Result<usize> {
        self.attribute("n_waiting")?.to()
    }

    /// Whether the barrier is broken.
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> Result<bool> {
        self.attribute("broken")?.to()
    }

    fn attribute(&self, name: &str) -> Result<Value> {
        call(&self.0, "__getattribute__", &[name.into()])
    }
}
