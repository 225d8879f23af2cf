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

/// Item 34.
#[test]
fn id_of_an_object_that_clients_cannot_create_is_not_computed() {
    let queue = Queue::new();
    queue.put("secret").unwrap();
    let server = Manager::new("key")
        .register_with("inbox", Registration::shared(&queue).exposed(["put"]))
        .register_with("admin", Registration::shared(&queue).create_method(false));
    let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let address = handle.address().to_string();
    assert!(Client::connect(address.as_str(), "key").unwrap().queue("admin").is_err());
    let mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap().chain_update(b"#SHARED_OBJECT#");
    let mac = mac.chain_update(5_u64.to_be_bytes()).chain_update("admin").chain_update(&address);
    let mut id = String::new();
    for byte in &mac.finalize().into_bytes()[..16] {
        write!(id, "{byte:02x}").unwrap();
    }
    let mut raw = Raw::accepted(&address, "key");
    raw.frame(&[b"\x80\x04(\x8c\x20", id.as_bytes(), b"\x8c\x03get)}t."].concat());
    let (kind, what) = raw.reply().unwrap();
    assert_eq!(kind, "#TRACEBACK", "{what}");
}

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
