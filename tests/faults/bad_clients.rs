//! Clients that stop reading, stop in the middle of a frame, or reset their connection at a bad moment cost
//! themselves their connection, and nobody an item.
//!
//! One that is killed while it waits is in `tests/faults/kill.rs`, one whose replies are lost in
//! `tests/faults/bad_moments.rs`.
#![cfg(target_os = "linux")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::wire::Wire;
use crate::support::{
    Log, PATIENCE, Peer, Process, Python, python_client, pythons, until, until_asleep,
};
use basemanager::object::{Call, ConnectionId, Exposed, Item, Monitor, Return, SharedObject};
use basemanager::{
    Client, Exception, Limits, Manager, Pickle, Queue, QueueProxy, ServerHandle, Value,
};

const KEY: &str = "producer";

/// A Python client of the queue `q` that knows how to misbehave.
fn python(python: &Python, address: &str) -> Process {
    const CODE: &str = "
import os, socket, struct
q = connect('task_queue').task_queue()
q._connect()

def send(method, *args):
    'Begins a call, and does not wait for what comes of it.'
    q._tls.connection.send((q._token.id, method, args, {}))

def half():
    'Sends half a frame.'
    os.write(q._tls.connection.fileno(), struct.pack('!i', 20000) + bytes(10000))

def reset():
    'Ends the connection as a crash of the host would.'
    connection = q._tls.connection
    with socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    connection.close()
    q._connect()

obey()";
    python_client(python, CODE, address, KEY)
}

fn share(queue: &Queue, manager: Manager) -> (ServerHandle, String) {
    let shared = queue.clone();
    let manager = manager.register("task_queue", move |_| shared.clone());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let address = handle.address().to_string();
    (handle, address)
}

fn rust(address: &str) -> QueueProxy {
    Client::connect(address, KEY).unwrap().queue("task_queue").unwrap()
}

#[test]
fn item_of_client_that_stopped_reading_is_requeued() {
    // More than the system holds for a connection.
    let large = Value::from(vec![7_u8; 32 << 20]);
    for at_least_once in [false, true] {
        let mut options = Queue::options();
        if at_least_once {
            options = options.at_least_once();
        }
        let queue = options.build();
        let (manager, log) = Log::of(Manager::new(KEY).write_timeout(Duration::from_millis(300)));
        let (_handle, address) = share(&queue, manager);
        let tasks = rust(&address);
        let mut other = tasks.consumer();
        queue.put(large.clone()).unwrap();
        queue.put("next").unwrap();
        for one in pythons() {
            let mut careless = python(one, &address);
            assert_eq!(careless.ask("send('get')"), "None", "{one}");
            until("it was taken", PATIENCE, || tasks.len().unwrap() == 1);
            until("it is back", PATIENCE, || tasks.len().unwrap() == 2);
            assert_eq!(other.get().unwrap(), large, "{one}: in front");
            queue.put(large.clone()).unwrap();
            assert_eq!(other.get().unwrap(), "next".into(), "{one}");
            queue.put("next").unwrap();
        }
        if !pythons().is_empty() {
            log.until(": the peer did not answer in time");
        }
    }
}

/// A manager with one client connected, and its threads and files then.
struct Counted {
    process: Process,
    address: String,
    tasks: QueueProxy,
    threads: usize,
    files: usize,
}

impl Counted {
    fn new() -> Self {
        let (process, address) = Peer::Rust.serve("manager", &["127.0.0.1:0"]);
        let tasks = rust(&address);
        assert!(tasks.is_empty().unwrap());
        // Main, accepting, and this client's.
        until("one is connected", PATIENCE, || process.threads() == 3);
        let files = process.files();
        Self { process, address, tasks, threads: 3, files }
    }

    fn go_on(&self) {
        self.tasks.put(1).unwrap();
        assert_eq!(self.tasks.get().unwrap(), 1.into());
    }

    #[track_caller]
    fn until_only(&self, others: usize) {
        until("the threads and files of those who are gone go too", PATIENCE, || {
            let (threads, files) = (self.process.threads(), self.process.files());
            (threads, files) == (self.threads + others, self.files + others)
        });
    }
}

#[test]
fn half_a_frame_delays_no_other_client() {
    let manager = Counted::new();
    for one in pythons() {
        let mut halves: Vec<Process> = (0..3).map(|_| python(one, &manager.address)).collect();
        for half in &mut halves {
            assert_eq!(half.ask("half()"), "None", "{one}");
        }
        manager.go_on();
        manager.until_only(3);
        assert_eq!(halves[0].ask("reset()"), "None", "{one}");
        assert_eq!(halves[0].ask("q.qsize()"), "0", "{one}");
        halves.iter_mut().for_each(Process::kill);
        manager.until_only(0);
        manager.go_on();
    }
    // In the midst of its handshake.
    for part in [1, 4, 20] {
        let mut half = Wire::unauthenticated(&manager.address);
        half.read().unwrap();
        half.send(&[&[0, 0, 0, 40][..], &[0; 40]].concat()[..part]);
        manager.go_on();
        drop(half);
    }
    manager.until_only(0);
}

#[test]
fn reset_ends_its_connection_only() {
    let manager = Counted::new();
    for one in pythons() {
        let mut client = python(one, &manager.address);
        for before in ["q.qsize()", "half()", "send('qsize')", "send('get')", "send('no such')"] {
            for _ in 0..5 {
                client.ask(before);
                assert_eq!(client.ask("reset()"), "None", "{one}, {before}");
                manager.go_on();
            }
        }
        assert_eq!(client.ask("q.qsize()"), "0", "{one}");
        manager.until_only(1);
        client.kill();
        manager.until_only(0);
    }
}

