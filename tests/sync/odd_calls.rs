//! Calls that hardly a program makes, and that CPython's managers take.

use crate::support::{PATIENCE, pythons, snippet};
use basemanager::Manager;

#[test]
fn odd_calls_end_as_in_cpython() {
    let server = Manager::new("key").register_sync_types().bind("127.0.0.1:0").unwrap();
    let handle = server.start().unwrap();
    let address = handle.address().to_string();
    for python in pythons() {
        let ended = snippet(python, "odd_calls.py", &[&address, "key"]).end(PATIENCE).well();
        assert_eq!(ended.stdout, ["ended"], "{python}");
    }
}
