//! A bound in bytes: how producers wait for room.
//!
//! A large item must not hold up a small one, so each waiting producer has a condition of its own. When there is
//! room, the queue wakes one producer: of those whose items fit, the one that has waited longest. When it has put
//! its item, it wakes the next.

use std::collections::VecDeque;

use super::QueueOptions;
use super::fifo::{QueueInner, State};
use crate::exception::Exception;
use crate::object::stored::Item;
use crate::wait::primitives::MutexGuard;
use crate::wait::{Condition, Wait, WaitError};

/// The waiting producers; the first has waited longest.
pub(super) type Producers = VecDeque<Producer>;

/// A producer that waits for room for an item of this size.
pub(super) struct Producer {
    ticket: u64,
    size: usize,
    has_room: Condition,
}

impl QueueInner {
    /// Refuses an item that is larger than the bound.
    pub(super) fn check_size(&self, item: &Item) -> Result<(), Exception> {
        let (size, max) = (item.len(), self.options.max_bytes);
        if max > 0 && size > max {
            let text = format!("an item of {size} bytes never fits a queue of {max} bytes");
            return Err(Exception::value_error(text));
        }
        Ok(())
    }

    /// Waits until an item of this size fits, or the queue is shut down.
    pub(super) fn wait_for_bytes(
        &self,
        size: usize,
        wait: &mut Wait<'_>,
        ready: impl Fn(&State) -> bool,
    ) -> Result<Option<MutexGuard<'_, State>>, WaitError> {
        let mut state = self.lock();
        if ready(&state) {
            return Ok(Some(state));
        }
        let ticket = state.producers.back().map_or(0, |last| last.ticket + 1);
        let has_room = Condition::default();
        state.producers.push_back(Producer { ticket, size, has_room: has_room.clone() });
        drop(state);
        let mut waited = self.wait(&has_room, wait, ready);
        let leave = |state: &mut State| state.producers.retain(|other| other.ticket != ticket);
        if let Ok(Some(state)) = &mut waited {
            leave(state);
        } else {
            // This producer gives up, but may have been notified: the next one takes its turn.
            let mut state = self.state.lock();
            leave(&mut state);
            self.notify(state, 0, 0);
        }
        waited
    }
}

impl State {
    /// The condition of the producer to wake. A producer that is not parked looks for room by itself before it
    /// parks, and may be unable to do so for long: its client may not be reading replies.
    pub(super) fn next_producer(&self, options: &QueueOptions) -> Option<Condition> {
        let can_put = |producer: &&Producer| {
            producer.has_room.waiting() > 0 && self.has_room(options, producer.size)
        };
        self.producers.iter().find(can_put).map(|producer| producer.has_room.clone())
    }

    pub(super) fn notify_all_producers(&self) {
        self.producers.iter().for_each(|producer| producer.has_room.notify_all());
    }
}
