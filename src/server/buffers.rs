//! Buffers of large items that have been sent, for the next large requests.
//!
//! Fresh memory costs a page fault for every 4 KiB, about as much as reading into it.

use std::ops::RangeInclusive;
use std::sync::Mutex;

use crate::pickle::Pickle;
use crate::wait::lock;

/// The sizes of buffers that are kept. Smaller ones cost little; larger ones are rare and hold much memory.
const SIZES: RangeInclusive<usize> = 32 * 1024..=2 << 20;
/// The number of buffers that are kept: 8 MiB at most.
const COUNT: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// Keeps the buffer of an item, unless another item uses it too.
    pub(super) fn keep(&self, item: Pickle) {
        let buffer = item.into_buffer().filter(|buffer| SIZES.contains(&buffer.capacity()));
        let Some(mut buffer) = buffer else { return };
        buffer.clear();
        let mut kept = lock(&self.0);
        if kept.len() == COUNT {
            kept.remove(0);
        }
        kept.push(buffer);
    }

    /// An empty buffer for `length` bytes: a kept one if one fits without wasting more than it holds.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        if length < *SIZES.start() {
            return Vec::new();
        }
        let mut kept = lock(&self.0);
        let fits = |buffer: &Vec<u8>| (length..=2 * length).contains(&buffer.capacity());
        kept.iter().rposition(fits).map(|place| kept.swap_remove(place)).unwrap_or_default()
    }
}
