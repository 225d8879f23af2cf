//! At-least-once delivery to unmodified Python programs that are killed or stopped while they hold items.
#![cfg(target_os = "linux")]

use std::time::Duration;

use crate::support::{PATIENCE, Process, Python, python_client, pythons, until, until_asleep};
use basemanager::{Manager, Queue, ServerHandle};

const KEY: &str = "k3y-of-these-tests";
const NOTHING_THERE: &str = "_queue Empty ()";

fn share(queue: &Queue) -> ServerHandle {
    let shared = queue.clone();
    let manager = Manager::new(KEY).register("queue", move |_| shared.clone());
    manager.bind("127.0.0.1:0").unwrap().start().unwrap()
}

/// A Python program that evaluates expressions on the queue `q`.
fn client(python: &Python, handle: &ServerHandle) -> Process {
    let code = "q = connect('queue').queue()\nobey()";
    python_client(python, code, &handle.address().to_string(), KEY)
}

fn put(queue: &Queue, items: std::ops::RangeInclusive<i64>) {
    items.for_each(|item| queue.put(item).unwrap());
}

#[test]
fn killed_consumer_requeues_unacknowledged_item_only() {
    let queue = Queue::options().at_least_once().build();
    let handle = share(&queue);
    for python in pythons() {
        put(&queue, 1..=3);
        let mut dying = client(python, &handle);
        assert_eq!(dying.ask("q.get()"), "1", "{python}");
        assert_eq!(dying.ask("q.task_done()"), "None", "{python}");
        assert_eq!(dying.ask("q.get()"), "2", "{python}");
        dying.kill();
        until("it is back", PATIENCE, || queue.len() == 2);
        let mut next = client(python, &handle);
        for item in ["2", "3"] {
            assert_eq!(next.ask("q.get()"), item, "{python}");
            assert_eq!(next.ask("q.task_done()"), "None", "{python}");
        }
        next.kill();
        queue.join();
        assert_eq!(client(python, &handle).ask("q.get(timeout=0.01)"), NOTHING_THERE, "{python}");
    }
}

#[test]
fn plain_queue_does_not_redeliver() {
    let queue = Queue::new();
    let handle = share(&queue);
    for python in pythons() {
        put(&queue, 1..=2);
        let mut dying = client(python, &handle);
        assert_eq!(dying.ask("q.get()"), "1", "{python}");
        dying.kill();
        let mut next = client(python, &handle);
        assert_eq!(next.ask("q.get()"), "2", "{python}");
        assert_eq!(next.ask("q.get(timeout=0.01)"), NOTHING_THERE, "{python}");
    }
}

#[test]
fn killed_consumers_keep_item_order() {
    let queue = Queue::options().at_least_once().build();
    let handle = share(&queue);
    for python in pythons() {
        put(&queue, 1..=8);
        let mut dying = [(); 3].map(|()| client(python, &handle));
        for turn in 0..6 {
            assert_eq!(dying[turn % 3].ask("q.get()"), (turn + 1).to_string(), "{python}");
        }
        // The last consumer first: its items are requeued behind those of the others.
        for (dead, one) in dying.iter_mut().rev().enumerate() {
            one.kill();
            until("its items are back", PATIENCE, || queue.len() == 2 * (dead + 2));
        }
        let mut next = client(python, &handle);
        for item in 1..=8 {
            assert_eq!(next.ask("q.get()"), item.to_string(), "{python}");
            assert_eq!(next.ask("q.task_done()"), "None", "{python}");
        }
    }
}

#[test]
fn waiting_consumer_gets_item_of_killed_one() {
    let queue = Queue::options().at_least_once().build();
    let handle = share(&queue);
    for python in pythons() {
        put(&queue, 1..=1);
        let (mut dying, mut waiting) = (client(python, &handle), client(python, &handle));
        assert_eq!(dying.ask("q.get()"), "1", "{python}");
        waiting.tell("q.get()");
        dying.kill();
        assert_eq!(waiting.line(), "1", "{python}");
        assert_eq!(waiting.ask("q.task_done()"), "None", "{python}");
    }
}

/// A stopped process stands for a host that vanished: its connection stays open, and sends nothing.
#[test]
fn stopped_consumer_loses_item_when_lease_expires() {
    for python in pythons() {
        let queue = Queue::options().lease(Duration::from_millis(300)).build();
        let handle = share(&queue);
        let (mut stopped, mut next) = (client(python, &handle), client(python, &handle));
        assert_eq!(next.ask("q.qsize()"), "0", "{python}");
        put(&queue, 1..=1);
        assert_eq!(stopped.ask("q.get()"), "1", "{python}");
        stopped.signal("STOP");
        // The waiting consumer gets the item, and must acknowledge it within the lease. On a busy machine that
        // may take longer: then it gets the item again.
        until("the next one is done with it", PATIENCE, || {
            assert_eq!(next.ask("q.get()"), "1", "{python}");
            next.ask("q.task_done()") == "None"
        });
        queue.join();
        stopped.signal("CONT");
        let too_late = stopped.ask("q.task_done()");
        assert!(too_late.starts_with("builtins ValueError"), "{python}: {too_late}");
        assert!(too_late.contains("lease expired"), "{python}: {too_late}");
        assert!(queue.is_empty());
        // The stopped consumer can continue.
        put(&queue, 2..=2);
        assert_eq!(stopped.ask("q.get()"), "2", "{python}");
    }
}

