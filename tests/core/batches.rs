//! Batches of items: in one call (`put_many`, `get_many`, for Python clients too), and in many pipelined calls
//! (`put_each`).

use std::thread;
use std::time::Duration;

use crate::support::{PATIENCE, pythons, snippet, until};
use basemanager::{Client, Limits, Manager, Queue, ServerHandle, Value};

const KEY: &str = "key";

fn share(queue: &Queue) -> (ServerHandle, Client) {
    let shared = queue.clone();
    let manager = Manager::new(KEY).limits(Limits::default().frame_size(1 << 20));
    let server = manager.register("queue", move |_| shared.clone());
    let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), KEY).unwrap();
    (handle, client)
}

fn values(items: std::ops::Range<i64>) -> Vec<Value> {
    items.map(Value::from).collect()
}

#[test]
fn batch_keeps_order() {
    let (_handle, client) = share(&Queue::new());
    let queue = client.queue("queue").unwrap();
    assert_eq!(queue.put_many(0..1000).unwrap(), 1000);
    assert_eq!(queue.put_many(Vec::<i64>::new()).unwrap(), 0);
    assert_eq!(queue.get_many(10, None).unwrap(), values(0..10));
    assert_eq!(queue.get().unwrap(), 10.into());
    assert_eq!(queue.get_many(5000, Some(Duration::ZERO)).unwrap(), values(11..1000));
    assert_eq!(queue.get_many(1, Some(Duration::ZERO)).unwrap(), []);
}

#[test]
fn get_many_stops_at_one_mebibyte() {
    let tasks = Queue::new();
    let (_handle, client) = share(&tasks);
    let queue = client.queue("queue").unwrap();
    // `get_many` stops when its items have 1 MiB.
    let item = "x".repeat(100_000);
    (0..21).for_each(|_| tasks.put(item.as_str()).unwrap());
    let counts = [(); 2].map(|()| queue.get_many(100, None).unwrap().len());
    assert_eq!(counts, [11, 10]);
    assert!(queue.put_many([item.as_str(); 20]).unwrap_err().to_string().contains("frame size"));
    let error = queue.get_many(0, None).unwrap_err();
    assert!(error.to_string().ends_with("ValueError: 'max' must be positive"), "{error}");
}

#[test]
fn batch_waits_for_room_and_first_item() {
    let tasks = Queue::bounded(10);
    let (_handle, client) = share(&tasks);
    let queue = client.queue("queue").unwrap();
    let putting = queue.clone();
    let putter = thread::spawn(move || putting.put_many(0..100).unwrap());
    let mut got = Vec::new();
    while got.len() < 100 {
        got.extend(queue.get_many(7, None).unwrap());
        assert!(tasks.len() <= 10);
    }
    assert_eq!((got, putter.join().unwrap()), (values(0..100), 100));

    let getter = thread::spawn(move || queue.get_many(5, None).unwrap());
    tasks.put(1).unwrap();
    assert_eq!(getter.join().unwrap(), [1.into()]);
}

#[test]
fn put_many_during_shutdown_returns_count() {
    let tasks = Queue::bounded(3);
    let (_handle, client) = share(&tasks);
    let queue = client.queue("queue").unwrap();
    let putting = queue.clone();
    let putter = thread::spawn(move || putting.put_many(0..5).unwrap());
    until("the queue is full", PATIENCE, || tasks.is_full());
    tasks.shutdown(false);
    assert_eq!(putter.join().unwrap(), 3);
    assert!(queue.put_many(0..2).unwrap_err().is_shut_down());
    assert_eq!(queue.get_many(9, None).unwrap(), values(0..3));
    assert!(queue.get_many(9, None).unwrap_err().is_shut_down());
}

