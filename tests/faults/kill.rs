//! A consumer that is killed while it waits in `get()` loses no item, changes no order and leaves no thread.
#![cfg(target_os = "linux")]

use std::time::Duration;

use crate::support::Peer::{Python, Rust};
use crate::support::{PATIENCE, Peer, Process, pythons, until, until_blocked};
use basemanager::{Client, QueueProxy};

/// The manager notices within this time that a waiting consumer is gone, even if no item is put.
const NOTICED: Duration = Duration::from_secs(5);

struct Manager {
    process: Process,
    address: String,
    tasks: QueueProxy,
    /// The number of threads when only this test is connected.
    threads: usize,
}

impl Manager {
    fn start() -> Self {
        let (process, address) = Rust.serve("manager", &["127.0.0.1:0"]);
        let client = Client::connect(&address, "producer").unwrap();
        let tasks = client.queue("task_queue").unwrap();
        // The first call opens the connection that the later ones use.
        assert_eq!(tasks.len().unwrap(), 0);
        // The main thread, the accepting thread, and that of this test's connection; the others end.
        let threads = 3;
        until("only this test is connected", PATIENCE, || process.threads() == threads);
        Self { process, address, tasks, threads }
    }

    fn consumer(&self, peer: Peer<'_>) -> Process {
        peer.start("consumer", &[&self.address])
    }

    /// Starts consumers, which all wait in `get()`.
    fn blocked(&self, peers: &[Peer<'_>]) -> Vec<Process> {
        let consumers: Vec<Process> = peers.iter().map(|peer| self.consumer(*peer)).collect();
        let all: Vec<&Process> = consumers.iter().collect();
        until_blocked(&self.process, self.threads + all.len(), &all);
        consumers
    }

    fn put(&self, items: std::ops::RangeInclusive<i64>) {
        items.for_each(|item| self.tasks.put(item).unwrap());
    }

    /// Waits until only the threads of this many consumers are left.
    #[track_caller]
    fn until_only(&self, consumers: usize) {
        let threads = self.threads + consumers;
        until("the threads of the dead end", NOTICED, || self.process.threads() == threads);
    }

    /// Asserts that the living consumers get all items.
    fn check(&self, dead: &[Peer<'_>], living: Peer<'_>) {
        let mut dead = self.blocked(dead);
        dead.iter_mut().for_each(Process::kill);
        self.put(1..=3);
        assert_eq!(self.tasks.len().unwrap(), 3);
        let mut next = self.consumer(living);
        assert_eq!(next.lines(3), ["1", "2", "3"]);
        self.until_only(1);
        drop(next);
        self.until_only(0);
    }
}

#[test]
fn killed_rust_consumer_takes_no_item() {
    Manager::start().check(&[Rust], Rust);
}

#[test]
fn killed_python_consumer_takes_no_item() {
    let manager = Manager::start();
    for (turn, python) in pythons().iter().enumerate() {
        let living = if turn % 2 == 0 { Rust } else { Python(python) };
        manager.check(&[Python(python)], living);
    }
}

#[test]
fn ten_consumers_killed_at_once_take_no_item() {
    let manager = Manager::start();
    manager.check(&[Rust; 10], Rust);
    // Again, without an item that would make the manager check the connections.
    manager.blocked(&[Rust; 10]).iter_mut().for_each(Process::kill);
    manager.until_only(0);
}

#[test]
fn ten_consumers_killed_in_turn_take_no_item() {
    let manager = Manager::start();
    for item in 0..10 {
        // The manager may not have noticed yet that the one killed before is gone.
        let mut consumer = manager.consumer(Rust);
        manager.put(item..=item);
        assert_eq!(consumer.line(), item.to_string());
        until("it waits again", PATIENCE, || consumer.is_asleep());
        consumer.kill();
    }
    manager.put(1..=3);
    let mut next = manager.consumer(Rust);
    assert_eq!(next.lines(3), ["1", "2", "3"]);
    manager.until_only(1);
}

#[test]
fn kill_of_one_consumer_loses_no_item_of_others() {
    let manager = Manager::start();
    for python in pythons() {
        let mut dead = manager.blocked(&[Python(python)]);
        let mut living = [Rust, Python(python)].map(|peer| manager.consumer(peer));
        let all = [&dead[0], &living[0], &living[1]];
        until_blocked(&manager.process, manager.threads + 3, &all);
        dead[0].kill();
        manager.put(1..=20);
        let mut got = [const { Vec::<i64>::new() }; 2];
        until("all is taken and printed", PATIENCE, || {
            for (consumer, got) in living.iter_mut().zip(&mut got) {
                got.extend(consumer.printed().iter().map(|line| line.parse::<i64>().unwrap()));
            }
            got.iter().map(Vec::len).sum::<usize>() >= 20
        });
        assert!(got.iter().all(|items| items.is_sorted()), "{got:?}");
        let mut got = got.concat();
        got.sort_unstable();
        assert_eq!(got, (1..=20).collect::<Vec<i64>>());
        drop(living);
        manager.until_only(0);
    }
}
