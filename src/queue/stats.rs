//! The statistics of a queue.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::fifo::State;

/// The state of a queue, and its totals since it was made: [`Queue::stats`](crate::Queue::stats).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// The number of items that can be taken.
    pub items: usize,
    /// The size of all items in bytes, including unacknowledged ones.
    pub bytes: usize,
    /// The number of items that were taken and not yet acknowledged. 0 if the queue is not at-least-once.
    pub unacknowledged: usize,
    /// The number of threads and clients that wait for an item.
    pub waiting_getters: usize,
    /// An estimate of the age of the oldest item that was never taken; `None` if there is none. Puts do not read the
    /// clock: the age counts from the first call of [`Queue::stats`](crate::Queue::stats) that found the item in the
    /// queue.
    pub oldest: Option<Duration>,
    /// The number of items that were put.
    pub puts: u64,
    /// The number of deliveries: an item that was delivered twice counts twice.
    pub gets: u64,
    /// The number of successful calls of `task_done`.
    pub done: u64,
    /// The number of repeated deliveries, which `gets` includes.
    pub redelivered: u64,
    /// The number of items that were moved to the dead-letter queue.
    pub dead: u64,
}

/// Records how many items had been put at the time of each `stats` call, so that `put` need not read the clock.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// For each recorded call, the number of items that had been put, and the time. Both increase.
    seen: VecDeque<(u64, Instant)>,
}

/// The maximum number of records in [`Ages`]. When it is reached, every second record is dropped.
const TIMES: usize = 128;

impl Ages {
    /// Returns the age of the oldest item in a queue that holds the last `items` of the `puts` items that were put.
    fn oldest(&mut self, puts: u64, items: usize, now: Instant) -> Option<Duration> {
        let before = puts.saturating_sub(items as u64);
        while self.seen.front().is_some_and(|(puts, _)| *puts <= before) {
            self.seen.pop_front();
        }
        if items > 0 && self.seen.back().is_none_or(|(seen, _)| *seen < puts) {
            if self.seen.len() == TIMES {
                let mut keep = false;
                self.seen.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.seen.push_back((puts, now));
        }
        self.seen.front().map(|(_, since)| now.saturating_duration_since(*since))
    }
}

impl State {
    pub(super) fn stats(&mut self) -> QueueStats {
        let oldest = self.ages.oldest(self.totals.puts, self.items.len(), Instant::now());
        QueueStats {
            items: self.len(),
            bytes: self.bytes,
            unacknowledged: self.deliveries.unacknowledged.len(),
            oldest,
            ..self.totals.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_item_ages_from_the_first_look_at_it() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        let second = |count| start + Duration::from_secs(count);
        let age = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(ages.oldest(0, 0, second(0)), None);
        assert_eq!(ages.oldest(2, 2, second(1)), age(0));
        assert_eq!(ages.oldest(3, 3, second(4)), age(3), "of the first");
        assert_eq!(ages.oldest(3, 2, second(5)), age(4), "the second came with it");
        assert_eq!(ages.oldest(3, 1, second(6)), age(2), "the third came later");
        assert_eq!(ages.oldest(3, 0, second(7)), None);
    }

    #[test]
    fn times_are_few_and_the_first_is_kept() {
        let (mut ages, start) = (Ages::default(), Instant::now());
        for look in 1..=10_000 {
            let age = ages.oldest(look, 10_000, start + Duration::from_secs(look));
            assert_eq!(age, Some(Duration::from_secs(look - 1)));
            assert!(ages.seen.len() <= TIMES);
        }
    }
}
