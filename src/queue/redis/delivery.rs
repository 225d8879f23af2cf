//! What becomes of the items that clients of this manager have taken.

use std::time::{Duration, Instant};

use redis::RedisResult;

use super::server::exception;
use super::shared::{IDLE, Shared};
use super::store::{CHUNK, Found, Outcome, Tag};
use crate::exception::Exception;
use crate::object::call::Owner;
use crate::object::stored::Item;
use crate::queue::owners::{Leased, Which};

/// An item that a client has not acknowledged.
pub(super) struct Delivery {
    pub(super) tag: Tag,
    deadline: Option<Instant>,
    /// `task_done` or `nack` raised an error, but may have taken effect: if it did, repeating it is no error.
    may_be_settled: bool,
}

impl Leased for Delivery {
    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Delivery {
    /// The idle time to record in Redis, so that the item is requeued after [`IDLE`] or at the end of its lease, whichever
    /// is first.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        let left = self.deadline.map_or(IDLE, |deadline| deadline.saturating_duration_since(now));
        IDLE.saturating_sub(left)
    }
}

impl Shared {
    /// Gives items to their owner. Those that were delivered too often become dead letters instead.
    pub(super) fn deliver(&self, found: Vec<Found>, owner: Owner) -> Vec<Item> {
        let deadline = self.options.lease.and_then(|lease| Instant::now().checked_add(lease));
        let mut items = Vec::new();
        let mut state = self.lock();
        for Found { tag, item } in found {
            if self.dead_letters.as_ref().is_some_and(|(max, _)| tag.times > *max) {
                state.dead.push(tag);
                continue;
            }
            state.totals.gets += 1;
            state.totals.redelivered += u64::from(tag.times > 1);
            items.push(item);
            state.owners.add(owner, Delivery { tag, deadline, may_be_settled: false });
        }
        drop(state);
        self.made_room(items.len());
        items
    }

    /// Acknowledges or requeues an item of this owner, for `method`. If that fails, the owner still has the item.
    pub(super) fn settle(
        &self,
        owner: Owner,
        method: &str,
        which: Which,
        act: impl FnOnce(&Delivery) -> RedisResult<Vec<Outcome>>,
    ) -> Result<(), Exception> {
        let mut delivery = self.lock().owners.remove(owner, method, which)?;
        match act(&delivery).as_deref() {
            Ok([Outcome::Done]) => Ok(()),
            Ok([Outcome::Gone]) if delivery.may_be_settled => Ok(()),
            // The consequence of an earlier `nack`.
            Ok([Outcome::DeliveredAgain]) if delivery.may_be_settled && which == Which::Newest => {
                Ok(())
            }
            Ok(_) => Err(Exception::value_error(format!(
                "{method}() called too late: the item was delivered again, or deleted"
            ))),
            Err(error) => {
                delivery.may_be_settled = true;
                self.state.lock().owners.restore(owner, which, delivery);
                Err(exception(error))
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

    /// Requeues all items of an owner, or moves them to the dead letters. The caller flushes.
    pub(super) fn requeue_all(&self, owner: Owner) {
        let mut state = self.lock();
        for Delivery { tag, .. } in state.owners.remove_all(owner) {
            if self.is_last_delivery(&tag) {
                state.dead.push(tag);
            } else {
                let times = tag.times;
                state.requeued.push((tag, times));
            }
        }
    }

    /// Whether an item may not be delivered again.
    pub(super) fn is_last_delivery(&self, tag: &Tag) -> bool {
        self.dead_letters.as_ref().is_some_and(|(max, _)| tag.times >= *max)
    }

    /// Moves items to the dead letters, for up to this time. If that fails, all become idle, and are found again when they are
    /// taken.
    pub(super) fn move_dead_letters(&self, time: Duration) -> RedisResult<()> {
        let Some((_, to)) = &self.dead_letters else { return Ok(()) };
        let until = Instant::now() + time;
        let mut dead = std::mem::take(&mut self.state.lock().dead).into_iter();
        for tag in dead.by_ref() {
            // Not if another manager has found it meanwhile.
            if self.store.renew(&[(tag.clone(), Duration::ZERO)])? == [Outcome::Done]
                && let Some(item) = self.store.item(&tag)?
            {
                to.0.store.put(&[item.data.to_bytes()], 0)?;
                self.store.remove(&[tag], true)?;
                self.state.lock().totals.dead += 1;
            }
            if Instant::now() >= until {
                break;
            }
        }
        self.state.lock().dead.extend(dead);
        Ok(())
    }

    /// Removes delivered items from Redis, and requeues others. If that fails, the next tick removes the former; the latter
    /// become idle, and are requeued then.
    pub(super) fn flush(&self) -> RedisResult<()> {
        let (delivered, requeued) = {
            let mut state = self.state.lock();
            (std::mem::take(&mut state.delivered), std::mem::take(&mut state.requeued))
        };
        for (done, chunk) in delivered.chunks(CHUNK).enumerate() {
            self.store.remove(chunk, false).inspect_err(|_| {
                let left = delivered.iter().skip(done * CHUNK).cloned();
                self.state.lock().delivered.extend(left);
            })?;
        }
        requeued.chunks(CHUNK).try_for_each(|chunk| self.store.requeue(chunk).map(drop))
    }
}
