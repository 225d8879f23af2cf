//! A manager that has no file descriptor, thread or memory to spare refuses what it has none for; it goes
//! on for the clients that it has, and takes new ones when there is room again.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{self, Command};
use std::time::Instant;

use crate::support::wire::Wire;
use crate::support::{
    PATIENCE, Process, TempDir, assert_mentions, example, python_client, pythons, say, until,
};
use basemanager::{Client, QueueProxy};

const KEY: &str = "producer";

/// The manager, run by a shell that first says this.
fn manager(first: &str, program: &str) -> (Process, String) {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{first} \"$0\" 127.0.0.1:0"), program]);
    // Address space that an allocator sets aside for each thread counts as memory.
    command.env("MALLOC_ARENA_MAX", "1").env_remove("MANAGER_AUTHKEY");
    let mut process = Process::start(&format!("manager, after {first}"), &mut command);
    let address = process.address();
    (process, address)
}

fn built() -> String {
    example("manager").to_str().unwrap().to_owned()
}

/// Clients that are connected, and use no other connection.
struct Clients {
    address: String,
    rust: QueueProxy,
    python: Vec<Process>,
}

impl Clients {
    fn new(address: &str) -> Self {
        let rust = Client::connect(address, KEY).unwrap().queue("task_queue").unwrap();
        let client = |python| {
            let code = "q = connect('task_queue').task_queue()\nobey()";
            let mut client = python_client(python, code, address, KEY);
            assert_eq!(client.ask("q.qsize()"), "0");
            client
        };
        let python = [pythons().first(), pythons().last()].into_iter().flatten().map(client);
        let mut clients = Self { address: address.to_owned(), rust, python: python.collect() };
        clients.go_on();
        clients
    }

    #[track_caller]
    fn go_on(&mut self) {
        self.rust.put(1).unwrap();
        assert_eq!(self.rust.get().unwrap(), 1.into());
        for python in &mut self.python {
            assert_eq!(python.ask("q.put('item')"), "None");
            assert_eq!(python.ask("q.get()"), "'item'");
        }
    }

    /// Two that wait for an item get theirs at the worst of times.
    #[track_caller]
    fn go_on_waiting(&mut self, meanwhile: impl FnOnce()) {
        self.python.iter_mut().for_each(|python| python.tell("q.get()"));
        meanwhile();
        for _ in &self.python {
            self.rust.put(7).unwrap();
        }
        for python in &mut self.python {
            assert_eq!(python.line(), "7");
        }
        self.go_on();
    }

    #[track_caller]
    fn until_room(&mut self) {
        let connects = || Client::connect(&self.address, KEY).is_ok();
        until("a new client is served", PATIENCE, connects);
        self.go_on();
    }

    /// Ends the manager in order, and gives what it logged.
    fn end(self, mut manager: Process) -> String {
        Client::connect(&self.address, KEY).unwrap().create("close", ()).unwrap();
        manager.end(PATIENCE).well().stderr
    }
}

#[test]
fn manager_without_file_descriptors_serves_its_clients() {
    const MOST: usize = 40;
    let (manager, address) = manager(&format!("ulimit -n {MOST} && exec"), &built());
    let mut clients = Clients::new(&address);
    for _ in 0..2 {
        let mut strangers = Vec::new();
        clients.go_on_waiting(|| {
            strangers.extend((0..2 * MOST).map(|_| Wire::unauthenticated(&address)));
            // It may have inherited one beyond them. One that was evicted makes room for the next.
            until("it has no more", PATIENCE, || manager.files_below(MOST) >= MOST - 1);
            Client::connect(&address, KEY).unwrap();
        });
        drop(strangers);
        clients.until_room();
    }
    let log = clients.end(manager);
    assert_mentions(&log, &["a connection could not be accepted: Too many open files"]);
}

/// The system counts the threads of a user: the manager runs as one that nobody else is.
#[test]
fn manager_without_threads_serves_its_clients() {
    const MOST: usize = 24;
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return say("skipped: only root may run a program as another user");
    }
    let directory = TempDir::new();
    let program = directory.path("manager");
    fs::copy(built(), &program).unwrap();
    let user = 1_000_000 + process::id();
    let user = format!("setpriv --reuid={user} --regid={user} --clear-groups");
    let (manager, address) = manager(&format!("exec prlimit --nproc={MOST} {user}"), &program);
    let mut clients = Clients::new(&address);
    for _ in 0..2 {
        let mut strangers = Vec::new();
        clients.go_on_waiting(|| {
            strangers.extend((0..2 * MOST).map(|_| Wire::unauthenticated(&address)));
            // A thread that has only just ended may still have counted when one of them came.
            until("it has no more", PATIENCE, || {
                strangers.push(Wire::unauthenticated(&address));
                manager.threads() == MOST
            });
            // Those without a thread are told so by the end of their connection, and make room for others.
            until("one is told so", PATIENCE, || {
                let begun = Instant::now();
                let mut stranger = Wire::unauthenticated(&address);
                let told = stranger.read().is_none();
                strangers.push(stranger);
                assert!(begun.elapsed() < PATIENCE / 3);
                told
            });
            until("a client is served", PATIENCE, || Client::connect(&address, KEY).is_ok());
        });
        drop(strangers);
        clients.until_room();
    }
    let log = clients.end(manager);
    assert_mentions(&log, &[": cannot start a thread: "]);
}

#[test]
fn manager_without_memory_serves_its_clients() {
    const ITEM: usize = 200 << 20;
    let (manager, address) = manager("ulimit -v 150000 && exec", &built());
    let mut clients = Clients::new(&address);
    let id = Wire::create(&address, KEY, "task_queue");
    let call = [&b"\x80\x04(\x8c\x20"[..], id.as_bytes(), b"\x8c\x03put(B\0\0\x80\x0c"].concat();
    let length = u32::try_from(ITEM + call.len() + 4).unwrap().to_be_bytes();
    for _ in 0..2 {
        let mut large = Wire::accepted(&address, KEY);
        clients.go_on_waiting(|| {
            large.send(&[&length, &call[..]].concat());
            let part = vec![0; 1 << 20];
            // It ends before it has all of it.
            assert!((0..ITEM / part.len()).any(|_| !large.send(&part)));
            assert_eq!(large.read(), None);
        });
        clients.until_room();
    }
    // Whoever puts such an item by a proxy is told as if the manager had ended; the others are not.
    for python in &mut clients.python {
        let told = python.ask(&format!("q.put(bytes({ITEM}))"));
        let gone = ["BrokenPipeError", "ConnectionResetError", "EOFError"];
        assert!(gone.iter().any(|error| told.starts_with(&format!("builtins {error}"))), "{told}");
        assert_eq!(python.ask("q._connect()"), "None");
    }
    clients.go_on();
    let log = clients.end(manager);
    assert_mentions(&log, &[": the connection failed: out of memory"]);
}
