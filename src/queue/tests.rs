//! Tests of what only a queue of this process offers: refused items, `peek`, `clear` and `stats`.
#![allow(clippy::unwrap_used)]

use std::thread;
use std::time::{Duration, Instant};

use super::calls::Backend;
use super::{Queue, QueueStats};
use crate::error::Error;
use crate::exception::Exception;
use crate::object::call::Owner;
use crate::value::Value;
use crate::wait::Wait;

fn queue_of(queue: Queue, items: std::ops::RangeInclusive<i64>) -> Queue {
    items.for_each(|item| queue.put(item).unwrap());
    queue
}

fn values(items: std::ops::RangeInclusive<i64>) -> Vec<Value> {
    items.map(Value::from).collect()
}

#[test]
fn try_put_on_full_queue_returns_item() {
    let queue = queue_of(Queue::bounded(1), 1..=1);
    let error = queue.try_put("second").unwrap_err();
    assert!(error.is_full() && !error.is_shut_down() && error.error().is_full());
    assert_eq!(*error.into_inner(), "second".into());
    let error = queue.put_timeout("third", Duration::from_millis(1)).unwrap_err();
    assert!(error.is_full());
    // The item can be put again as it is.
    assert_eq!(queue.get().unwrap(), 1.into());
    queue.try_put(error.into_inner()).unwrap();
    assert_eq!(queue.get().unwrap(), "third".into());
}

#[test]
fn try_put_after_shutdown_returns_item() {
    let queue = Queue::new();
    queue.shutdown(false);
    let error = queue.try_put(7).unwrap_err();
    assert!(error.is_shut_down() && !error.is_full());
    assert_eq!(*error.into_inner(), 7.into());
}

#[test]
fn try_put_of_item_that_never_fits_returns_item() {
    let queue = Queue::options().max_bytes(10).build();
    let error = queue.try_put("x".repeat(20)).unwrap_err();
    assert_eq!(error.to_string(), error.error().to_string());
    assert!(error.to_string().contains("never fits a queue of 10 bytes"), "{error}");
    assert_eq!(*error.into_inner(), "x".repeat(20).into());
}

#[test]
fn put_error_converts_to_error_and_exception() {
    let queue = Queue::bounded(1);
    let fill = || -> Result<(), Error> { Ok((1..=2).try_for_each(|item| queue.try_put(item))?) };
    assert!(fill().unwrap_err().is_full());
    assert_eq!(Exception::from(queue.try_put(3).unwrap_err()), Exception::full());
}

#[test]
fn peek_returns_first_items_and_leaves_them() {
    let queue = queue_of(Queue::new(), 1..=3);
    assert_eq!(queue.peek(0), []);
    assert_eq!(queue.peek(2), values(1..=2));
    assert_eq!(queue.peek(usize::MAX), values(1..=3));
    assert_eq!(queue.len(), 3);
}

#[test]
fn peek_shows_requeued_items_first() {
    let queue = queue_of(Queue::options().at_least_once().build(), 1..=3);
    queue.get().unwrap();
    assert_eq!(queue.peek(9), values(2..=3));
    queue.nack().unwrap();
    assert_eq!(queue.peek(9), values(1..=3));
}

#[test]
fn clear_removes_items_and_releases_joiners() {
    let queue = queue_of(Queue::new(), 1..=3);
    queue.get().unwrap();
    queue.task_done().unwrap();
    let joiner = thread::spawn({
        let queue = queue.clone();
        move || queue.join()
    });
    assert_eq!((queue.clear(), queue.len(), queue.clear()), (2, 0, 0));
    joiner.join().unwrap();
    assert!(queue.task_done().is_err(), "all items are done");
    queue.put(4).unwrap();
    assert_eq!(queue.get().unwrap(), 4.into());
}

#[test]
fn clear_wakes_blocked_producers() {
    for options in [Queue::options().maxsize(2), Queue::options().max_bytes(4)] {
        // Two bytes each, pickled.
        let queue = queue_of(options.build(), 1..=2);
        assert!(queue.try_put(0).unwrap_err().is_full());
        let producers = [3, 4].map(|item| {
            let queue = queue.clone();
            thread::spawn(move || queue.put(item).unwrap())
        });
        let mut cleared = 0;
        while cleared < 4 {
            cleared += queue.clear();
            thread::yield_now();
        }
        for producer in producers {
            producer.join().unwrap();
        }
        assert!(queue.is_empty());
    }
}

#[test]
fn clear_keeps_unacknowledged_items() {
    let queue = queue_of(Queue::options().at_least_once().build(), 1..=3);
    queue.get().unwrap();
    assert_eq!(queue.clear(), 2);
    assert_eq!(queue.stats().bytes, 2);
    queue.nack().unwrap();
    assert_eq!(queue.get().unwrap(), 1.into());
    queue.task_done().unwrap();
    queue.join();
    assert_eq!(queue.stats().bytes, 0);
}

/// The statistics without the age, which no test can know.
fn stats(queue: &Queue) -> QueueStats {
    QueueStats { oldest: None, ..queue.stats() }
}

#[test]
fn stats_count_each_operation() {
    let dead = Queue::new();
    let queue = queue_of(Queue::options().dead_letters(2, &dead).build(), 1..=3);
    assert_eq!(stats(&queue), QueueStats { items: 3, bytes: 6, puts: 3, ..QueueStats::default() });
    queue.get().unwrap();
    queue.get().unwrap();
    queue.task_done().unwrap();
    queue.nack().unwrap();
    let expected = QueueStats { items: 2, bytes: 4, puts: 3, gets: 2, done: 1, ..stats(&queue) };
    assert_eq!(stats(&queue), expected);
    assert_eq!((expected.redelivered, expected.unacknowledged, expected.dead), (0, 0, 0));
    queue.get().unwrap();
    let again = QueueStats { items: 1, unacknowledged: 1, gets: 3, redelivered: 1, ..expected };
    assert_eq!(stats(&queue), again);
    queue.nack().unwrap();
    let last = QueueStats { bytes: 2, unacknowledged: 0, dead: 1, ..again };
    assert_eq!(stats(&queue), last);
    assert_eq!((dead.stats().items, dead.stats().puts), (1, 1));
}

#[test]
fn stats_do_not_count_get_whose_reply_failed() {
    for options in [Queue::options(), Queue::options().dead_letters(1, &Queue::new())] {
        let queue = queue_of(options.build(), 1..=2);
        let before = stats(&queue);
        let owner = Owner::this_thread();
        let item = queue.0.get(owner, &mut Wait::new(None)).unwrap();
        queue.0.undo_get(item, owner);
        assert_eq!(stats(&queue), before);
        assert_eq!(queue.peek(9), values(1..=2));
    }
}

#[test]
fn stats_count_waiting_getters() {
    let queue = Queue::new();
    let getters = [(); 2].map(|()| {
        let queue = queue.clone();
        thread::spawn(move || queue.get().unwrap())
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    while queue.stats().waiting_getters < 2 {
        assert!(Instant::now() < deadline, "the getters do not wait");
        thread::yield_now();
    }
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    for getter in getters {
        getter.join().unwrap();
    }
    assert_eq!(queue.stats().waiting_getters, 0);
}
