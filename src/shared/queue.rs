//! The FIFO queue: Python's `queue.Queue`, shared.
//!
//! An item is kept as the pickle it came as. It leaves for a caller that waited only if that is still
//! connected, and comes back to the front when the reply that carries it cannot be sent. What is where is in `queue/state.rs`, who
//! waits for what in `queue/shared.rs`.

#[cfg(all(test, loom))]
mod loom;
mod shared;
mod state;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::call::{Call, Owner};
use super::element::Element;
use super::wait::Patience;
use super::{Return, SharedObject, saturated};
use crate::error::{Exception, Result};
use crate::limits::Limits;
use crate::value::Value;
use shared::Shared;

/// A FIFO queue, usable in this process and by clients at once. A clone is the same queue.
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
/// # What may be lost
/// A `get` that waited takes an item only if its caller's connection is still open at that moment. A `get`
/// that finds an item at once does not check that: the check would cost three system calls next to the two
/// of the call itself. In both cases the item returns to the front if the reply cannot be written. What was
/// written to a client that died before it read it is lost, unless the queue is an
/// [at-least-once](QueueOptions::at_least_once) one.
///
/// # Memory
/// A queue that was long releases its own memory as it empties. The system's allocator may keep what the
/// items took. glibc has up to eight arenas a processor, and each may keep as much as the longest queue that
/// was filled from it took. Where queues grow large, set the environment variable `MALLOC_ARENA_MAX` to 1, and
/// a manager keeps no more than its queues once took in all, or to 2, twice that, and threads wait for each
/// other less.
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

/// How a queue behaves, fixed when it is made: see [`Queue::options`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct QueueOptions(Policy);

#[derive(Clone, Debug, Default)]
struct Policy {
    maxsize: usize,
    max_bytes: usize,
    at_least_once: bool,
    lease: Option<Duration>,
    /// The most deliveries, and where an item goes after them.
    dead_letters: Option<(u32, Queue)>,
}

impl QueueOptions {
    /// At most so many items. Defaults to 0, which is without bounds, as in Python.
    pub fn maxsize(mut self, items: usize) -> Self {
        self.0.maxsize = items;
        self
    }

    /// At most so many bytes of pickled items, those that are handed out and not done among them if the
    /// queue is one [`at_least_once`](Self::at_least_once). Past it `put` waits or raises `queue.Full`; an
    /// item that alone is larger is a `ValueError`. Defaults to 0, which is without bounds.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.0.max_bytes = bytes;
        self
    }

    /// An item that a client takes stays the queue's until that client says `task_done()`: if its
    /// connection ends before, the item goes back to the front, and the next one gets it. Defaults to not
    /// so, for a client that never calls `task_done()` would see items twice.
    ///
    /// `task_done()` acknowledges the **oldest** of the items that the same connection took and has not
    /// acknowledged. `nack()`, which only such a queue has, returns the **newest** to the front of the
    /// queue, or moves it to the [dead letters](Self::dead_letters) after its last delivery; after
    /// `get_many` that is the last item of the batch. With nothing taken, or after the lease, either is a
    /// `ValueError`. In Python a connection is a thread's; in Rust, a [`Consumer`](crate::Consumer)'s. In
    /// this process it is the same thread, and what a thread takes comes back by `nack()` and a
    /// [`lease`](Self::lease) alone.
    ///
    /// A Python consumer should call `nack()` for whatever it cannot use, and above all for what `get()`
    /// itself cannot unpickle: `get()` raises then, but the item was taken. Without `nack()`, the next
    /// `task_done()` would acknowledge that item, and not the next one.
    ///
    /// ```python
    /// while True:
    ///     try:
    ///         work(tasks.get())
    ///     except queue.ShutDown:   # since Python 3.13; nothing was taken
    ///         break
    ///     except Exception:
    ///         tasks.nack()         # again, or to the dead letters; raises if the manager is gone
    ///     else:
    ///         tasks.task_done()
    /// ```
    ///
    /// Such a loop holds one item at a time. If its `get()` has a timeout, it catches `queue.Empty` as well.
    /// Without [`dead_letters`](Self::dead_letters), an item that no consumer can use comes again at once,
    /// and without end.
    pub fn at_least_once(mut self) -> Self {
        self.0.at_least_once = true;
        self
    }

    /// [`at_least_once`](Self::at_least_once), and an item goes back as well when it is not done within
    /// this time of being taken; `task_done()` is a `ValueError` then. It covers a host that vanished
    /// without closing its connections. Zero leaves no time to do anything. Defaults to none.
    ///
    /// Nobody watches the clock: an item whose time is up goes back when the queue is next used. Calls
    /// that wait look as often as the lease is long, and at least every 2 s.
    pub fn lease(mut self, time: Duration) -> Self {
        self.0.lease = Some(time);
        self.at_least_once()
    }

    /// [`at_least_once`](Self::at_least_once), and an item that was delivered so many times, and not done,
    /// is moved to another queue, whatever that one's bounds. Defaults to delivering it without end.
    pub fn dead_letters(mut self, deliveries: u32, to: &Queue) -> Self {
        self.0.dead_letters = Some((deliveries.max(1), to.clone()));
        self.at_least_once()
    }

    /// The queue.
    #[must_use]
    pub fn build(self) -> Queue {
        Queue(Arc::new(Shared::new(self.0)))
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, maxsize) = (self.len(), self.0.policy.maxsize);
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

