//! At-least-once delivery (acknowledgement, leases, dead letters), and the bound in bytes.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, until};
use basemanager::{Client, Consumer, Error, Manager, Queue, Registration, ServerHandle, Value};

const KEY: &str = "k3y-of-these-tests";

fn share(queue: &Queue) -> (ServerHandle, Client) {
    let shared = queue.clone();
    let server = Manager::new(KEY).register("queue", move |_| shared.clone());
    let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), KEY).unwrap();
    (handle, client)
}

fn consumer(client: &Client) -> Consumer {
    client.queue("queue").unwrap().consumer()
}

fn put(queue: &Queue, items: std::ops::RangeInclusive<i64>) {
    items.for_each(|item| queue.put(item).unwrap());
}

fn raised(error: Error) -> String {
    match error {
        Error::Exception(exception) => exception.to_string(),
        other => other.to_string(),
    }
}

#[test]
fn disconnect_requeues_items_in_order() {
    let queue = Queue::options().at_least_once().build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=5);
    let (mut first, mut second) = (consumer(&client), consumer(&client));
    assert_eq!(first.get().unwrap(), 1.into());
    assert_eq!(second.get().unwrap(), 2.into());
    assert_eq!(first.get().unwrap(), 3.into());
    second.task_done().unwrap();
    assert_eq!(second.get().unwrap(), 4.into());
    drop(first);
    until("two are back", PATIENCE, || queue.len() == 3);
    drop(second);
    until("all are back", PATIENCE, || queue.len() == 4);
    let mut third = consumer(&client);
    for item in [1, 3, 4, 5] {
        assert_eq!(third.get().unwrap(), item.into());
        third.task_done().unwrap();
    }
    queue.join();
    let error = third.task_done().unwrap_err();
    let text = "ValueError: task_done() called too many times: no item is unacknowledged here";
    assert_eq!(raised(error), text);
}

#[test]
fn waiting_consumer_gets_requeued_item() {
    let queue = Queue::options().at_least_once().build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=1);
    let mut dying = consumer(&client);
    dying.get().unwrap();
    let mut waiting = consumer(&client);
    let waiter = thread::spawn(move || waiting.get().unwrap());
    drop(dying);
    assert_eq!(waiter.join().unwrap(), 1.into());
}

#[test]
fn lease_expiry_requeues_item() {
    let lease = Duration::from_millis(200);
    let queue = Queue::options().lease(lease).build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=2);
    let (mut slow, mut other) = (consumer(&client), consumer(&client));
    let since = Instant::now();
    assert_eq!(slow.get().unwrap(), 1.into());
    assert_eq!(other.get().unwrap(), 2.into());
    other.task_done().unwrap();
    assert_eq!(other.get().unwrap(), 1.into(), "it comes though nobody puts or drops anything");
    assert!(since.elapsed() >= lease);
    let text = "ValueError: task_done() called too late: the item's lease expired";
    assert_eq!(raised(slow.task_done().unwrap_err()), text);
    other.task_done().unwrap();
    queue.join();
}

#[test]
fn task_done_after_lease_expiry_keeps_order() {
    let lease = Duration::from_millis(200);
    let queue = Queue::options().lease(lease).build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=3);
    let (mut slow, mut other) = (consumer(&client), consumer(&client));
    assert_eq!(slow.get().unwrap(), 1.into());
    assert_eq!(slow.get().unwrap(), 2.into());
    // Both are requeued before the item that was never taken.
    until("the leases run out", PATIENCE, || queue.len() == 3);
    assert_eq!(other.get().unwrap(), 1.into());
    other.task_done().unwrap();
    assert_eq!(slow.get().unwrap(), 2.into());
    for _ in 0..2 {
        let text = raised(slow.task_done().unwrap_err());
        assert!(text.contains("task_done() called too late"), "{text}");
    }
    slow.task_done().unwrap();
    assert!(raised(slow.task_done().unwrap_err()).contains("too many times"));
    assert_eq!(other.get().unwrap(), 3.into());
    other.task_done().unwrap();
    queue.join();
}

