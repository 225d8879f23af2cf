//! Whoever has not proved the key costs little, for a short time, and disturbs no client.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::wire::{self, Wire};
use crate::support::{self, Log, PATIENCE, Process, python_client, pythons, until};
use basemanager::{Client, Error, Manager, Queue, QueueProxy, ServerHandle};

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
fn unauthenticated_frame_over_256_bytes_ends_its_connection() {
    let (_handle, address, log) = start(Manager::new(KEY).handshake_timeout(PATIENCE * 2));
    let mut clients = Clients::new(&address);
    for header in [&b"\0\0\x01\x01"[..], b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\0\0\0\x01\0\0\0\0"]
    {
        let mut stranger = Wire::unauthenticated(&address);
        stranger.read().unwrap();
        stranger.send(header);
        // At once: nothing of the frame itself has been sent.
        assert_eq!(stranger.read(), None);
        log.until("frame size exceeds the limit of 256");
        clients.go_on();
    }
    // One of 256 is an answer, though a wrong one.
    let mut stranger = Wire::unauthenticated(&address);
    stranger.read().unwrap();
    stranger.frame(&[b'x'; 256]);
    assert_eq!(stranger.read().unwrap(), b"#FAILURE#");
}

#[test]
fn another_protocol_is_named_in_the_log() {
    let (_handle, address, log) = start(Manager::new(KEY));
    for (bytes, shown) in [
        (&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], "HTTP; it sent \"GET / HTTP/1.1\\r\\n"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH; it sent \"SSH-2.0"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc", "TLS; it sent \"\\x16\\x03\\x01"),
        (b"*1\r\n$4\r\nPING\r\n", "another protocol; it sent \"*1\\r\\n$4"),
    ] {
        let mut stranger = Wire::unauthenticated(&address);
        stranger.read().unwrap();
        stranger.send(bytes);
        assert_eq!(stranger.read(), None);
        let peer = stranger.stream().local_addr().unwrap();
        log.until(&format!("rejected {peer}: the peer speaks {shown}"));
    }
}

#[test]
fn log_lines_name_the_peer_and_the_reason() {
    let (_handle, address, log) = start(Manager::new(KEY));
    let mut wrong = Wire::unauthenticated(&address);
    wrong.read().unwrap();
    wrong.frame(&wire::answer(b"#CHALLENGE#{sha256}", KEY));
    let peer = wrong.stream().local_addr().unwrap();
    log.until(&format!("rejected {peer}: the peer holds another authkey"));

    let mut old = Wire::unauthenticated(&address);
    old.read().unwrap();
    old.frame(&[7; 16]);
    let peer = old.stream().local_addr().unwrap();
    log.until(&if cfg!(feature = "legacy-md5") {
        format!("rejected {peer}: the peer holds another authkey")
    } else {
        let why = "HMAC-MD5 client (Python 3.11 or older); build with feature legacy-md5";
        format!("rejected {peer}: {why}")
    });

    let mut client = Wire::accepted(&address, KEY);
    client.send(b"\xff\xff\xff\xfe");
    let peer = client.stream().local_addr().unwrap();
    log.until(&format!("closed {peer}: protocol error: a frame of -2 bytes"));
}

#[cfg(unix)]
#[test]
fn log_line_of_a_unix_socket_names_it() {
    let directory = support::TempDir::new();
    let (manager, log) = Log::of(Manager::new(KEY));
    let handle = manager.bind(directory.path("manager")).unwrap().start().unwrap();
    Client::connect(handle.address(), "another").unwrap_err();
    log.until("rejected a client of the Unix socket: the peer holds another authkey");
}

