//! At-least-once delivery: an item that was taken stays the queue's until it is acknowledged. The guide draws the life of
//! an item (`guide::delivery`).
//!
//! Requeued items are taken before all others, in the order in which they were put.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::fifo::{QueueInner, State};
use super::owners::{Leased, Owners, Which};
use crate::exception::Exception;
use crate::object::call::Owner;
use crate::object::stored::Item;
use crate::wait::primitives::MutexGuard;
use crate::wait::{CHECK, Condition, Wait, WaitError};

/// The items of an at-least-once queue that were taken, and those that were requeued. Empty in other queues.
#[derive(Default)]
pub(super) struct Deliveries {
    pub(super) unacknowledged: Owners<Delivery>,
    /// The items that can be taken again, by their numbers.
    pub(super) requeued: BTreeMap<u64, Delivery>,
}

/// An item that was taken.
pub(super) struct Delivery {
    pub(super) item: Item,
    /// Items are numbered in the order in which they were put.
    number: u64,
    /// How often the item was taken, without those times when its reply could not be sent.
    times: u32,
    /// When the lease expires.
    deadline: Option<Instant>,
}

impl Leased for Delivery {
    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Deliveries {
    /// Whether an unacknowledged item may be requeued for this owner to take. An owner that has unacknowledged
    /// items itself does not wait for those of others: two such owners would wait for each other.
    pub(super) fn may_return_to(&self, owner: Owner) -> bool {
        self.unacknowledged.len() > 0 && !self.unacknowledged.has_items(owner)
    }
}

impl State {
    /// Takes the first item, but keeps it until it is acknowledged.
    pub(super) fn deliver(&mut self, lease: Option<Duration>, owner: Owner) -> Option<Item> {
        let mut delivery = if let Some((_, requeued)) = self.deliveries.requeued.pop_first() {
            requeued
        } else {
            let number = self.totals.puts - self.items.len() as u64;
            Delivery { item: self.pop_front()?, number, times: 0, deadline: None }
        };
        self.totals.redelivered += u64::from(delivery.times > 0);
        delivery.times = delivery.times.saturating_add(1);
        delivery.deadline = lease.and_then(|lease| Instant::now().checked_add(lease));
        let item = delivery.item.clone();
        self.deliveries.unacknowledged.add(owner, delivery);
        Some(item)
    }

    /// Removes the oldest item that this owner took and did not acknowledge.
    pub(super) fn acknowledge(&mut self, owner: Owner) -> Result<Item, Exception> {
        let delivery = self.deliveries.unacknowledged.remove(owner, "task_done", Which::Oldest)?;
        self.bytes -= delivery.item.len();
        Ok(delivery.item)
    }
}

impl QueueInner {
    /// Requeues the newest item that this owner took.
    pub(super) fn requeue_newest(&self, owner: Owner) -> Result<(), Exception> {
        let mut state = self.lock();
        let delivery = state.deliveries.unacknowledged.remove(owner, "nack", Which::Newest)?;
        self.requeue(state, [delivery].into());
        Ok(())
    }

    /// Requeues all items that this owner took.
    pub(super) fn requeue_all(&self, owner: Owner) {
        let mut state = self.state.lock();
        let items = state.deliveries.unacknowledged.remove_all(owner);
        if !items.is_empty() {
            self.requeue(state, items);
        }
    }

    /// Requeues the items whose leases have expired.
    pub(super) fn expire(&self, mut state: MutexGuard<'_, State>, now: Instant) {
        let expired = state.deliveries.unacknowledged.expire(now);
        self.requeue(state, expired);
    }

    /// Returns an item to its place, because the reply with it could not be sent. The `get` is not counted.
    pub(super) fn undo_get(&self, item: Item, owner: Owner) {
        let mut state = self.state.lock();
        state.totals.gets -= 1;
        if !self.options.at_least_once {
            state.bytes += item.len();
            state.items.push_front(item);
            self.notify(state, 1, 0);
        } else if let Ok(mut delivery) =
            state.deliveries.unacknowledged.remove(owner, "get", Which::Newest)
        {
            delivery.times -= 1;
            state.totals.redelivered -= u64::from(delivery.times > 0);
            self.requeue(state, [delivery].into());
        } // Otherwise the lease has expired: the item is requeued already.
    }

    /// Requeues items, or moves them to the dead letters after their last delivery.
    fn requeue(&self, mut state: MutexGuard<'_, State>, deliveries: VecDeque<Delivery>) {
        let count = deliveries.len();
        for delivery in deliveries {
            match &self.options.dead_letters {
                Some((max, dead_letters)) if delivery.times >= *max && !state.discards => {
                    state.bytes -= delivery.item.len();
                    state.unfinished = state.unfinished.saturating_sub(1);
                    state.totals.dead += 1;
                    // Under this queue's lock, so that no thread sees the item in neither queue. The other queue
                    // is older than this one, so it never locks this one in turn.
                    dead_letters.0.put_dead_letter(delivery.item);
                }
                _ => drop(state.deliveries.requeued.insert(delivery.number, delivery)),
            }
        }
        self.notify(state, count, count);
    }

    /// Puts an item even if the queue is full or shut down.
    fn put_dead_letter(&self, item: Item) {
        self.state.lock().push(item);
        self.not_empty.notify_one();
    }

    /// Locks the state, after the items whose leases have expired were requeued.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        loop {
            let state = self.state.lock();
            if !state.deliveries.unacknowledged.may_have_expired() {
                return state;
            }
            self.expire(state, Instant::now());
        }
    }

    /// Waits on a condition until the state is ready, and requeues items whose leases expire meanwhile. Leases
    /// are checked by the threads that use the queue: those that wait look at intervals.
    pub(super) fn wait(
        &self,
        condition: &Condition,
        wait: &mut Wait<'_>,
        ready: impl Fn(&State) -> bool,
    ) -> Result<Option<MutexGuard<'_, State>>, WaitError> {
        if let Some(lease) = self.options.lease {
            wait.check_every(lease.min(CHECK));
        }
        loop {
            let ready =
                |state: &State| state.deliveries.unacknowledged.may_have_expired() || ready(state);
            let state = self.state.wait(self.lock(), condition, wait, ready)?;
            if !state
                .as_ref()
                .is_some_and(|state| state.deliveries.unacknowledged.may_have_expired())
            {
                return Ok(state);
            }
        }
    }
}
