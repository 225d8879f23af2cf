//! Queues in Redis: the behaviours that they share with memory queues, and what several managers promise together.
//!
//! Each test starts a `redis-server` of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod both;
mod chaos;
#[cfg(feature = "cli")]
mod cli;
mod cluster;
mod managers;
mod outage;
mod python;
mod server;

use basemanager::object::Return;
use basemanager::{Client, Consumer, Error, Manager, Queue, QueueProxy, RedisQueue, ServerHandle};

const KEY: &str = "k3y-of-these-tests";

/// A manager that shares a queue as `queue`, and its dead letters as `dead`.
struct Shared {
    /// Dropping it ends the manager.
    handle: ServerHandle,
    client: Client,
}

impl Shared {
    fn new(queue: impl Into<Return>, dead: impl Into<Return>) -> Self {
        let manager = Manager::new(KEY).share("queue", queue).share("dead", dead);
        let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
        let client = Client::connect(handle.address(), KEY).unwrap();
        Self { handle, client }
    }

    /// A manager that shares a queue in Redis.
    fn redis(queue: &RedisQueue) -> Self {
        Self::new(queue, Queue::new())
    }

    fn address(&self) -> String {
        self.handle.address().to_string()
    }

    fn queue(&self) -> QueueProxy {
        self.client.queue("queue").unwrap()
    }

    fn dead(&self) -> QueueProxy {
        self.client.queue("dead").unwrap()
    }

    fn consumer(&self) -> Consumer {
        self.queue().consumer()
    }
}

fn raised(error: Error) -> String {
    match error {
        Error::Exception(exception) => exception.to_string(),
        other => other.to_string(),
    }
}
