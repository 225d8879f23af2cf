//! Redis is down, restarts, or does not answer.

use std::thread;
use std::time::Duration;

use basemanager::Queue;

/// After an outage, managers wait for this long before they requeue items of others.
const STEADY: Duration = Duration::from_secs(10);

/// Managers notice an outage of this time.
const OUTAGE: Duration = Duration::from_secs(11);

use crate::server::Redis;
use crate::support::{PATIENCE, blocked, until};
use crate::{Shared, raised};

#[test]
fn calls_raise_connection_error_while_redis_is_down() {
    let mut redis = Redis::start();
    let shared = Shared::redis(&redis.queue("jobs", Queue::options().at_least_once()));
    let (queue, mut consumer) = (shared.queue(), shared.consumer());
    queue.put_many(1..=2).unwrap();
    assert_eq!(consumer.get().unwrap(), 1.into());
    redis.kill();
    let errors = [
        queue.put(3).unwrap_err(),
        shared.consumer().get().unwrap_err(),
        shared.consumer().try_get().unwrap_err(),
        queue.len().map(drop).unwrap_err(),
        queue.join().unwrap_err(),
        consumer.task_done().unwrap_err(),
    ];
    for error in errors {
        let text = raised(error);
        assert!(text.starts_with("ConnectionError: "), "{text}");
    }
    redis.restart();
    // Nothing was lost, neither the item that waits nor the one that the consumer has.
    until("it is connected", PATIENCE, || queue.len().is_ok());
    assert_eq!(queue.len().unwrap(), 1);
    consumer.task_done().unwrap();
    assert_eq!(consumer.get().unwrap(), 2.into());
    consumer.task_done().unwrap();
    queue.join().unwrap();
}

#[test]
fn waiting_calls_go_on_after_restart() {
    let mut redis = Redis::start();
    let jobs = redis.queue("jobs", Queue::options());
    let shared = Shared::redis(&jobs);
    let queue = shared.queue();
    let waiter = thread::spawn(move || queue.get().unwrap());
    let queue = shared.queue();
    let timed = thread::spawn(move || queue.get_timeout(Duration::from_secs(5)));
    until("both wait", PATIENCE, || jobs.stats().unwrap().waiting_getters == 2);
    redis.kill();
    let text = raised(timed.join().unwrap().unwrap_err());
    assert!(text.starts_with("ConnectionError: "), "its own deadline counts: {text}");
    redis.restart();
    until("it is put", PATIENCE, || shared.queue().put(1).is_ok());
    assert_eq!(waiter.join().unwrap(), 1.into());
    let queue = shared.queue();
    let joiner = blocked(move || {
        // On a loaded machine, Redis may be gone before this waits.
        while let Err(error) = queue.join() {
            assert!(raised(error).starts_with("ConnectionError"));
        }
    });
    redis.restart();
    until("it is done", PATIENCE, || shared.queue().task_done().is_ok());
    joiner.join().unwrap();
}

#[test]
fn queue_whose_redis_starts_later_works() {
    let mut redis = Redis::start();
    redis.kill();
    let shared = Shared::redis(&redis.queue("jobs", Queue::options()));
    let queue = shared.queue();
    assert!(raised(queue.put(1).unwrap_err()).starts_with("ConnectionError"));
    redis.restart();
    until("it is put", PATIENCE, || queue.put(1).is_ok());
    assert_eq!(queue.get().unwrap(), 1.into());
}

#[test]
fn queue_that_was_deleted_starts_anew() {
    let redis = Redis::start();
    let shared = Shared::redis(&redis.queue("jobs", Queue::options()));
    let waiting = shared.queue();
    let waiter = blocked(move || waiting.get().unwrap());
    redis.command("FLUSHALL").unwrap();
    shared.queue().put(1).unwrap();
    assert_eq!(waiter.join().unwrap(), 1.into());
}

#[test]
fn redis_that_does_not_answer_raises_connection_error() {
    let redis = Redis::start();
    let shared = Shared::redis(&redis.queue("jobs", Queue::options()));
    let queue = shared.queue();
    queue.put(1).unwrap();
    redis.pause();
    let text = raised(queue.put(2).unwrap_err());
    redis.resume();
    assert!(text.starts_with("ConnectionError: Redis did not answer within 5s"), "{text}");
    assert_eq!(queue.get().unwrap(), 1.into());
}

#[test]
fn redis_that_refuses_a_command_raises_runtime_error() {
    let redis = Redis::start();
    let shared = Shared::redis(&redis.queue("jobs", Queue::options()));
    redis.command("SET basemanager:{jobs}:items text").unwrap();
    let text = raised(shared.queue().put(2).unwrap_err());
    assert!(text.starts_with("RuntimeError: Redis refused a command: "), "{text}");
}

