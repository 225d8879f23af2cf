//! A queue in Redis, as this manager serves it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisResult;

use super::server::{exception, is_unavailable};
use super::store::{CHUNK, Found, Store, Tag};
use super::{Hub, RedisQueue};
use crate::error::Error;
use crate::exception::Exception;
use crate::object::call::Owner;
use crate::object::stored::Item;
use crate::queue::fifo::BATCH;
use crate::queue::owners::{Leased, Owners, Which};
use crate::queue::{QueueOptions, QueueStats};
use crate::wait::primitives::MutexGuard;
use crate::wait::{Condition, Locked, Wait};

/// An item that its manager has not renewed for this long is requeued.
const IDLE: Duration = Duration::from_secs(30);

/// The longest time that a call waits in Redis before it checks that its client is still connected.
const BLOCK: Duration = Duration::from_secs(1);

/// How often a waiting `put` or `join` asks Redis, which does not tell what other managers did.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// How soon a waiting `get` tries again when Redis is down.
const RETRY: Duration = Duration::from_millis(200);

pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    pub(super) name: String,
    pub(super) options: QueueOptions,
    dead_letters: Option<(u32, RedisQueue)>,
    pub(super) store: Store,
    pub(super) state: Locked<State>,
    /// Items were taken, removed or done, or the queue was shut down.
    pub(super) changed: Condition,
}

/// What this manager knows.
#[derive(Default)]
pub(super) struct State {
    /// The items that clients of this manager have not acknowledged; in a plain queue, those whose replies are not written.
    pub(super) owners: Owners<Delivery>,
    /// Items of a plain queue whose replies were written: Redis is to remove them.
    pub(super) delivered: Vec<Tag>,
    /// Items that Redis is to requeue, and their numbers of deliveries.
    pub(super) requeued: Vec<(Tag, u32)>,
    pub(super) puts_end: bool,
    pub(super) gets_end: bool,
    /// The number of changes that waiting calls may be interested in.
    changes: u64,
    /// When this manager last looked for idle items, and last renewed its own.
    looked: Option<Instant>,
    renewed: Option<Instant>,
    pub(super) totals: QueueStats,
}

/// An item that a client has not acknowledged.
pub(super) struct Delivery {
    pub(super) tag: Tag,
    /// For the dead letters.
    item: Item,
    deadline: Option<Instant>,
    /// `task_done` or `nack` raised an error, but may have taken effect: if it did, repeating it is no error.
    may_be_settled: bool,
}

