//! `basemanager serve --redis URL`.

use std::process::Command;

use basemanager::{Client, QueueProxy};

use crate::KEY;
use crate::server::Redis;
use crate::support::{PATIENCE, Process, blocked, until};

fn serve(url: &str, args: &[&str]) -> (Process, Client) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_basemanager"));
    command.args(["serve", "127.0.0.1:0", "--redis", url]).args(args);
    command.env("MANAGER_AUTHKEY", KEY).env_remove("BASEMANAGER_ADDRESS");
    let mut process = Process::start("serve", &mut command);
    let client = Client::connect(process.address(), KEY).unwrap();
    (process, client)
}

#[test]
fn served_queues_are_shared_by_two_managers() {
    let redis = Redis::start();
    let args = ["--queue", "jobs,lease=60s,deliveries=1,dead=failed"];
    let (_one, one) = serve(&redis.url(), &args);
    let (_other, other) = serve(&redis.url(), &args);
    one.queue("jobs").unwrap().put("job").unwrap();
    let mut consumer = other.queue("jobs").unwrap().consumer();
    assert_eq!(consumer.get().unwrap(), "job".into());
    consumer.nack().unwrap();
    assert_eq!(one.queue("failed").unwrap().get().unwrap(), "job".into());
    // Queues that clients make by name are in Redis, too.
    let emails = |client: &Client| QueueProxy::from(client.create("queue", ("emails",)).unwrap());
    emails(&one).put("hello").unwrap();
    let stats = other.create("stats", ()).unwrap().value().unwrap().to_string();
    assert!(stats.contains("'dead': 1"), "{stats}");
    assert_eq!(emails(&other).get().unwrap(), "hello".into());
    assert!(other.create("queue", ("a{b}",)).is_err());
}

#[test]
fn signal_ends_one_manager_and_leaves_the_queue_open() {
    let redis = Redis::start();
    let (mut first, one) = serve(&redis.url(), &["--queue", "jobs"]);
    one.queue("jobs").unwrap().put(1).unwrap();
    first.signal("TERM");
    first.end(PATIENCE).well();
    let (_other, other) = serve(&redis.url(), &["--queue", "jobs"]);
    let jobs = other.queue("jobs").unwrap();
    jobs.put(2).unwrap();
    assert_eq!((jobs.get().unwrap(), jobs.get().unwrap()), (1.into(), 2.into()));
}

#[test]
fn signal_releases_what_consumers_had() {
    let redis = Redis::start();
    let (mut first, one) = serve(&redis.url(), &["--queue", "jobs,lease=1h"]);
    let jobs = one.queue("jobs").unwrap();
    jobs.put(1).unwrap();
    let (mut consumer, mut waiting) = (jobs.consumer(), jobs.consumer());
    assert_eq!(consumer.get().unwrap(), 1.into());
    let waiter = blocked(move || waiting.get().unwrap_err());
    first.signal("TERM");
    first.end(PATIENCE).well();
    waiter.join().unwrap();
    let (_other, other) = serve(&redis.url(), &["--queue", "jobs,lease=1h"]);
    let mut consumer = other.queue("jobs").unwrap().consumer();
    // Not only after the lease.
    assert_eq!(consumer.get_timeout(PATIENCE).unwrap(), Some(1.into()));
}

#[test]
fn manager_starts_before_redis() {
    let mut redis = Redis::start();
    redis.kill();
    let (_process, client) = serve(&redis.url(), &["--queue", "jobs"]);
    let jobs = client.queue("jobs").unwrap();
    assert!(jobs.put(1).is_err());
    // What is not known is left out.
    let stats = || client.create("stats", ()).unwrap().value().unwrap().to_string();
    assert!(stats().contains("'items': None, 'bytes': None"), "{}", stats());
    redis.restart();
    until("it is put", PATIENCE, || jobs.put(1).is_ok());
    assert!(stats().contains("'items': 1, 'bytes': None"), "{}", stats());
    assert_eq!(jobs.get().unwrap(), 1.into());
}
