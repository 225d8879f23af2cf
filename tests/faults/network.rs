//! What the network does to a client: connections that a router has forgotten, a host that does not answer.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::Peer::Rust;
use crate::support::own_address;
use basemanager::{Client, QueueProxy};

const KEY: &str = "producer";
const TIMEOUT: Duration = Duration::from_millis(500);

/// A router between clients and a manager. It can forget the connections that it has forwarded so far: nothing
/// comes through any more, and neither side is told.
struct Router {
    address: String,
    forgotten: Arc<AtomicUsize>,
}

impl Router {
    fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let forgotten = Arc::<AtomicUsize>::default();
        let (target, count) = (target.to_owned(), forgotten.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, manager) = (client.unwrap(), TcpStream::connect(&target).unwrap());
                let pair = Arc::new((client, manager));
                let since = count.load(Ordering::SeqCst);
                for back in [false, true] {
                    let (pair, count) = (pair.clone(), count.clone());
                    thread::spawn(move || {
                        let (from, to) = if back { (&pair.1, &pair.0) } else { (&pair.0, &pair.1) };
                        forward(from, to, || count.load(Ordering::SeqCst) == since);
                    });
                }
            }
        });
        Self { address, forgotten }
    }

    fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

fn forward(mut from: &TcpStream, mut to: &TcpStream, is_known: impl Fn() -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(count) = from.read(&mut buffer) {
        if !is_known() {
            // Neither side is told, for as long as the test runs.
            loop {
                thread::park();
            }
        }
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            let _ = to.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// Calls from several threads at once, so that as many connections are idle afterwards.
fn fill_pool(tasks: &QueueProxy) {
    let (all, barrier) = (8, Barrier::new(8));
    thread::scope(|scope| {
        for _ in 0..all {
            scope.spawn(|| {
                barrier.wait();
                assert_eq!(tasks.get_timeout(TIMEOUT).unwrap(), None);
            });
        }
    });
}

#[test]
fn timeout_of_one_call_drops_the_pool() {
    let (_manager, address) = Rust.serve("manager", &[&own_address()]);
    let router = Router::start(&address);
    let client = Client::builder(&router.address, KEY).call_timeout(TIMEOUT).connect().unwrap();
    let tasks = client.queue("task_queue").unwrap();
    fill_pool(&tasks);
    router.forget();
    let error = tasks.len().unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(tasks.len().unwrap(), 0, "a new connection comes through");
}

#[test]
fn many_proxies_of_a_silent_host_cost_one_timeout() {
    let (manager, address) = Rust.serve("manager", &[&own_address()]);
    let client = Client::builder(&address, KEY).connect_timeout(TIMEOUT).connect().unwrap();
    let proxies: Vec<_> = (0..20).map(|_| client.queue("task_queue").unwrap()).collect();
    let last = client.queue("task_queue").unwrap();
    manager.signal("STOP");
    let begun = Instant::now();
    drop(proxies);
    let taken = begun.elapsed();
    assert!(taken >= TIMEOUT && taken < TIMEOUT * 3, "{taken:?}");
    manager.signal("CONT");
    assert_eq!(last.len().unwrap(), 0);
    // The manager answers again: it is told of this one.
    let references = || client.debug_info().unwrap();
    let before = references();
    drop(last);
    assert_ne!(references(), before);
}