#[test]
fn get_after_shutdown_does_not_wait_for_other_holders() {
    let queue = Queue::options().at_least_once().build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=2);
    let mut consumers = [consumer(&client), consumer(&client)];
    for consumer in &mut consumers {
        consumer.get().unwrap();
    }
    queue.shutdown(false);
    let consumers = consumers.map(|mut consumer| {
        thread::spawn(move || {
            let told = consumer.get().unwrap_err();
            (told, consumer.task_done())
        })
    });
    until("each is told", PATIENCE, || consumers.iter().all(JoinHandle::is_finished));
    for consumer in consumers {
        let (told, done) = consumer.join().unwrap();
        assert!(told.is_shut_down(), "{told:?}");
        done.unwrap();
    }
    queue.join();
}

#[test]
fn item_after_last_delivery_becomes_dead_letter() {
    let dead = Queue::new();
    let queue = Queue::options().dead_letters(3, &dead).build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=2);
    for times in 1..=3 {
        assert!(dead.is_empty(), "{times}");
        let mut dying = consumer(&client);
        assert_eq!(dying.get().unwrap(), 1.into());
        drop(dying);
        until("it is back, or dead", PATIENCE, || queue.len() + dead.len() == 2);
    }
    assert_eq!(dead.get().unwrap(), 1.into());
    let mut living = consumer(&client);
    assert_eq!(living.get().unwrap(), 2.into());
    living.task_done().unwrap();
    queue.join();
}

#[test]
fn max_bytes_bounds_queue() {
    let queue = Queue::options().max_bytes(100).build();
    let text = "x".repeat(40);
    queue.put(text.as_str()).unwrap();
    queue.put(text.as_str()).unwrap();
    assert!(queue.try_put(text.as_str()).unwrap_err().is_full());
    assert!(queue.put_timeout(text.as_str(), Duration::from_millis(1)).unwrap_err().is_full());
    queue.try_put(1).unwrap();
    let large = "x".repeat(200);
    let error = raised(queue.put(large).unwrap_err());
    assert_eq!(error, "ValueError: an item of 202 bytes never fits a queue of 100 bytes");
    let waiting = queue.clone();
    let waiter = thread::spawn(move || waiting.put(text).unwrap());
    queue.get().unwrap();
    waiter.join().unwrap();
    assert_eq!(queue.len(), 3);
}

#[test]
fn queue_proxy_get_on_at_least_once_queue_names_consumer() {
    let queue = Queue::options().at_least_once().build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=1);
    let tasks = client.queue("queue").unwrap();
    let refused = [
        tasks.get().unwrap_err(),
        tasks.try_get().unwrap_err(),
        tasks.get_timeout(Duration::ZERO).unwrap_err(),
        tasks.get_many(1, None).unwrap_err(),
        tasks.iter().next().unwrap().unwrap_err(),
        tasks.task_done().unwrap_err(),
    ];
    for error in refused {
        let text = error.to_string();
        assert!(text.contains("QueueProxy::consumer()"), "{text}");
        assert!(!error.may_have_taken_effect(), "{text}");
    }
    assert_eq!(queue.len(), 1, "nothing was taken");
    tasks.put(2).unwrap();
    assert_eq!((tasks.len().unwrap(), tasks.is_empty().unwrap()), (2, false));
}

#[test]
fn queue_proxy_get_names_consumer_whatever_the_owner_exposes() {
    for method in ["get", "get_many"] {
        let queue = Queue::options().at_least_once().build();
        let exposed = |methods: [&str; 2]| Registration::shared(&queue).exposed(methods);
        let server = Manager::new(KEY)
            .register_with("queue", exposed([method, "task_done"]))
            .register_with("inbox", exposed(["put", "qsize"]));
        let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
        let client = Client::connect(handle.address(), KEY).unwrap();
        let tasks = client.queue("queue").unwrap();
        client.queue("inbox").unwrap().put(1).unwrap();
        let got = [tasks.get(), tasks.get_many(1, None).map(Value::from)];
        for error in got.map(Result::unwrap_err) {
            assert!(error.to_string().contains("QueueProxy::consumer()"), "{error}");
        }
        let inbox = client.queue("inbox").unwrap();
        assert!(!inbox.proxy().exposed().iter().any(|name| name == "nack"));
        assert_eq!(queue.len(), 1);
    }
}

