//! Messages of 2 GiB and more, whose frames have the long header.

#![cfg(target_pointer_width = "64")]

use std::io::{Read, Write};

use crate::support::wire::{Wire, text};
use basemanager::{Error, Limits, Manager, Queue, Value};

const GIB: usize = 1 << 30;

/// Sends a long header, this payload, and so many zeros in the middle of it.
fn send(mut stream: impl Write, before: &[u8], zeros: usize, after: &[u8]) {
    let length = (before.len() + zeros + after.len()) as u64;
    stream.write_all(&[&[0xff; 4], &length.to_be_bytes()[..], before].concat()).unwrap();
    let piece = vec![0; 1 << 20];
    for at in (0..zeros).step_by(piece.len()) {
        stream.write_all(&piece[..piece.len().min(zeros - at)]).unwrap();
    }
    stream.write_all(after).unwrap();
}

/// Reads a frame with a long header: this payload, with so many zeros in the middle of it.
fn expect(mut stream: impl Read, before: &[u8], zeros: usize, after: &[u8]) {
    let mut read = |length: usize| {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    };
    let length = (before.len() + zeros + after.len()) as u64;
    assert_eq!(read(12), [&[0xff; 4], &length.to_be_bytes()[..]].concat());
    assert_eq!(read(before.len()), before);
    let piece = vec![0; 1 << 20];
    for at in (0..zeros).step_by(piece.len()) {
        let piece = &piece[..piece.len().min(zeros - at)];
        assert!(read(piece.len()) == piece, "from {at}");
    }
    assert_eq!(read(after.len()), after);
}

// It takes as much memory as its item.
#[test]
fn item_of_2_gib_crosses_the_manager() {
    let queue = Queue::new();
    let shared = queue.clone();
    let manager = Manager::new("key").register("queue", move |_| shared.clone());
    let manager = manager.limits(Limits::default().frame_size(3 * GIB));
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let address = handle.address().to_string();
    let id = Wire::create(&address, "key", "queue");
    let mut raw = Wire::accepted(&address, "key");
    let zeros = 2 * GIB;
    let length = u32::try_from(zeros).unwrap().to_le_bytes();
    let item = [b"B", &length[..]].concat();
    send(
        raw.stream(),
        &[b"\x80\x04(", &*text(&id), &*text("put"), &item[..]].concat(),
        zeros,
        b"\x85}t.",
    );
    assert_eq!(raw.reply().unwrap(), ("#RETURN".to_owned(), Value::None));
    queue.put("next").unwrap();
    // Both replies go at once.
    for _ in 0..2 {
        raw.request(Some(&id), "get", b"");
    }
    let before = [b"\x80\x04\x8c\x07#RETURN", &item[..]].concat();
    expect(raw.stream(), &before, zeros, b"\x86.");
    assert_eq!(raw.reply().unwrap(), ("#RETURN".to_owned(), "next".into()));
}

#[test]
fn put_of_more_than_4_gib_in_process_is_an_error() {
    let queue = Queue::new();
    // Memory that nobody touches takes none.
    for length in [4 * GIB, 5 * GIB] {
        let error = queue.put(vec![0_u8; length]).unwrap_err();
        assert!(matches!(error, Error::Conversion { .. }), "{error:?}");
        assert!(error.to_string().contains("4 GiB"), "{error}");
    }
    assert!(queue.is_empty());
}