#[test]
fn unacknowledged_batch_is_requeued_in_order() {
    let tasks = Queue::options().at_least_once().build();
    let (_handle, client) = share(&tasks);
    let queue = client.queue("queue").unwrap();
    queue.put_many(0..6).unwrap();
    let mut consumer = queue.consumer();
    assert_eq!(consumer.get_many(4, None).unwrap(), values(0..4));
    consumer.task_done().unwrap();
    drop(consumer);
    until("the rest is back", PATIENCE, || tasks.len() == 5);
    assert_eq!(queue.consumer().get_many(9, None).unwrap(), values(1..6));
}

#[test]
fn put_each_returns_result_of_each_item() {
    let tasks = Queue::new();
    let (_handle, client) = share(&tasks);
    let queue = client.queue("queue").unwrap();
    assert_eq!(queue.put_each(Vec::<i64>::new()).count(), 0);
    let results: Vec<_> = queue.put_each(0..1000).collect();
    assert!(results.len() == 1000 && results.iter().all(Result::is_ok));
    assert_eq!(queue.get_many(2000, None).unwrap(), values(0..1000));

    // An item that is refused does not affect the others.
    let large = "x".repeat(2 << 20);
    let items = [Value::from(1), large.as_str().into(), 2.into()];
    let results: Vec<_> = queue.put_each(items).map(|result| result.is_ok()).collect();
    assert_eq!(results, [true, false, true]);
    assert_eq!(queue.get_many(9, None).unwrap(), [1.into(), 2.into()]);

    // Results that were not read do not disturb the next call.
    let mut some = queue.put_each(0..10);
    some.next().unwrap().unwrap();
    drop(some);
    assert!(queue.len().is_ok());
}

#[test]
fn put_each_dropped_with_an_unsent_item_does_not_disturb_the_next_call() {
    let tasks = Queue::new();
    let (_handle, client) = share(&tasks);
    let queue = client.queue("queue").unwrap();
    // The second one is too large to be sent before the first has its result.
    let mut some = queue.put_each([vec![0_u8], vec![0; 2 << 20]]);
    some.next().unwrap().unwrap();
    drop(some);
    assert_eq!(queue.len().unwrap(), 1);
}

/// `put_each` pipelines no more bytes behind a blocked put than the manager allows.
#[test]
fn put_each_of_large_items_waits_for_room() {
    let tasks = Queue::bounded(1);
    let (_handle, client) = share(&tasks);
    let queue = client.queue("queue").unwrap();
    let sizes = [1, 100_000, 300_000, 700_000, 900_000, 1_000_000];
    let items: Vec<Vec<u8>> = (0..90).map(|at| vec![at; sizes[usize::from(at / 15)]]).collect();
    let putting = items.clone();
    let putter =
        thread::spawn(move || queue.put_each(putting).map(|result| result.unwrap()).count());
    for item in items {
        assert_eq!(tasks.get_timeout(PATIENCE).unwrap(), Some(item.into()));
    }
    assert_eq!(putter.join().unwrap(), 90);
}

#[test]
fn put_each_after_manager_stops_fails_items_in_flight() {
    let tasks = Queue::bounded(100);
    let (handle, client) = share(&tasks);
    let queue = client.queue("queue").unwrap();
    let putter = thread::spawn(move || queue.put_each(0..1000).collect::<Vec<_>>());
    until("the queue is full", PATIENCE, || tasks.is_full());
    handle.shutdown();
    handle.join().unwrap();
    let results = putter.join().unwrap();
    let put = results.iter().take_while(|result| result.is_ok()).count();
    let failed = results.get(put..).unwrap();
    assert_eq!(put, 100);
    assert!((1..=64).contains(&failed.len()), "{}", failed.len());
    let gone = |result: &Result<_, basemanager::Error>| {
        result.as_ref().is_err_and(basemanager::Error::is_disconnected)
    };
    assert!(failed.iter().all(gone));
}

#[test]
fn python_clients_can_use_batches() {
    for python in pythons() {
        let (handle, _client) = share(&Queue::new());
        let mut script = snippet(python, "batches.py", &[&handle.address().to_string(), KEY]);
        assert_eq!(script.end(PATIENCE).well().stdout, ["well"], "{python}");
    }
}
