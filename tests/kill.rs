//! A consumer that is killed while it waits in `get()` costs nothing: no item, no order, no thread.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use basemanager::{Client, QueueProxy};
use support::Peer::{Python, Rust};
use support::{PATIENCE, Peer, Process, pythons, until, until_blocked};

/// Within this time the manager finds out that a waiting consumer has gone, though no item comes.
const NOTICED: Duration = Duration::from_secs(5);

struct Manager {
    process: Process,
    address: String,
    tasks: QueueProxy,
    /// Its threads when nobody but this test is connected.
    threads: usize,
}

impl Manager {
    fn start() -> Self {
        let (process, address) = Rust.serve("manager", &["127.0.0.1:0"]);
        let client = Client::connect(&address, "producer").unwrap();
        let tasks = client.queue("task_queue").unwrap();
        // The first call opens the connection that the later ones use.
        assert_eq!(tasks.len().unwrap(), 0);
        // Main, accepting, and this test's; those of the calls before end by themselves.
        let threads = 3;
        until("only this test is connected", PATIENCE, || process.threads() == threads);
        Self { process, address, tasks, threads }
    }

    fn consumer(&self, peer: Peer<'_>) -> Process {
        peer.start("consumer", &[&self.address])
    }

    /// Consumers that all wait in `get()`.
    fn blocked(&self, peers: &[Peer<'_>]) -> Vec<Process> {
        let consumers: Vec<Process> = peers.iter().map(|peer| self.consumer(*peer)).collect();
        let all: Vec<&Process> = consumers.iter().collect();
        until_blocked(&self.process, self.threads + all.len(), &all);
        consumers
    }

    fn put(&self, items: std::ops::RangeInclusive<i64>) {
        items.for_each(|item| self.tasks.put(item).unwrap());
    }

    /// No thread is left but those of so many consumers.
    #[track_caller]
    fn until_only(&self, consumers: usize) {
        let threads = self.threads + consumers;
        until("the threads of the dead end", NOTICED, || self.process.threads() == threads);
    }

    /// The dead get nothing, the living everything.
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
fn rust_consumer() {
    Manager::start().check(&[Rust], Rust);
}

#[test]
fn python_consumer() {
    let manager = Manager::start();
    for (turn, python) in pythons().iter().enumerate() {
        let living = if turn % 2 == 0 { Rust } else { Python(python) };
        manager.check(&[Python(python)], living);
    }
}

#[test]
fn ten_at_once() {
    let manager = Manager::start();
    manager.check(&[Rust; 10], Rust);
    // Again, and nothing comes that would show the manager that they are gone.
    manager.blocked(&[Rust; 10]).iter_mut().for_each(Process::kill);
    manager.until_only(0);
}

#[test]
fn ten_one_after_the_other() {
    let manager = Manager::start();
    for item in 0..10 {
        // The one killed before may still have its place, at the head of those who wait.
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
fn one_of_three() {
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
