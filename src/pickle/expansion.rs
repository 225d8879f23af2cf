//! What a pickle becomes when each object in it is written out as often as it is referred to.
//!
//! ```text
//!  ] MEMO  ( … e                 a, of n bytes
//!  ] MEMO  ( GET a  GET a e      b: twice a, and more
//!  ] MEMO  ( GET b  GET b e      c: twice b, and more, and so on: a bomb
//! ```
//! The scan knows where each object lies and what each reference means, so that this is summed up
//! before any of it is made.

use super::scan::{EditKind, Range, Scan};

/// The bytes that a value is taken to cost.
pub(super) const VALUE: usize = 32;

impl Scan {
    /// At least so many bytes it takes to open an object.
    pub(super) fn written_out(&self, object: Range) -> u64 {
        // What the references before each edit, and with it those in any object, add up to.
        let sums = self.sums.get_or_init(|| {
            let mut sums = Vec::with_capacity(self.edits.len() + 1);
            let mut sum = 0_u64;
            sums.push(sum);
            for edit in &self.edits {
                if let EditKind::Get(number) = edit.kind
                    && let Ok(referent) = self.referent(number, edit.at)
                {
                    // What is referred to is complete: its edits are summed up.
                    let referent = self.sum(&sums, referent);
                    sum = sum.saturating_add(referent).saturating_add(VALUE as u64);
                }
                sums.push(sum);
            }
            sums
        });
        self.sum(sums, object)
    }

    fn sum(&self, sums: &[u64], object: Range) -> u64 {
        let before = |at| sums.get(self.edits_before(at)).copied().unwrap_or_default();
        let references = before(object.1).saturating_sub(before(object.0));
        references.saturating_add(object.len() as u64)
    }
}
