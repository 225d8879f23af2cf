//! Memory of large items that have left, for the next ones to come.
//!
//! A fresh buffer costs a page fault for every 4 KiB, as much as reading into it.

use std::sync::Mutex;

use crate::pickle::Pickle;
use crate::wait::lock;

/// Smaller buffers cost little.
const LEAST: usize = 32 * 1024;
/// Larger ones are not kept: they are few, and much memory.
const MOST: usize = 2 << 20;
/// How many are kept: 8 MiB at the most.
const COUNT: usize = 4;

#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// Keeps the memory of an item that nobody else keeps.
    pub(super) fn keep(&self, item: Pickle) {
        if item.len() < LEAST {
            return;
        }
        let Some(buffer) = item.into_memory() else { return };
        if buffer.capacity() <= MOST {
            let mut kept = lock(&self.0);
            if kept.len() == COUNT {
                kept.remove(0);
            }
            kept.push(buffer);
        }
    }

    /// A buffer that fits a payload of this length, and wastes no more than as much.
    pub(super) fn take(&self, length: usize) -> Option<Vec<u8>> {
        if length < LEAST {
            return None;
        }
        let mut kept = lock(&self.0);
        let fits = |buffer: &Vec<u8>| (length..=2 * length).contains(&buffer.capacity());
        let place = kept.iter().rposition(fits)?;
        Some(kept.swap_remove(place))
    }
}
