//! Whoever knows the key may send any bytes after that: a manager answers, and serves the others; a
//! client survives such a manager.
//!
//! Input: to whom, then pieces: what to make of each, what else that takes, its length, its bytes.
#![no_main]

#[path = "../peer.rs"]
mod peer;
#[path = "../../support/programs.rs"]
mod programs;

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;

use basemanager::{Client, Manager, Proxy, Queue, QueueProxy, ServerHandle, Value};
use libfuzzer_sys::fuzz_target;
use peer::wire::framed;
use peer::{KEY, PATIENCE, Peer, Pieces, connect, peer, rest};
use programs::{Rng, program, request, whole};

/// Inputs after which a manager has gathered enough objects.
const TIRED: usize = 3000;

/// The shared queue first.
const TYPES: [&str; 17] = [
    "queue",
    "Queue",
    "JoinableQueue",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
    "BoundedSemaphore",
    "Condition",
    "Barrier",
    "list",
    "dict",
    "set",
    "Value",
    "Array",
    "Namespace",
    "Pool",
];

const FUNCTIONS: [&str; 9] = [
    "create",
    "create",
    "incref",
    "decref",
    "get_methods",
    "debug_info",
    "number_of_objects",
    "dummy",
    "shutdown",
];

const BLOCKING: [&str; 4] = ["acquire", "get", "join", "wait"];

fuzz_target!(|input: &[u8]| {
    let [whom, rest @ ..] = input else { return };
    match whom % 4 {
        0 => as_a_manager(rest),
        whom => as_a_client(whom == 1, rest),
    }
});

/// A manager, and an object of each type in it.
struct Served {
    handle: ServerHandle,
    honest: QueueProxy,
    objects: Vec<Proxy>,
    inputs: usize,
}

impl Served {
    fn new() -> Self {
        let manager = Manager::new(KEY)
            .register_sync_types()
            .share("queue", Queue::new())
            .register("honest", |_| Queue::new());
        let handle = manager.bind_private().expect("bound").start().expect("started");
        let client = Client::builder(handle.address().clone(), KEY).call_timeout(PATIENCE);
        let client = client.connect().expect("connected");
        let object = |typeid: &&str| {
            let args: &[Value] = match *typeid {
                "Barrier" => &[2.into()],
                "Value" => &["i".into(), 1.into()],
                "Array" => &["i".into(), Value::from([1, 2, 3])],
                "list" => &[Value::from([3, 1, 2])],
                "Pool" => return None,
                _ => &[],
            };
            Some(client.create(typeid, args).expect("made"))
        };
        let objects = TYPES.iter().filter_map(object).collect();
        let honest = client.queue("honest").expect("made");
        Self { handle, honest, objects, inputs: 0 }
    }
}

fn as_a_client(first: bool, input: &[u8]) {
    static SERVED: LazyLock<Mutex<Served>> = LazyLock::new(|| Mutex::new(Served::new()));
    let served = &mut *SERVED.lock().expect("no panic before");
    let mut peer = connect(&served.handle.address().to_string());
    peer.prove(KEY).expect("the manager serves");
    if !first {
        peer.accept_connection();
    }
    let mut pieces = Pieces(input);
    let mut sent = Vec::new();
    while let Some(how) = pieces.number() {
        let (which, what) = (pieces.number().unwrap_or(0), pieces.number().unwrap_or(0));
        let piece = pieces.piece().unwrap_or_default();
        let mut choices = Rng::chosen(piece);
        let bytes = match how % 16 {
            0 => piece.to_vec(),
            1 => framed(piece),
            2 => framed(&whole(&[piece])),
            3 => framed(&program(&mut choices, 30)),
            4 => framed(&long(served.objects[0].id(), piece)),
            _ if first => {
                let typeid = TYPES[what % TYPES.len()];
                let id = served.objects[what % served.objects.len()].id();
                framed(&match FUNCTIONS[which % FUNCTIONS.len()] {
                    // A second passes until all have taken what they were handed.
                    "shutdown" if what < 255 => request(&mut choices, None, "dummy", &[]),
                    "create" => request(&mut choices, None, "create", &[typeid]),
                    function @ ("incref" | "decref") => {
                        request(&mut choices, None, function, &[id])
                    }
                    function => request(&mut choices, None, function, &[]),
                })
            }
            how => {
                let object = &served.objects[which % served.objects.len()];
                let exposed = object.exposed();
                let method = match how {
                    5 => ["#GETVALUE", "__str__", "no_such"][what % 3],
                    _ => {
                        exposed.get(what % exposed.len().max(1)).map_or("__repr__", String::as_str)
                    }
                };
                // A caller's end is noticed after two seconds at most.
                let method = if (how, what / 8) != (15, 31) && BLOCKING.contains(&method) {
                    "__str__"
                } else {
                    method
                };
                framed(&request(&mut choices, Some(object.id()), method, &[]))
            }
        };
        peer.send(&bytes);
        sent.extend(bytes);
    }
    rest(peer);

    served.inputs += 1;
    match served.honest.len() {
        Ok(length) => {
            assert_eq!(length, 0);
            if served.inputs > TIRED {
                *served = Served::new();
            }
        }
        Err(error) => {
            assert!(sent.windows(8).any(|part| part == b"shutdown"), "an honest client: {error}");
            assert!(served.handle.join_timeout(PATIENCE), "the manager does not end");
            *served = Served::new();
        }
    }
}

