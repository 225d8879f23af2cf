//! Whoever has not proved the key costs little, for a short time, and disturbs no client.
//!
//! A stranger that is silent, or sends a byte now and then, is in `tests/manager.rs`.
#![allow(clippy::unwrap_used)]

#[path = "support/raw.rs"]
mod raw;
mod support;

use std::time::Duration;

use basemanager::{Client, Error, Manager, Queue, QueueProxy, ServerHandle};
use raw::Raw;
use support::{Log, PATIENCE, Process, python_client, pythons, until};

const KEY: &str = "k3y-of-these-tests";

fn start(manager: Manager) -> (ServerHandle, String, Log) {
    let queue = Queue::new();
    let (manager, log) = Log::of(manager.register("queue", move |_| queue.clone()));
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let address = handle.address().to_string();
    (handle, address, log)
}

/// Clients that are connected, each by one connection.
struct Clients {
    rust: QueueProxy,
    python: Vec<Process>,
}

impl Clients {
    fn new(address: &str) -> Self {
        let rust = Client::connect(address, KEY).unwrap().queue("queue").unwrap();
        let code = "q = connect('queue').queue()\nobey()";
        let python = pythons().iter().map(|one| python_client(one, code, address, KEY)).collect();
        let mut clients = Self { rust, python };
        // The first call opens the connection that the later ones use.
        clients.go_on();
        clients
    }

    #[track_caller]
    fn go_on(&mut self) {
        self.rust.put(1).unwrap();
        assert_eq!(self.rust.get().unwrap(), 1.into());
        for python in &mut self.python {
            assert_eq!(python.ask("q.put(1)"), "None");
            assert_eq!(python.ask("q.get()"), "1");
        }
    }

    fn count(&self) -> usize {
        1 + self.python.len()
    }
}

#[test]
fn a_frame_over_256_bytes_ends_a_strangers_connection() {
    let (_handle, address, log) = start(Manager::new(KEY).handshake_timeout(PATIENCE * 2));
    let mut clients = Clients::new(&address);
    for header in [&b"\0\0\x01\x01"[..], b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\0\0\0\x01\0\0\0\0"]
    {
        let mut stranger = Raw::stranger(&address);
        stranger.read().unwrap();
        stranger.send(header);
        // At once: nothing of the frame itself has been sent.
        assert_eq!(stranger.read(), None);
        log.until("frame size exceeds the limit of 256");
        clients.go_on();
    }
    // One of 256 is an answer, though a wrong one.
    let mut stranger = Raw::stranger(&address);
    stranger.read().unwrap();
    stranger.frame(&[b'x'; 256]);
    assert_eq!(stranger.read().unwrap(), b"#FAILURE#");
}

#[test]
fn strangers_take_no_more_places_than_they_are_granted() {
    let manager = Manager::new(KEY).max_handshakes(8).handshake_timeout(PATIENCE * 2);
    let (_handle, address, log) = start(manager);
    let mut clients = Clients::new(&address);
    let stranger = || {
        let mut stranger = Raw::stranger(&address);
        stranger.read().map(|_| stranger)
    };
    // Handshakes of the clients' first calls may be ending.
    let mut silent = Vec::new();
    until("there are eight", PATIENCE, || {
        silent.extend(stranger());
        silent.len() == 8
    });
    for _ in 0..20 {
        assert!(stranger().is_none());
        assert!(matches!(Client::connect(&address, KEY), Err(Error::Io(..))));
        clients.go_on();
    }
    log.until("a connection was refused: number of handshakes exceeds the limit of 8");
    silent.pop();
    until("whoever leaves makes room", PATIENCE, || Client::connect(&address, KEY).is_ok());
    drop(silent);
    clients.go_on();
}

#[test]
fn silence_makes_room() {
    let manager = Manager::new(KEY).max_handshakes(4).handshake_timeout(Duration::from_millis(300));
    let (_handle, address, log) = start(manager);
    let mut silent: Vec<_> = (0..4).map(|_| Raw::stranger(&address)).collect();
    until("their time is over", PATIENCE, || Client::connect(&address, KEY).is_ok());
    for stranger in &mut silent {
        stranger.read();
        assert_eq!(stranger.read(), None);
    }
    log.until("did not answer in time");
}

#[test]
fn clients_beyond_the_limit_disturb_none_within() {
    const MOST: usize = 64;
    let (_handle, address, log) = start(Manager::new(KEY).max_connections(MOST));
    let mut clients = Clients::new(&address);
    let mut others = Vec::new();
    // Connections of the clients' first calls may be ending.
    until("all places are taken", PATIENCE, || {
        let mut other = Raw::stranger(&address);
        others.extend(other.read().map(|_| other));
        others.len() + clients.count() == MOST
    });
    for _ in 0..20 {
        assert!(matches!(Client::connect(&address, KEY), Err(Error::Io(..))));
        clients.go_on();
    }
    log.until(&format!(
        "a connection was refused: number of connections exceeds the limit of {MOST}"
    ));
    others.pop();
    until("there is room", PATIENCE, || Client::connect(&address, KEY).is_ok());
    clients.go_on();
}

/// Thousands of connections that say nothing, held open by another process.
#[cfg(target_os = "linux")]
#[test]
fn a_flood_costs_no_more_than_the_strangers_it_is_granted() {
    use support::{Peer, newest_python, say};

    const FLOOD: &str = "
import resource, socket
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
host, port = sys.argv[1].rsplit(':', 1)
held = []
def flood(count):
    held.extend(socket.create_connection((host, int(port))) for _ in range(count))
    return len(held)
obey()";
    let Some(python) = newest_python() else { return };
    let (mut manager, address) = Peer::Rust.serve("manager", &["127.0.0.1:0"]);
    let code = "q = connect('task_queue').task_queue()\nobey()";
    let mut client = python_client(python, code, &address, "producer");
    assert_eq!(client.ask("q.qsize()"), "0");
    until("one is connected", PATIENCE, || manager.threads() == 3);
    let files = manager.files();
    let mut flood = python_client(python, FLOOD, &address, "producer");
    let (mut threads, mut open) = (0, 0);
    for held in 1..=6 {
        assert_eq!(flood.ask("flood(500)"), (500 * held).to_string());
        assert_eq!(client.ask("q.put(1)"), "None");
        assert_eq!(client.ask("q.get()"), "1");
        threads = threads.max(manager.threads());
        open = open.max(manager.files());
    }
    say(&format!("3,000 connections: at most {threads} threads and {open} files"));
    // A few more may be on their way out: their time was up.
    assert!(threads <= 3 + 1024 + 16, "{threads}");
    assert!(open <= files + 1024 + 16, "{open}");
    flood.kill();
    until("all are gone", PATIENCE, || manager.threads() == 3 && manager.files() == files);
    assert_eq!(client.ask("q.qsize()"), "0");
    Client::connect(&address, "producer").unwrap().create("close", &[], &[]).unwrap();
    let ended = manager.end(PATIENCE).well();
    let refusal = "a connection was refused: number of handshakes exceeds the limit of 1024";
    let refused = ended.stderr.lines().filter(|line| *line == refusal).count();
    say(&format!("{refused} were refused"));
    assert!(refused > 0);
}
