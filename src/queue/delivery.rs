//! At-least-once delivery: an item that was taken stays the queue's until it is acknowledged. The guide draws the life of
//! an item (`guide::delivery`).
//!
//! Requeued items are taken before all others, in the order in which they were put.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::fifo::{QueueInner, State};
use crate::exception::Exception;
use crate::object::call::Owner;
use crate::object::stored::Item;
use crate::wait::primitives::MutexGuard;
use crate::wait::{CHECK, Condition, Wait, WaitError};

/// The items of an at-least-once queue that were taken, and those that were requeued. Empty in other queues.
#[derive(Default)]
pub(super) struct Deliveries {
    /// The unacknowledged items, by the client or thread that took them.
    owners: HashMap<Owner, Taken>,
    /// The number of unacknowledged items.
    pub(super) unacknowledged: usize,
    /// No lease expires earlier than this.
    next_expiry: Option<Instant>,
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

/// What an owner took and neither acknowledged nor returned. All leases are equally long, so the oldest items
/// expire first.
#[derive(Default)]
struct Taken {
    /// The number of expired items that the owner may still try to acknowledge, which is an error. They are only
    /// counted, so that an owner that never acknowledges anything needs no memory.
    expired: usize,
    /// The other items, the oldest first.
    items: VecDeque<Delivery>,
}

impl Deliveries {
    /// Whether an unacknowledged item may be requeued for this owner to take. An owner that has unacknowledged
    /// items itself does not wait for those of others: two such owners would wait for each other.
    pub(super) fn may_return_to(&self, owner: Owner) -> bool {
        let has_items = |taken: &Taken| !taken.items.is_empty();
        self.unacknowledged > 0 && !self.owners.get(&owner).is_some_and(has_items)
    }

    /// Removes one of the items that this owner took. `choose` returns `None` for one whose lease expired. `method` is
    /// for the error.
    fn remove(
        &mut self,
        owner: Owner,
        method: &str,
        choose: impl FnOnce(&mut Taken) -> Option<Delivery>,
    ) -> Result<Delivery, Exception> {
        let error = |text: &str| Exception::value_error(format!("{method}() called too {text}"));
        let Entry::Occupied(mut entry) = self.owners.entry(owner) else {
            return Err(error("many times: no item is unacknowledged here"));
        };
        let taken = entry.get_mut();
        let delivery = choose(taken);
        if delivery.is_none() {
            taken.expired -= 1;
        }
        if taken.expired == 0 && taken.items.is_empty() {
            entry.remove();
        }
        delivery.ok_or_else(|| error("late: the item's lease expired"))
    }

    fn remove_newest(&mut self, owner: Owner, method: &str) -> Result<Delivery, Exception> {
        self.remove(owner, method, |taken| taken.items.pop_back())
    }

    /// Whether a lease may have expired. Without leases, this does not read the clock.
    fn may_have_expired(&self) -> bool {
        self.next_expiry.is_some_and(|expiry| expiry <= Instant::now())
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
        let deliveries = &mut self.deliveries;
        deliveries.unacknowledged += 1;
        deliveries.next_expiry = deliveries.next_expiry.or(delivery.deadline);
        deliveries.owners.entry(owner).or_default().items.push_back(delivery);
        Some(item)
    }

    /// Removes the oldest item that this owner took and did not acknowledge.
    pub(super) fn acknowledge(&mut self, owner: Owner) -> Result<Item, Exception> {
        let oldest =
            |taken: &mut Taken| if taken.expired == 0 { taken.items.pop_front() } else { None };
        let delivery = self.deliveries.remove(owner, "task_done", oldest)?;
        self.deliveries.unacknowledged -= 1;
        self.bytes -= delivery.item.len();
        Ok(delivery.item)
    }
}

impl QueueInner {
    /// Requeues the newest item that this owner took.
    pub(super) fn nack(&self, owner: Owner) -> Result<(), Exception> {
        if !self.options.at_least_once {
            return Err(Exception::value_error("nack() is for at-least-once queues only"));
        }
        let mut state = self.lock();
        let delivery = state.deliveries.remove_newest(owner, "nack")?;
        self.requeue(state, [delivery].into());
        Ok(())
    }

    /// Requeues all items that this owner took.
    pub(super) fn requeue_all(&self, owner: Owner) {
        let mut state = self.state.lock();
        if let Some(taken) = state.deliveries.owners.remove(&owner) {
            self.requeue(state, taken.items);
        }
    }

    /// Requeues the items whose leases have expired.
    pub(super) fn expire(&self, mut state: MutexGuard<'_, State>, now: Instant) {
        let has_expired =
            |delivery: &Delivery| delivery.deadline.is_some_and(|deadline| deadline <= now);
        let deliveries = &mut state.deliveries;
        let mut expired = VecDeque::new();
        for taken in deliveries.owners.values_mut() {
            let count = taken.items.partition_point(has_expired);
            taken.expired += count;
            expired.extend(taken.items.drain(..count));
        }
        let first = |taken: &Taken| taken.items.front()?.deadline;
        deliveries.next_expiry = deliveries.owners.values().filter_map(first).min();
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
        } else if let Ok(mut delivery) = state.deliveries.remove_newest(owner, "get") {
            delivery.times -= 1;
            state.totals.redelivered -= u64::from(delivery.times > 0);
            self.requeue(state, [delivery].into());
        } // Otherwise the lease has expired: the item is requeued already.
    }

    /// Requeues items, or moves them to the dead letters after their last delivery.
    fn requeue(&self, mut state: MutexGuard<'_, State>, deliveries: VecDeque<Delivery>) {
        let count = deliveries.len();
        state.deliveries.unacknowledged -= count;
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
            if !state.deliveries.may_have_expired() {
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
            let ready = |state: &State| state.deliveries.may_have_expired() || ready(state);
            let state = self.state.wait(self.lock(), condition, wait, ready)?;
            if !state.as_ref().is_some_and(|state| state.deliveries.may_have_expired()) {
                return Ok(state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pickle::Pickle;
    use crate::queue::Queue;
    use crate::value::Value;

    #[test]
    fn owner_that_never_acknowledges_needs_no_memory() {
        let queue = Queue::options().lease(Duration::from_secs(60 * 60)).build().0;
        let owner = Owner::this_thread();
        queue.put_dead_letter(Pickle::encode(&Value::None).unwrap().into());
        for times in 1..=1000 {
            assert!(queue.get(owner, &mut Wait::new(None)).is_ok());
            queue.expire(queue.state.lock(), Instant::now() + Duration::from_secs(2 * 60 * 60));
            let state = queue.state.lock();
            assert_eq!((state.len(), state.deliveries.unacknowledged), (1, 0));
            let taken =
                state.deliveries.owners.get(&owner).map(|taken| (taken.expired, taken.items.len()));
            assert_eq!(taken, Some((times, 0)));
        }
    }
}