#[test]
fn oldest_unauthenticated_connection_is_evicted_for_a_new_one() {
    let manager = Manager::new(KEY).max_handshakes(8).handshake_timeout(PATIENCE * 2);
    let (_handle, address, log) = start(manager);
    let mut clients = Clients::new(&address);
    let mut silent = std::collections::VecDeque::new();
    for _ in 0..8 {
        let mut stranger = Wire::unauthenticated(&address);
        stranger.read().unwrap();
        silent.push_back(stranger);
    }
    for _ in 0..20 {
        let mut newest = Wire::unauthenticated(&address);
        newest.read().unwrap();
        silent.push_back(newest);
        let mut oldest = silent.pop_front().unwrap();
        assert_eq!(oldest.read(), None);
        let peer = oldest.stream().local_addr().unwrap();
        log.until(&format!("rejected {peer}: the oldest unauthenticated connection was closed"));
        clients.go_on();
    }
    for one in &silent {
        one.stream().set_nonblocking(true).unwrap();
        let kind = one.stream().peek(&mut [0]).map_err(|error| error.kind());
        assert_eq!(kind, Err(std::io::ErrorKind::WouldBlock), "it has been closed");
    }
    // Clients get in, however many are silent.
    for _ in 0..20 {
        Client::connect(&address, KEY).unwrap();
    }
}

#[test]
fn max_handshakes_of_zero_admits_no_connection() {
    let (_handle, address, log) = start(Manager::new(KEY).max_handshakes(0));
    assert!(Client::connect(&address, KEY).is_err());
    log.until("number of handshakes exceeds the limit of 0");
}

