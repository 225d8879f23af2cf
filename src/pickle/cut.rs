//! Cuts one object out of a message, so that it can stand in any other.
//!
//! Some things tie an object's bytes to their place, and are mended on the way out:
//!
//! ```text
//!  FRAME, PROTO             dropped
//!  GLOBAL under PROTO 2     PROTO 2, GLOBAL, PROTO 5: its name may be one of Python 2
//!  BINPUT 7                 MEMOIZE: its key is the number of puts before it
//!  BINGET 7, put inside     BINGET with the new key
//!  BINGET 7, put before     the object itself, once; from then on BINGET, in larger objects too
//! ```
//! An object without any of them, which is the common case, is copied as it is.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::scan::{EditKind, Memoized, Range, Scan, index};
use super::{HIGHEST_PROTOCOL, OLD_NAMES, encode, malformed, op};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::pickle::Pickle;

struct Cut<'a> {
    scan: &'a Scan,
    bytes: &'a [u8],
    out: Vec<u8>,
    /// The puts written so far.
    memo: u32,
    /// First number -> how many follow it, and the first one's key.
    runs: BTreeMap<u32, (u32, u32)>,
    /// Where an object begins that was referred to, and was copied whole -> its end, and its number.
    copied: BTreeMap<u32, (u32, u32)>,
}

impl Scan {
    /// One object of a message that is the end of memory of its own, as a part of that: if it is most of
    /// it, and its bytes can stay as they are.
    pub(crate) fn share(
        &self,
        bytes: &[u8],
        whole: &Arc<Vec<u8>>,
        object: Range,
    ) -> Option<Pickle> {
        let object = self.plain_part(bytes, object)?;
        if object.len() <= whole.len() / 2 {
            return None;
        }
        let before = u32::try_from(whole.len() - bytes.len()).ok()?;
        let part = before.checked_add(object.0)?..before.checked_add(object.1)?;
        Some(Pickle::part_of(whole, part, self.puts_in(object)))
    }

    /// An object whose bytes nothing ties to their place. CPython memoizes large bytes behind the next
    /// `FRAME`, and does without that: nobody can refer to it once the object stands alone.
    fn plain_part(&self, bytes: &[u8], object: Range) -> Option<Range> {
        let first = self.edits.get(self.edits_before(object.0));
        let Some(edit) = first.filter(|edit| edit.at < object.1) else { return Some(object) };
        let rest = Range(edit.at + edit.len, object.1).of(bytes);
        let dropped = edit.kind == EditKind::Drop && rest.iter().all(|code| *code == op::MEMOIZE);
        dropped.then_some(Range(object.0, edit.at))
    }

    /// Copies one object of `bytes`, the message that was scanned, as a pickle of its own.
    pub(crate) fn cut(&self, bytes: &[u8], object: Range, limits: &Limits) -> Result<Pickle> {
        if self.is_plain(object) {
            let copy = Pickle::copy(object.of(bytes), self.puts_in(object));
            return Ok(copy.map_err(io::Error::from)?);
        }
        let mut out = Vec::new();
        out.try_reserve_exact(object.len()).map_err(io::Error::from)?;
        let (runs, copied) = (BTreeMap::new(), BTreeMap::new());
        let mut cut = Cut { scan: self, bytes, out, memo: 0, runs, copied };
        cut.copy(object, limits)?;
        Ok(Pickle::from_vec(cut.out, cut.memo))
    }

    /// Whether nothing ties its bytes to their place.
    fn is_plain(&self, object: Range) -> bool {
        self.edits.get(self.edits_before(object.0)).is_none_or(|edit| edit.at >= object.1)
    }

    fn puts_in(&self, object: Range) -> u32 {
        self.puts_before(object.1) - self.puts_before(object.0)
    }

    fn puts_before(&self, at: u32) -> u32 {
        index(self.memo.partition_point(|memoized| memoized.at < at))
    }

    pub(super) fn edits_before(&self, at: u32) -> usize {
        self.edits.partition_point(|edit| edit.at < at)
    }

