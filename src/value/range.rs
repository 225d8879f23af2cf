//! Python's `range`, written out.

/// The integers of a `range(from, to, step)`, one by one.
#[derive(Debug)]
pub(crate) struct Steps {
    next: i64,
    step: i64,
    left: u64,
}

impl Steps {
    /// `None` for a step of 0.
    pub(crate) fn new(from: i64, to: i64, step: i64) -> Option<Self> {
        if step == 0 {
            return None;
        }
        let empty = if step > 0 { to <= from } else { to >= from };
        let left = if empty { 0 } else { from.abs_diff(to).div_ceil(step.unsigned_abs()) };
        Some(Self { next: from, step, left })
    }

    /// How many are left.
    pub(crate) fn total(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }
}

impl Iterator for Steps {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        self.left = self.left.checked_sub(1)?;
        let item = self.next;
        // Behind the last one it may wrap.
        self.next = item.wrapping_add(self.step);
        Some(item)
    }
}