#[test]
fn dead_letter_queue_is_readable() {
    let dead = Queue::new();
    let queue = Queue::options().dead_letters(2, &dead).build();
    let (shared, letters) = (queue.clone(), dead.clone());
    let manager = Manager::new(KEY).register("queue", move |_| shared.clone());
    let manager = manager.register("letters", move |_| letters.clone());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    for python in pythons() {
        put(&queue, 1..=2);
        for _ in 0..2 {
            let mut dying = client(python, &handle);
            assert_eq!(dying.ask("q.get()"), "1", "{python}");
            dying.kill();
            until("it is back, or dead", PATIENCE, || queue.len() + dead.len() == 2);
        }
        let code = "q = connect('letters').letters()\nobey()";
        let mut reader = python_client(python, code, &handle.address().to_string(), KEY);
        assert_eq!(reader.ask("q.qsize()"), "1", "{python}");
        assert_eq!(reader.ask("q.get()"), "1", "{python}");
        assert_eq!(reader.ask("q.task_done()"), "None", "{python}");
        assert_eq!(reader.ask("q.empty()"), "True", "{python}");
        let mut living = client(python, &handle);
        assert_eq!(living.ask("q.get()"), "2", "{python}");
        assert_eq!(living.ask("q.task_done()"), "None", "{python}");
        queue.join();
    }
}

#[test]
fn max_bytes_blocks_python_producer() {
    let queue = Queue::options().max_bytes(1000).build();
    let handle = share(&queue);
    for python in pythons() {
        let mut producer = client(python, &handle);
        assert_eq!(producer.ask("q.put(b'x' * 600)"), "None", "{python}");
        assert_eq!(producer.ask("q.put_nowait(b'x' * 600)"), "queue Full ()", "{python}");
        assert_eq!(producer.ask("q.put(b'x' * 600, timeout=0.01)"), "queue Full ()", "{python}");
        assert_eq!(producer.ask("q.full()"), "False", "{python}: a small one fits");
        let never = producer.ask("q.put(b'x' * 2000)");
        assert!(never.starts_with("builtins ValueError"), "{python}: {never}");
        assert!(never.contains("never fits a queue of 1000 bytes"), "{python}: {never}");
        producer.tell("q.put(b'y' * 600)");
        producer.tell("q.qsize()");
        until_asleep(&[&producer], || true);
        assert!(producer.printed().is_empty(), "{python}: it waits");
        queue.get().unwrap();
        assert_eq!(producer.lines(2), ["None", "1"], "{python}");
        assert_eq!(queue.get().unwrap(), vec![b'y'; 600].into(), "{python}");
    }
}

/// The consumer has the documented loop. It cannot unpickle `Job`, a class that only the producer has.
#[test]
fn poison_message_with_nack_becomes_dead_letter() {
    const PRODUCER: &str = "
class Job:
    pass
q = connect('queue').queue()
obey()";
    const CONSUMER: &str = "
import queue
q = connect('queue').queue()
done = []
while len(done) < 3:
    try:
        item = q.get()
        if item == 'unwanted':
            raise LookupError(item)
        done.append(item)
    except Exception as error:
        q.nack()
        print(type(error).__name__, flush=True)
    else:
        q.task_done()
print(done)";
    for python in pythons() {
        let dead = Queue::new();
        let queue = Queue::options().dead_letters(2, &dead).build();
        let handle = share(&queue);
        let address = handle.address().to_string();
        let mut producer = python_client(python, PRODUCER, &address, KEY);
        for item in ["1", "Job()", "'unwanted'", "2", "3"] {
            assert_eq!(producer.ask(&format!("q.put({item})")), "None", "{python}");
        }
        let ended = python_client(python, CONSUMER, &address, KEY).end(PATIENCE).well();
        let refused = ["AttributeError", "AttributeError", "LookupError", "LookupError"];
        assert_eq!(ended.stdout, [&refused[..], &["[1, 2, 3]"]].concat(), "{python}");
        queue.join();
        assert_eq!(dead.len(), 2, "{python}");
        assert_eq!(queue.len(), 0, "{python}");
        // A dead letter is the unchanged item.
        assert_ne!(dead.get().unwrap(), "unwanted".into(), "{python}");
        assert_eq!(dead.get().unwrap(), "unwanted".into(), "{python}");
    }
}

#[test]
fn nack_exists_on_at_least_once_queue_only() {
    let plain = Queue::new();
    let handle = share(&plain);
    for python in pythons() {
        assert_eq!(client(python, &handle).ask("hasattr(q, 'nack')"), "False", "{python}");
    }
    let queue = Queue::options().at_least_once().build();
    let handle = share(&queue);
    for python in pythons() {
        put(&queue, 1..=3);
        let mut client = client(python, &handle);
        let nothing = client.ask("q.nack()");
        assert!(nothing.starts_with("builtins ValueError"), "{python}: {nothing}");
        assert_eq!(client.ask("q.get_many(2)"), "[1, 2]", "{python}");
        assert_eq!(client.ask("q.nack()"), "None", "{python}: the last of the batch");
        assert_eq!(client.ask("q.task_done()"), "None", "{python}: the first");
        assert_eq!(client.ask("q.get_many(9)"), "[2, 3]", "{python}");
        assert_eq!(client.ask("q.task_done()"), "None", "{python}");
        assert_eq!(client.ask("q.task_done()"), "None", "{python}");
        queue.join();
    }
}