    /// Where the object begins that a reference at `at` means, if it was not complete by then.
    pub(super) fn open_referent(&self, number: u32, at: u32) -> Option<u32> {
        let memoized = self.memo.get(number as usize)?;
        (memoized.object.1 > at).then_some(memoized.object.0)
    }

    /// The object that a reference at `at` means: one that was complete by then.
    pub(super) fn referent(&self, number: u32, at: u32) -> Result<Range> {
        match self.memo.get(number as usize) {
            Some(Memoized { object, tail, .. }) if object.1 <= at => {
                // Within the tail itself, the object is meant as it is there.
                Ok(Range(object.0, if *tail <= at { *tail } else { object.1 }))
            }
            _ => Err(malformed("an object refers to one that holds it")),
        }
    }
}

impl Cut<'_> {
    /// Copies an object, and what it refers to. With a stack of its own, for references can chain.
    fn copy(&mut self, object: Range, limits: &Limits) -> Result<()> {
        let mut stack = vec![(object, None)];
        while let Some((Range(mut at, end), of)) = stack.pop() {
            // From here on puts are numbered from `old` in the message, from `new` in the copy.
            let (old, new) = (self.scan.puts_before(at), self.memo);
            let edits = self.scan.edits.get(self.scan.edits_before(at)..).unwrap_or_default();
            let mut edits = edits.iter().take_while(|edit| edit.at < end);
            loop {
                let edit = edits.next();
                let next = edit.map_or(end, |edit| edit.at);
                if let Some((Range(from, to), key)) = self.copied(at, next, end) {
                    self.out.extend_from_slice(Range(at, from).of(self.bytes));
                    self.number(old, new, from);
                    encode::get(&mut self.out, key);
                    stack.push((Range(to, end), of));
                    break;
                }
                self.out.extend_from_slice(Range(at, next).of(self.bytes));
                if self.out.len() > limits.frame_size {
                    return Err(Error::Limit("frame size", limits.frame_size as u64));
                }
                let Some(edit) = edit else {
                    self.number(old, new, end);
                    self.copied.extend(of.map(|(begin, number)| (begin, (end, number))));
                    break;
                };
                at = next + edit.len;
                match edit.kind {
                    EditKind::Drop => {}
                    EditKind::OldName => {
                        self.out.extend([op::PROTO, OLD_NAMES]);
                        self.out.extend_from_slice(Range(next, at).of(self.bytes));
                        self.out.extend([op::PROTO, HIGHEST_PROTOCOL]);
                    }
                    EditKind::Put => self.out.push(op::MEMOIZE),
                    EditKind::Get(number) if number >= old => {
                        encode::get(&mut self.out, new + (number - old));
                    }
                    EditKind::Get(number) => {
                        if let Some(key) = self.key(number) {
                            encode::get(&mut self.out, key);
                        } else {
                            self.number(old, new, next);
                            let referent = self.scan.referent(number, next)?;
                            self.scan.budget.spend(referent.len())?;
                            let named = Some((referent.0, number));
                            stack.extend([(Range(at, end), of), (referent, named)]);
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The first object from `at` to `next`, within a larger one up to `end`, that was copied, and its key.
    fn copied(&self, at: u32, next: u32, end: u32) -> Option<(Range, u32)> {
        let (&from, &(to, number)) = self.copied.range(at..=next).next()?;
        let key = self.key(number)?;
        (from < end && to <= end).then_some((Range(from, to), key))
    }

    /// Notes the keys of the puts from `old` up to the place `end`.
    fn number(&mut self, old: u32, new: u32, end: u32) {
        let count = self.scan.puts_before(end) - old;
        if count > 0 {
            self.runs.insert(old, (count, new));
        }
        self.memo = new + count;
    }

    fn key(&self, number: u32) -> Option<u32> {
        let (first, (count, new)) = self.runs.range(..=number).next_back()?;
        (number - first < *count).then(|| new + (number - first))
    }
}
