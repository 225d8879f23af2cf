//! What a small call allocates in the manager: nothing.
#![allow(clippy::unwrap_used)]

mod support;

use std::alloc::System;
use std::io::{Read, Write};

use basemanager::{Manager, Queue};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::support::wire::{Wire, framed, text};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KEY: &str = "key";
const ROUNDS: usize = 10_000;

/// A call of an object as CPython sends it.
fn request(id: &str, method: &str, args: &[u8]) -> Vec<u8> {
    let text = |part: &str| [&text(part), &b"\x94"[..]].concat();
    let call = [b"(", &*text(id), &*text(method), args, b"}\x94t\x94."].concat();
    let payload = [b"\x80\x04\x95", &(call.len() as u64).to_le_bytes()[..], &*call].concat();
    framed(&payload)
}

#[test]
fn small_put_and_get_allocate_nothing() {
    let tasks = Queue::new();
    let server = Manager::new(KEY).share("queue", &tasks);
    let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let id = Wire::create(&handle.address().to_string(), KEY, "queue");
    let raw = Wire::accepted(&handle.address().to_string(), KEY);

    let put = request(&id, "put", b"K\x07\x85\x94");
    let get = request(&id, "get", b")");
    // '#RETURN' with None, and with 7.
    let (done, item) = (b"\x80\x04\x8c\x07#RETURNN\x86.", b"\x80\x04\x8c\x07#RETURNK\x07\x86.");
    let mut room = [0; 64];
    let mut turn = |request: &[u8], reply: &[u8]| {
        raw.stream().write_all(request).unwrap();
        let frame = room.get_mut(..4 + reply.len()).unwrap();
        raw.stream().read_exact(frame).unwrap();
        assert_eq!(frame.get(4..), Some(reply));
    };
    let mut rounds = |count| {
        for _ in 0..count {
            turn(&put, done);
            turn(&get, item);
        }
    };
    // Buffers find their size.
    rounds(100);
    let region = Region::new(GLOBAL);
    rounds(ROUNDS);
    let change = region.change();
    // This process is the manager and its client. Other threads of it, the harness's, may allocate a
    // little meanwhile.
    let count = change.allocations + change.reallocations;
    assert!(count < ROUNDS / 100, "{count} allocations in {ROUNDS} rounds: {change:?}");
}
