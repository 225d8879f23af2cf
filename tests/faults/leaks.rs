//! However many clients came, called and died: what they had is gone when they are.
//!
//! `cargo test --release --test faults leaks -- --ignored` does it 100,000 times.
#![cfg(target_os = "linux")]

use crate::support::wire::Wire;
use crate::support::{PATIENCE, Peer, Process, python_client, pythons, say, until};
use basemanager::{Client, QueueProxy};

const KEY: &str = "producer";

/// What a manager has when nobody but this test is connected.
#[derive(Debug, PartialEq)]
struct Holds {
    threads: usize,
    files: usize,
    objects: usize,
}

struct Watched {
    process: Process,
    address: String,
    client: Client,
    tasks: QueueProxy,
}

impl Watched {
    fn new() -> Self {
        let (process, address) = Peer::Rust.serve("manager", &["127.0.0.1:0"]);
        let client = Client::connect(&address, KEY).unwrap();
        let tasks = client.queue("task_queue").unwrap();
        assert!(tasks.is_empty().unwrap());
        Self { process, address, client, tasks }
    }

    fn holds(&self) -> Holds {
        let objects = self.client.number_of_objects().unwrap();
        // The connection of that call is another.
        until("it has ended", PATIENCE, || self.process.threads() == 3);
        Holds { threads: self.process.threads(), files: self.process.files(), objects }
    }

    /// One client of each kind that comes, calls, and goes in its own way.
    fn round(&self, turn: usize) {
        let address = &self.address;
        match turn % 8 {
            0 => {
                let tasks = Client::connect(address, KEY).unwrap().queue("task_queue").unwrap();
                tasks.put(vec![7_u8; 30_000]).unwrap();
                // One that died at the same time may have taken it.
                tasks.try_get().unwrap();
            }
            // Wrong keys, unknown names, no words at all.
            1 => drop(Client::connect(address, "another").unwrap_err()),
            2 => drop(Client::connect(address, KEY).unwrap().queue("no such").unwrap_err()),
            3 => drop(Wire::unauthenticated(address).read().unwrap()),
            // Half a frame; a call that waits; a reply that nobody reads.
            4 => drop(Wire::accepted(address, KEY).send(b"\0\0\x75\x30half")),
            5 => self.unread("get", &[]),
            6 => self.unread("qsize", &[]),
            _ => self.unread("put", &[b'B', 0, 0, 1, 0]),
        }
    }

    /// Begins a call, and dies.
    fn unread(&self, method: &str, args: &[u8]) {
        let mut raw = Wire::accepted(&self.address, KEY);
        let args = [args, &vec![0; args.len() * 65536 / 5]].concat();
        raw.request(Some(self.tasks.proxy().id()), method, &args);
    }

    /// A Python process, killed with calls of all kinds behind it and one under way.
    fn pythons(&self) {
        const CODE: &str = "
import threading
q = connect('task_queue').task_queue()
def calls():
    for _ in range(20):
        q.put(['item'])
        q.get()
        connect('task_queue').task_queue().qsize()
threads = [threading.Thread(target=calls) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
obey()";
        let client = |python| python_client(python, CODE, &self.address, KEY);
        let mut clients: Vec<_> = pythons().iter().map(client).collect();
        for client in &mut clients {
            assert_eq!(client.ask("q.full()"), "False");
        }
        for client in &mut clients {
            client.tell("q.get()");
        }
    }

    /// Items that those who died had put.
    fn empty(&self) {
        while self.tasks.try_get().unwrap().is_some() {}
    }
}

fn come_and_go(rounds: usize) {
    let manager = Watched::new();
    let part = |rounds: usize| {
        manager.pythons();
        (0..rounds).for_each(|turn| {
            manager.round(turn);
            if turn % 64 == 63 {
                manager.empty();
            }
        });
        manager.pythons();
        // Those who died waiting are noticed within seconds.
        until("only this test is connected", PATIENCE, || manager.process.threads() == 3);
        manager.empty();
    };
    // The allocator's arenas, and what a thread leaves behind for the next.
    part(rounds / 10);
    let (before, resident) = (manager.holds(), manager.process.resident());
    part(rounds);
    let (after, grown) = (manager.holds(), manager.process.resident().saturating_sub(resident));
    say(&format!("{rounds} rounds: {before:?}, {resident} kB, then {after:?}, {grown} kB more"));
    assert_eq!(before, after);
    assert!(grown < 8 << 10, "{grown} kB more than {resident}");
}

#[test]
fn two_thousand_clients_leave_nothing() {
    come_and_go(2_000);
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_thousand_clients_leave_nothing() {
    come_and_go(100_000);
}

/// Objects that clients made go with their proxies.
#[cfg(feature = "sync")]
#[test]
fn objects_of_clients_that_ended_leave_nothing() {
    let (process, address) = Peer::Rust.serve("sync_manager", &["127.0.0.1:0"]);
    let client = Client::connect(&address, KEY).unwrap();
    // Main, accepting, and that of the connection which this client keeps.
    let threads = 3;
    let part = |rounds: usize| {
        for _ in 0..rounds {
            let made = client.create("list", (vec![1, 2, 3],)).unwrap();
            made.call("append", (vec![7_u8; 10_000],)).unwrap();
            let made = client.create("Lock", ()).unwrap();
            made.call("acquire", ()).unwrap();
        }
        for python in pythons() {
            let code = "m = connect('list', 'dict', 'Event')
for _ in range(20):
    m.list([1]).append(m.dict(a=2)); m.Event().set()
print('done', flush=True)";
            let mut made = python_client(python, code, &address, KEY);
            assert_eq!(made.end(PATIENCE).well().stdout, ["done"]);
        }
        until("no object is left", PATIENCE, || client.number_of_objects().unwrap() == 0);
    };
    part(20);
    let resident = process.resident();
    part(500);
    until("their threads have ended", PATIENCE, || process.threads() == threads);
    let grown = process.resident().saturating_sub(resident);
    say(&format!("{resident} kB, then {grown} kB more"));
    assert!(grown < 8 << 10, "{grown} kB more than {resident}");
}
