//! The FIFO queue: Python's `queue.Queue`, shared by this process and its clients.
//!
//! | file | holds |
//! |---|---|
//! | `fifo.rs` | the queue: a mutex, a deque, and conditions on which threads wait |
//! | `calls.rs` | the methods that clients call |
//! | `delivery.rs`, `owners.rs` | optional: at-least-once delivery, leases, dead letters |
//! | `room.rs` | optional: a bound in bytes |
//! | `redis/` | optional: a queue that several managers share (feature `redis`) |
//! | `stats.rs` | totals, and the age of the oldest item |
//!
//! Items are stored pickled, as they arrived, and are not decoded on their way through the manager.

mod calls;
mod delivery;
mod error;
mod fifo;
#[cfg(all(test, loom))]
mod loom;
mod owners;
#[cfg(feature = "redis")]
mod redis;
mod room;
mod stats;
#[cfg(all(test, not(loom)))]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use error::PutError;
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisQueue};
pub use stats::QueueStats;

use crate::error::Result;
use crate::exception::Exception;
use crate::limits::Limits;
use crate::object::call::{Call, Owner};
use crate::object::stored::{Element, Item};
use crate::object::{Return, saturated};
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::Wait;
use calls::Backend;
use fifo::QueueInner;

/// A FIFO queue, for the threads of this process and for clients. Clones refer to the same queue.
///
/// ```
/// use basemanager::Queue;
/// let queue = Queue::new();
/// queue.put("first")?;
/// queue.put(2)?;
/// assert_eq!(queue.get()?.to_string(), "'first'");
/// assert_eq!(queue.try_get()?, Some(2.into()));
/// assert_eq!(queue.try_get()?, None);
/// # Ok::<(), basemanager::Error>(())
/// ```
///
/// # Delivery
/// An item returns to the front of the queue if the reply with it cannot be written. A client's `get` that had
/// to wait also checks, before it takes an item, that the client is still connected; a `get` that finds an item
/// at once does not, because the check would add three system calls to the two of the call. An item is lost if the
/// client dies after the item was written to its connection and before it reads the item, unless the queue is
/// [at-least-once](QueueOptions::at_least_once).
///
/// # Memory
/// A queue releases its own memory when it becomes short again. The system's allocator may keep the memory of the
/// items: glibc has up to eight arenas per processor, and each may keep as much as the longest queue whose items it
/// allocated. For queues that grow large, set the environment variable `MALLOC_ARENA_MAX`: with 1,
/// a manager keeps no more than its queues needed at one time; with 2, up to twice that, with less contention.
#[derive(Clone, Default)]
pub struct Queue(Arc<QueueInner>);

/// The bounds of a queue, and how it delivers items: [`Queue::options`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct QueueOptions {
    maxsize: usize,
    max_bytes: usize,
    at_least_once: bool,
    lease: Option<Duration>,
    /// The maximum number of deliveries of an item, and the queue to which it is moved after the last one.
    dead_letters: Option<(u32, Queue)>,
}

impl QueueOptions {
    /// The maximum number of items. Defaults to 0, which is unbounded, as in Python.
    pub fn maxsize(mut self, items: usize) -> Self {
        self.maxsize = items;
        self
    }

    /// The maximum total size of the pickled items in bytes, including the unacknowledged items of an
    /// [`at_least_once`](Self::at_least_once) queue. When it is reached, `put` waits or raises `queue.Full`. An
    /// item that is larger than this raises `ValueError`. Defaults to 0, which is unbounded.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Keeps an item that a client took until that client calls `task_done()`. If its connection ends first,
    /// the item is requeued: it returns to the front, and the next consumer gets it. Defaults to off, because a
    /// client that never calls `task_done()` would see items twice.
    ///
    /// `task_done()` acknowledges the **oldest** unacknowledged item of the same connection. `nack()`, which only such
    /// a queue has, requeues the **newest** one (after `get_many`, the last item of the batch). If this was the item's
    /// last permitted delivery, `nack()` moves it to the [dead letters](Self::dead_letters) instead. Both raise
    /// `ValueError` if the connection has no unacknowledged item, or the item's lease has expired. In Python each
    /// thread has its own connection; in Rust, each [`Consumer`](crate::Consumer). Items that a thread of this process
    /// took directly belong to that thread: they are requeued only by `nack()` or when their [`lease`](Self::lease)
    /// expires.
    ///
    /// A Python consumer should call `nack()` for an item that it cannot use, even if `get()` raised because it could
    /// not unpickle the item: the item was taken all the same. Without `nack()`, the next `task_done()` would
    /// acknowledge this item instead of the one that is done.
    ///
    /// ```python
    /// while True:
    ///     try:
    ///         work(tasks.get())
    ///     except (EOFError, getattr(queue, "ShutDown", EOFError)):   # the end; ShutDown since Python 3.13
    ///         break
    ///     except Exception:
    ///         tasks.nack()         # again, or to the dead letters
    ///     else:
    ///         tasks.task_done()
    /// ```
    ///
    /// This loop holds one item at a time. If its `get()` has a timeout, it must catch `queue.Empty` too.
    /// Without [`dead_letters`](Self::dead_letters), an item that no consumer can use is delivered again and
    /// again.
    pub fn at_least_once(mut self) -> Self {
        self.at_least_once = true;
        self
    }

