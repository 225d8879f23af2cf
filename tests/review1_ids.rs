//! What a review found: who holds the key can compute the id of what clients may not create.
#![allow(clippy::unwrap_used)]

#[path = "support/raw.rs"]
mod raw;
mod support;

use basemanager::{Client, Manager, Queue, Registration};
use hmac::{Hmac, KeyInit, Mac};
use raw::Raw;
use sha2::Sha256;
use std::fmt::Write;

/// Item 4: an at-least-once queue whose `nack` is not exposed.
#[test]
fn get_of_an_at_least_once_queue_names_consumer_whatever_is_exposed() {
    let queue = Queue::options().at_least_once().build();
    queue.put(1).unwrap();
    let shared = Registration::shared(&queue).exposed(["put", "get", "task_done"]);
    let handle = Manager::new("key").register_with("tasks", shared).bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), "key").unwrap();
    let got = client.queue("tasks").unwrap().get();
    assert!(got.is_err(), "{got:?}");
}
