//! A manager that is killed and started again at its address: its clients find it, and are told which of
//! their calls may have been carried out.
#![cfg(target_os = "linux")]

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::support::Peer::Rust;
use crate::support::{
    PATIENCE, Process, TempDir, dead_address, own_address, python_client, pythons, until,
    until_asleep,
};
use basemanager::{Client, ClientBuilder, Error, Manager, Queue, ServerHandle};

const KEY: &str = "producer";

/// A manager that can be killed, and started again where it was.
struct Mortal {
    process: Process,
    address: String,
}

impl Mortal {
    fn start(address: &str) -> Self {
        let (process, address) = Rust.serve("manager", &[address]);
        Self { process, address }
    }

    fn kill(&mut self) {
        self.process.kill();
    }

    fn restart(&mut self) {
        *self = Self::start(&self.address);
    }

    /// One that tries for as long as anything may take.
    fn patient(&self) -> ClientBuilder {
        Client::builder(&self.address, KEY).reconnect(3000, Duration::from_millis(10))
    }
}

/// By TCP, and by a Unix socket, whose file a killed manager leaves behind.
fn by_every_transport(test: impl Fn(Mortal)) {
    test(Mortal::start(&own_address()));
    let directory = TempDir::new();
    test(Mortal::start(&directory.path("manager")));
}

#[test]
fn client_with_reconnect_survives_restarts() {
    by_every_transport(|mut manager| {
        let client = manager.patient().connect().unwrap();
        let tasks = client.queue("task_queue").unwrap();
        for turn in 0..3 {
            let waiting = tasks.clone();
            let waiter = thread::spawn(move || waiting.get());
            // Another call needs a second connection while this one lasts.
            until_asleep(&[&manager.process], || {
                tasks.is_empty().unwrap() && manager.process.threads() == 4
            });
            manager.kill();
            let error = waiter.join().unwrap().unwrap_err();
            assert!(error.is_disconnected(), "{error:?}");
            assert!(error.may_have_taken_effect(), "{error:?}");
            // Nobody listens yet: this one is sent once somebody does.
            let early = tasks.clone();
            let early = thread::spawn(move || early.put(turn));
            manager.restart();
            early.join().unwrap().unwrap();
            assert_eq!(tasks.get().unwrap(), turn.into());
            assert_eq!(client.queue("task_queue").unwrap().len().unwrap(), 0);
        }
    });
}

#[test]
fn call_that_was_not_sent_has_no_effect() {
    by_every_transport(|mut manager| {
        let client = Client::connect(&manager.address, KEY).unwrap();
        let tasks = client.queue("task_queue").unwrap();
        tasks.put(1).unwrap();
        manager.kill();
        for _ in 0..3 {
            let errors = [
                tasks.put(2).unwrap_err(),
                tasks.get().unwrap_err(),
                client.queue("task_queue").unwrap_err(),
                tasks.consumer().get().unwrap_err(),
            ];
            for error in errors {
                assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
                assert!(error.is_disconnected() && !error.may_have_taken_effect(), "{error:?}");
            }
        }
        // Without `reconnect` too the next call finds the manager.
        manager.restart();
        tasks.put(3).unwrap();
        assert_eq!(tasks.get().unwrap(), 3.into());
    });
    let (nowhere, _kept) = dead_address();
    let error = Client::builder(nowhere, KEY).reconnect(3, Duration::ZERO).connect().unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && !error.may_have_taken_effect(), "{error:?}");
}

#[test]
fn consumer_with_reconnect_survives_restarts() {
    by_every_transport(|mut manager| {
        let tasks = manager.patient().connect().unwrap().queue("task_queue").unwrap();
        let mut consumer = tasks.consumer();
        tasks.put(1).unwrap();
        assert_eq!(consumer.get().unwrap(), 1.into());
        manager.kill();
        // It held an item by this connection: that this is lost is for it to know.
        let error = consumer.task_done().unwrap_err();
        assert!(error.is_disconnected(), "{error:?}");
        manager.restart();
        tasks.put(2).unwrap();
        assert_eq!(consumer.get().unwrap(), 2.into());
        consumer.task_done().unwrap();
    });
}

/// The loop of `Consumer`'s documentation, word for word.
fn consume(address: &str) -> Result<(), Error> {
    let client = Client::builder(address, "producer")
        .reconnect(100, std::time::Duration::from_millis(200)) // while no manager is there
        .connect()?;
    let mut consumer = client.queue("task_queue")?.consumer();
    loop {
        let done = consumer.get().and_then(|item| {
            println!("{item}"); // the work
            consumer.task_done()
        });
        match done {
            // It did not come back within the 20 s.
            Err(error @ Error::Unreachable { .. }) => return Err(error),
            // It is gone, and an item that was not done is delivered again: get() connects anew.
            Err(error) if error.is_disconnected() => {}
            done => done?,
        }
    }
}

