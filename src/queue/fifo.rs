//! The queue itself: CPython's `queue.Queue`, a deque under a mutex, and conditions on which threads wait.
//!
//! ```text
//!  put:       wait while full (not_full),   append,   unfinished += 1,  notify not_empty
//!  get:       wait while empty (not_empty), remove the first,           notify not_full
//!  task_done:                               unfinished -= 1,            at 0: notify all_tasks_done
//!  join:      wait while unfinished > 0 (all_tasks_done)
//! ```
//! Two optional parts have files of their own, which a reader can skip: `delivery.rs` (an at-least-once queue
//! keeps the items that were taken until they are acknowledged) and `room.rs` (a bound in bytes).

use std::collections::VecDeque;

use super::calls::Backend;
use super::delivery::Deliveries;
use super::owners::not_at_least_once;
use super::room::Producers;
use super::stats::Ages;
use super::{QueueOptions, QueueStats};
use crate::exception::Exception;
use crate::object::call::Owner;
use crate::object::stored::Item;
use crate::wait::primitives::MutexGuard;
use crate::wait::{Condition, Locked, Wait};

/// A queue that was longer returns memory to the allocator when it has become this short.
const SHORT: usize = 4096;

/// `get_many` takes, and `peek` copies, no more items when they have this many bytes.
pub(super) const BATCH: usize = 1 << 20;

/// The number of the first items of these sizes that make one batch.
pub(super) fn batch(sizes: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let fits = |size: &usize| {
        let has_room = bytes < BATCH;
        bytes += size;
        has_room
    };
    sizes.take_while(fits).count()
}

#[derive(Default)]
pub(super) struct QueueInner {
    pub(super) options: QueueOptions,
    pub(super) state: Locked<State>,
    /// An item can be taken, or the queue is shut down.
    pub(super) not_empty: Condition,
    /// An item can be put, or the queue is shut down.
    not_full: Condition,
    /// Each item that was put was also marked as done.
    all_tasks_done: Condition,
    /// No item is queued or unacknowledged.
    pub(super) drained: Condition,
}

#[derive(Default)]
pub(super) struct State {
    /// The queued items, except those that an at-least-once queue requeued.
    pub(super) items: VecDeque<Item>,
    /// The items of an at-least-once queue that were taken, or requeued since.
    pub(super) deliveries: Deliveries,
    /// The size of all items, queued or unacknowledged.
    pub(super) bytes: usize,
    /// The number of items that were put and not marked as done.
    pub(super) unfinished: usize,
    /// `put` raises `ShutDown`; `get` does as well when no item is left.
    pub(super) shut_down: bool,
    /// The queue was shut down with `immediate`: it also drops the items that come back.
    pub(super) discards: bool,
    /// The producers that wait for room, if the bound is in bytes.
    pub(super) producers: Producers,
    /// The totals since the queue was made. [`Queue::stats`](super::Queue::stats) fills in the other fields.
    pub(super) totals: QueueStats,
    pub(super) ages: Ages,
}

impl Backend for QueueInner {
    fn is_at_least_once(&self) -> bool {
        self.options.at_least_once
    }

    fn put(&self, item: Item, wait: &mut Wait<'_>) -> Result<(), Exception> {
        self.check_size(&item)?;
        let size = item.len();
        let ready = |state: &State| state.shut_down || state.has_room(&self.options, size);
        let state = if self.options.max_bytes == 0 {
            self.wait(&self.not_full, wait, ready)?
        } else {
            self.wait_for_bytes(size, wait, ready)?
        };
        let mut state = state.ok_or_else(Exception::full)?;
        if state.shut_down {
            return Err(Exception::shut_down());
        }
        state.push(item);
        self.notify(state, 1, 0);
        Ok(())
    }

