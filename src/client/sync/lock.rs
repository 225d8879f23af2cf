//! The proxy of what can be acquired, and the guard that releases it.

use std::time::Duration;

use crate::client::proxy::DROP_TIMEOUT;
use crate::client::session::Session;
use crate::client::{Proxy, seconds};
use crate::error::Result;
use crate::value::Value;

/// A `Lock`, `RLock`, `Semaphore` or `BoundedSemaphore` in a manager (Python's `AcquirerProxy`). A
/// clone is the same one.
///
/// Each guard has a connection of its own, so that the manager can tell who holds what: guards exclude
/// each other whichever thread they are on, those of an `RLock` too.
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
    /// Acquires it, and waits as long as that takes.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<LockGuard> {
        LockGuard::new(&self.0)
    }

    /// Acquires it; `None` if it cannot be had at once.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn try_lock(&self) -> Result<Option<LockGuard>> {
        self.lock_timeout(Duration::ZERO)
    }

    /// Acquires it; `None` if it could not be had within this time.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<LockGuard>> {
        LockGuard::within(&self.0, timeout)
    }

    /// Releases it for whoever holds it. One of an owner, an `RLock`, only its guard can release.
    ///
    /// # Errors
    /// `RuntimeError` or `ValueError` if nobody holds it; whatever [`Proxy::call`] may give.
    pub fn release(&self) -> Result<()> {
        self.0.call("release", ()).map(drop)
    }

    /// Whether anybody holds it. Semaphores do not tell; nor do managers of Python before 3.14.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> Result<bool> {
        self.0.call("locked", ())?.to()
    }
}

/// Holds a lock, and the connection that acquired it, which is new and ends with the guard. Releases the
/// lock when dropped.
///
/// If this process dies instead, the manager releases what has an owner: an `RLock`, a `Condition`.
#[must_use = "the lock is released when its guard is dropped"]
pub struct LockGuard {
    pub(super) proxy: Proxy,
    session: Session,
    held: bool,
}

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LockGuard").field(&self.proxy).finish()
    }
}

impl LockGuard {
    pub(super) fn new(proxy: &Proxy) -> Result<Self> {
        let mut guard = Self { proxy: proxy.clone(), session: proxy.own_session()?, held: false };
        guard.held = guard.call("acquire", &[], None)?.to()?;
        Ok(guard)
    }

    pub(super) fn within(proxy: &Proxy, timeout: Duration) -> Result<Option<Self>> {
        let mut guard = Self { proxy: proxy.clone(), session: proxy.own_session()?, held: false };
        let args = [true.into(), seconds(Some(timeout))];
        guard.held = guard.call("acquire", &args, Some(timeout))?.to()?;
        Ok(guard.held.then_some(guard))
    }

    /// Releases the lock, and says whether that went well.
    ///
    /// # Errors
    /// `RuntimeError` or `ValueError` if another has released it; whatever [`Proxy::call`] may give.
    pub fn release(mut self) -> Result<()> {
        self.held = false;
        self.call("release", &[], Some(Duration::ZERO)).map(drop)
    }

    /// Leaves the lock as it is, for another to release: a permit of a semaphore that is used up. What
    /// belongs to the connection (an `RLock`, or whatever is `released_on_disconnect`) is released all the
    /// same, for the connection ends.
    pub fn forget(mut self) {
        self.held = false;
    }

    pub(super) fn call(
        &mut self,
        method: &str,
        args: &[Value],
        wait: Option<Duration>,
    ) -> Result<Value> {
        self.proxy.call_on(&mut self.session, method, args, wait)
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.held {
            // There is nowhere to report an error.
            let _ = self.session.call_within(self.proxy.id(), "release", (), Some(DROP_TIMEOUT));
        }
    }
}
