//! What a stranger sees of a handshake opens nothing: no challenge comes twice, no answer is good twice,
//! and the manager proves nothing to whoever has not proved the key.
//!
//! That a client's answer to our own challenge is refused, with the key too, is in `src/handshake/tests.rs`.

use std::collections::HashSet;

use crate::support::wire::{Wire, answer};
use crate::support::{Log, say};
use basemanager::{Manager, ServerHandle};

const KEY: &str = "k3y-of-these-tests";

fn start() -> (ServerHandle, String, Log) {
    let (manager, log) = Log::of(Manager::new(KEY));
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let address = handle.address().to_string();
    (handle, address, log)
}

#[test]
fn challenges_never_repeat() {
    let (_handle, address, _) = start();
    let mut seen = HashSet::new();
    let mut halves = HashSet::new();
    for _ in 0..4000 {
        let challenge = Wire::unauthenticated(&address).read().unwrap();
        let nonce = challenge.strip_prefix(b"#CHALLENGE#{sha256}").unwrap();
        assert_eq!(nonce.len(), 40);
        let (first, second) = nonce.split_at(20);
        halves.extend([first.to_vec(), second.to_vec()]);
        seen.insert(challenge);
    }
    say(&format!("{} challenges", seen.len()));
    assert_eq!((seen.len(), halves.len()), (4000, 8000));
}

#[test]
fn recorded_answer_opens_no_other_connection() {
    let (_handle, address, log) = start();
    let mut honest = Wire::unauthenticated(&address);
    let recorded = answer(&honest.read().unwrap(), KEY);
    let mut waiting = Wire::unauthenticated(&address);
    waiting.read().unwrap();
    honest.frame(&recorded);
    assert_eq!(honest.read().unwrap(), b"#WELCOME#");
    for mut replaying in [waiting, Wire::unauthenticated(&address)] {
        replaying.frame(&recorded);
        assert_ne!(replaying.read().unwrap(), b"#WELCOME#");
        while replaying.read().is_some() {}
        log.until(": the peer holds another authkey");
    }
}

#[test]
fn reflected_challenge_is_refused() {
    let (_handle, address, log) = start();
    for part in [0..59, 11..59, 11..51, 19..59, 19..51, 0..0] {
        let mut mirror = Wire::unauthenticated(&address);
        let challenge = mirror.read().unwrap();
        mirror.frame(&challenge[part.clone()]);
        assert_eq!(mirror.read().unwrap(), b"#FAILURE#", "{part:?}");
        assert_eq!(mirror.read(), None, "{part:?}");
    }
    log.until("rejected ");
}

#[test]
fn challenge_before_proof_of_the_key_is_not_answered() {
    let (_handle, address, _) = start();
    let mut asked = Wire::unauthenticated(&address);
    let challenge = asked.read().unwrap();
    // What the first connection wants to know, the second is asked.
    let mut oracle = Wire::unauthenticated(&address);
    oracle.read().unwrap();
    oracle.frame(&challenge);
    assert_eq!(oracle.read().unwrap(), b"#FAILURE#");
    assert_eq!(oracle.read(), None);
    asked.frame(&answer(&challenge, "another key"));
    assert_eq!(asked.read().unwrap(), b"#FAILURE#");
}
