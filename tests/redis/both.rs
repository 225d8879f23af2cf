//! What both kinds of queue do alike, each tested on both.

use std::ops::RangeInclusive;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use basemanager::{Queue, QueueOptions};

use crate::server::Redis;
use crate::support::{PATIENCE, blocked, until};
use crate::{Shared, raised};

/// Runs a test on a memory queue and on a queue in Redis, with these options and number of deliveries.
fn both(options: &QueueOptions, deliveries: Option<u32>, test: impl Fn(&Shared)) {
    let dead = Queue::new();
    let memory = match deliveries {
        Some(deliveries) => options.clone().dead_letters(deliveries, &dead),
        None => options.clone(),
    };
    test(&Shared::new(memory.build(), dead));

    let server = Redis::start();
    let redis = basemanager::Redis::new(&server.url()).unwrap();
    let dead = redis.queue("dead", Queue::options()).unwrap();
    let mut queue = redis.queue("queue", options.clone()).unwrap();
    if let Some(deliveries) = deliveries {
        queue = queue.dead_letters(deliveries, &dead).unwrap();
    }
    test(&Shared::new(queue, dead));
}

fn put(shared: &Shared, items: RangeInclusive<i64>) {
    items.for_each(|item| shared.queue().put(item).unwrap());
}

#[test]
fn items_come_in_order() {
    both(&Queue::options(), None, |shared| {
        let queue = shared.queue();
        assert_eq!((queue.len().unwrap(), queue.is_empty().unwrap()), (0, true));
        assert_eq!(queue.try_get().unwrap(), None);
        put(shared, 1..=3);
        queue.put("text").unwrap();
        queue.put(vec![0_u8; 100_000]).unwrap();
        assert_eq!((queue.len().unwrap(), queue.is_empty().unwrap()), (5, false));
        for item in 1..=3 {
            assert_eq!(queue.get().unwrap(), item.into());
        }
        assert_eq!(queue.get().unwrap(), "text".into());
        assert_eq!(queue.get().unwrap(), vec![0_u8; 100_000].into());
        assert_eq!(queue.get_timeout(Duration::from_millis(10)).unwrap(), None);
        assert_eq!(queue.len().unwrap(), 0);
        for _ in 0..5 {
            queue.task_done().unwrap();
        }
        queue.join().unwrap();
        let error = raised(queue.task_done().unwrap_err());
        assert_eq!(error, "ValueError: task_done() called too many times");
    });
}

#[test]
fn batches_are_put_and_taken() {
    both(&Queue::options(), None, |shared| {
        let queue = shared.queue();
        assert_eq!(queue.put_many(1..=300).unwrap(), 300);
        let first = queue.get_many(2, None).unwrap();
        assert_eq!(first, [1.into(), 2.into()]);
        assert_eq!(queue.get_many(1000, None).unwrap().len(), 298);
        let nothing = queue.get_many(1, Some(Duration::ZERO));
        assert!(nothing.is_ok_and(|items| items.is_empty()));
    });
}

#[test]
fn waiting_get_takes_next_item() {
    both(&Queue::options(), None, |shared| {
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let queue = shared.queue();
                blocked(move || queue.get().unwrap().to::<i64>().unwrap())
            })
            .collect();
        put(shared, 1..=3);
        let mut got: Vec<i64> = waiting.into_iter().map(|one| one.join().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, [1, 2, 3]);
    });
}

#[test]
fn full_queue_refuses_and_waits() {
    both(&Queue::options().maxsize(2), None, |shared| {
        let queue = shared.queue();
        put(shared, 1..=2);
        assert!(queue.try_put(3).unwrap_err().is_full());
        assert!(queue.put_timeout(3, Duration::from_millis(20)).unwrap_err().is_full());
        assert_eq!(queue.proxy().call("full", ()).unwrap(), true.into());
        let putting = shared.queue();
        let waiter = blocked(move || putting.put(3).unwrap());
        assert_eq!(queue.get().unwrap(), 1.into());
        waiter.join().unwrap();
        assert_eq!(queue.len().unwrap(), 2);
    });
}

