//! `threading.Condition`, shared: a lock, and a line of those who wait to be notified.
//!
//! ```text
//!  holds the lock ── wait ──► in line, lock released ── notified, in order ──► waits for the lock
//!        ▲                           └── time up ───────────────────────────►        │
//!        └───────────────────────────────────────────────────────────────────────────┘
//! ```
//! As in CPython each waiter has something of its own to wait for, here a [`Monitor`]: so those who
//! came first are woken first, and nobody else is woken.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::lock::{self, Lock, RLock};
use super::number::{not_compared, number, timeout};
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::{Call, ConnectionId, Owner};
use crate::object::stored::{Element, Item};
use crate::object::{Exposed, Return, SharedObject};
use crate::value::Value;
use crate::wait::{Interrupted, Monitor, Patience, lock};

/// A lock whose holders can wait for each other's news. A clone is the same condition.
///
/// ```
/// use basemanager::sync::Condition;
/// let condition = Condition::new();
/// assert!(condition.acquire(None));
/// condition.notify(1)?; // nobody waits
/// condition.release()?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Condition(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lock: Arc<lock::Shared>,
    /// The proxy that it was made of, which keeps a lock that clients share; dropped after the lock.
    _proxy: Element,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<(u64, Monitor<bool>)>,
    next: u64,
}

const NOTIFIED: usize = 0;

shared!(Condition, default);

impl Condition {
    /// A condition with an [`RLock`] of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::with_rlock(&RLock::new())
    }

    /// A condition of this lock, which others may use too.
    #[must_use]
    pub fn with_lock(lock: &Lock) -> Self {
        Self::on(lock.0.clone(), Value::None.into())
    }

    /// A condition of this lock, which others may use too.
    #[must_use]
    pub fn with_rlock(lock: &RLock) -> Self {
        Self::on(lock.0.clone(), Value::None.into())
    }

    /// What Python's constructor makes of a client's arguments: `lock=None`, or a proxy of a lock here.
    ///
    /// # Errors
    /// `TypeError`, or `AttributeError` for what is no lock.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let ([], [lock]) = call.args([], ["lock"])?;
        let proxy = lock.map_or(Ok(Value::None), |lock| call.value(lock))?;
        if proxy.is_none() {
            return Ok(Self::new());
        }
        let object = call.object(&proxy).map(|object| object as Arc<dyn Any + Send + Sync>);
        let lock = object.and_then(|object| object.downcast().ok()).ok_or_else(|| {
            let name = proxy.type_name();
            Exception::attribute_error(format!("'{name}' object has no attribute 'acquire'"))
        })?;
        Ok(Self::on(lock, call.hold(proxy)?))
    }

    fn on(lock: Arc<lock::Shared>, proxy: Element) -> Self {
        Self(Arc::new(Shared { lock, _proxy: proxy, line: Mutex::default() }))
    }

    /// Acquires the lock, as [`RLock::acquire`].
    #[must_use]
    pub fn acquire(&self, timeout: Option<Duration>) -> bool {
        // Nobody interrupts a thread of this process.
        let mut patience = Patience::new(timeout);
        self.0.lock.acquire(Owner::this_thread(), &mut patience).unwrap_or(false)
    }

    /// Releases the lock.
    ///
    /// # Errors
    /// `RuntimeError` if this thread does not hold it.
    pub fn release(&self) -> Result<()> {
        Ok(self.0.lock.release(Owner::this_thread())?)
    }

    /// Releases the lock, waits to be notified, and acquires the lock again. `false` if the time was up
    /// first; `None` waits for ever.
    ///
    /// # Errors
    /// `RuntimeError` if this thread does not hold the lock.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        let owner = Owner::this_thread();
        self.0.check(owner, "wait")?;
        Ok(self.0.wait(owner, &mut Patience::new(timeout)).unwrap_or(false))
    }

    /// Wakes so many of those who wait, the first ones first.
    ///
    /// # Errors
    /// `RuntimeError` if this thread does not hold the lock.
    pub fn notify(&self, n: usize) -> Result<()> {
        self.0.check(Owner::this_thread(), "notify")?;
        self.0.notify(n);
        Ok(())
    }

    /// Wakes all who wait.
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

    fn wait(&self, owner: Owner, patience: &mut Patience<'_>) -> Result<bool, Interrupted> {
        let waiter = Monitor::new(false);
        let place = self.enter(waiter.clone());
        let depth = self.lock.release_all();
        let woken =
            waiter.wait(NOTIFIED, patience, |notified| *notified).map(|woken| woken.is_some());
        // Whoever has left the line has been notified, if only just.
        let notified = !self.leave(place);
        let back = match woken {
            // One that has waited too long goes on as well, and releases the lock: as in Python it has it.
            Ok(_) | Err(Interrupted::WaitedTooLong) => {
                self.lock.acquire_all(owner, depth, patience.unbounded())
            }
            Err(interrupted) => Err(interrupted),
        };
        if back.is_err() && notified {
            self.notify(1);
        }
        back?;
        if notified { Ok(true) } else { woken.map(|_| false) }
    }

    /// Takes the last place in the line.
    fn enter(&self, waiter: Monitor<bool>) -> u64 {
        let mut line = lock(&self.line);
        line.next += 1;
        let place = line.next;
        line.waiters.push_back((place, waiter));
        place
    }

    /// Gives up a place; `false` if it was gone.
    fn leave(&self, place: u64) -> bool {
        let mut line = lock(&self.line);
        let found = line.waiters.binary_search_by_key(&place, |(place, _)| *place);
        found.is_ok_and(|at| line.waiters.remove(at).is_some())
    }

    fn notify(&self, n: usize) {
        let mut line = lock(&self.line);
        let n = n.min(line.waiters.len());
        for (_, waiter) in line.waiters.drain(..n) {
            *waiter.lock() = true;
            waiter.notify_one(NOTIFIED);
        }
    }

    /// `notify(n=1)`: nobody minds what `n` is while nobody waits.
    fn notify_call(&self, call: &Call<'_>) -> Result<Return, Exception> {
        let ([], [n]) = call.args([], ["n"])?;
        self.check(Owner::of(call), "notify")?;
        if !lock(&self.line).waiters.is_empty() {
            let refusal =
                |name: &str| format!("'>' not supported between instances of '{name}' and 'int'");
            let n = n.map_or(Ok(1.0), |n| number(call, n, refusal))?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates"
            )]
            self.notify(n.ceil() as usize);
        }
        Ok(().into())
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["acquire", "locked", "notify", "notify_all", "release", "wait"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let owner = Owner::of(call);
        if !matches!(call.method(), "wait" | "notify" | "notify_all") {
            // The lock itself is told of a connection's end, for it may outlive this condition.
            let lock: Weak<dyn SharedObject> = Arc::<lock::Shared>::downgrade(&self.lock);
            call.watch_connection_for(lock);
            return self.lock.call(call);
        }
        match call.method() {
            "wait" => {
                let ([], [within]) = call.args([], ["timeout"])?;
                self.check(owner, "wait")?;
                let within = timeout(call, within, not_compared)?;
                Ok(self.wait(owner, &mut call.patience(within))?.into())
            }
            "notify" => self.notify_call(call),
            _ => {
                call.no_args()?;
                self.check(owner, "notify")?;
                self.notify(usize::MAX);
                Ok(().into())
            }
        }
    }

    fn repr(&self) -> String {
        format!("<Condition({}, {})>", self.lock.repr(), lock(&self.line).waiters.len())
    }

    fn take_back(&self, item: Item, connection: ConnectionId) {
        self.lock.take_back(item, connection);
    }
}
