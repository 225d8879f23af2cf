//! Whoever knows the key may send any bytes after that: a manager answers, and serves the others.

use crate::support::alone;
use crate::support::programs::{Rng, deep_references, memory, program, whole};
use crate::support::wire::{Wire, text};
use basemanager::{Client, Limits, Manager, Queue, ServerHandle, Value};

const KEY: &str = "producer";

fn manager(limits: Limits) -> ServerHandle {
    let manager =
        Manager::new(KEY).limits(limits).share("queue", Queue::new()).register("echo", |call| {
            call.positional().first().map_or(Ok(Value::None), |arg| call.value(arg))
        });
    manager.bind("127.0.0.1:0").unwrap().start().unwrap()
}

/// Calls a method of the queue, whose id this is, with these pickled arguments.
fn call(raw: &mut Wire, id: &str, method: &str, args: &[u8]) -> (String, Value) {
    raw.request(Some(id), method, args);
    raw.reply().unwrap()
}

/// Whoever knows the key may send rubbish: each frame of it gets an answer that says so, the
/// connection goes on, and others notice nothing.
#[test]
fn garbage_frame_gets_an_error_and_its_connection_goes_on() {
    let server = manager(Limits::default());
    let address = server.address().to_string();
    let other = Client::connect(server.address(), KEY).unwrap().queue("queue").unwrap();
    let id = other.proxy().id().to_owned();
    let mut raw = Wire::accepted(&address, KEY);
    let mut rng = Rng::new(9);
    let mut garbage: Vec<Vec<u8>> = (0..200).map(|length| rng.bytes(length)).collect();
    garbage.extend((0..400).map(|_| program(&mut rng, 20)));
    garbage.extend(
        [
            &b"N"[..],
            b"(\x8c\x05queue\x8c\x05qsize)t",
            b"(K\x01K\x02K\x03K\x04t",
            b"(\x8c\x05queue\x8c\x05qsize}}t",
            b"(\x8c\x05queue\x8c\x05qsize))t",
            b"(\x8c\x05queue\x8c\x08no_such_)}t",
            b"(\x8c\x05other\x8c\x05qsize)}t",
            b"(N\x8c\x08shutdown)}t",
            b"(\x8c\x05queue\x8c\x03put(t\x97}t",
            b"(\x8c\x05queue\x8c\x05qsizecos\nsystem\n\x8c\x02ls\x85R}t",
            b"(\x8c\x05queue\x8c\x05qsizecos\nsystem\n\x8c\x02ls\x85R)t",
        ]
        .map(|request| {
            // The queue's id in place of its typeid.
            match request.strip_prefix(b"(\x8c\x05queue") {
                Some(rest) => whole(&[b"(\x8c\x20", id.as_bytes(), rest]),
                None => whole(&[request]),
            }
        }),
    );
    for frame in garbage {
        raw.frame(&frame);
        let (kind, what) = raw.reply().unwrap();
        assert_eq!(kind, "#TRACEBACK", "{}: {what}", frame.escape_ascii());
        other.put(1).unwrap();
        assert_eq!(call(&mut raw, &id, "get", b"").1, 1.into());
    }
    // As the first request it ends the connection, once answered.
    for frame in [&b"rubbish"[..], b"\x80\x04N.", b"\x80\x04(N\x8c\x03bad)}t."] {
        let mut raw = Wire::connect(&address, KEY);
        raw.frame(frame);
        assert_eq!(raw.reply().unwrap().0, "#TRACEBACK");
        assert_eq!(raw.read(), None);
    }
    assert!(other.is_empty().unwrap());
}