    /// Makes the queue [`at_least_once`](Self::at_least_once), and requeues an item that is not acknowledged within
    /// this time; a later `task_done()` for it raises `ValueError`. This covers a host that vanished without closing
    /// its connections. A lease of zero expires at once. Defaults to none.
    ///
    /// Leases are checked lazily, on the next operation on the queue. A waiting call checks them once per lease,
    /// and at least every 2 s.
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = Some(time);
        self.at_least_once()
    }

    /// Makes the queue [`at_least_once`](Self::at_least_once), and moves an item to another queue after it was
    /// delivered this many times without being acknowledged. The bounds of the other queue do not apply. Defaults to no
    /// limit on deliveries.
    pub fn dead_letters(mut self, deliveries: u32, to: &Queue) -> Self {
        self.dead_letters = Some((deliveries.max(1), to.clone()));
        self.at_least_once()
    }

    /// Makes the queue.
    #[must_use]
    pub fn build(self) -> Queue {
        Queue(Arc::new(QueueInner::new(self)))
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, maxsize) = (self.len(), self.0.options.maxsize);
        f.debug_struct("Queue").field("len", &len).field("maxsize", &maxsize).finish()
    }
}

impl From<Queue> for Return {
    fn from(queue: Queue) -> Self {
        Self::Shared(queue.0)
    }
}

impl From<&Queue> for Return {
    fn from(queue: &Queue) -> Self {
        queue.clone().into()
    }
}

impl Queue {
    /// An unbounded queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A queue of at most `maxsize` items; 0 is unbounded, as in Python.
    #[must_use]
    pub fn bounded(maxsize: usize) -> Self {
        Self::options().maxsize(maxsize).build()
    }

    /// A queue with other options, such as a bound in bytes or at-least-once delivery.
    ///
    /// ```
    /// use std::time::Duration;
    /// use basemanager::Queue;
    /// let failed = Queue::new();
    /// let tasks = Queue::options()
    ///     .max_bytes(64 << 20)
    ///     .lease(Duration::from_secs(60))
    ///     .dead_letters(5, &failed)
    ///     .build();
    /// tasks.put("work")?;
    /// tasks.get()?;
    /// tasks.task_done()?; // without this, the item would be requeued after a minute
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    pub fn options() -> QueueOptions {
        QueueOptions::default()
    }

