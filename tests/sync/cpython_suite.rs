//! `CPython`'s own tests of its managers pass against the example `sync_manager`, with every interpreter that was
//! installed with its tests.

use std::env;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::support::{Peer, pythons, say, snippet};

#[test]
fn cpythons_own_tests_pass() {
    let (_server, address) = Peer::Rust.serve("sync_manager", &["127.0.0.1:0"]);
    let (ran, failed) = (Mutex::new(0), Mutex::new(Vec::new()));
    let run = |python| {
        let mut suite = snippet(python, "cpython_suite.py", &[&address, "producer"]);
        let output = suite.end(Duration::from_secs(120)).well().stdout;
        let (count, failures) = output.split_last().unwrap();
        say(&format!("{python}: {count} of CPython's own"));
        if count != "no tests" {
            *ran.lock().unwrap() += 1;
            failed.lock().unwrap().extend(failures.iter().map(|line| format!("{python}: {line}")));
        }
    };
    thread::scope(|scope| {
        for python in pythons() {
            scope.spawn(|| run(python));
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(
        ran.into_inner().unwrap() > 0 || env::var("CI").as_deref() != Ok("true"),
        "no interpreter was installed with its tests"
    );
}
