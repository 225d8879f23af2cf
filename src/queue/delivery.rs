//! At-least-once delivery: an item that was taken stays the queue's until it is acknowledged.
//!
//! ```text
//!  items ── get ──► unacknowledged ── task_done ──────────────────────────────────► gone
//!             ▲           │
//!             │           │ nack, lease expired, consumer disconnected
//!             │           ▼
//!          requeued ◄─────┴── after the last delivery that dead_letters allows ───► dead-letter queue
//! ```
//! Each delivery has a number. A requeued item keeps the number of its first delivery: requeued items are taken
//! before all others, in the order in which they were first taken, which is the order in which they were put.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::fifo::{QueueInner, State};
use crate::exception::Exception;
use crate::object::call::Owner;
use crate::object::stored::Item;
use crate::wait::primitives::MutexGuard;
use crate::wait::{CHECK, Condition, Wait, WaitError};

/// The items of an at-least-once queue that were taken. Nothing in other queues.
#[derive(Default)]
pub(super) struct Deliveries {
    /// The number of the latest delivery.
    latest: u64,
    /// By the number of the delivery. All leases are equally long, so the first expires first.
    pub(super) unacknowledged: BTreeMap<u64, Delivery>,
    /// By the number of the item's first delivery.
    pub(super) requeued: BTreeMap<u64, Delivery>,
    owners: HashMap<Owner, Taken>,
}

pub(super) struct Delivery {
    pub(super) item: Item,
    /// The number of the item's first delivery.
    first: u64,
    /// How often the item was delivered.
    times: u32,
    owner: Owner,
    deadline: Option<Instant>,
}

/// What an owner took and neither acknowledged nor returned.
#[derive(Default)]
struct Taken {
    /// How many of the oldest deliveries have expired. They are only counted, so that an owner that never
    /// acknowledges anything needs no memory.
    expired: u64,
    /// The numbers of the other deliveries, the oldest first.
    numbers: VecDeque<u64>,
}

impl Taken {
    /// Removes the oldest delivery; `None` if that has expired.
    fn oldest(&mut self) -> Option<u64> {
        if self.expired == 0 {
            return self.numbers.pop_front();
        }
        self.expired -= 1;
        None
    }

    /// Removes the newest delivery; `None` if that has expired.
    fn newest(&mut self) -> Option<u64> {
        let newest = self.numbers.pop_back();
        if newest.is_none() {
            self.expired = self.expired.saturating_sub(1);
        }
        newest
    }
}

impl Deliveries {
    /// Whether an unacknowledged item may be requeued for this owner to take. One that has unacknowledged items
    /// itself does not wait for those of others: two such owners would wait for each other.
    pub(super) fn may_return_to(&self, owner: Owner) -> bool {
        let has_items = |taken: &Taken| !taken.numbers.is_empty();
        !self.unacknowledged.is_empty() && !self.owners.get(&owner).is_some_and(has_items)
    }

    /// Removes one of the deliveries to this owner, on behalf of a method.
    fn remove(
        &mut self,
        owner: Owner,
        choose: impl FnOnce(&mut Taken) -> Option<u64>,
        method: &str,
    ) -> Result<Delivery, Exception> {
        let Some(taken) = self.owners.get_mut(&owner) else {
            let text = format!("{method}() called too many times: no item is unacknowledged here");
            return Err(Exception::value_error(text));
        };
        let number = choose(taken);
        if taken.expired == 0 && taken.numbers.is_empty() {
            self.owners.remove(&owner);
        }
        number.and_then(|number| self.unacknowledged.remove(&number)).ok_or_else(|| {
            let text = format!("{method}() called too late: the item's lease expired");
            Exception::value_error(text)
        })
    }

    fn remove_all(&mut self, owner: Owner) -> Vec<Delivery> {
        let numbers = self.owners.remove(&owner).unwrap_or_default().numbers;
        numbers.iter().filter_map(|number| self.unacknowledged.remove(number)).collect()
    }

    fn remove_expired(&mut self, now: Instant) -> Vec<Delivery> {
        let mut expired = Vec::new();
        while let Some(first) = self.unacknowledged.first_entry()
            && first.get().deadline.is_some_and(|deadline| deadline <= now)
        {
            let delivery = first.remove();
            if let Some(taken) = self.owners.get_mut(&delivery.owner) {
                taken.numbers.pop_front();
                taken.expired += 1;
            }
            expired.push(delivery);
        }
        expired
    }
}

impl State {
    /// Takes the first item, but keeps it until it is acknowledged.
    pub(super) fn deliver(&mut self, lease: Option<Duration>, owner: Owner) -> Option<Item> {
        let number = self.deliveries.latest + 1;
        let deadline = lease.and_then(|lease| Instant::now().checked_add(lease));
        let delivery = if let Some((_, requeued)) = self.deliveries.requeued.pop_first() {
            self.totals.redelivered += u64::from(requeued.times > 0);
            Delivery { times: requeued.times.saturating_add(1), owner, deadline, ..requeued }
        } else {
            Delivery { item: self.pop_front()?, first: number, times: 1, owner, deadline }
        };
        let item = delivery.item.clone();
        self.deliveries.latest = number;
        self.deliveries.owners.entry(owner).or_default().numbers.push_back(number);
        self.deliveries.unacknowledged.insert(number, delivery);
        Some(item)
    }