#[test]
fn readme_consumer_survives_kills_and_restarts_of_the_manager() {
    by_every_transport(|mut manager| {
        let address = manager.address.clone();
        let consumer = thread::spawn(move || consume(&address));
        let client = manager.patient().connect().unwrap();
        for turn in 0..5 {
            let tasks = client.queue("task_queue").unwrap();
            tasks.put(turn).unwrap();
            // Returns once the consumer has called `task_done`.
            tasks.join().unwrap();
            if turn % 2 == 0 {
                until_asleep(&[&manager.process], || tasks.is_empty().unwrap());
            }
            if turn == 3 {
                // An orderly end is no different.
                client.create("close", ()).unwrap();
                manager.process.end(PATIENCE).well();
            } else {
                manager.kill();
            }
            // For as long as a few of its attempts.
            thread::sleep(Duration::from_millis(250 * turn));
            manager.restart();
            assert!(!consumer.is_finished(), "{:?}", consumer.join());
        }
    });
}

#[test]
fn drop_of_proxy_does_not_wait_for_a_restart() {
    by_every_transport(|mut manager| {
        let client = Client::builder(&manager.address, KEY).reconnect(1000, PATIENCE * 2);
        let tasks = client.connect().unwrap().queue("task_queue").unwrap();
        manager.kill();
        let (say, word) = mpsc::channel();
        thread::spawn(move || {
            drop(tasks);
            say.send(()).unwrap();
        });
        assert_eq!(word.recv_timeout(PATIENCE), Ok(()));
    });
}

/// `CPython`'s proxies keep a connection that broke: the one in use is replaced by `_connect()`, and a
/// thread that has none yet needs nothing.
#[test]
fn python_clients_survive_restarts() {
    const CODE: &str = "
from concurrent.futures import ThreadPoolExecutor
q = connect('task_queue').task_queue()
def elsewhere(call, *args):
    with ThreadPoolExecutor() as pool:
        return pool.submit(call, *args).result()
obey()";
    by_every_transport(|mut manager| {
        let client = |python| python_client(python, CODE, &manager.address, KEY);
        let mut clients: Vec<_> = pythons().iter().map(|one| (one, client(one))).collect();
        for (python, client) in &mut clients {
            assert_eq!(client.ask("q.qsize()"), "0", "{python}");
            client.tell("q.get()");
        }
        until_asleep(&[&manager.process], || manager.process.threads() == 2 + pythons().len());
        manager.kill();
        for (python, client) in &mut clients {
            let gone = client.line();
            let errors = ["builtins EOFError", "builtins ConnectionResetError"];
            assert!(errors.iter().any(|error| gone.starts_with(error)), "{python}: {gone}");
        }
        manager.restart();
        for (python, client) in &mut clients {
            assert_eq!(client.ask("elsewhere(q.put, 1)"), "None", "{python}");
            assert_eq!(client.ask("q._connect()"), "None", "{python}");
            assert_eq!(client.ask("q.get()"), "1", "{python}");
            assert_eq!(client.ask("connect('task_queue').task_queue().qsize()"), "0", "{python}");
        }
    });
}

/// The queue is the manager's: what it held is gone with it, unless another process keeps it.
#[test]
fn task_done_after_restart_acknowledges_no_other_item() {
    fn serve(address: &str, queue: &Queue) -> ServerHandle {
        let manager = Manager::new(KEY).share("task_queue", queue);
        manager.bind(address).unwrap().start().unwrap()
    }
    let queue = Queue::options().at_least_once().build();
    let first = serve(&own_address(), &queue);
    let address = first.address().to_string();
    let client = Client::builder(&address, KEY).reconnect(3000, Duration::from_millis(10));
    let tasks = client.connect().unwrap().queue("task_queue").unwrap();
    (1..=2).for_each(|item| queue.put(item).unwrap());
    let mut consumer = tasks.consumer();
    assert_eq!(consumer.get().unwrap(), 1.into());
    drop(first);
    until("it is back", PATIENCE, || queue.len() == 2);
    let _second = serve(&address, &queue);
    assert!(consumer.task_done().is_err());
    for item in [1, 2] {
        assert_eq!(consumer.get().unwrap(), item.into());
        consumer.task_done().unwrap();
    }
    queue.join();
}
