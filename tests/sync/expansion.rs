//! Small messages that would make huge objects: each is refused, by name, before it takes the memory.

use crate::support::programs::memory;
use crate::support::{PATIENCE, alone, pythons, snippet};
use basemanager::{Limits, Manager};

/// Values are smaller on 32 bits.
const LIMIT: usize = if cfg!(target_pointer_width = "32") { 18 << 20 } else { 24 << 20 };

/// It looks at the memory of its own process.
#[test]
fn call_that_would_expand_is_refused() {
    if !alone("expansion::call_that_would_expand_is_refused") {
        return;
    }
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
