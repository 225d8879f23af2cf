//! A manager with a `drain_timeout` ends when its queues are empty, and loses no item until then.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Process, Python, python_client, pythons, until};
use basemanager::{Client, Error, Manager, Queue, QueueOptions, QueueProxy, Result};

const KEY: &str = "k3y-of-these-tests";

/// A manager with one queue, and a callable that shuts it down.
struct Draining {
    queue: Queue,
    address: String,
    serving: Option<JoinHandle<Result<()>>>,
}

impl Draining {
    fn new(options: QueueOptions, drain_timeout: Duration) -> Self {
        let queue = options.max_bytes(1000).build();
        let server = Manager::new(KEY)
            .share("queue", &queue)
            .register("close", |call| call.shut_down_manager())
            .drain_timeout(drain_timeout)
            .bind("127.0.0.1:0")
            .unwrap();
        let address = server.address().to_string();
        let serving = thread::spawn(move || server.serve_forever());
        Self { queue, address, serving: Some(serving) }
    }

    fn rust(&self) -> QueueProxy {
        Client::connect(&self.address, KEY).unwrap().queue("queue").unwrap()
    }

    fn python(&self, python: &Python) -> Process {
        let code = "m = connect('queue', 'close')\nq = m.queue()\nobey()";
        python_client(python, code, &self.address, KEY)
    }

    fn close(&self) {
        Client::connect(&self.address, KEY).unwrap().create("close", ()).unwrap();
        self.until_draining();
    }

    /// Tries to put an item that does not fit while the queue has another, queued or unacknowledged.
    fn until_draining(&self) {
        until("it drains", PATIENCE, || {
            let refused = self.queue.try_put(vec![0_u8; 995]).unwrap_err();
            assert!(refused.is_full() || refused.is_shut_down(), "{refused:?}");
            refused.is_shut_down()
        });
    }

    fn is_serving(&self) -> bool {
        self.serving.as_ref().is_some_and(|serving| !serving.is_finished())
    }

    /// Waits for the manager to end, which must succeed.
    fn end(mut self) {
        until("it ends", PATIENCE, || !self.is_serving());
        self.serving.take().unwrap().join().unwrap().unwrap();
    }
}

/// Checks how a Python program sees `queue.ShutDown`, which exists since 3.13.
fn assert_shut_down(python: &Python, seen: &str) {
    if python.version >= [3, 13, 0] {
        assert_eq!(seen, "queue ShutDown ()", "{python}");
    } else {
        let text =
            "builtins AttributeError (\"Can't get attribute 'ShutDown' on <module 'queue' from";
        assert!(seen.starts_with(text), "{python}: {seen}");
    }
}

#[test]
fn drain_serves_consumers_until_queue_is_empty() {
    for python in pythons() {
        let manager = Draining::new(Queue::options(), PATIENCE);
        (1..=4).for_each(|item| manager.queue.put(item).unwrap());
        let (mut producer, mut consumer) = (manager.python(python), manager.python(python));
        assert_eq!(producer.ask("q.qsize()"), "4", "{python}");
        assert_eq!(consumer.ask("q.get()"), "1", "{python}");
        producer.ask("m.close()");
        manager.until_draining();
        assert_shut_down(python, &producer.ask("q.put(5)"));
        assert_shut_down(python, &producer.ask("q.put_nowait(5)"));
        // New connections are served too.
        assert_eq!(manager.rust().get().unwrap(), 2.into());
        assert_eq!(consumer.ask("q.get()"), "3", "{python}");
        assert!(manager.is_serving());
        consumer.tell("q.get()");
        consumer.tell("q.get()");
        assert_eq!(consumer.line(), "4", "{python}");
        // It took the last item, and its next call raises `ShutDown` before the connection is closed.
        assert_shut_down(python, &consumer.line());
        manager.end();
    }
}

#[test]
fn drain_raises_shutdown_in_waiting_consumers() {
    for python in pythons() {
        let manager = Draining::new(Queue::options().at_least_once(), PATIENCE);
        manager.queue.put(1).unwrap();
        let (mut last, mut waiting) = (manager.python(python), manager.python(python));
        assert_eq!(last.ask("q.get()"), "1", "{python}");
        waiting.tell("q.get()");
        manager.close();
        // The unacknowledged item may be requeued.
        assert!(manager.is_serving());
        assert!(waiting.printed().is_empty(), "{python}");
        assert_eq!(last.ask("q.task_done()"), "None", "{python}");
        assert_shut_down(python, &waiting.line());
        manager.end();
    }
}

