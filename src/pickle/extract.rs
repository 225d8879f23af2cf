//! Takes one object out of a message, as a pickle of its own that can be put into any other.
//!
//! Some operations tie an object's bytes to their place, and are mended on the way out: the guide lists them, with an
//! example (`guide::pickle`). An object without any of them, which is the common case, is copied as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::containers::Kind;
use super::index::{FixupKind, Index};
use super::machine::Span;
use super::{HIGHEST_PROTOCOL, Instance, OLD_NAMES, Pickle, encode, op};
use crate::error::{Error, Result};
use crate::limits::{Budget, Limits};
use crate::value::{Value, range};

struct Extraction<'a> {
    index: &'a Index,
    bytes: &'a [u8],
    budget: &'a Budget,
    out: Vec<u8>,
    /// The puts written so far.
    memo: u32,
    /// Runs of puts in the copy: first number -> length of the run, and the first put's key in the copy.
    runs: BTreeMap<u32, (u32, u32)>,
    /// Objects that were copied because a reference means them: beginning -> end, and number.
    copied: BTreeMap<u32, (u32, u32)>,
}

impl Index {
    /// Takes one object of `bytes`, which were indexed, as a pickle of its own. What it refers to outside
    /// itself comes with it, and is charged to the budget.
    ///
    /// If `bytes` are the end of an allocation, `backing`, an object that is most of it borrows it instead of a copy.
    pub(crate) fn extract(
        &self,
        bytes: &[u8],
        backing: Option<&Arc<Vec<u8>>>,
        object: Span,
        budget: &Budget,
        limits: &Limits,
    ) -> Result<Pickle> {
        if let Some(borrowed) = backing.and_then(|backing| self.borrow(bytes, backing, object)) {
            return Ok(borrowed);
        }
        if self.fixups_in(object).is_empty() {
            let copy = Pickle::copy(object.of(bytes), self.puts_in(object));
            return copy.map_err(|error| Error::connection(error.into()));
        }
        let mut out = Vec::new();
        out.try_reserve_exact(object.len()).map_err(|error| Error::connection(error.into()))?;
        let (runs, copied) = (BTreeMap::new(), BTreeMap::new());
        let mut extraction = Extraction { index: self, bytes, budget, out, memo: 0, runs, copied };
        extraction.copy(object, limits)?;
        Ok(Pickle::from_vec(extraction.out, extraction.memo))
    }

    /// A pickle that borrows the object from `backing`, if it is more than half of that and needs no mending.
    pub(super) fn borrow(
        &self,
        bytes: &[u8],
        backing: &Arc<Vec<u8>>,
        object: Span,
    ) -> Option<Pickle> {
        let object = match self.fixups_in(object).first() {
            None => object,
            // CPython memoizes large bytes behind the next `FRAME`. Neither is missed: nothing can refer to
            // an object that stands alone.
            Some(fixup) if fixup.kind == FixupKind::Skip => {
                let rest = Span(fixup.end, object.1).of(bytes);
                rest.iter().all(|code| *code == op::MEMOIZE).then_some(Span(object.0, fixup.at))?
            }
            Some(_) => return None,
        };
        if object.len() <= backing.len() / 2 {
            return None;
        }
        let before = u32::try_from(backing.len() - bytes.len()).ok()?;
        let part = before.checked_add(object.0)?..before.checked_add(object.1)?;
        Some(Pickle::part_of(backing, part, self.puts_in(object)))
    }

    fn puts_in(&self, object: Span) -> u32 {
        self.puts_before(object.1) - self.puts_before(object.0)
    }
}