#[test]
fn consumer_after_untyped_get_acknowledges_its_own_item() {
    let queue = Queue::options().at_least_once().build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=3);
    let tasks = client.queue("queue").unwrap();
    // By a pooled connection: no consumer can acknowledge this item.
    assert_eq!(tasks.proxy().call("get", ()).unwrap(), 1.into());
    let mut consumer = tasks.consumer();
    assert_eq!(consumer.get().unwrap(), 2.into());
    consumer.task_done().unwrap();
    drop(consumer);
    // The next consumer does not inherit the connection, nor its unacknowledged items.
    let mut next = tasks.consumer();
    assert_eq!(next.get().unwrap(), 3.into());
    next.task_done().unwrap();
    assert!(raised(next.task_done().unwrap_err()).contains("too many times"));
}

#[test]
fn consumer_nack_requeues_newest_item() {
    let queue = Queue::options().at_least_once().build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=4);
    let (mut one, mut other) = (consumer(&client), consumer(&client));
    let nothing = "ValueError: nack() called too many times: no item is unacknowledged here";
    assert_eq!(raised(one.nack().unwrap_err()), nothing);
    assert_eq!(one.get_many(3, None).unwrap().len(), 3);
    one.nack().unwrap();
    assert_eq!(
        other.get().unwrap(),
        3.into(),
        "the last of the batch, before what was never taken"
    );
    one.nack().unwrap();
    other.nack().unwrap();
    // Requeued items keep their order. `task_done` acknowledges the oldest.
    one.task_done().unwrap();
    assert_eq!(raised(one.nack().unwrap_err()), nothing);
    for item in 2..=4 {
        assert_eq!(other.get().unwrap(), item.into());
        other.task_done().unwrap();
    }
    queue.join();
    assert_eq!(raised(other.nack().unwrap_err()), nothing);
}

#[test]
fn nack_after_last_delivery_makes_dead_letter() {
    let dead = Queue::new();
    let queue = Queue::options().dead_letters(2, &dead).build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=1);
    let mut consumer = consumer(&client);
    assert_eq!(consumer.get().unwrap(), 1.into());
    consumer.nack().unwrap();
    assert_eq!(consumer.get().unwrap(), 1.into());
    assert!(dead.is_empty());
    consumer.nack().unwrap();
    assert_eq!((dead.get().unwrap(), queue.len()), (1.into(), 0));
    queue.join();
}

#[test]
fn nack_after_lease_raises_value_error() {
    let queue = Queue::options().lease(Duration::from_millis(50)).build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=1);
    let mut consumer = consumer(&client);
    consumer.get().unwrap();
    until("the lease runs out", PATIENCE, || queue.len() == 1);
    let text = raised(consumer.nack().unwrap_err());
    assert!(text.starts_with("ValueError: nack() called too late"), "{text}");
    assert_eq!(queue.len(), 1);
}

#[test]
fn nack_wakes_waiting_consumer() {
    let queue = Queue::options().at_least_once().build();
    let (_handle, client) = share(&queue);
    put(&queue, 1..=1);
    let (mut giving_up, mut waiting) = (consumer(&client), consumer(&client));
    giving_up.get().unwrap();
    let waiter = thread::spawn(move || waiting.get().unwrap());
    giving_up.nack().unwrap();
    assert_eq!(waiter.join().unwrap(), 1.into());
}

#[test]
fn nack_in_process_applies_to_own_thread() {
    let queue = Queue::options().at_least_once().build();
    put(&queue, 1..=2);
    queue.get().unwrap();
    let other = queue.clone();
    thread::spawn(move || other.nack().unwrap_err()).join().unwrap();
    queue.nack().unwrap();
    assert_eq!(queue.get().unwrap(), 1.into());
    queue.task_done().unwrap();

    let plain = Queue::new();
    plain.put(1).unwrap();
    plain.get().unwrap();
    let text = raised(plain.nack().unwrap_err());
    assert_eq!(text, "ValueError: nack() is for at-least-once queues only");
    let (_handle, client) = share(&plain);
    let text = consumer(&client).nack().unwrap_err().to_string();
    assert!(text.contains("method 'nack' of"), "{text}");
    assert!(!client.queue("queue").unwrap().proxy().exposed().contains(&"nack".to_owned()));
}

