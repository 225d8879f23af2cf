//! The FIFO queue: Python's `queue.Queue`, shared.
//!
//! An item is kept as the pickle it came as. It leaves only for a caller that is there, and comes back
//! to the front when the reply that carries it cannot be sent.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::call::{Arg, Call, ConnectionId};
use super::element::Item;
use super::wait::{Interrupted, Monitor, Patience};
use super::{Return, SharedObject};
use crate::error::{Exception, Result};
use crate::limits::Limits;
use crate::value::{Pickle, Value};

/// What threads wait for.
const ITEM: usize = 0;
const ROOM: usize = 1;
const DONE: usize = 2;

const METHODS: [&str; 10] = [
    "empty",
    "full",
    "get",
    "get_nowait",
    "join",
    "put",
    "put_nowait",
    "qsize",
    "shutdown",
    "task_done",
];

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
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

struct Shared {
    state: Monitor<State, 3>,
    maxsize: usize,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    /// Items put and not yet marked done.
    unfinished: usize,
    shut_down: bool,
    /// Shut down so that nothing is left in it.
    immediate: bool,
}

impl State {
    fn fits(&self, maxsize: usize) -> bool {
        maxsize == 0 || self.items.len() < maxsize
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, maxsize) = (self.len(), self.0.maxsize);
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
    /// A queue without bounds.
    #[must_use]
    pub fn new() -> Self {
        Self::bounded(0)
    }

    /// A queue that holds at most `maxsize` items; 0 is without bounds, as in Python.
    #[must_use]
    pub fn bounded(maxsize: usize) -> Self {
        Self(Arc::new(Shared { state: Monitor::new(State::default()), maxsize }))
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
        Ok(Self::bounded(maxsize.try_into().unwrap_or(0)))
    }

    /// Puts an item at the end, and waits while the queue is full.
    ///
    /// # Errors
    /// `queue.ShutDown` once the queue is shut down.
    pub fn put(&self, item: impl Into<Value>) -> Result<()> {
        self.put_within(&item.into(), None)
    }

    /// Puts an item at the end, if there is room.
    ///
    /// # Errors
    /// `queue.Full` (see [`Error::is_full`](crate::Error::is_full)), or `queue.ShutDown`.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: impl Into<Value>) -> Result<()> {
        self.put_within(&item.into(), Some(Duration::ZERO))
    }

    /// Puts an item at the end, and waits for room no longer than `timeout`.
    ///
    /// # Errors
    /// `queue.Full`, or `queue.ShutDown`.
    pub fn put_timeout(&self, item: impl Into<Value>, timeout: Duration) -> Result<()> {
        self.put_within(&item.into(), Some(timeout))
    }

    /// Takes the first item, and waits while there is none.
    ///
    /// # Errors
    /// `queue.ShutDown` once the queue is shut down and empty.
    pub fn get(&self) -> Result<Value> {
        let item = self.0.get(&mut Patience::new(None))?;
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
        match self.0.get(&mut Patience::new(Some(timeout))) {
            Ok(item) => Ok(Some(item.data.into_value(&Limits::default()))),
            Err(exception) if exception == Exception::empty() => Ok(None),
            Err(exception) => Err(exception.into()),
        }
    }

    /// The items in the queue.
    #[doc(alias = "qsize")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.state.lock().items.len()
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
        !self.0.state.lock().fits(self.0.maxsize)
    }

    /// Says that an item taken earlier has been dealt with.
    ///
    /// # Errors
    /// `ValueError` if that was said of more items than were put.
    pub fn task_done(&self) -> Result<()> {
        Ok(self.0.task_done()?)
    }

    /// Waits until every item put has been taken and said to be done.
    pub fn join(&self) {
        // Without a caller or a deadline, the wait can only succeed.
        let _ = self.0.join(&mut Patience::new(None));
    }

    /// Refuses items from now on: every `put` raises `queue.ShutDown`, and so does a `get` once the
    /// queue is empty. `immediate` empties it at once. Python has this since 3.13.
    pub fn shutdown(&self, immediate: bool) {
        self.0.shutdown(immediate);
    }

    fn put_within(&self, item: &Value, timeout: Option<Duration>) -> Result<()> {
        Ok(self.0.put(Pickle::from(item).into(), &mut Patience::new(timeout))?)
    }
}

impl Shared {
    fn put(&self, item: Item, patience: &mut Patience<'_>) -> Result<(), Exception> {
        let ready = |state: &State| state.shut_down || state.fits(self.maxsize);
        let mut state = self.state.wait(ROOM, patience, ready)?.ok_or(Exception::full())?;
        if state.shut_down {
            return Err(Exception::shut_down());
        }
        state.items.push_back(item);
        state.unfinished += 1;
        drop(state);
        self.state.notify_one(ITEM);
        Ok(())
    }