impl Extraction<'_> {
    /// Copies an object, and what it refers to. Not recursive, because references can chain.
    fn copy(&mut self, object: Span, limits: &Limits) -> Result<()> {
        // Spans left to copy. If one is an object that a reference means: its beginning and number.
        let mut stack = vec![(object, None)];
        while let Some((Span(mut at, end), meant)) = stack.pop() {
            // From here on puts are numbered from `old` in the message, from `new` in the copy.
            let (old, new) = (self.index.puts_before(at), self.memo);
            let mut fixups = self.index.fixups_in(Span(at, end)).iter();
            loop {
                let fixup = fixups.next();
                let next = fixup.map_or(end, |fixup| fixup.at);
                if let Some((Span(from, to), key)) = self.next_copied(at, next, end) {
                    self.out.extend_from_slice(Span(at, from).of(self.bytes));
                    self.note_keys(old, new, from);
                    encode::get(&mut self.out, key);
                    stack.push((Span(to, end), meant));
                    break;
                }
                self.out.extend_from_slice(Span(at, next).of(self.bytes));
                if self.out.len() > limits.frame_size {
                    return Err(Error::limit("frame size", limits.frame_size));
                }
                let Some(fixup) = fixup else {
                    self.note_keys(old, new, end);
                    self.copied.extend(meant.map(|(begin, number)| (begin, (end, number))));
                    break;
                };
                at = fixup.end;
                match fixup.kind {
                    FixupKind::Skip => {}
                    FixupKind::OldName => {
                        self.out.extend([op::PROTO, OLD_NAMES]);
                        self.out.extend_from_slice(Span(next, at).of(self.bytes));
                        self.out.extend([op::PROTO, HIGHEST_PROTOCOL]);
                    }
                    FixupKind::Put => self.out.push(op::MEMOIZE),
                    FixupKind::Get(number) if number >= old => {
                        encode::get(&mut self.out, new + (number - old));
                    }
                    FixupKind::Get(number) => {
                        if let Some(key) = self.key(number) {
                            encode::get(&mut self.out, key);
                        } else {
                            self.note_keys(old, new, next);
                            let referent = self.index.referent(number, next)?;
                            self.budget.spend(referent.len())?;
                            stack.push((Span(at, end), meant));
                            stack.push((referent, Some((referent.0, number))));
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The first copied object that begins from `at` to `next` and ends by `end`, and its key.
    fn next_copied(&self, at: u32, next: u32, end: u32) -> Option<(Span, u32)> {
        let (&from, &(to, number)) = self.copied.range(at..=next).next()?;
        let key = self.key(number)?;
        (from < end && to <= end).then_some((Span(from, to), key))
    }

    /// Notes the keys of the puts from number `old` up to the place `end`. The first has the key `new`.
    fn note_keys(&mut self, old: u32, new: u32, end: u32) {
        let count = self.index.puts_before(end) - old;
        if count > 0 {
            self.runs.insert(old, (count, new));
        }
        self.memo = new + count;
    }

    /// The key in the copy of a put that was copied.
    fn key(&self, number: u32) -> Option<u32> {
        let (first, (count, new)) = self.runs.range(..=number).next_back()?;
        (number - first < *count).then(|| new + (number - first))
    }
}

impl Pickle {
    /// The elements of a list, tuple or `range`, each as a pickle of its own; `None` of anything else. An object that
    /// several elements share is copied into each, so they are limited to the size of a frame together, and charged
    /// to the budget.
    pub(crate) fn elements(&self, budget: &Budget, limits: &Limits) -> Result<Option<Vec<Self>>> {
        let mut index = Index::default();
        let root = index.object(self.ops(), limits)?;
        let Some(parts) = index.elements(root, Kind::Sequence) else {
            return self.range().map_or(Ok(None), |range| {
                budget.spend(range.size_hint().0.saturating_mul(size_of::<Self>()))?;
                range.map(|int| Self::encode(&Value::from(int))).collect::<Result<_>>().map(Some)
            });
        };
        budget.spend(parts.len().saturating_mul(size_of::<Self>()))?;
        let mut left = limits.frame_size;
        let element = |part: &Span| {
            let element = index.extract(self.ops(), None, *part, budget, limits)?;
            let over = || Error::limit("frame size", limits.frame_size);
            left = left.checked_sub(element.len()).ok_or_else(over)?;
            budget.spend(element.len())?;
            Ok(element)
        };
        parts.iter().map(element).collect::<Result<_>>().map(Some)
    }

    /// The integers of a `range` within 64 bits, if this is one.
    fn range(&self) -> Option<impl Iterator<Item = i64> + use<>> {
        let Instance { module, name, args, .. } = self.as_instance(&Limits::default())?;
        let bounds: Option<Vec<i64>> = args.iter().map(Value::as_i64).collect();
        match (module.as_str(), name.as_str(), bounds?.as_slice()) {
            ("builtins", "range", &[from, to, step]) => range(from, to, step),
            _ => None,
        }
    }
}
