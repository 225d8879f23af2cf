//! An unmodified Python client meets no delayed acknowledgement: the stalls of 40 ms, several a call,
//! that it has with Python's own manager.

use crate::support::Peer::Rust;
use crate::support::{PATIENCE, newest_python, say, snippet};

/// Far above what a call takes, and below one stall.
const BOUND: f64 = 20.0;

#[test]
fn call_of_python_client_does_not_stall() {
    let Some(python) = newest_python() else { return };
    let (_manager, address) = Rust.serve("manager", &["127.0.0.1:0"]);
    let ended = snippet(python, "latency.py", &[&address]).end(PATIENCE).well();
    assert_eq!(ended.stdout.len(), 2, "{ended:?}");
    for line in &ended.stdout {
        let (what, median) = line.split_once(' ').unwrap();
        let median: f64 = median.parse().unwrap();
        say(&format!("{what}: {median:.2} ms ({python})"));
        assert!(median < BOUND, "{what} takes {median} ms");
    }
}