#[test]
fn redis_without_memory_refuses_puts_only() {
    let redis = Redis::start();
    let shared = Shared::redis(&redis.queue("jobs", Queue::options().at_least_once()));
    let queue = shared.queue();
    queue.put_many(1..=3).unwrap();
    redis.command("CONFIG SET maxmemory 1").unwrap();
    let text = raised(queue.put(4).unwrap_err());
    assert!(text.contains("OOM"), "{text}");
    let mut consumer = shared.consumer();
    assert_eq!(consumer.get_many(2, None).unwrap(), [1.into(), 2.into()]);
    consumer.nack().unwrap();
    consumer.task_done().unwrap();
    assert_eq!(queue.len().unwrap(), 2);
}

#[test]
fn nack_and_task_done_can_be_called_again() {
    let redis = Redis::start();
    let shared = Shared::redis(&redis.queue("jobs", Queue::options().at_least_once()));
    let queue = shared.queue();
    queue.put_many(1..=2).unwrap();
    let mut consumer = shared.consumer();
    consumer.get_many(2, None).unwrap();
    // Redis does what it was told, but its reply comes too late.
    redis.pause();
    let errors = [consumer.task_done().unwrap_err(), consumer.nack().unwrap_err()];
    redis.resume();
    for text in errors.map(raised) {
        assert!(text.starts_with("ConnectionError: Redis did not answer"), "{text}");
    }
    consumer.task_done().unwrap();
    consumer.nack().unwrap();
    assert_eq!(shared.consumer().get().unwrap(), 2.into());
}

#[test]
fn dead_letter_that_is_refused_stops_nobody() {
    let server = Redis::start();
    let redis = basemanager::Redis::new(&server.url()).unwrap();
    let dead = redis.queue("dead", Queue::options()).unwrap();
    let options = Queue::options().lease(Duration::from_millis(500));
    let jobs = redis.queue("jobs", options).unwrap().dead_letters(1, &dead).unwrap();
    let shared = Shared::new(&jobs, &dead);
    shared.queue().put("poison").unwrap();
    server.command("SET basemanager:{dead}:items text").unwrap();
    let mut consumer = shared.consumer();
    assert_eq!(consumer.get().unwrap(), "poison".into());
    consumer.nack().unwrap();
    shared.queue().put("good").unwrap();
    let mut consumer = shared.consumer();
    assert_eq!(consumer.get().unwrap(), "good".into());
    consumer.task_done().unwrap();
    server.command("DEL basemanager:{dead}:items").unwrap();
    // The next look for items that nobody uses finds it.
    until("it is moved", PATIENCE, || {
        assert_eq!(shared.consumer().try_get().unwrap_or_default(), None);
        shared.dead().len().unwrap() == 1
    });
    assert_eq!(shared.dead().get().unwrap(), "poison".into());
}

#[test]
fn consumer_keeps_its_item_over_a_long_outage() {
    let mut redis = Redis::start();
    let [one, other] =
        [(); 2].map(|()| Shared::redis(&redis.queue("jobs", Queue::options().at_least_once())));
    one.queue().put(1).unwrap();
    let (mut slow, mut idle) = (one.consumer(), other.consumer());
    assert_eq!(slow.get().unwrap(), 1.into());
    // This manager has connected, and does nothing during the outage.
    assert_eq!(idle.try_get().unwrap(), None);
    thread::sleep(STEADY);
    redis.kill();
    thread::sleep(OUTAGE);
    redis.restart();
    // As if Redis had been down for longer than the idle time.
    redis.age("jobs", Duration::from_secs(100));
    // The first call may find a connection that has broken.
    let _ = other.queue().len();
    let got = idle.get_timeout(STEADY + Duration::from_secs(2));
    assert!(got.as_ref().is_ok_and(Option::is_none), "{got:?}");
    slow.task_done().unwrap();
    other.queue().join().unwrap();
}

#[test]
fn redis_with_too_many_clients_is_unavailable() {
    let redis = Redis::start();
    // Its items need no renewal, so it has no connection yet.
    let options = Queue::options().lease(Duration::from_secs(20));
    let shared = Shared::redis(&redis.queue("jobs", options));
    let queue = shared.queue();
    redis.with_clients(1, || {
        let text = raised(queue.put(1).unwrap_err());
        assert!(text.starts_with("ConnectionError: "), "{text}");
    });
    queue.put(1).unwrap();
}