/// It looks at the memory of its own process.
///
/// Where a frame ends can no longer be told: the connection ends, and no other.
#[test]
fn broken_header_ends_its_connection_only() {
    if !alone("hostile_frames::broken_header_ends_its_connection_only") {
        return;
    }
    let server = manager(Limits::default().frame_size(1000));
    let address = server.address().to_string();
    let other = Client::connect(server.address(), KEY).unwrap().queue("queue").unwrap();
    let id = other.proxy().id().to_owned();
    let resident = memory("VmPeak");
    let limit = "frame size exceeds the limit of 1000\n";
    for header in [&b"\x7f\xff\xff\xff"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
        let mut raw = Wire::accepted(&address, KEY);
        raw.send(header);
        assert_eq!(raw.reply().unwrap(), ("#TRACEBACK".to_owned(), limit.into()));
        other.put(2).unwrap();
        assert_eq!(other.get().unwrap(), 2.into());
    }
    // What was refused is passed over, and the connection goes on.
    for header in [&b"\0\0\x03\xe9"[..], b"\xff\xff\xff\xff\0\0\0\0\0\0\x03\xe9"] {
        let mut raw = Wire::accepted(&address, KEY);
        raw.send(header);
        assert_eq!(raw.reply().unwrap(), ("#TRACEBACK".to_owned(), limit.into()));
        raw.send(&[b'x'; 1001]);
        assert_eq!(call(&mut raw, &id, "qsize", b"").1, 0.into());
    }
    for (header, why) in [
        (b"\x80\0\0\0", "protocol error: a frame of -2147483648 bytes\n"),
        (b"\xff\xff\xff\xfe", "protocol error: a frame of -2 bytes\n"),
    ] {
        let mut raw = Wire::accepted(&address, KEY);
        raw.send(header);
        assert_eq!(raw.reply().unwrap(), ("#TRACEBACK".to_owned(), why.into()));
        assert_eq!(raw.read(), None);
        other.put(2).unwrap();
        assert_eq!(other.get().unwrap(), 2.into());
    }
    for half in [&b"\0"[..], b"\xff\xff\xff\xff\0\0", b"\0\0\x01\0half a frame"] {
        Wire::accepted(&address, KEY).send(half);
        other.put(3).unwrap();
        assert_eq!(other.get().unwrap(), 3.into());
    }
    assert!(memory("VmPeak") - resident < 1 << 20, "kB");
}

/// What is hostile only when opened goes through a queue as it is, on a connection's small stack.
#[test]
fn hostile_items_pass_through_a_queue() {
    let server = manager(Limits::default());
    let mut raw = Wire::accepted(&server.address().to_string(), KEY);
    let deep = [&vec![b']'; 100_000][..], &vec![b'a'; 99_999]].concat();
    let other = Client::connect(server.address(), KEY).unwrap().queue("queue").unwrap();
    let id = other.proxy().id().to_owned();
    for (item, opened) in [
        (deep, false),
        ([b"N", &vec![0x85; 100_000][..]].concat(), false),
        (deep_references(150), true),
        (deep_references(10_000), false),
        ([b"\x8b", &100_000_u32.to_le_bytes()[..], &vec![1; 100_000]].concat(), false),
        (b"Nr\xff\xff\xff\xff".to_vec(), true),
    ] {
        assert_eq!(call(&mut raw, &id, "put", &item).0, "#RETURN");
        let got = other.get().unwrap();
        assert_eq!(!matches!(got, Value::Opaque(_)), opened);
        other.put(got).unwrap();
        raw.request(Some(&id), "get", b"");
        assert!(raw.read().unwrap().starts_with(b"\x80\x04\x8c\x07#RETURN"));
        // The manager itself has to open an argument of its own: `block`. The other is -1.
        let (kind, what) = call(&mut raw, &id, "get", &[&item, &b"J\xff\xff\xff\xff"[..]].concat());
        assert_eq!(kind, "#ERROR", "{what}");
    }
    // As deep as can be opened, and printed.
    let deepest = [&[b']'; 200][..], &[b'a'; 199]].concat();
    let mut raw = Wire::connect(&server.address().to_string(), KEY);
    raw.request(None, "create", &[&text("echo"), &*deepest].concat());
    assert_eq!(raw.reply().unwrap().0, "#RETURN");
}