    fn get(&self, patience: &mut Patience<'_>) -> Result<Item, Exception> {
        let ready = |state: &State| state.shut_down || !state.items.is_empty();
        let mut state = self.state.wait(ITEM, patience, ready)?.ok_or(Exception::empty())?;
        let item = state.items.pop_front().ok_or(Exception::shut_down())?;
        drop(state);
        if self.maxsize > 0 {
            self.state.notify_one(ROOM);
        }
        Ok(item)
    }

    fn task_done(&self) -> Result<(), Exception> {
        let mut state = self.state.lock();
        state.unfinished = state
            .unfinished
            .checked_sub(1)
            .ok_or_else(|| Exception::value_error("task_done() called too many times"))?;
        self.wake_joiners(state);
        Ok(())
    }

    fn join(&self, patience: &mut Patience<'_>) -> Result<(), Interrupted> {
        self.state.wait(DONE, patience, |state| state.unfinished == 0).map(drop)
    }

    fn shutdown(&self, immediate: bool) {
        let mut state = self.state.lock();
        state.shut_down = true;
        let mut dropped = VecDeque::new();
        if immediate {
            state.immediate = true;
            state.unfinished = state.unfinished.saturating_sub(state.items.len());
            dropped = std::mem::take(&mut state.items);
        }
        self.wake_joiners(state);
        // What the items hold may go with them: not under the lock.
        drop(dropped);
        self.state.notify_all(ITEM);
        self.state.notify_all(ROOM);
    }

    fn wake_joiners(&self, state: MutexGuard<'_, State>) {
        let all_done = state.unfinished == 0;
        drop(state);
        if all_done {
            self.state.notify_all(DONE);
        }
    }
}

/// The arguments `block` and `timeout`, as a timeout.
fn timeout(
    block: Option<Arg<'_>>,
    timeout: Option<Arg<'_>>,
) -> Result<Option<Duration>, Exception> {
    if !block.map_or(Ok(true), |block| block.truthy())? {
        return Ok(Some(Duration::ZERO));
    }
    timeout.map_or(Ok(None), |timeout| timeout.timeout())
}

impl SharedObject for Shared {
    fn exposed(&self) -> &[&str] {
        &METHODS
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        call.method_of("Queue");
        match call.method() {
            "put" => {
                let [item, block, within] = call.bind(1, ["item", "block", "timeout"])?;
                let within = timeout(block, within)?;
                self.put_call(item, call, within)
            }
            "put_nowait" => {
                let [item] = call.bind(1, ["item"])?;
                self.put_call(item, call, Some(Duration::ZERO))
            }
            "get" => {
                let [block, within] = call.bind(0, ["block", "timeout"])?;
                let within = timeout(block, within)?;
                self.get(&mut call.patience(within)).map(Return::Item)
            }
            "get_nowait" => {
                let [] = call.bind(0, [])?;
                self.get(&mut call.patience(Some(Duration::ZERO))).map(Return::Item)
            }
            "join" => {
                let [] = call.bind(0, [])?;
                Ok(self.join(&mut call.patience(None))?.into())
            }
            "shutdown" => {
                let [immediate] = call.bind(0, ["immediate"])?;
                self.shutdown(immediate.map_or(Ok(false), |immediate| immediate.truthy())?);
                Ok(().into())
            }
            method => {
                let [] = call.bind(0, [])?;
                match method {
                    "task_done" => Ok(self.task_done()?.into()),
                    "qsize" => Ok(self.state.lock().items.len().into()),
                    "empty" => Ok(self.state.lock().items.is_empty().into()),
                    "full" => Ok((!self.state.lock().fits(self.maxsize)).into()),
                    _ => Err(call.no_such_method()),
                }
            }
        }
    }

    fn repr(&self) -> String {
        format!("<Queue of {} items>", self.state.lock().items.len())
    }

    fn take_back(&self, item: Item, _: ConnectionId) {
        let mut state = self.state.lock();
        if state.immediate {
            state.unfinished = state.unfinished.saturating_sub(1);
            return self.wake_joiners(state);
        }
        state.items.push_front(item);
        drop(state);
        self.state.notify_one(ITEM);
    }
}

impl Shared {
    fn put_call(
        &self,
        item: Option<Arg<'_>>,
        call: &mut Call<'_>,
        within: Option<Duration>,
    ) -> Result<Return, Exception> {
        // Bound as required.
        let item = item.map(|item| call.item(item)).transpose()?;
        let item = item.unwrap_or_else(|| Pickle::from(&Value::None).into());
        Ok(self.put(item, &mut call.patience(within))?.into())
    }
}
