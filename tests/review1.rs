//! What a review found.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use basemanager::{Client, Manager, Queue, Return};

/// Item 7: what becomes a dead letter while the manager drains is drained as well.
#[test]
fn dead_letters_made_while_draining_are_drained() {
    for _ in 0..8 {
        let letters = Queue::new();
        let tasks = Queue::options().dead_letters(1, &letters).build();
        tasks.put("poison").unwrap();
        let server = Manager::new("key").share("tasks", &tasks).share("letters", &letters);
        let server = server.drain_timeout(Duration::from_secs(5));
        let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
        let address = handle.address().to_string();
        let client = Client::connect(address.as_str(), "key").unwrap();
        let mut consumer = client.queue("tasks").unwrap().consumer();
        consumer.get().unwrap();
        // One that empties the letters until it is told that there are no more.
        let reader = client.queue("letters").unwrap();
        let letters_got = thread::spawn(move || reader.iter().filter_map(Result::ok).count());
        client.shutdown().unwrap();
        thread::sleep(Duration::from_millis(300));
        consumer.nack().unwrap();
        drop(consumer);
        let start = Instant::now();
        let got = letters_got.join().unwrap();
        handle.join().unwrap();
        assert_eq!((got, letters.len()), (1, 0), "after {:?}", start.elapsed());
    }
}

/// Items 19 and 23: a listener on an abstract address.
#[cfg(target_os = "linux")]
#[test]
fn manager_serves_on_an_abstract_listener() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("review1-{}", std::process::id());
    let at = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&at).unwrap();
    let server = Manager::new("key").bind_listener(listener).unwrap();
    assert_eq!(server.address().to_string(), format!("@{name}"));
}

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
