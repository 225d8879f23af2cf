//! What a review found.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use basemanager::{Client, Manager, Queue, Return};

/// Item 27: what this process does not hold counts, whatever it is.
#[cfg(feature = "objects")]
#[test]
fn every_created_object_counts() {
    let names = [
        "Queue",
        "JoinableQueue",
        "Event",
        "Lock",
        "RLock",
        "Semaphore",
        "BoundedSemaphore",
        "Condition",
        "list",
        "dict",
        "set",
        "Namespace",
    ];
    for name in names {
        let server = Manager::new("key").register_sync_types().max_objects(3);
        let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
        let client = Client::connect(handle.address(), "key").unwrap();
        let made: Vec<_> = (0..5).map(|_| client.create(name, &[], &[])).collect();
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 3, "{name}");
    }
}

/// Unused otherwise.
#[allow(dead_code)]
fn returns(queue: &Queue) -> Return {
    queue.into()
}
