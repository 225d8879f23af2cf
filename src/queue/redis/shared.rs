//! A queue in Redis, as this manager serves it.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use redis::RedisResult;

use super::RedisQueue;
use super::delivery::Delivery;
use super::server::{Server, exception, is_unavailable};
use super::store::{CHUNK, Store, Tag};
use crate::error::Error;
use crate::exception::Exception;
use crate::object::call::Owner;
use crate::object::stored::Item;
use crate::queue::fifo::BATCH;
use crate::queue::owners::Owners;
use crate::queue::{QueueOptions, QueueStats};
use crate::wait::primitives::MutexGuard;
use crate::wait::{Condition, Locked, Wait};

/// An item that its manager has not renewed for this long is requeued.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// The longest and the shortest time that a call waits in Redis before it checks that its client is still connected, and
/// looks for requeued items.
const BLOCK: Duration = Duration::from_secs(1);
const SHORTEST_BLOCK: Duration = Duration::from_millis(100);

/// The interval of the thread of a queue.
const TICK: Duration = Duration::from_secs(1);

/// How often a waiting `put` or `join` asks Redis, which does not tell what other managers did.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// How soon a waiting `get` tries again when Redis is down.
const RETRY: Duration = Duration::from_millis(200);

pub(super) struct Shared {
    pub(super) name: String,
    pub(super) options: QueueOptions,
    pub(super) dead_letters: Option<(u32, RedisQueue)>,
    pub(super) store: Store,
    pub(super) state: Locked<State>,
    /// A waiting put may try again.
    pub(super) not_full: Condition,
    /// For waits that only look again at intervals.
    pub(super) never: Condition,
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
    /// Items to move to the dead letters.
    pub(super) dead: Vec<Tag>,
    pub(super) puts_end: bool,
    pub(super) gets_end: bool,
    /// How many waiting puts may try again.
    pub(super) room: usize,
    /// When one of the waiting puts last asked Redis, and the error, if Redis was unavailable.
    polled: Option<Instant>,
    failure: Option<Exception>,
    /// When this manager last looked for idle items, and last renewed its own.
    looked: Option<Instant>,
    renewed: Option<Instant>,
    pub(super) totals: QueueStats,
}

impl Shared {
    pub(super) fn new(
        server: Arc<Server>,
        name: &str,
        options: QueueOptions,
        dead_letters: Option<(u32, RedisQueue)>,
    ) -> Result<Self, Error> {
        Ok(Self {
            store: Store::new(server, name)?,
            name: name.to_owned(),
            options,
            dead_letters,
            state: Locked::default(),
            not_full: Condition::default(),
            never: Condition::default(),
        })
    }

    /// Starts the thread that repeats commands that failed, renews items and moves dead letters. It ends when the queue
    /// was dropped.
    pub(super) fn start(queue: Weak<Self>) -> io::Result<()> {
        let run = move || {
            while let Some(queue) = queue.upgrade() {
                // What fails is tried again at the next tick, or when the item has become idle.
                let _ = queue.renew();
                let _ = queue.flush();
                let _ = queue.move_dead_letters(TICK);
                queue.store.server.close_unused();
                drop(queue);
                thread::sleep(TICK);
            }
        };
        thread::Builder::new().name("redis-queue".to_owned()).spawn(run).map(drop)
    }

    pub(super) fn stats(&self) -> Result<QueueStats, Exception> {
        let counts = self.store.counts().map_err(|error| exception(&error))?;
        let unacknowledged = if self.options.at_least_once { counts.unacknowledged } else { 0 };
        let totals = self.lock().totals.clone();
        Ok(QueueStats { items: counts.ready, unacknowledged, ..totals })
    }

    pub(super) fn refuse_puts(&self) {
        self.state.lock().puts_end = true;
        self.not_full.notify_all();
    }