#[test]
fn join_waits_for_last_task_done() {
    both(&Queue::options(), None, |shared| {
        put(shared, 1..=2);
        let joining = shared.queue();
        let joiner = blocked(move || joining.join().unwrap());
        let queue = shared.queue();
        for _ in 0..2 {
            queue.get().unwrap();
            queue.task_done().unwrap();
        }
        joiner.join().unwrap();
    });
}

#[test]
fn shutdown_ends_waiting_calls() {
    both(&Queue::options().maxsize(1), None, |shared| {
        let queue = shared.queue();
        let getting = shared.queue();
        let getter = blocked(move || getting.get().unwrap_err());
        queue.proxy().call("shutdown", ()).unwrap();
        assert!(getter.join().unwrap().is_shut_down());
        assert!(queue.put(1).unwrap_err().is_shut_down());
        assert!(queue.try_get().unwrap_err().is_shut_down());
    });
}

#[test]
fn shutdown_keeps_items_and_immediate_shutdown_removes_them() {
    both(&Queue::options(), None, |shared| {
        let queue = shared.queue();
        put(shared, 1..=3);
        queue.proxy().call("shutdown", ()).unwrap();
        assert_eq!(queue.get().unwrap(), 1.into());
        queue.task_done().unwrap();
        queue.proxy().call("shutdown", (true,)).unwrap();
        assert!(queue.get().unwrap_err().is_shut_down());
        queue.join().unwrap();
    });
}

#[test]
fn peek_leaves_items() {
    both(&Queue::options(), None, |shared| {
        put(shared, 1..=3);
        let queue = shared.queue();
        let peek = |max: i64| queue.proxy().call("peek", (max,)).unwrap();
        assert_eq!(peek(2), vec![1, 2].into());
        queue.get().unwrap();
        assert_eq!(peek(9), vec![2, 3].into());
        assert_eq!(queue.len().unwrap(), 2);
    });
}

#[test]
fn disconnect_requeues_items_in_order() {
    both(&Queue::options().at_least_once(), None, |shared| {
        put(shared, 1..=5);
        let (mut first, mut second) = (shared.consumer(), shared.consumer());
        assert_eq!(first.get().unwrap(), 1.into());
        assert_eq!(second.get().unwrap(), 2.into());
        assert_eq!(first.get().unwrap(), 3.into());
        second.task_done().unwrap();
        assert_eq!(second.get().unwrap(), 4.into());
        drop(first);
        until("two are back", PATIENCE, || shared.queue().len().unwrap() == 3);
        drop(second);
        until("all are back", PATIENCE, || shared.queue().len().unwrap() == 4);
        let mut third = shared.consumer();
        for item in [1, 3, 4, 5] {
            assert_eq!(third.get().unwrap(), item.into());
            third.task_done().unwrap();
        }
        shared.queue().join().unwrap();
        let text = "ValueError: task_done() called too many times: no item is unacknowledged here";
        assert_eq!(raised(third.task_done().unwrap_err()), text);
    });
}

#[test]
fn waiting_consumer_gets_requeued_item() {
    both(&Queue::options().at_least_once(), None, |shared| {
        put(shared, 1..=1);
        let mut dying = shared.consumer();
        dying.get().unwrap();
        let mut waiting = shared.consumer();
        let waiter = blocked(move || waiting.get().unwrap());
        drop(dying);
        assert_eq!(waiter.join().unwrap(), 1.into());
    });
}