/// A pickle that has few different parts, and many of them.
fn long(id: &str, piece: &[u8]) -> Vec<u8> {
    let (part, times) = piece.split_last().map_or((piece, 0), |(times, part)| (part, *times));
    let times = usize::from(times) * 8;
    whole(&[b"(\x8c\x20", id.as_bytes(), b"\x8c\x03put(", &part.repeat(times), b"t}t"])
}

/// A client asks for a dict and a queue, and gets other answers.
fn as_a_manager(input: &[u8]) {
    static LISTENER: LazyLock<(String, UnixListener)> = LazyLock::new(|| {
        let path = std::env::temp_dir().join(format!("after_handshake-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("bound");
        (path.to_string_lossy().into_owned(), listener)
    });
    let (path, listener) = &*LISTENER;
    let (over, pieces) = (AtomicBool::new(false), Mutex::new(Pieces(input)));
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let (stream, _) = listener.accept().expect("a client comes");
                if over.load(Ordering::Acquire) {
                    break;
                }
                // A client may keep one connection, and call on another.
                scope.spawn(|| answer(peer(stream), &pieces));
            }
        });
        let client = Client::builder(path, KEY).connect_timeout(PATIENCE).call_timeout(PATIENCE);
        if let Ok(client) = client.connect() {
            if let Ok(proxy) = client.create("dict", ()) {
                let _ = (proxy.call("get", (1,)), proxy.value(), proxy.repr());
                let _ = proxy.call_proxy("get", ());
                let _ = QueueProxy::from(proxy).get_timeout(PATIENCE);
            }
            let _ = client.number_of_objects();
        }
        over.store(true, Ordering::Release);
        drop(UnixStream::connect(path));
    });
}

/// Answers each request with a piece, until there are no more.
fn answer(mut peer: Peer, pieces: &Mutex<Pieces<'_>>) {
    if peer.welcome(KEY).is_none() {
        return;
    }
    while peer.read().is_some() {
        let (how, piece) = {
            let mut pieces = pieces.lock().expect("no panic before");
            let Some(how) = pieces.number() else { return };
            (how, pieces.piece().unwrap_or_default())
        };
        match how % 8 {
            // The client may wait for the rest of it.
            0 => {
                peer.send(piece);
                return;
            }
            1 => peer.frame(piece),
            2 => peer.frame(&program(&mut Rng::chosen(piece), 30)),
            3 => peer.frame(&whole(&[b"\x8c\x06#ERROR", piece, b"\x86"])),
            4 => peer.frame(&whole(&[b"\x8c\x06#PROXY", piece, b"\x86"])),
            5 => peer.frame(&whole(&[b"\x8c\x07#RETURN", piece, b"\x86"])),
            6 => peer.frame(&whole(&[b"\x8c\x07#RETURNN\x86"])),
            _ => {
                let made = b"\x8c\x07#RETURN\x8c\x02id(\x8c\x03get\x8c\x03putt\x86\x86";
                peer.frame(&whole(&[made]));
            }
        }
    }
}