    /// Locks the state, after items whose leases expired were removed. In Redis, they are idle then.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if state.owners.may_have_expired() {
            state.owners.expire(Instant::now());
        }
        state
    }

    /// Renews the items of this manager's clients.
    fn renew(&self) -> RedisResult<()> {
        if !self.are_renewed() {
            return Ok(());
        }
        // A manager that does nothing else must notice an outage, too.
        self.store.ping()?;
        let now = Instant::now();
        let state = self.lock();
        let is_due = state.renewed.is_none_or(|renewed| now.duration_since(renewed) >= IDLE / 3);
        // After an outage, at once: see `requeue_idle`.
        if !is_due && self.store.is_steady() {
            return Ok(());
        }
        let held = state.owners.iter().map(|item| (item.tag.clone(), item.idle(now)));
        let dead = state.dead.iter().map(|tag| (tag.clone(), Duration::ZERO));
        let items: Vec<_> = held.chain(dead).collect();
        drop(state);
        items.chunks(CHUNK).try_for_each(|chunk| self.store.renew(chunk).map(drop))?;
        self.state.lock().renewed = Some(now);
        Ok(())
    }

    /// The idle time after which an item is requeued.
    fn idle(&self) -> Duration {
        self.options.lease.unwrap_or(IDLE).min(IDLE)
    }

    /// Whether a client may have an item for longer than the idle time.
    fn are_renewed(&self) -> bool {
        self.options.lease.is_none_or(|lease| lease > IDLE)
    }

    /// The longest time that a call waits in Redis. Leases may be shorter than [`BLOCK`].
    fn block(&self) -> Duration {
        self.idle().clamp(SHORTEST_BLOCK, BLOCK)
    }

    /// Requeues idle items of all managers, unless this manager did so a moment ago.
    pub(super) fn requeue_idle(&self) -> RedisResult<()> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.looked.is_some_and(|looked| now.duration_since(looked) < self.block()) {
            return Ok(());
        }
        state.looked = Some(now);
        drop(state);
        self.store.requeue_idle(self.idle(), self.are_renewed())
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
                    let left = BATCH.saturating_sub(found.item.len());
                    let mut found = vec![found];
                    if max > 1 {
                        // If this fails, there is one item all the same.
                        let more = self.store.take(max.min(CHUNK) - 1, left).unwrap_or_default();
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

    /// Waits until there may be room for an item, or the queue is shut down; `false` if the deadline came first. One of the
    /// waiting puts asks Redis for all of them.
    pub(super) fn wait_for_room(&self, wait: &mut Wait<'_>) -> Result<bool, Exception> {
        loop {
            wait.check_every(POLL);
            let is_due = |state: &State| state.polled.is_none_or(|polled| polled.elapsed() >= POLL);
            let ready = |state: &State| state.puts_end || state.room > 0 || is_due(state);
            let Some(mut state) = self.state.wait(self.lock(), &self.not_full, wait, ready)? else {
                return self.state.lock().failure.clone().map_or(Ok(false), Err);
            };
            if state.puts_end || state.room > 0 {
                state.room = state.room.saturating_sub(1);
                return Ok(true);
            }
            state.polled = Some(Instant::now());
            drop(state);
            let counts = self.store.counts();
            let mut state = self.state.lock();
            state.failure = counts.as_ref().err().map(exception);
            match counts {
                Ok(counts) => state.room = self.options.maxsize.saturating_sub(counts.ready),
                Err(error) if is_unavailable(&error) => {}
                Err(error) => return Err(exception(&error)),
            }
            self.not_full.notify(state.room);
        }
    }

    /// Lets waiting puts try again, after this many items were taken.
    pub(super) fn made_room(&self, items: usize) {
        if self.not_full.waiting() > 0 {
            self.state.lock().room += items;
            self.not_full.notify(items);
        }
    }

    /// Waits for this time; `false` if the deadline came first.
    pub(super) fn pause(&self, wait: &mut Wait<'_>, time: Duration) -> Result<bool, Exception> {
        wait.check_every(time);
        let until = Instant::now() + time;
        let is_over = |_: &State| Instant::now() >= until;
        Ok(self.state.wait(self.state.lock(), &self.never, wait, is_over)?.is_some())
    }
}