impl Leased for Delivery {
    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Shared {
    pub(super) fn new(
        hub: Arc<Hub>,
        name: &str,
        options: QueueOptions,
        dead_letters: Option<(u32, RedisQueue)>,
    ) -> Result<Self, Error> {
        Ok(Self {
            store: Store::new(hub.server.clone(), name)?,
            hub,
            name: name.to_owned(),
            options,
            dead_letters,
            state: Locked::default(),
            changed: Condition::default(),
        })
    }

    pub(super) fn stats(&self) -> Result<QueueStats, Exception> {
        let counts = self.store.counts().map_err(|error| exception(&error))?;
        let unacknowledged = if self.options.at_least_once { counts.unacknowledged } else { 0 };
        let totals = self.lock().totals.clone();
        Ok(QueueStats { items: counts.ready, unacknowledged, ..totals })
    }

    pub(super) fn refuse_puts(&self) {
        self.change(|state| state.puts_end = true);
    }

    /// Repeats what failed, and renews the items of this manager's clients.
    pub(super) fn tick(&self) -> RedisResult<()> {
        self.flush()?;
        let now = Instant::now();
        let items: Vec<_> = {
            let mut state = self.lock();
            let is_due =
                state.renewed.is_none_or(|renewed| now.duration_since(renewed) >= IDLE / 3);
            if !is_due || !self.renews() {
                return Ok(());
            }
            state.renewed = Some(now);
            state.owners.iter().map(|delivery| (delivery.tag.clone(), delivery.idle(now))).collect()
        };
        items.chunks(CHUNK).try_for_each(|chunk| self.store.renew(chunk).map(drop)).inspect_err(
            |_| {
                self.state.lock().renewed = None;
            },
        )
    }

    /// Locks the state, after items whose leases expired were removed. In Redis, they are idle then.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if state.owners.may_have_expired() {
            state.owners.expire(Instant::now());
        }
        state
    }

    /// Changes the state, and wakes the calls that may go on now.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        state.changes += 1;
        drop(state);
        self.changed.notify_all();
        result
    }

    /// The idle time after which an item is requeued.
    fn idle(&self) -> Duration {
        self.options.lease.unwrap_or(IDLE).min(IDLE)
    }

    /// Whether a client may have an item for longer than the idle time.
    fn renews(&self) -> bool {
        self.options.lease.is_none_or(|lease| lease > IDLE)
    }

    /// The longest time that a call waits in Redis. Leases may be shorter than [`BLOCK`].
    fn block(&self) -> Duration {
        self.idle().clamp(Duration::from_millis(10), BLOCK)
    }

    /// Takes items that are there.
    pub(super) fn take(&self, max: usize, owner: Owner) -> RedisResult<Vec<Item>> {
        self.requeue_idle()?;
        loop {
            let found = self.store.take(max.min(CHUNK), BATCH)?;
            let is_last = found.is_empty();
            let items = self.deliver(found, owner);
            if is_last || !items.is_empty() {
                return Ok(items);
            }
        }
    }

    /// Requeues idle items of all managers, unless this manager did so a moment ago.
    pub(super) fn requeue_idle(&self) -> RedisResult<()> {
        if self.renews() && !self.hub.server.is_steady() {
            return Ok(());
        }
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.looked.is_some_and(|before| now.duration_since(before) < self.block()) {
            return Ok(());
        }
        state.looked = Some(now);
        drop(state);
        self.store.requeue_idle(self.idle())
    }

    /// Waits until there are items to take.
    pub(super) fn wait_for_items(
        &self,
        max: usize,
        owner: Owner,
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Item>, Exception> {
        let mut failure = None;
        loop {
            let found = match self.is_over_for(owner) {
                Ok(true) => return Err(Exception::shut_down()),
                Ok(false) => {
                    wait.check()?;
                    let Some(left) = wait.left()? else {
                        return Err(failure.unwrap_or_else(Exception::empty));
                    };
                    self.store.take_new(left.min(self.block()))
                }
                Err(error) => Err(error),
            };
            let items = found.and_then(|found| match found {
                None => self.take(max, owner),
                Some(found) => {
                    let mut found = vec![found];
                    if max > 1 {
                        // If this fails, there is one item all the same.
                        let more = self.store.take(max.min(CHUNK) - 1, BATCH).unwrap_or_default();
                        found.extend(more);
                    }
                    Ok(self.deliver(found, owner))
                }
            });
            match items {
                Ok(items) if items.is_empty() => failure = None,
                Ok(items) => {
                    // The client may have left meanwhile.
                    if let Err(error) = wait.check() {
                        self.requeue_undelivered(items.len(), owner);
                        // If this fails, they become idle.
                        let _ = self.flush();
                        return Err(error.into());
                    }
                    return Ok(items);
                }
                Err(error) if is_unavailable(&error) => {
                    failure = Some(exception(&error));
                    self.pause(wait, RETRY)?;
                }
                Err(error) => return Err(exception(&error)),
            }
        }
    }

    /// Whether no further item will come for this owner.
    fn is_over_for(&self, owner: Owner) -> RedisResult<bool> {
        let state = self.lock();
        if !state.puts_end || state.gets_end {
            return Ok(state.gets_end);
        }
        let may_return = self.options.at_least_once && !state.owners.has_items(owner);
        drop(state);
        let counts = self.store.counts()?;
        Ok(counts.ready == 0 && !(may_return && counts.unacknowledged > 0))
    }

    /// Gives items to their owner. Those that were delivered too often become dead letters instead.
    fn deliver(&self, found: Vec<Found>, owner: Owner) -> Vec<Item> {
        if found.is_empty() {
            return Vec::new();
        }
        let deadline = self.options.lease.and_then(|lease| Instant::now().checked_add(lease));
        let deliveries = found.into_iter().map(|Found { tag, item }| Delivery {
            tag,
            item,
            deadline,
            may_be_settled: false,
        });
        let (dead, alive): (Vec<_>, Vec<_>) =
            deliveries.partition(|delivery| self.max_deliveries() < delivery.tag.times);
        for delivery in &dead {
            // If this fails, the item becomes idle, and the next delivery tries again.
            let _ = self.move_to_dead_letters(delivery);
        }
        self.change(|state| {
            state.totals.gets += alive.len() as u64;
            let again = alive.iter().filter(|delivery| delivery.tag.times > 1);
            state.totals.redelivered += again.count() as u64;
            let give = |delivery: Delivery| {
                let item = delivery.item.clone();
                state.owners.add(owner, delivery);
                item
            };
            alive.into_iter().map(give).collect()
        })
    }

    pub(super) fn max_deliveries(&self) -> u32 {
        self.dead_letters.as_ref().map_or(u32::MAX, |(max, _)| *max)
    }

    /// Moves an item to the dead letters; `false` if it was delivered again meanwhile.
    pub(super) fn move_to_dead_letters(&self, delivery: &Delivery) -> RedisResult<bool> {
        let Some((_, to)) = &self.dead_letters else { return Ok(false) };
        let tag = delivery.tag.clone();
        if !self.store.renew(&[(tag.clone(), Duration::ZERO)])?.contains(&true) {
            return Ok(false);
        }
        to.0.store.put(&[delivery.item.data.to_bytes()], 0)?;
        self.store.remove(&[tag], true)?;
        self.change(|state| state.totals.dead += 1);
        Ok(true)
    }

    /// Acknowledges or requeues an item of this owner, for `method`. If that fails, the owner still has the item.
    pub(super) fn settle(
        &self,
        owner: Owner,
        method: &str,
        which: Which,
        act: impl FnOnce(&Delivery) -> RedisResult<bool>,
    ) -> Result<(), Exception> {
        let mut delivery = self.lock().owners.remove(owner, method, which)?;
        match act(&delivery) {
            Ok(was_last) if was_last || delivery.may_be_settled => Ok(()),
            Ok(_) => Err(Exception::value_error(format!(
                "{method}() called too late: the item was delivered again, or deleted"
            ))),
            Err(error) => {
                delivery.may_be_settled = true;
                self.state.lock().owners.restore(owner, which, delivery);
                Err(exception(&error))
            }
        }
    }

    /// Requeues the newest items of an owner, whose reply cannot be written: the deliveries are not counted. The caller
    /// flushes.
    pub(super) fn requeue_undelivered(&self, count: usize, owner: Owner) {
        let mut state = self.state.lock();
        for _ in 0..count {
            // Otherwise its lease has expired.
            if let Ok(Delivery { tag, .. }) = state.owners.remove(owner, "get", Which::Newest) {
                state.totals.gets -= 1;
                state.totals.redelivered -= u64::from(tag.times > 1);
                let before = tag.times - 1;
                state.requeued.push((tag, before));
            }
        }
    }

    /// Removes delivered items from Redis, and requeues others. If Redis is down, the next tick removes the former; the latter
    /// become idle, and are requeued then.
    pub(super) fn flush(&self) -> RedisResult<()> {
        let (delivered, requeued) = {
            let mut state = self.state.lock();
            (std::mem::take(&mut state.delivered), std::mem::take(&mut state.requeued))
        };
        for (done, chunk) in delivered.chunks(CHUNK).enumerate() {
            if let Err(error) = self.store.remove(chunk, false) {
                if is_unavailable(&error) {
                    let left = delivered.iter().skip(done * CHUNK).cloned();
                    self.state.lock().delivered.extend(left);
                }
                return Err(error);
            }
        }
        requeued.chunks(CHUNK).try_for_each(|chunk| self.store.requeue(chunk).map(drop))
    }

    /// Asks Redis again and again until it says yes; `false` if the deadline came first.
    pub(super) fn wait_until(
        &self,
        wait: &mut Wait<'_>,
        ask: impl Fn() -> RedisResult<bool>,
    ) -> Result<bool, Exception> {
        loop {
            let failure = match ask() {
                Ok(true) => return Ok(true),
                Ok(false) => None,
                Err(error) if is_unavailable(&error) => Some(error),
                Err(error) => return Err(exception(&error)),
            };
            if !self.pause(wait, POLL)? {
                return failure.map_or(Ok(false), |error| Err(exception(&error)));
            }
        }
    }

    /// Waits for this time, or until something changes here; `false` if the deadline came first.
    fn pause(&self, wait: &mut Wait<'_>, time: Duration) -> Result<bool, Exception> {
        wait.check_every(time);
        let until = Instant::now() + time;
        let state = self.state.lock();
        let before = state.changes;
        let ready = |state: &State| state.changes != before || Instant::now() >= until;
        Ok(self.state.wait(state, &self.changed, wait, ready)?.is_some())
    }
}

impl Delivery {
    /// The idle time to record in Redis, so that the item is requeued after [`IDLE`] or at the end of its lease, whichever
    /// is first.
    fn idle(&self, now: Instant) -> Duration {
        let left = self.deadline.map_or(IDLE, |deadline| deadline.saturating_duration_since(now));
        IDLE.saturating_sub(left)
    }
}
