//! Where a manager listens: sockets that its owner prepared, and sockets that others left behind.
#![cfg(unix)]

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::wire::Wire;
use crate::support::{self, PATIENCE, TempDir, python_client, pythons, until};
use basemanager::{Client, Manager, Queue, Server};
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

const KEY: &str = "k3y-of-these-tests";

fn manager() -> Manager {
    Manager::new(KEY).share("queue", Queue::new())
}

fn prepared(backlog: i32) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(30));
    socket.set_tcp_keepalive(&probes.with_interval(Duration::from_secs(10))).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(backlog).unwrap();
    socket.into()
}

fn serves(server: Server) {
    let handle = server.start().unwrap();
    let address = handle.address().to_string();
    let queue = Client::connect(&address, KEY).unwrap().queue("queue").unwrap();
    queue.put(1).unwrap();
    for python in pythons() {
        let mut peer = python_client(python, "q = connect('queue').queue()\nobey()", &address, KEY);
        assert_eq!(peer.ask("q.qsize()"), "1", "{python}");
    }
    handle.shutdown();
    handle.join().unwrap();
}

// Prepared sockets.

#[test]
fn prepared_tcp_listener_is_served() {
    let listener = prepared(4096);
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let server = manager().bind_listener(listener).unwrap();
    assert_eq!(server.address().to_string(), address.to_string());
    serves(server);
}

#[test]
fn prepared_unix_listener_is_served_and_its_file_stays() {
    let directory = TempDir::new();
    let path = directory.path("manager");
    let server = manager().bind_listener(UnixListener::bind(&path).unwrap()).unwrap();
    serves(server);
    assert!(std::fs::exists(&path).unwrap());
}

#[test]
fn empty_authkey_is_refused_for_a_prepared_listener() {
    let refused = Manager::new("").bind_listener(prepared(1)).unwrap_err();
    assert!(refused.to_string().contains("authkey"), "{refused}");
}

/// A thousand that connect before any of them is accepted.
#[test]
#[cfg(target_os = "linux")]
fn backlog_of_prepared_listener_holds_a_thousand_connections() {
    let bound: usize =
        std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    if bound < 1_000 {
        return support::say(&format!("skipped: net.core.somaxconn is {bound}"));
    }
    let server = manager().bind_listener(prepared(4096)).unwrap();
    let address = server.address().to_string();
    let begun = Instant::now();
    let mut peers: Vec<_> = (0..1_000).map(|_| Wire::unauthenticated(&address)).collect();
    // One that finds no place tries again after a second.
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let _handle = server.start().unwrap();
    for peer in &mut peers {
        assert!(peer.read().is_some_and(|challenge| challenge.starts_with(b"#CHALLENGE#")));
    }
}

/// The kernel's table says which timer of a connection runs: 2 is that of keep-alive.
#[test]
#[cfg(target_os = "linux")]
fn connections_have_the_keep_alive_of_their_listener() {
    let handle = manager().bind_listener(prepared(16)).unwrap().start().unwrap();
    let address: SocketAddr = handle.address().to_string().parse().unwrap();
    let _raw = Wire::accepted(&address.to_string(), KEY);
    let local = format!(":{:04X}", address.port());
    // Another timer runs until what was sent is acknowledged.
    until("the timer is that of keep-alive", PATIENCE, || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let accepted: Vec<_> =
            rows.filter(|row| row[1].ends_with(&local) && row[3] == "01").collect();
        !accepted.is_empty() && accepted.iter().all(|row| row[5].starts_with("02:"))
    });
}

// Sockets left behind.

/// A socket file that nobody listens at, as a killed manager leaves it.
fn leave_behind(path: &str) {
    let _ = std::fs::remove_file(path);
    drop(UnixListener::bind(path).unwrap());
}

#[test]
fn one_of_many_managers_that_start_at_once_takes_a_stale_socket() {
    const MANY: usize = 8;
    let directory = TempDir::new();
    let path = directory.path("manager");
    for round in 0..100 {
        if round % 2 == 0 {
            leave_behind(&path);
        }
        let barrier = Barrier::new(MANY);
        let bound: Vec<_> = thread::scope(|scope| {
            let start = || {
                barrier.wait();
                manager().bind(path.as_str()).ok()
            };
            let threads: Vec<_> = (0..MANY).map(|_| scope.spawn(start)).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(bound.len(), 1, "round {round}");
        for server in bound {
            let _handle = server.start().unwrap();
            Client::connect(path.as_str(), KEY).unwrap();
        }
    }
}

#[test]
fn lock_on_the_directory_of_a_stale_socket_keeps_no_manager_out() {
    let directory = TempDir::new();
    let path = directory.path("manager");
    leave_behind(&path);
    let parent = Path::new(&path).parent().unwrap();
    let other = File::open(parent).unwrap();
    other.lock_shared().unwrap();
    let _server = manager().bind(path.as_str()).unwrap();
    assert_eq!(parent.read_dir().unwrap().count(), 1, "only the socket is there");
}

#[test]
fn lock_file_of_a_killed_manager_keeps_no_manager_out() {
    let directory = TempDir::new();
    let path = directory.path("manager");
    leave_behind(&path);
    File::create(format!("{path}.lock")).unwrap();
    let _server = manager().bind(path.as_str()).unwrap();
    assert_eq!(Path::new(&path).parent().unwrap().read_dir().unwrap().count(), 1);
}

/// As that of a process that is stopped: it accepts nothing, and no connection waits any more.
#[test]
fn full_backlog_is_no_stale_socket() {
    let directory = TempDir::new();
    let path = directory.path("manager");
    let stopped = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    stopped.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    stopped.listen(0).unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&SockAddr::unix(&path).unwrap());
            socket
        })
        .collect();
    let begun = Instant::now();
    let error = manager().bind(path.as_str()).unwrap_err();
    assert!(begun.elapsed() < PATIENCE / 3, "{:?}", begun.elapsed());
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("in use"), "{cause}");
    drop((waiting, stopped));
    manager().bind(path.as_str()).unwrap();
}