#[test]
fn reset_during_get_takes_no_item() {
    let manager = Counted::new();
    for one in pythons() {
        let mut client = python(one, &manager.address);
        assert_eq!(client.ask("q.qsize()"), "0", "{one}");
        for _ in 0..3 {
            client.ask("send('get')");
            until_asleep(&[&client, &manager.process], || true);
            client.ask("reset()");
            manager.tasks.put(1).unwrap();
            manager.tasks.put(2).unwrap();
            assert_eq!(manager.tasks.get().unwrap(), 1.into(), "{one}");
            assert_eq!(client.ask("q.get()"), "2", "{one}");
        }
        drop(client);
        manager.until_only(0);
    }
}

#[test]
fn reset_before_reading_the_reply_requeues_the_item() {
    let queue = Queue::options().at_least_once().build();
    let (_handle, address) = share(&queue, Manager::new(KEY));
    for one in pythons() {
        (1..=3).for_each(|item| queue.put(item).unwrap());
        let mut client = python(one, &address);
        client.ask("send('get')");
        until("the reply is under way", PATIENCE, || queue.len() == 2);
        client.ask("reset()");
        until("it is back", PATIENCE, || queue.len() == 3);
        for item in ["1", "2", "3"] {
            assert_eq!(client.ask("q.get()"), item, "{one}");
            assert_eq!(client.ask("q.task_done()"), "None", "{one}");
        }
    }
}

/// Gives an item each time it may, and counts those that come back.
#[derive(Clone)]
struct Source(Monitor<Counts>);

#[derive(Default)]
struct Counts {
    may: usize,
    given: usize,
    delivered: usize,
    back: usize,
}

static ITEM: [u8; 60_000] = [7; 60_000];

impl SharedObject for Source {
    fn exposed(&self) -> Exposed {
        ["get"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let may = |counts: &Counts| counts.may > counts.given;
        let mut counts = self.0.wait(&mut call.wait(None), may)?.unwrap();
        counts.given += 1;
        Ok(Return::Item(Pickle::encode(&Value::from(ITEM.to_vec())).unwrap().into()))
    }

    fn delivered(&self, item: &Item, _: ConnectionId) {
        assert!(item.len() > ITEM.len());
        self.0.lock().delivered += 1;
    }

    fn take_back(&self, _: Item, _: ConnectionId) {
        self.0.lock().back += 1;
    }
}

#[test]
fn write_timeout_within_a_reply_ends_the_connection() {
    let source = Source(Monitor::new(Counts::default()));
    let (manager, log) = Log::of(Manager::new(KEY).write_timeout(Duration::from_millis(300)));
    let manager = manager.share("source", Arc::new(source.clone()));
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let address = handle.address().to_string();
    let id = Wire::create(&address, KEY, "source");
    let mut careless = Wire::accepted(&address, KEY);
    for _ in 0..1000 {
        careless.request(Some(&id), "get", b"");
    }
    // Each reply leaves as the next call begins to wait, until the system holds no more of them.
    while source.0.lock().back == 0 {
        source.0.lock().may += 1;
        source.0.notify_one();
        until("it was taken", PATIENCE, || {
            let counts = source.0.lock();
            counts.given == counts.may || counts.back > 0
        });
    }
    let mut got = 0;
    while let Some(reply) = careless.read() {
        assert!(reply.windows(ITEM.len()).any(|part| part == ITEM), "a reply was cut short");
        got += 1;
    }
    log.until(": the peer did not answer in time");
    let counts = source.0.lock();
    assert_eq!(got, counts.given - counts.back);
    assert_eq!(got, counts.delivered, "each item was either delivered or taken back");
}

/// Returns a list of items, and records which of them were delivered.
#[derive(Default)]
struct Batch(Mutex<Vec<(Value, ConnectionId)>>);

impl SharedObject for Batch {
    fn exposed(&self) -> Exposed {
        ["get"].into()
    }

    fn call(&self, _: &mut Call<'_>) -> Result<Return, Exception> {
        let items = (1..=3).map(|number| Pickle::encode(&Value::from(number)).unwrap().into());
        Ok(Return::Items(items.collect()))
    }

    fn delivered(&self, item: &Item, connection: ConnectionId) {
        let item = item.decode(&Limits::default()).unwrap();
        self.0.lock().unwrap().push((item, connection));
    }

    fn take_back(&self, _: Item, _: ConnectionId) {
        unreachable!("the reply was written");
    }
}

#[test]
fn delivered_is_called_for_each_item_in_order_after_the_reply() {
    let batch = Arc::new(Batch::default());
    let handle = Manager::new(KEY).share("batch", batch.clone()).bind("127.0.0.1:0").unwrap();
    let handle = handle.start().unwrap();
    let client = Client::connect(handle.address(), KEY).unwrap();
    let proxy = client.create("batch", ()).unwrap();
    for calls in 1..=2 {
        assert_eq!(proxy.call("get", ()).unwrap().to_string(), "[1, 2, 3]");
        until("all are delivered", PATIENCE, || batch.0.lock().unwrap().len() == 3 * calls);
    }
    let delivered = batch.0.lock().unwrap();
    let items: Vec<String> = delivered.iter().map(|(item, _)| item.to_string()).collect();
    assert_eq!(items, ["1", "2", "3", "1", "2", "3"]);
    assert!(delivered.iter().all(|(_, connection)| *connection == delivered[0].1));
}