/// How often the threads with this name have gone to sleep.
#[cfg(target_os = "linux")]
fn sleeps(name: &str) -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let counts = threads.filter_map(|thread| {
        // The thread may have ended.
        let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
        let field = |field| Some(status.lines().find_map(|line| line.strip_prefix(field))?.trim());
        let counts = field("voluntary_ctxt_switches:")?.parse::<u64>().ok();
        counts.filter(|_| field("Name:") == Some(name))
    });
    counts.sum()
}

#[test]
#[cfg(target_os = "linux")]
fn get_wakes_only_producers_whose_items_fit() {
    let queue = Queue::options().max_bytes(100).build();
    let putting = |name: &str, size: usize| {
        let queue = queue.clone();
        let put = move || queue.put(vec![0_u8; size]).unwrap();
        thread::Builder::new().name(name.to_owned()).spawn(put).unwrap()
    };
    queue.put(vec![0_u8; 20]).unwrap();
    queue.put(vec![0_u8; 60]).unwrap();
    let large: Vec<_> = (0..50).map(|_| putting("large", 60)).collect();
    let small = putting("small", 15);
    let (mut before, mut steady) = (0, 0);
    until("all wait", PATIENCE, || {
        let now = sleeps("large");
        steady = if now == before && sleeps("small") > 0 { steady + 1 } else { 0 };
        before = now;
        steady == 20
    });
    assert_eq!(queue.len(), 2);
    queue.get().unwrap();
    small.join().unwrap();
    assert_eq!(sleeps("large"), before, "none of them was woken");
    // Each item of 60 bytes makes room for another.
    for _ in 0..52 {
        assert!(queue.get_timeout(PATIENCE).unwrap().is_some());
    }
    for thread in large {
        thread.join().unwrap();
    }
    assert!(queue.is_empty());
}

#[test]
fn producers_with_mixed_sizes_all_get_room() {
    const EACH: usize = 300;
    let queue = Queue::options().max_bytes(1000).maxsize(10).build();
    let (say, word) = std::sync::mpsc::channel();
    for producer in 1..=8_usize {
        let (queue, say) = (queue.clone(), say.clone());
        thread::spawn(move || {
            let mut given_up = 0;
            for turn in 0..EACH {
                let item = vec![0_u8; (turn * producer * 37) % 900];
                if (turn + producer) % 3 > 0 {
                    queue.put(item).unwrap();
                } else if let Err(error) = queue.put_timeout(item, Duration::from_micros(50)) {
                    assert!(error.is_full(), "{error}");
                    given_up += 1;
                }
            }
            say.send(given_up).unwrap();
        });
    }
    // A producer that gives up passes its notification on, or others would wait forever on an empty queue.
    let (mut got, mut ended, mut given_up) = (0, 0, 0);
    until("each item came, or was not put", PATIENCE, || {
        while queue.get_timeout(Duration::from_millis(20)).unwrap().is_some() {
            got += 1;
        }
        for count in word.try_iter() {
            ended += 1;
            given_up += count;
        }
        ended == 8 && got + given_up == 8 * EACH
    });
}

#[test]
fn producers_get_the_room_of_done_and_dead_items_in_time() {
    const EACH: usize = 300;
    for maxsize in [0, 3] {
        let letters = Queue::new();
        let options = Queue::options().maxsize(maxsize).max_bytes(1000);
        let queue = options.dead_letters(1, &letters).build();
        let (say, word) = std::sync::mpsc::channel();
        for producer in 0..8_usize {
            let (queue, say) = (queue.clone(), say.clone());
            thread::spawn(move || {
                for turn in 0..EACH {
                    let item = vec![0_u8; (turn * 37 + producer * 101) % 900];
                    let brief = Duration::from_micros(50);
                    while turn % 7 == 3 && queue.put_timeout(item.clone(), brief).is_err() {}
                    if turn % 7 != 3 {
                        queue.put(item).unwrap();
                    }
                }
                say.send(()).unwrap();
            });
        }
        for consumer in 0..3 {
            let queue = queue.clone();
            thread::spawn(move || {
                for turn in consumer.. {
                    let Ok(_) = queue.get() else { break };
                    if turn % 11 == 0 { queue.nack().unwrap() } else { queue.task_done().unwrap() }
                }
            });
        }
        for _ in 0..8 {
            word.recv_timeout(PATIENCE).unwrap();
        }
        queue.shutdown(false);
        queue.join();
        assert!(!letters.is_empty());
    }
}