#[test]
fn silent_or_slow_handshake_hits_handshake_timeout() {
    let (_handle, address, log) =
        start(Manager::new(KEY).handshake_timeout(Duration::from_millis(200)));
    let mut silent = Wire::unauthenticated(&address);
    let begun = Instant::now();
    silent.read().unwrap();
    assert_eq!(silent.read(), None);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(150) && took < Duration::from_secs(5), "{took:?}");
    log.until("did not answer in time");

    // Nor does it help to answer byte by byte.
    let mut slow = Wire::unauthenticated(&address);
    let begun = Instant::now();
    while slow.send(&[0]) {
        thread::sleep(Duration::from_millis(5));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn clients_beyond_max_connections_disturb_no_other() {
    const MOST: usize = 64;
    let (_handle, address, log) = start(Manager::new(KEY).max_connections(MOST));
    let mut clients = Clients::new(&address);
    let mut others = Vec::new();
    // Connections of the clients' first calls may be ending.
    until("all places are taken", PATIENCE, || {
        let queue = Client::connect(&address, KEY).and_then(|client| client.queue("queue"));
        others.extend(queue.and_then(|queue| queue.len().map(|_| queue)));
        others.len() + clients.count() == MOST
    });
    for _ in 0..20 {
        assert!(matches!(Client::connect(&address, KEY), Err(Error::Io { .. })));
        clients.go_on();
    }
    log.until(&format!(": number of connections exceeds the limit of {MOST}"));
    others.pop();
    until("there is room", PATIENCE, || Client::connect(&address, KEY).is_ok());
    clients.go_on();
}

#[test]
fn silent_flood_keeps_no_client_out_at_max_connections() {
    const MOST: usize = 16;
    let manager = Manager::new(KEY).max_connections(MOST).handshake_timeout(PATIENCE * 2);
    let (_handle, address, log) = start(manager);
    let mut silent = Vec::new();
    for _ in 0..3 * MOST {
        silent.push(Wire::unauthenticated(&address));
        silent.last_mut().unwrap().read();
    }
    for _ in 0..2 * MOST {
        Client::connect(&address, KEY).unwrap();
    }
    log.until("closed to admit another");
}

/// A Python process that may hold as many connections as the system allows, and what it does with them.
#[cfg(target_os = "linux")]
fn flood(python: &support::Python, code: &str, address: &str) -> Process {
    const HEAD: &str = "
import collections, resource, socket
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
host, port = sys.argv[1].rsplit(':', 1)
held = collections.deque()
opened = 0
def open_one():
    global opened
    opened += 1
    held.append(socket.create_connection((host, int(port))))
";
    python_client(python, &format!("{HEAD}{code}"), address, "producer")
}

/// Thousands of connections that say nothing, held open by another process.
#[cfg(target_os = "linux")]
#[test]
fn flood_costs_no_more_than_its_limits() {
    use crate::support::{Peer, newest_python, say};

    const CODE: &str = "
def flood(count):
    for _ in range(count):
        open_one()
    return len(held)
obey()";
    let Some(python) = newest_python() else { return };
    let (mut manager, address) = Peer::Rust.serve("manager", &["127.0.0.1:0"]);
    let code = "q = connect('task_queue').task_queue()\nobey()";
    let mut client = python_client(python, code, &address, "producer");
    assert_eq!(client.ask("q.qsize()"), "0");
    until("one is connected", PATIENCE, || manager.threads() == 3);
    let files = manager.files();
    let mut flood = flood(python, CODE, &address);
    let (mut threads, mut open) = (0, 0);
    for held in 1..=6 {
        assert_eq!(flood.ask("flood(500)"), (500 * held).to_string());
        assert_eq!(client.ask("q.put(1)"), "None");
        assert_eq!(client.ask("q.get()"), "1");
        threads = threads.max(manager.threads());
        open = open.max(manager.files());
    }
    say(&format!("3,000 connections: at most {threads} threads and {open} files"));
    // As many again may be on their way out: they were evicted, or their time was up.
    assert!(threads <= 3 + 2 * 1024, "{threads}");
    assert!(open <= files + 2 * 1024, "{open}");
    flood.kill();
    until("all are gone", PATIENCE, || manager.threads() == 3 && manager.files() == files);
    assert_eq!(client.ask("q.qsize()"), "0");
    Client::connect(&address, "producer").unwrap().create("close", ()).unwrap();
    let ended = manager.end(PATIENCE).well();
    let eviction = "the oldest unauthenticated connection was closed to admit another";
    let evicted = ended.stderr.lines().filter(|line| line.contains(eviction)).count();
    say(&format!("{evicted} were evicted"));
    assert!(evicted > 0);
}

/// Thousands of silent connections, and as many again as were closed, as fast as one process opens them.
#[cfg(target_os = "linux")]
#[test]
fn honest_clients_connect_during_a_flood() {
    use crate::support::{Peer, newest_python, say};

    const CODE: &str = "
import threading
def open_many():
    while len(held) < 5000:
        open_one()
    while True:
        going_on.wait()
        held.popleft().close()
        open_one()
going_on = threading.Event()
for _ in range(16):
    threading.Thread(target=open_many, daemon=True).start()
while len(held) < 5000:
    print(len(held), flush=True)
    time.sleep(1)
print('held', flush=True)
obey()";
    const TRIED: u32 = 100;
    let Some(python) = newest_python() else { return };
    let (_manager, address) = Peer::Rust.serve("manager", &["127.0.0.1:0"]);
    let mut flood = flood(python, CODE, &address);
    // The backlog slows it down, to minutes on a busy machine.
    while flood.line() != "held" {}
    for (attack, at_least) in [("None", TRIED), ("going_on.set()", TRIED * 9 / 10)] {
        assert_eq!(flood.ask(attack), "None");
        let (begun, before) = (Instant::now(), flood.ask("opened"));
        let served = (0..TRIED).filter(|_| {
            let client =
                Client::builder(&address, "producer").connect_timeout(Duration::from_secs(5));
            let queue = client.connect().and_then(|client| client.queue("task_queue"));
            queue.and_then(|queue| queue.len()).is_ok()
        });
        let served = u32::try_from(served.count()).unwrap();
        let time = begun.elapsed();
        let [before, after] =
            [before, flood.ask("opened")].map(|count| count.parse::<u64>().unwrap());
        let opened = after - before;
        say(&format!("{served} of {TRIED} clients served in {time:?}; {opened} opened meanwhile"));
        assert!(served >= at_least);
    }
}