    /// Puts one item after the other; those of other producers may come between. Returns how many were put before
    /// the wait ended or the queue was shut down; if none was, that is an error.
    fn put_many(&self, items: Vec<Item>, wait: &mut Wait<'_>) -> Result<usize, Exception> {
        items.iter().try_for_each(|item| self.check_size(item))?;
        let mut count = 0;
        for item in items {
            match self.put(item, wait) {
                Ok(()) => count += 1,
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(count)
    }

    fn get(&self, owner: Owner, wait: &mut Wait<'_>) -> Result<Item, Exception> {
        let mut state = self.wait_for_item(owner, wait)?;
        let item = state.take(&self.options, owner).ok_or_else(Exception::shut_down)?;
        self.notify(state, 0, 1);
        Ok(item)
    }

    /// Waits for the first item, and takes up to `max` of those that are there.
    fn get_many(
        &self,
        max: usize,
        owner: Owner,
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Item>, Exception> {
        let mut state = self.wait_for_item(owner, wait)?;
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < max && bytes < BATCH {
            let Some(item) = state.take(&self.options, owner) else { break };
            bytes += item.len();
            items.push(item);
        }
        if items.is_empty() {
            return Err(Exception::shut_down());
        }
        self.notify(state, 0, items.len());
        Ok(items)
    }

    fn task_done(&self, owner: Owner) -> Result<(), Exception> {
        let mut state = self.lock();
        // Dropped at the end, when the state is unlocked: see `notify`.
        let _item = self.options.at_least_once.then(|| state.acknowledge(owner)).transpose()?;
        let too_often = || Exception::value_error("task_done() called too many times");
        state.unfinished = state.unfinished.checked_sub(1).ok_or_else(too_often)?;
        state.totals.done += 1;
        self.notify(state, 0, 0);
        Ok(())
    }

    /// Requeues the newest item that this owner took.
    fn nack(&self, owner: Owner) -> Result<(), Exception> {
        if !self.options.at_least_once {
            return Err(not_at_least_once());
        }
        self.requeue_newest(owner)
    }

    fn join(&self, wait: &mut Wait<'_>) -> Result<(), Exception> {
        self.wait(&self.all_tasks_done, wait, |state| state.unfinished == 0)?;
        Ok(())
    }

    fn peek(&self, max: usize) -> Result<Vec<Item>, Exception> {
        let state = self.lock();
        let count = batch(state.iter().take(max).map(|item| item.len()));
        Ok(state.iter().take(count).cloned().collect())
    }

    fn len(&self) -> Result<usize, Exception> {
        Ok(self.lock().len())
    }

    fn is_full(&self) -> Result<bool, Exception> {
        Ok(!self.lock().has_room(&self.options, 1))
    }

    fn shutdown(&self, immediate: bool) -> Result<(), Exception> {
        self.shut_down(immediate);
        Ok(())
    }
}

impl QueueInner {
    pub(super) fn new(options: QueueOptions) -> Self {
        Self { options, ..Self::default() }
    }

    pub(super) fn shut_down(&self, immediate: bool) {
        let mut state = self.state.lock();
        state.shut_down = true;
        state.discards |= immediate;
        state.notify_all_producers();
        self.notify(state, 0, usize::MAX);
    }

    fn wait_for_item(
        &self,
        owner: Owner,
        wait: &mut Wait<'_>,
    ) -> Result<MutexGuard<'_, State>, Exception> {
        let ready = |state: &State| state.len() > 0 || state.is_over_for(owner);
        self.wait(&self.not_empty, wait, ready)?.ok_or_else(Exception::empty)
    }

    /// Unlocks the changed state, and wakes the threads that can continue now that this many items came and went.
    pub(super) fn notify(&self, mut state: MutexGuard<'_, State>, added: usize, removed: usize) {
        // Dropped at the end, when the state is unlocked: an item may hold the last reference to a shared object.
        let _discarded = state.discards.then(|| state.clear());
        let (all_tasks_done, drained) = (state.unfinished == 0, state.is_drained());
        // After a shutdown, this may have been the last change: consumers stop waiting if no item can come.
        let added = if state.shut_down { usize::MAX } else { added };
        let producer = state.next_producer(&self.options);
        drop(state);
        self.not_empty.notify(added);
        self.not_full.notify(removed);
        if all_tasks_done {
            self.all_tasks_done.notify_all();
        }
        if drained {
            self.drained.notify_all();
        }
        if let Some(has_room) = producer {
            has_room.notify_one();
        }
    }
}

impl State {
    /// The number of items that can be taken.
    pub(super) fn len(&self) -> usize {
        self.deliveries.requeued.len() + self.items.len()
    }

    /// The items that can be taken, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        let requeued = self.deliveries.requeued.values();
        requeued.map(|delivery| &delivery.item).chain(&self.items)
    }

    pub(super) fn has_room(&self, options: &QueueOptions, bytes: usize) -> bool {
        (options.maxsize == 0 || self.len() < options.maxsize)
            && (options.max_bytes == 0 || self.bytes + bytes <= options.max_bytes)
    }

    pub(super) fn is_drained(&self) -> bool {
        self.len() == 0 && self.deliveries.unacknowledged.len() == 0
    }

    /// Whether no further item will come for this owner.
    fn is_over_for(&self, owner: Owner) -> bool {
        self.shut_down && self.len() == 0 && !self.deliveries.may_return_to(owner)
    }

    pub(super) fn push(&mut self, item: Item) {
        self.bytes += item.len();
        self.unfinished += 1;
        self.totals.puts += 1;
        self.items.push_back(item);
    }

    fn take(&mut self, options: &QueueOptions, owner: Owner) -> Option<Item> {
        let item = if options.at_least_once {
            self.deliver(options.lease, owner)?
        } else {
            let item = self.pop_front()?;
            self.bytes -= item.len();
            item
        };
        self.totals.gets += 1;
        Some(item)
    }

    /// Removes the first of `items`. Shrinking moves few items, and happens seldom: the queue must grow to several
    /// times this length before it shrinks again.
    pub(super) fn pop_front(&mut self) -> Option<Item> {
        let item = self.items.pop_front();
        if self.items.capacity() > 4 * SHORT && self.items.len() <= SHORT {
            self.items.shrink_to(2 * SHORT);
        }
        item
    }

    /// Removes the items that can be taken, and returns them to be dropped.
    pub(super) fn clear(&mut self) -> impl Sized + use<> {
        self.unfinished = self.unfinished.saturating_sub(self.len());
        self.bytes -= self.iter().map(|item| item.len()).sum::<usize>();
        (std::mem::take(&mut self.items), std::mem::take(&mut self.deliveries.requeued))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pickle::Pickle;
    use crate::value::Value;

    #[test]
    fn long_queue_that_becomes_short_releases_memory() {
        for at_least_once in [false, true] {
            let options = QueueOptions { at_least_once, ..QueueOptions::default() };
            let owner = Owner::this_thread();
            let mut state = State::default();
            let item = || Pickle::encode(&Value::None).unwrap().into();
            (0..1_000_000).for_each(|_| state.push(item()));
            let long = state.items.capacity();
            // It does not have to become empty.
            while state.len() > 10 {
                assert!(state.take(&options, owner).is_some());
                assert!(!at_least_once || state.acknowledge(owner).is_ok());
            }
            let short = state.items.capacity();
            assert!(short <= 4 * SHORT && long >= 1_000_000, "{short} of {long}");
            // A queue that stays within that length keeps its memory.
            for _ in 0..3 {
                (0..short - 100).for_each(|_| state.push(item()));
                while state.take(&options, owner).is_some() {}
                assert_eq!(state.items.capacity(), short);
            }
        }
    }
}