#[test]
fn lease_expiry_requeues_item() {
    let lease = Duration::from_millis(200);
    both(&Queue::options().lease(lease), None, |shared| {
        put(shared, 1..=2);
        let (mut slow, mut other) = (shared.consumer(), shared.consumer());
        let since = Instant::now();
        assert_eq!(slow.get().unwrap(), 1.into());
        let mut next = other.get().unwrap();
        // On a loaded machine, the lease of the first item may be over already.
        while next != 1.into() {
            let _ = other.task_done();
            next = other.get().unwrap();
        }
        assert!(since.elapsed() >= lease);
        let text = "ValueError: task_done() called too late: the item's lease expired";
        assert_eq!(raised(slow.task_done().unwrap_err()), text);
    });
}

#[test]
fn item_after_last_delivery_becomes_dead_letter() {
    both(&Queue::options(), Some(3), |shared| {
        put(shared, 1..=2);
        for times in 1..=3 {
            assert!(shared.dead().is_empty().unwrap(), "{times}");
            let mut dying = shared.consumer();
            assert_eq!(dying.get().unwrap(), 1.into());
            drop(dying);
            let all = || shared.queue().len().unwrap() + shared.dead().len().unwrap() == 2;
            until("it is back, or dead", PATIENCE, all);
        }
        assert_eq!(shared.dead().get().unwrap(), 1.into());
        let mut living = shared.consumer();
        assert_eq!(living.get().unwrap(), 2.into());
        living.task_done().unwrap();
        shared.queue().join().unwrap();
    });
}

#[test]
fn nack_requeues_newest_item() {
    both(&Queue::options().at_least_once(), None, |shared| {
        put(shared, 1..=4);
        let (mut one, mut other) = (shared.consumer(), shared.consumer());
        let nothing = "ValueError: nack() called too many times: no item is unacknowledged here";
        assert_eq!(raised(one.nack().unwrap_err()), nothing);
        assert_eq!(one.get_many(3, None).unwrap().len(), 3);
        one.nack().unwrap();
        assert_eq!(other.get().unwrap(), 3.into());
        one.nack().unwrap();
        other.nack().unwrap();
        one.task_done().unwrap();
        for item in 2..=4 {
            assert_eq!(other.get().unwrap(), item.into());
            other.task_done().unwrap();
        }
        shared.queue().join().unwrap();
    });
}

#[test]
fn nack_after_last_delivery_makes_dead_letter() {
    both(&Queue::options(), Some(2), |shared| {
        put(shared, 1..=1);
        let mut consumer = shared.consumer();
        for _ in 0..2 {
            assert_eq!(consumer.get().unwrap(), 1.into());
            consumer.nack().unwrap();
        }
        assert_eq!(shared.dead().get().unwrap(), 1.into());
        assert_eq!(shared.queue().len().unwrap(), 0);
        shared.queue().join().unwrap();
    });
}

#[test]
fn nack_wakes_waiting_consumer() {
    both(&Queue::options().at_least_once(), None, |shared| {
        put(shared, 1..=1);
        let (mut giving_up, mut waiting) = (shared.consumer(), shared.consumer());
        giving_up.get().unwrap();
        let waiter = blocked(move || waiting.get().unwrap());
        giving_up.nack().unwrap();
        assert_eq!(waiter.join().unwrap(), 1.into());
    });
}

#[test]
fn get_after_shutdown_does_not_wait_for_other_holders() {
    both(&Queue::options().at_least_once(), None, |shared| {
        put(shared, 1..=2);
        let consumers = [shared.consumer(), shared.consumer()].map(|mut consumer| {
            consumer.get().unwrap();
            consumer
        });
        shared.queue().proxy().call("shutdown", ()).unwrap();
        let consumers = consumers.map(|mut consumer| {
            thread::spawn(move || (consumer.get().unwrap_err(), consumer.task_done()))
        });
        until("each is told", PATIENCE, || consumers.iter().all(JoinHandle::is_finished));
        for consumer in consumers {
            let (told, done) = consumer.join().unwrap();
            assert!(told.is_shut_down(), "{told:?}");
            done.unwrap();
        }
        shared.queue().join().unwrap();
    });
}