    /// Makes a queue from the arguments of a client's call, as Python's `queue.Queue(…)` does. For registered
    /// callables.
    ///
    /// # Errors
    /// `TypeError` for wrong arguments.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let ([], [maxsize]) = call.args([], ["maxsize"])?;
        let maxsize: i64 = maxsize.map_or(Ok(0), Pickle::to)?;
        // As in Python, a negative maxsize is unbounded.
        Ok(Self::bounded(saturated(maxsize)))
    }

    /// Puts an item at the end, and waits while the queue is full. To store an argument of a client's call, pass
    /// [`Call::item`]: it keeps the shared objects to which the item refers alive.
    ///
    /// # Errors
    /// `queue.ShutDown` if the queue is shut down, `ValueError` if the item is larger than
    /// [`max_bytes`](QueueOptions::max_bytes), and [`Error::Conversion`](crate::Error::Conversion) if its pickle
    /// is larger than 4 GiB − 1.
    pub fn put(&self, item: impl Into<Element>) -> Result<()> {
        Ok(self.put_within(item.into(), None)?)
    }

    /// Puts an item at the end if the queue is not full.
    ///
    /// ```
    /// use basemanager::Queue;
    /// let queue = Queue::bounded(1);
    /// queue.try_put("first")?;
    /// let error = queue.try_put("second").unwrap_err();
    /// assert!(error.is_full());
    /// assert_eq!(error.into_inner().to_string(), "'second'");
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// # Errors
    /// `queue.Full` ([`PutError::is_full`]), or as [`Queue::put`]. The error contains the item.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: impl Into<Element>) -> Result<(), PutError<Element>> {
        self.put_within(item.into(), Some(Duration::ZERO))
    }

    /// Puts an item at the end, and waits up to `timeout` while the queue is full.
    ///
    /// # Errors
    /// As [`Queue::try_put`].
    pub fn put_timeout(
        &self,
        item: impl Into<Element>,
        timeout: Duration,
    ) -> Result<(), PutError<Element>> {
        self.put_within(item.into(), Some(timeout))
    }

    /// Takes the first item, and waits while the queue is empty.
    ///
    /// # Errors
    /// `queue.ShutDown` if the queue is shut down and empty.
    pub fn get(&self) -> Result<Value> {
        self.get_within(None)
    }

    /// Takes the first item; `None` if the queue is empty.
    ///
    /// # Errors
    /// As [`Queue::get`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<Option<Value>> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first item, and waits up to `timeout` while the queue is empty; `None` if it still is.
    ///
    /// # Errors
    /// As [`Queue::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<Value>> {
        match self.get_within(Some(timeout)) {
            Err(error) if error.is_empty() => Ok(None),
            result => result.map(Some),
        }
    }

    /// Returns copies of the first `max` items, and leaves them in the queue.
    ///
    /// ```
    /// use basemanager::Queue;
    /// let queue = Queue::new();
    /// (1..=3).try_for_each(|item| queue.put(item))?;
    /// assert_eq!(queue.peek(2), [1.into(), 2.into()]);
    /// assert_eq!(queue.len(), 3);
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    #[must_use]
    pub fn peek(&self, max: usize) -> Vec<Value> {
        // Decoded when the state is unlocked.
        let items: Vec<Item> = self.0.lock().iter().take(max).cloned().collect();
        items.into_iter().map(decode).collect()
    }

    /// Removes all items, and returns their number. They count as done for [`join`](Self::join).
    /// Unacknowledged items stay with their consumers, and may be requeued later.
    ///
    /// ```
    /// use basemanager::Queue;
    /// let queue = Queue::new();
    /// (1..=3).try_for_each(|item| queue.put(item))?;
    /// assert_eq!(queue.clear(), 3);
    /// assert!(queue.is_empty());
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    #[expect(clippy::must_use_candidate, reason = "the number is an extra")]
    pub fn clear(&self) -> usize {
        let mut state = self.0.lock();
        let count = state.len();
        let _removed = state.clear();
        self.0.notify(state, 0, count);
        count
    }

    /// The state of the queue, and its totals since it was made.
    ///
    /// ```
    /// use basemanager::Queue;
    /// let queue = Queue::new();
    /// (1..=3).try_for_each(|item| queue.put(item))?;
    /// queue.get()?;
    /// let stats = queue.stats();
    /// assert_eq!((stats.items, stats.puts, stats.gets), (2, 3, 1));
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        let waiting_getters = self.0.not_empty.waiting();
        QueueStats { waiting_getters, ..self.0.lock().stats() }
    }

    /// The number of items that can be taken.
    #[doc(alias = "qsize")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether no item can be taken.
    #[doc(alias = "empty")]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the queue is full, so that not even an item of one byte can be put.
    #[doc(alias = "full")]
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.0.lock().has_room(&self.0.options, 1)
    }

    /// Marks an item that was taken as done. In an [at-least-once](QueueOptions::at_least_once) queue, this is the
    /// oldest unacknowledged item of this thread.
    ///
    /// # Errors
    /// `ValueError` if all items are done, or, in an at-least-once queue, if this thread has no unacknowledged
    /// item or the item's lease has expired.
    pub fn task_done(&self) -> Result<()> {
        Ok(self.0.task_done(Owner::this_thread())?)
    }

    /// Requeues the newest unacknowledged item of this thread in an
    /// [at-least-once](QueueOptions::at_least_once) queue, or moves it to the dead letters after its last
    /// delivery.
    ///
    /// # Errors
    /// `ValueError` if this thread has no unacknowledged item, the item's lease has expired, or the queue is not
    /// at-least-once.
    pub fn nack(&self) -> Result<()> {
        Ok(self.0.nack(Owner::this_thread())?)
    }

    /// Waits until every item that was put is done.
    pub fn join(&self) {
        // Without a client and a timeout, the wait can only succeed.
        let _ = self.0.join(&mut Wait::new(None));
    }

    /// Shuts the queue down: from now on, `put` raises `queue.ShutDown`, and so does `get` once the queue is empty.
    /// `immediate` also removes all items. In an at-least-once queue, a consumer without unacknowledged items first
    /// waits in `get` until the items of all other consumers are acknowledged or requeued.
    ///
    /// Python has this since 3.13. In an older client, `get` and `put` raise `AttributeError` instead, because there is
    /// no class `queue.ShutDown`.
    pub fn shutdown(&self, immediate: bool) {
        self.0.shut_down(immediate);
    }

    fn get_within(&self, timeout: Option<Duration>) -> Result<Value> {
        Ok(decode(self.0.get(Owner::this_thread(), &mut Wait::new(timeout))?))
    }

    fn put_within(
        &self,
        item: Element,
        timeout: Option<Duration>,
    ) -> Result<(), PutError<Element>> {
        let stored = Item::try_from(&item);
        let put = stored.and_then(|stored| Ok(self.0.put(stored, &mut Wait::new(timeout))?));
        put.map_err(|error| PutError::new(error, item))
    }
}

fn decode(item: Item) -> Value {
    item.data.into_value(&Limits::default())
}
