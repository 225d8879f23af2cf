//! A log that is slow, or blocks, costs log lines and nothing else.

use std::sync::{Arc, Mutex};

use crate::support::wire::Wire;
use crate::support::{PATIENCE, until};
use basemanager::{Client, Manager, Queue, ServerHandle};

const KEY: &str = "k3y-of-these-tests";

/// A manager whose log blocks while its lines are locked.
fn logged(manager: Manager) -> (ServerHandle, String, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let to = lines.clone();
    let manager = manager.share("queue", Queue::new());
    let manager = manager.log(move |line| to.lock().unwrap().push(line.to_owned()));
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let address = handle.address().to_string();
    (handle, address, lines)
}

/// A connection that is refused with a line in the log.
fn rejected(address: &str) {
    let mut raw = Wire::unauthenticated(address);
    raw.read().unwrap();
    raw.frame(b"no answer");
    while raw.read().is_some() {}
}

#[test]
fn blocked_log_delays_no_client() {
    const PLACES: usize = 3;
    const EVICTED: &str = "the oldest unauthenticated connection was closed to admit another";
    const REFUSED: &str = "number of handshakes exceeds the limit of 3";
    let (handle, address, lines) = logged(Manager::new(KEY).max_handshakes(PLACES));
    let locked = lines.lock().unwrap();
    // The accepting thread evicts or refuses all but the last ones, and logs that.
    let mut unauthenticated: Vec<_> = (0..20).map(|_| Wire::unauthenticated(&address)).collect();
    for wire in &mut unauthenticated {
        wire.read();
    }
    let connect = || Client::connect(&address, KEY)?.queue("queue");
    until("there is room", PATIENCE, || connect().is_ok());
    let queue = connect().unwrap();
    queue.put(1).unwrap();
    assert_eq!(queue.get().unwrap(), 1.into());
    // It does not delay the manager's end either.
    handle.shutdown();
    assert!(handle.join_timeout(PATIENCE));
    assert!(locked.is_empty());
    drop(locked);
    let peers = unauthenticated.iter().map(|wire| wire.stream().local_addr().unwrap());
    let expected: Vec<_> = peers
        .flat_map(|peer| [EVICTED, REFUSED].map(|reason| format!("rejected {peer}: {reason}")))
        .collect();
    until("a line comes for each connection that was closed", PATIENCE, || {
        let lines = lines.lock().unwrap();
        lines.iter().filter(|line| expected.contains(line)).count() >= 20 - PLACES
    });
}

#[test]
fn lines_that_a_blocked_log_cannot_take_are_dropped_and_counted() {
    const TRIED: usize = 1_500;
    let (_handle, address, lines) = logged(Manager::new(KEY));
    let locked = lines.lock().unwrap();
    for _ in 0..TRIED {
        rejected(&address);
    }
    drop(locked);
    let dropped = |line: &String| {
        let count = line.strip_suffix(" log lines were dropped: the log is too slow")?;
        count.parse::<usize>().ok()
    };
    until("the count comes", PATIENCE, || {
        lines.lock().unwrap().iter().any(|line| dropped(line).is_some())
    });
    until("all are accounted for", PATIENCE, || {
        let lines = lines.lock().unwrap();
        let dropped: Vec<usize> = lines.iter().filter_map(dropped).collect();
        lines.len() - dropped.len() + dropped.iter().sum::<usize>() == TRIED
    });
}

#[test]
fn lines_are_logged_before_the_manager_has_ended() {
    for _ in 0..20 {
        let (handle, address, lines) = logged(Manager::new(KEY));
        rejected(&address);
        handle.shutdown();
        handle.join().unwrap();
        assert_eq!(lines.lock().unwrap().len(), 1);
    }
}