/// Whether an object is an at-least-once queue.
pub(crate) fn is_at_least_once(object: &dyn SharedObject) -> bool {
    let object: &dyn Any = object;
    object.downcast_ref().is_some_and(|queue: &Shared| queue.policy.at_least_once)
}

impl Queue {
    /// A queue without bounds.
    #[must_use]
    pub fn new() -> Self {
        Self::bounded(0)
    }

    /// A queue that holds at most `maxsize` items; 0 is without bounds, as in Python.
    #[must_use]
    pub fn bounded(maxsize: usize) -> Self {
        Self::options().maxsize(maxsize).build()
    }

    /// A queue with bounds, or one that loses no item to a consumer that dies at work.
    ///
    /// ```
    /// use std::time::Duration;
    /// use basemanager::Queue;
    /// let given_up = Queue::new();
    /// let tasks = Queue::options()
    ///     .max_bytes(64 << 20)
    ///     .lease(Duration::from_secs(60))
    ///     .dead_letters(5, &given_up)
    ///     .build();
    /// tasks.put("work")?;
    /// tasks.get()?;
    /// tasks.task_done()?; // without this, it would come back after a minute
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    pub fn options() -> QueueOptions {
        QueueOptions::default()
    }

    /// What Python's `queue.Queue(…)` makes of a call's arguments, for a registered callable.
    ///
    /// # Errors
    /// `TypeError` for wrong arguments.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        call.constructor_of("Queue");
        let [maxsize] = call.bind(0, ["maxsize"])?;
        let maxsize: i64 = maxsize.map_or(Ok(0), |maxsize| maxsize.to())?;
        // As in Python, less than none is without bounds.
        Ok(Self::bounded(saturated(maxsize)))
    }

    /// Puts an item at the end, and waits while the queue is full. One that a client sent comes as
    /// [`Call::item`], which keeps the shared objects that it names.
    ///
    /// # Errors
    /// `queue.ShutDown` once the queue is shut down; [`Error::Conversion`](crate::Error::Conversion) if the
    /// item has more than 4 GiB − 1 pickled.
    pub fn put(&self, item: impl Into<Element>) -> Result<()> {
        self.put_within(item.into(), None)
    }

    /// Puts an item at the end, if there is room.
    ///
    /// # Errors
    /// `queue.Full` (see [`Error::is_full`](crate::Error::is_full)), or `queue.ShutDown`.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: impl Into<Element>) -> Result<()> {
        self.put_within(item.into(), Some(Duration::ZERO))
    }

    /// Puts an item at the end, and waits for room no longer than `timeout`.
    ///
    /// # Errors
    /// `queue.Full`, or `queue.ShutDown`.
    pub fn put_timeout(&self, item: impl Into<Element>, timeout: Duration) -> Result<()> {
        self.put_within(item.into(), Some(timeout))
    }

    /// Takes the first item, and waits while there is none.
    ///
    /// # Errors
    /// `queue.ShutDown` once the queue is shut down and empty.
    pub fn get(&self) -> Result<Value> {
        let item = self.0.get(Owner::this_thread(), &mut Patience::new(None))?;
        Ok(item.data.into_value(&Limits::default()))
    }

    /// Takes the first item; `None` if there is none.
    ///
    /// # Errors
    /// `queue.ShutDown` once the queue is shut down and empty.
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<Option<Value>> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first item, and waits for one no longer than `timeout`; `None` if none came.
    ///
    /// # Errors
    /// `queue.ShutDown` once the queue is shut down and empty.
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<Value>> {
        match self.0.get(Owner::this_thread(), &mut Patience::new(Some(timeout))) {
            Ok(item) => Ok(Some(item.data.into_value(&Limits::default()))),
            Err(exception) if exception == Exception::empty() => Ok(None),
            Err(exception) => Err(exception.into()),
        }
    }

    /// The items in the queue.
    #[doc(alias = "qsize")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.look().len()
    }

    /// Whether there is none.
    #[doc(alias = "empty")]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room for another.
    #[doc(alias = "full")]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Says that an item taken earlier has been dealt with.
    ///
    /// # Errors
    /// `ValueError` if that was said of more items than were put.
    pub fn task_done(&self) -> Result<()> {
        Ok(self.0.task_done(Owner::this_thread())?)
    }

    /// Returns the item that this thread took last to the front of an
    /// [at-least-once](QueueOptions::at_least_once) queue, or moves it to the dead letters after its last
    /// delivery.
    ///
    /// # Errors
    /// `ValueError` if this thread holds none, or not any more, or the queue is not at-least-once.
    pub fn nack(&self) -> Result<()> {
        Ok(self.0.nack(Owner::this_thread())?)
    }

    /// Waits until every item put has been taken and said to be done.
    pub fn join(&self) {
        // Without a caller or a deadline, the wait can only succeed.
        let _ = self.0.join(&mut Patience::new(None));
    }

    /// Refuses items from now on: every `put` raises `queue.ShutDown`, and so does a `get` once the
    /// queue is empty. Where items that are handed out may come back, a consumer that holds none waits for
    /// those of the others first. `immediate` empties it at once. Python has this since 3.13; in an older
    /// client such a call raises `AttributeError`, for it has no class of that name.
    pub fn shutdown(&self, immediate: bool) {
        self.0.shut_down(immediate);
    }

    fn put_within(&self, item: Element, timeout: Option<Duration>) -> Result<()> {
        Ok(self.0.put(item.try_into()?, &mut Patience::new(timeout))?)
    }
}
