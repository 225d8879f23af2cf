//! Small messages that would make huge objects: each is refused, by name, before it takes the memory.

#![cfg(feature = "objects")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/programs.rs"]
mod programs;
mod support;

use basemanager::{Limits, Manager};
use programs::memory;
use support::{PATIENCE, pythons, snippet};

/// Values are smaller on 32 bits.
const LIMIT: usize = if cfg!(target_pointer_width = "32") { 18 << 20 } else { 24 << 20 };

// Alone in its file: it looks at the memory of the process.
#[test]
fn what_one_call_makes_is_limited() {
    let server =
        Manager::new("key").register_sync_types().limits(Limits::default().expansion(LIMIT));
    let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let address = handle.address().to_string();
    let refusal = format!("expansion exceeds the limit of {LIMIT}");
    for python in pythons() {
        let resident = memory("VmHWM");
        let ended = snippet(python, "expansion.py", &[&address, "key"]).end(4 * PATIENCE).well();
        let (last, refusals) = ended.stdout.split_last().unwrap();
        assert_eq!(last, "honest calls went well", "{python}");
        assert!(refusals.len() > 20);
        for line in refusals {
            assert!(line.contains(&refusal) && line.contains("MemoryError"), "{python}: {line}");
        }
        let grown = (memory("VmHWM") - resident) >> 10;
        assert!(grown < 300, "{python}: {grown} MiB");
    }
}
