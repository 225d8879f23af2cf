//! The proxy of a condition, and the guard that can wait.

use std::time::{Duration, Instant};

use super::lock::LockGuard;
use crate::client::{Proxy, seconds};
use crate::error::Result;

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
    /// Acquires the condition's lock, and waits as long as that takes.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<ConditionGuard> {
        LockGuard::new(&self.0).map(ConditionGuard)
    }

    /// Acquires the lock; `None` if it cannot be had at once.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn try_lock(&self) -> Result<Option<ConditionGuard>> {
        self.lock_timeout(Duration::ZERO)
    }

    /// Acquires the lock; `None` if it could not be had within this time.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Option<ConditionGuard>> {
        Ok(LockGuard::within(&self.0, timeout)?.map(ConditionGuard))
    }
}

/// Holds a condition's lock, and the connection that acquired it. Releases the lock when dropped.
#[derive(Debug)]
#[must_use = "the lock is released when its guard is dropped"]
pub struct ConditionGuard(LockGuard);

impl ConditionGuard {
    /// Releases the lock, waits to be notified, and acquires the lock again. `false` if the time was up
    /// first; `None` waits for ever.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give; the lock is released then.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool> {
        // To get the lock again may take any time.
        self.0.call("wait", &[seconds(timeout)], None)?.to()
    }

    /// Waits until the predicate holds, which is asked at once and whenever this is notified. Gives
    /// what it said last: `false` if the time was up first.
    ///
    /// # Errors
    /// As [`ConditionGuard::wait`], and what the predicate gives.
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

    /// Wakes so many of those who wait, the first ones first.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn notify(&mut self, n: usize) -> Result<()> {
        self.0.call("notify", &[n.into()], Some(Duration::ZERO)).map(drop)
    }

    /// Wakes all who wait.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn notify_all(&mut self) -> Result<()> {
        self.0.call("notify_all", &[], Some(Duration::ZERO)).map(drop)
    }

    /// Releases the lock, and says whether that went well.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn release(self) -> Result<()> {
        self.0.release()
    }
}
