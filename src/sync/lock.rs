//! `threading.Lock` and `threading.RLock`, shared.
//!
//! ```text
//!             acquire                     acquire again (RLock, its owner)
//!   free ────────────────► owner, depth 1 ◄──────────────────► depth 2 …
//!        ◄────────────────     release                release
//!          release, or the owner's connection ends (RLock; Lock, if it is to)
//! ```

mod shared;

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::{Call, Owner};
use crate::wait::Patience;
pub(super) use shared::Shared;

/// A lock that whoever likes may release. A clone is the same lock.
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

/// A lock that its owner may acquire again, and must release as often. A clone is the same lock.
///
/// The owner is a client's connection, as in CPython the thread that serves it; or a thread of this
/// process. When the connection ends the lock is released (CPython keeps it locked for ever).
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
        call.no_args()?;
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
