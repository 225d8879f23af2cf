//! A bound in bytes: how producers wait for room.
//!
//! Each waits for a different number of bytes, so each has a condition of its own. When there is room, those
//! producers are woken whose items fit together, the one that has waited longest first. A large item does not
//! hold up a small one behind it, and no producer is woken in vain.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::QueueOptions;
use super::fifo::{QueueInner, State};
use crate::wait::primitives::MutexGuard;
use crate::wait::{Condition, Wait, WaitError};

/// The waiting producers; the first has waited longest.
pub(super) type Producers = VecDeque<Arc<Producer>>;

/// A producer that waits for room for an item of this size.
pub(super) struct Producer {
    size: usize,
    has_room: Condition,
    /// Whether it was notified since it last found no room. Changes under the queue's lock.
    notified: AtomicBool,
}

impl QueueInner {
    /// Waits until an item of this size fits, or the queue is shut down.
    pub(super) fn wait_for_bytes(
        &self,
        size: usize,
        wait: &mut Wait<'_>,
    ) -> Result<Option<MutexGuard<'_, State>>, WaitError> {
        let ready = |state: &State| state.shut_down || state.has_room(&self.options, size);
        let state = self.lock();
        if ready(&state) {
            return Ok(Some(state));
        }
        drop(state);
        // This blocks while the client reads no replies: room must not be kept for it meanwhile.
        wait.flush();
        let mut state = self.lock();
        let (has_room, notified) = (Condition::default(), AtomicBool::new(false));
        let producer = Arc::new(Producer { size, has_room, notified });
        state.producers.push_back(producer.clone());
        drop(state);
        let waited = self.wait(&producer.has_room, wait, |state| {
            let ready = ready(state);
            producer.notified.fetch_and(ready, Ordering::Relaxed);
            ready
        });
        let leave =
            |state: &mut State| state.producers.retain(|other| !Arc::ptr_eq(other, &producer));
        match waited {
            Ok(Some(mut state)) => {
                leave(&mut state);
                Ok(Some(state))
            }
            gave_up => {
                // This producer may have been notified: pass that on to others.
                let mut state = self.state.lock();
                leave(&mut state);
                self.notify(state, 0, 0);
                gave_up
            }
        }
    }
}

impl State {
    /// The conditions of the producers that can continue and were not notified yet.
    pub(super) fn to_notify(&self, options: &QueueOptions) -> Vec<Condition> {
        let room = |max: usize, used| if max == 0 { usize::MAX } else { max.saturating_sub(used) };
        let (mut items, mut bytes) = if self.shut_down {
            (usize::MAX, usize::MAX)
        } else {
            (room(options.maxsize, self.len()), room(options.max_bytes, self.bytes))
        };
        let mut conditions = Vec::new();
        for producer in &self.producers {
            if items == 0 {
                break;
            }
            let Some(left) = bytes.checked_sub(producer.size) else { continue };
            (items, bytes) = (items - 1, left);
            if !producer.notified.swap(true, Ordering::Relaxed) {
                conditions.push(producer.has_room.clone());
            }
        }
        conditions
    }
}