#[test]
fn repeated_task_done_does_not_hide_that_the_item_was_delivered_again() {
    let redis = Redis::start();
    redis.command("ACL SETUSER one on >password ~* &* +@all").unwrap();
    let url = redis.url().replace("redis://", "redis://one:password@");
    let at_least_once = || Queue::options().at_least_once();
    let cut_off = basemanager::Redis::new(&url).unwrap().queue("jobs", at_least_once()).unwrap();
    let (one, other) =
        (Shared::redis(&cut_off), Shared::redis(&redis.queue("jobs", at_least_once())));
    one.queue().put(1).unwrap();
    let (mut slow, mut next) = (one.consumer(), other.consumer());
    assert_eq!(slow.get().unwrap(), 1.into());
    assert_eq!(next.try_get().unwrap(), None);
    thread::sleep(STEADY);
    redis.command("ACL SETUSER one off").unwrap();
    redis.command("CLIENT KILL USER one").unwrap();
    // It may have taken effect, as far as this manager knows.
    slow.task_done().unwrap_err();
    redis.age("jobs", Duration::from_secs(100));
    assert_eq!(next.get().unwrap(), 1.into());
    redis.command("ACL SETUSER one on").unwrap();
    until("it is connected", PATIENCE, || one.queue().len().is_ok());
    let text = raised(slow.task_done().unwrap_err());
    assert_eq!(
        text,
        "ValueError: task_done() called too late: the item was delivered again, or deleted"
    );
    next.task_done().unwrap();
    one.queue().join().unwrap();
}

#[test]
fn delivered_items_are_removed_when_redis_allows_it() {
    let redis = Redis::start();
    let shared = Shared::redis(&redis.queue("jobs", Queue::options()));
    let queue = shared.queue();
    queue.put_many(1..=20).unwrap();
    redis.command("ACL SETUSER default -xack").unwrap();
    assert_eq!(queue.get_many(20, None).unwrap().len(), 20);
    let length = || redis.command("XLEN basemanager:{jobs}:items").unwrap();
    assert_eq!(length(), ":20");
    redis.command("ACL SETUSER default +xack").unwrap();
    until("they are removed", PATIENCE, || length() == ":0");
}

#[test]
fn waiting_get_outlasts_a_redis_that_cannot_write() {
    let redis = Redis::start();
    let shared = Shared::redis(&redis.queue("jobs", Queue::options()));
    let (queue, waiting) = (shared.queue(), shared.queue());
    let waiter = blocked(move || waiting.get().unwrap());
    // No replica acknowledges writes.
    redis.command("CONFIG SET min-replicas-to-write 1").unwrap();
    let text = raised(queue.put(1).unwrap_err());
    assert!(text.starts_with("ConnectionError: "), "{text}");
    let text = raised(queue.try_get().unwrap_err());
    assert!(text.starts_with("ConnectionError: "), "{text}");
    redis.command("CONFIG SET min-replicas-to-write 0").unwrap();
    queue.put(2).unwrap();
    assert_eq!(waiter.join().unwrap(), 2.into());
}

#[test]
fn dead_letters_in_a_redis_that_hangs_stop_no_consumer() {
    let (server, other) = (Redis::start(), Redis::start());
    let redis = basemanager::Redis::new(&server.url()).unwrap();
    let dead = other.queue("dead", Queue::options());
    let options = Queue::options().lease(Duration::from_secs(20));
    let jobs = redis.queue("jobs", options).unwrap().dead_letters(1, &dead).unwrap();
    let shared = Shared::new(&jobs, &dead);
    shared.queue().put_many(1..=4).unwrap();
    let mut gone = shared.consumer();
    assert_eq!(gone.get_many(4, None).unwrap().len(), 4);
    other.pause();
    server.age("jobs", Duration::from_secs(20));
    shared.queue().put("good").unwrap();
    let mut consumer = shared.consumer();
    let got = consumer.get_timeout(Duration::from_secs(2));
    consumer.task_done().unwrap();
    other.resume();
    assert_eq!(got.unwrap(), Some("good".into()));
    // Those that could not be moved are idle after the lease.
    until("they are moved", PATIENCE, || {
        server.age("jobs", Duration::from_secs(20));
        assert_eq!(consumer.try_get().unwrap(), None);
        shared.dead().len().unwrap() == 4
    });
    shared.queue().join().unwrap();
    assert_eq!(shared.dead().len().unwrap(), 4);
}

#[test]
fn entries_that_others_delete_are_not_counted() {
    let redis = Redis::start();
    let shared = Shared::redis(&redis.queue("jobs", Queue::options().maxsize(2).at_least_once()));
    let queue = shared.queue();
    queue.put_many(1..=2).unwrap();
    let mut consumer = shared.consumer();
    consumer.get_many(2, None).unwrap();
    redis.command("XTRIM basemanager:{jobs}:items MAXLEN 0").unwrap();
    assert_eq!(queue.len().unwrap(), 0);
    queue.put_many(3..=4).unwrap();
    assert_eq!(shared.consumer().get().unwrap(), 3.into());
}