    /// Removes the oldest item that this owner took and did not acknowledge.
    pub(super) fn acknowledge(&mut self, owner: Owner) -> Result<Item, Exception> {
        let delivery = self.deliveries.remove(owner, Taken::oldest, "task_done")?;
        self.bytes -= delivery.item.len();
        Ok(delivery.item)
    }

    /// Whether a lease has expired. Without leases, this does not read the clock.
    fn has_expired(&self) -> bool {
        let first = self.deliveries.unacknowledged.values().next();
        let deadline = first.and_then(|delivery| delivery.deadline);
        deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

impl QueueInner {
    /// Requeues the newest item that this owner took.
    pub(super) fn nack(&self, owner: Owner) -> Result<(), Exception> {
        if !self.options.at_least_once {
            return Err(Exception::value_error("nack() is for at-least-once queues only"));
        }
        let mut state = self.lock();
        let delivery = state.deliveries.remove(owner, Taken::newest, "nack")?;
        self.requeue(state, [delivery]);
        Ok(())
    }

    /// Requeues all items that this owner took.
    pub(super) fn requeue_all(&self, owner: Owner) {
        let mut state = self.state.lock();
        let deliveries = state.deliveries.remove_all(owner);
        self.requeue(state, deliveries);
    }

    /// Requeues the items whose leases have expired.
    pub(super) fn expire(&self, mut state: MutexGuard<'_, State>, now: Instant) {
        let deliveries = state.deliveries.remove_expired(now);
        self.requeue(state, deliveries);
    }

    /// Returns an item to the front because its owner did not receive it. That was no delivery.
    pub(super) fn undo_get(&self, item: Item, owner: Owner) {
        let mut state = self.state.lock();
        state.totals.gets = state.totals.gets.saturating_sub(1);
        if self.options.at_least_once {
            // An error means that the lease has expired: the item is requeued already.
            let mut delivery = state.deliveries.remove(owner, Taken::newest, "get").ok();
            if let Some(delivery) = &mut delivery {
                delivery.times -= 1;
                state.totals.redelivered -= u64::from(delivery.times > 0);
            }
            return self.requeue(state, delivery);
        }
        state.bytes += item.len();
        state.items.push_front(item);
        self.notify_requeued(state, 1, 0);
    }

    /// Requeues items, or moves them to the dead letters after their last delivery.
    fn requeue(
        &self,
        mut state: MutexGuard<'_, State>,
        deliveries: impl IntoIterator<Item = Delivery>,
    ) {
        let (mut requeued, mut dead) = (0, 0);
        for delivery in deliveries {
            match &self.options.dead_letters {
                Some((max, dead_letters)) if delivery.times >= *max && !state.discards => {
                    state.bytes -= delivery.item.len();
                    state.unfinished = state.unfinished.saturating_sub(1);
                    state.totals.dead += 1;
                    dead += 1;
                    // Under this queue's lock, so that no thread sees the item in neither queue. The other queue
                    // is older than this one, so it never locks this one in turn.
                    dead_letters.0.put_always(delivery.item);
                }
                _ => {
                    state.deliveries.requeued.insert(delivery.first, delivery);
                    requeued += 1;
                }
            }
        }
        self.notify_requeued(state, requeued, dead);
    }

    /// Unlocks the state, and wakes threads. After an immediate shutdown, requeued items are dropped.
    fn notify_requeued(&self, mut state: MutexGuard<'_, State>, requeued: usize, dead: usize) {
        let dropped = state.discards.then(|| state.clear());
        self.notify(state, requeued, dead);
        drop(dropped);
    }

    /// Locks the state, after the items whose leases have expired were requeued.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        loop {
            let state = self.state.lock();
            if !state.has_expired() {
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
            let ready = |state: &State| state.has_expired() || ready(state);
            match self.state.wait(condition, wait, ready)? {
                Some(state) if state.has_expired() => self.expire(state, Instant::now()),
                state => return Ok(state),
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
        queue.put_always(Pickle::encode(&Value::None).unwrap().into());
        for times in 1..=1000 {
            assert!(queue.get(owner, &mut Wait::new(None)).is_ok());
            queue.expire(queue.state.lock(), Instant::now() + Duration::from_secs(2 * 60 * 60));
            let state = queue.state.lock();
            assert_eq!((state.len(), state.deliveries.unacknowledged.len()), (1, 0));
            let taken = state
                .deliveries
                .owners
                .get(&owner)
                .map(|taken| (taken.expired, taken.numbers.len()));
            assert_eq!(taken, Some((times, 0)));
        }
    }
}