#[test]
fn drain_redelivers_item_of_killed_consumer() {
    for python in pythons() {
        let manager = Draining::new(Queue::options().at_least_once(), PATIENCE);
        (1..=2).for_each(|item| manager.queue.put(item).unwrap());
        let (mut dying, mut next) = (manager.python(python), manager.python(python));
        assert_eq!(dying.ask("q.get()"), "1", "{python}");
        assert_eq!(next.ask("q.get()"), "2", "{python}");
        manager.close();
        assert_eq!(next.ask("q.task_done()"), "None", "{python}");
        // The queue is empty, but this `get` waits because the item of the other may be requeued.
        next.tell("q.get()");
        next.tell("q.task_done()");
        dying.kill();
        assert_eq!(next.lines(2), ["1", "None"], "{python}");
        manager.end();
    }
}

#[test]
fn drain_without_consumers_ends_after_timeout() {
    let time = Duration::from_millis(300);
    let manager = Draining::new(Queue::options(), time);
    let queue = manager.queue.clone();
    queue.put(1).unwrap();
    let producer = manager.rust();
    let begun = Instant::now();
    manager.close();
    // The manager may have ended by now.
    let refused = producer.put(2).unwrap_err();
    assert!(refused.is_shut_down() || refused.is_disconnected(), "{refused:?}");
    manager.end();
    assert!(begun.elapsed() >= time);
    assert_eq!(queue.try_get().unwrap(), Some(1.into()), "its owner still has what is left");
}

#[test]
fn drain_with_unacknowledged_item_ends_after_timeout() {
    let manager = Draining::new(Queue::options().at_least_once(), Duration::from_millis(300));
    let queue = manager.queue.clone();
    queue.put(1).unwrap();
    let mut consumer = manager.rust().consumer();
    assert_eq!(consumer.get().unwrap(), 1.into());
    manager.close();
    manager.end();
    assert!(matches!(consumer.task_done(), Err(Error::Disconnected | Error::Io { .. })));
    until("it is back, and its owner has it", PATIENCE, || queue.len() == 1);
}

#[test]
fn shared_queue_without_proxies_is_drained() {
    for python in pythons() {
        let manager = Draining::new(Queue::options(), PATIENCE);
        (1..=2).for_each(|item| manager.queue.put(item).unwrap());
        manager.close();
        assert!(manager.is_serving());
        let mut consumer = manager.python(python);
        assert_eq!(consumer.ask("q.get()"), "1", "{python}");
        assert!(manager.is_serving());
        assert_eq!(consumer.ask("q.get()"), "2", "{python}");
        drop(consumer);
        manager.end();
    }
}

#[test]
fn registered_queue_without_proxies_is_drained() {
    let queue = Queue::new();
    let shared = queue.clone();
    let manager = Manager::new(KEY).register("queue", move |_| shared.clone());
    let handle = manager.drain_timeout(PATIENCE).bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), KEY).unwrap();
    drop(client.queue("queue").unwrap());
    queue.put(1).unwrap();
    handle.shutdown();
    until("it drains", PATIENCE, || queue.try_put(0).is_err_and(|error| error.is_shut_down()));
    let items = queue.len();
    let remote = client.queue("queue").unwrap();
    for _ in 0..items {
        remote.get().unwrap();
    }
    assert!(remote.get().unwrap_err().is_shut_down());
    drop((remote, client));
    handle.join().unwrap();
}

#[test]
fn unused_registered_queue_is_not_drained() {
    let queue = Queue::new();
    let shared = queue.clone();
    let manager = Manager::new(KEY).register("queue", move |_| shared.clone());
    let handle = manager.drain_timeout(PATIENCE).bind("127.0.0.1:0").unwrap().start().unwrap();
    queue.put(1).unwrap();
    let begun = Instant::now();
    handle.shutdown();
    handle.join().unwrap();
    assert!(begun.elapsed() < PATIENCE);
    queue.put(2).unwrap();
}
