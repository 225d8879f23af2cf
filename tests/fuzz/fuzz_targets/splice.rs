//! What passes through means the same to CPython as before: alone, out of a request into a reply, and
//! beside another. What CPython reads is refused for a documented reason only.
//!
//! A Python process, `python3` or what `FUZZ_PYTHON` names, compares: `tests/scripts/codec.py`. It runs
//! nothing of what it reads.
//!
//! Input: which way, then a program's choices, or its bytes.
#![no_main]

#[path = "../judge.rs"]
mod judge;
#[path = "../peer.rs"]
mod peer;
#[path = "../../support/programs.rs"]
mod programs;

use std::io::{Read, Write};
use std::sync::{LazyLock, Mutex};

use basemanager::{Client, Limits, Manager, Pickle, Queue, ServerHandle, Value};
use judge::Judge;
use libfuzzer_sys::fuzz_target;
use peer::{KEY, Peer};
use programs::{Rng, program, request, whole};

/// What is refused though CPython reads it: see the README's Limits.
const DOCUMENTED: [&str; 3] = ["refused", "exceeds the limit of", "too many objects"];

fuzz_target!(|input: &[u8]| {
    let [way, rest @ ..] = input else { return };
    match way % 8 {
        0 => alone(rest),
        1 => alone(&whole(&[rest])),
        2..4 => alone(&program(&mut Rng::chosen(rest), 30)),
        4..7 => through_a_queue(rest),
        _ => beside_another(rest),
    }
});

fn alone(theirs: &[u8]) {
    let limits = Limits::default();
    let (ours, decoded) = match Pickle::from_bytes(theirs, &limits) {
        Ok(pickle) => {
            let value = pickle.decode(&limits);
            let decoded = value
                .map(|value| Pickle::encode(&value).expect("pickled").to_bytes())
                .unwrap_or_default();
            (pickle.to_bytes(), decoded)
        }
        Err(error) => {
            let error = error.to_string();
            if DOCUMENTED.iter().any(|reason| error.contains(reason)) {
                return;
            }
            (Vec::new(), Vec::new())
        }
    };
    ask(b'j', &[theirs, &ours, &decoded]);
}

fn through_a_queue(choices: &[u8]) {
    static SERVED: LazyLock<(ServerHandle, String, Mutex<Peer>)> = LazyLock::new(|| {
        let manager = Manager::new(KEY).share("queue", Queue::new());
        let handle = manager.bind_private().expect("bound").start().expect("started");
        let client = Client::connect(handle.address(), KEY).expect("connected");
        let id = client.queue("queue").expect("shared").proxy().id().to_owned();
        let mut wire = peer::connect(&handle.address().to_string());
        wire.prove(KEY).expect("the manager serves");
        wire.accept_connection();
        (handle, id, Mutex::new(wire))
    });
    let (_, id, wire) = &*SERVED;
    let wire = &mut *wire.lock().expect("no panic before");
    let put = request(&mut Rng::chosen(choices), Some(id), "put", &[]);
    wire.frame(&put);
    let reply = wire.read().expect("an answer");
    if reply != whole(&[b"\x8c\x07#RETURNN\x86"]) {
        return alone(&put);
    }
    wire.request(Some(id), "get_nowait", b"");
    ask(b'f', &[&put, &wire.read().expect("an answer")]);
}

fn beside_another(choices: &[u8]) {
    let (one, other) = choices.split_at(choices.len() / 2);
    let limits = Limits::default();
    let pickles = [one, other].map(|half| program(&mut Rng::chosen(half), 1000));
    let taken: Result<Vec<Pickle>, _> =
        pickles.iter().map(|bytes| Pickle::from_bytes(bytes, &limits)).collect();
    let Ok(taken) = taken else { return };
    let both = Value::List(taken.into_iter().map(Value::Opaque).collect());
    let both = Pickle::from_bytes(&Pickle::encode(&both).expect("pickled").to_bytes(), &limits)
        .expect("taken again");
    ask(b'm', &[&pickles[0], &pickles[1], &both.to_bytes()]);
}

/// Asks for a verdict, which has to be that all is well.
fn ask(letter: u8, question: &[&[u8]]) {
    static PYTHON: LazyLock<Mutex<Judge>> =
        LazyLock::new(|| Mutex::new(Judge::start("codec.py", &[])));
    let python = &mut *PYTHON.lock().expect("no panic before");
    let number = |count: usize| u32::try_from(count).expect("few").to_be_bytes();
    let mut asked = [&[letter][..], &number(question.len())].concat();
    for part in question {
        asked.extend(number(part.len()));
        asked.extend_from_slice(part);
    }
    let input = python.child.stdin.as_mut().expect("piped");
    input.write_all(&asked).and_then(|()| input.flush()).expect("codec.py listens");
    let mut read = |length: usize| {
        let mut bytes = vec![0; length];
        python.out.read_exact(&mut bytes).expect("codec.py answers");
        bytes
    };
    assert_eq!(read(4), [0, 0, 0, 1]);
    let length = read(4).iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let verdict = String::from_utf8_lossy(&read(length)).into_owned();
    if !matches!(verdict.as_str(), "+" | "-") {
        let parts = question.iter().map(|part| part.escape_ascii().to_string());
        panic!("{verdict}\n{}", parts.collect::<Vec<_>>().join("\n"));
    }
}
