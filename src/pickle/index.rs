//! One pass over a pickle: where its objects begin and end, and what its memo references mean.
//!
//! Objects are contiguous, so a slot of the stack holds only the place where its object *ends*. The object begins
//! where the one below it ends. A mark has a slot as well, here the first.
//!
//! ```text
//!   bytes   80 04  28  8c 01 61 94  5d 94  4b 07  61  74  2e      ('a', [7])
//!   op      PROTO  (   'a'   MEMO   ]  M   7      a   t   .
//!   slots          3       7           9    11   -> 12       then one slot, ending at 13
//! ```
//! Bytes that a `POP` discards belong to both their neighbours. They are the beginning of the next object, which may
//! refer to something that they memoized: CPython writes a recursive tuple like that. They are *trailing* bytes of
//! the object before, which they may have changed: CPython calls the function that sets an object's state, and
//! discards the result.
//!
//! Every put gets a new *number*, counted from 0. A key does not identify a put: a pickle may put the same key twice.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::containers::{Containers, Kind, MAX_ELEMENTS, Slot, begin};
use super::machine::{Builder, Machine, Op, Parts, Span, Stack, index};
use super::{OLD_NAMES, is_managers, malformed, op};
use crate::error::{Error, Result};
use crate::limits::{Budget, Limits};

/// The entries that the vectors of an [`Index`] may keep from one message to the next.
const KEEP: usize = 1 << 14;

/// An object that was memoized.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memoized {
    /// Where the put is.
    pub(super) at: u32,
    /// The whole object. Until it is complete, its end is `u32::MAX`.
    pub(super) object: Span,
    /// The end of its trailing bytes, or of the object if it has none.
    pub(super) trailing: u32,
}

/// A place that cannot be copied as it is into another pickle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixup {
    pub(super) at: u32,
    pub(super) end: u32,
    pub(super) kind: FixupKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FixupKind {
    /// `PROTO` and `FRAME` have no place inside a pickle.
    Skip,
    /// A name under protocol 2 or older: Python takes it for one of Python 2 (`__builtin__`).
    OldName,
    /// A put with a key of its own.
    Put,
    /// A reference to what was memoized under this number.
    Get(u32),
}

/// What is known of a pickle's structure. Its vectors are kept from one message to the next.
#[derive(Debug, Default)]
pub(crate) struct Index {
    stack: Stack<Slot>,
    /// Objects on the stack that are memoized: their slot, and their number.
    open: Vec<(u32, u32)>,
    /// The number of each key; `None` while every key is its number: CPython counts both up from 0.
    keys: Option<BTreeMap<usize, u32>>,
    containers: Containers,
    max_memo: usize,
    names_managers: bool,
    pub(super) memo: Vec<Memoized>,
    pub(super) fixups: Vec<Fixup>,
}

impl Index {
    /// Indexes a whole pickle, and returns the place of its object.
    pub(crate) fn message(&mut self, bytes: &[u8], limits: &Limits) -> Result<Span> {
        self.containers.reset(MAX_ELEMENTS);
        self.run(Machine::whole(bytes, limits), bytes, limits)
    }

    /// Indexes one self-contained object, without `PROTO` and `STOP`, and all elements of it.
    pub(super) fn object(&mut self, bytes: &[u8], limits: &Limits) -> Result<Span> {
        self.containers.reset(usize::MAX);
        self.run(Machine::object(bytes, limits), bytes, limits)
    }

    fn run(&mut self, mut machine: Machine<'_>, bytes: &[u8], limits: &Limits) -> Result<Span> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::limit("frame size", u32::MAX as usize));
        }
        self.max_memo = limits.memo;
        self.names_managers = false;
        self.keys = None;
        self.memo.clear();
        self.fixups.clear();
        let mut stack = std::mem::take(&mut self.stack);
        let end = machine.run(self, &mut stack);
        self.truncate(&mut stack.slots, 0);
        stack.marks.clear();
        self.stack = stack;
        Ok(Span(0, end?))
    }

    /// Frees what a huge message took.
    pub(crate) fn trim(&mut self) {
        if self.capacity() > KEEP {
            *self = Self::default();
        }
    }

    pub(super) fn capacity(&self) -> usize {
        let Stack { slots, marks } = &self.stack;
        let stack = slots.capacity() + marks.capacity() + self.open.capacity();
        stack + self.containers.capacity() + self.memo.capacity() + self.fixups.capacity()
    }

    /// Whether the pickle names the module of proxies and tokens.
    pub(crate) fn names_managers(&self) -> bool {
        self.names_managers
    }

    /// The elements of a shallow object; `None` if it is not of that kind, or has too many.
    pub(crate) fn elements(&self, of: Span, kind: Kind) -> Option<&[Span]> {
        self.containers.elements(of, kind)
    }

    /// The text of a string, or of a reference to one.
    pub(crate) fn text<'a>(
        &self,
        bytes: &'a [u8],
        of: Span,
        budget: &Budget,
        limits: &Limits,
    ) -> Result<Cow<'a, str>> {
        if let [op::SHORT_BINUNICODE, length, rest @ ..] = of.of(bytes)
            && let Some(text) = rest.get(..usize::from(*length))
            && let Ok(text) = std::str::from_utf8(text)
        {
            return Ok(Cow::Borrowed(text));
        }
        let pickle = self.extract(bytes, None, of, budget, limits)?;
        pickle.decode_within(budget, limits)?.to().map(Cow::Owned)
    }

    pub(super) fn fixups_in(&self, object: Span) -> &[Fixup] {
        let place = |at| self.fixups.partition_point(|fixup| fixup.at < at);
        self.fixups.get(place(object.0)..place(object.1)).unwrap_or_default()
    }

    pub(super) fn puts_before(&self, at: u32) -> u32 {
        index(self.memo.partition_point(|memoized| memoized.at < at))
    }

    /// The beginning of the object that a reference at `at` means, if that object is not complete at `at`.
    pub(super) fn open_referent(&self, number: u32, at: u32) -> Option<u32> {
        let memoized = self.memo.get(number as usize)?;
        (memoized.object.1 > at).then_some(memoized.object.0)
    }

    /// The object that a reference at `at` means. An error if that object is not complete at `at`.
    pub(super) fn referent(&self, number: u32, at: u32) -> Result<Span> {
        match self.memo.get(number as usize) {
            Some(Memoized { object, trailing, .. }) if object.1 <= at => {
                // A reference within the trailing bytes means the object without them.
                Ok(Span(object.0, if *trailing <= at { *trailing } else { object.1 }))
            }
            _ => Err(malformed("an object refers to one that holds it")),
        }
    }

    /// Drops the slots from `length` on; the memoized objects in them are complete now.
    #[inline]
    fn truncate(&mut self, stack: &mut Vec<Slot>, length: usize) {
        while let Some((slot, number)) = self.open.pop_if(|(slot, _)| *slot as usize >= length) {
            if let (Some(memoized), Some(slot)) =
                (self.memo.get_mut(number as usize), stack.get(slot as usize))
            {
                memoized.object.1 = slot.end;
                memoized.trailing = slot.trailing;
            }
        }
        stack.truncate(length);
    }

    fn fixup(&mut self, op: Op<'_>, kind: FixupKind) {
        self.fixups.push(Fixup { at: op.start, end: op.end, kind });
    }

    fn name(&mut self, op: Op<'_>) {
        if op.protocol <= OLD_NAMES {
            self.fixup(op, FixupKind::OldName);
        }
    }
}

impl Builder for Index {
    type Slot = Slot;

    #[allow(clippy::inline_always, reason = "as in machine.rs")]
    #[inline(always)]
    fn push(&mut self, op: Op<'_>, stack: &mut Vec<Slot>) -> Result<()> {
        match op.code {
            op::SHORT_BINUNICODE | op::BINUNICODE | op::BINUNICODE8 => {
                self.names_managers |= is_managers(op.operand);
            }
            op::EMPTY_TUPLE | op::EMPTY_LIST | op::EMPTY_DICT => {
                let parts = Parts { slot: stack.len(), first: stack.len() };
                self.containers.join(op.code, stack, parts);
            }
            op::GLOBAL => {
                let module = op.operand.split(|byte| *byte == b'\n').next();
                self.names_managers |= module.is_some_and(is_managers);
                self.name(op);
            }
            _ => {}
        }
        stack.push(Slot::up_to(op.end));
        Ok(())
    }

    #[allow(clippy::inline_always, reason = "as in machine.rs")]
    #[inline(always)]
    fn join(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, parts: Parts) -> Result<()> {
        if op.code == op::STACK_GLOBAL {
            self.name(op);
        }
        self.containers.join(op.code, stack, parts);
        self.truncate(stack, parts.slot);
        stack.push(Slot::up_to(op.end));
        Ok(())
    }

    fn fill(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, parts: Parts) -> Result<()> {
        self.containers.fill(op.code, stack, parts);
        self.truncate(stack, parts.slot + 1);
        grow(stack, op);
        Ok(())
    }

    #[allow(clippy::inline_always, reason = "saves 26 instructions per put")]
    #[inline(always)]
    fn put(&mut self, op: Op<'_>, stack: &mut [Slot], key: Option<usize>) -> Result<()> {
        if self.memo.len() >= self.max_memo {
            return Err(Error::limit("memo size", self.max_memo));
        }
        let (slot, number) = (stack.len() - 1, index(self.memo.len()));
        if self.keys.is_some() || key.is_some_and(|key| key != number as usize) {
            let identity = || (0..number).map(|number| (number as usize, number)).collect();
            let keys = self.keys.get_or_insert_with(identity);
            keys.insert(key.unwrap_or(keys.len()), number);
        }
        let object = Span(begin(stack, slot), u32::MAX);
        self.memo.push(Memoized { at: op.start, object, trailing: u32::MAX });
        self.open.push((index(slot), number));
        grow(stack, op);
        if key.is_some() {
            self.fixup(op, FixupKind::Put);
        }
        Ok(())
    }

    fn get(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, key: usize) -> Result<Option<Span>> {
        let number = match &self.keys {
            Some(keys) => keys.get(&key).copied(),
            None => (key < self.memo.len()).then(|| index(key)),
        };
        let unknown = || malformed(format_args!("memo key {key} was never put"));
        self.fixup(op, FixupKind::Get(number.ok_or_else(unknown)?));
        stack.push(Slot::up_to(op.end));
        Ok(None)
    }

    /// The dropped slots, up to the end of this operation, are trailing bytes of the object below.
    fn discard(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, first: usize) {
        self.truncate(stack, first);
        self.containers.forget(first);
        if let Some(below) = stack.last_mut() {
            below.trailing = op.end;
        }
    }

    fn skip(&mut self, op: Op<'_>) {
        self.fixup(op, FixupKind::Skip);
    }

    fn numbers(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, rest: &[u8], max: usize) -> usize {
        let size = op.end - op.start;
        let count = match size {
            2 => alike::<2>(op.code, rest, max),
            3 => alike::<3>(op.code, rest, max),
            5 => alike::<5>(op.code, rest, max),
            _ => alike::<9>(op.code, rest, max),
        };
        stack.extend((1..=index(count)).map(|nth| Slot::up_to(op.end + nth * size)));
        count
    }
}

/// How many operations of `SIZE` bytes with this code follow one another, in groups of 16, up to `max`: long lists
/// are often made of numbers, and a group is compared without a branch.
fn alike<const SIZE: usize>(code: u8, bytes: &[u8], max: usize) -> usize {
    let (all, _) = bytes.as_chunks::<SIZE>();
    let (groups, _) = all.get(..max).unwrap_or(all).as_chunks::<16>();
    let differ =
        |group: &[[u8; SIZE]; 16]| group.iter().fold(0_u8, |bits, op| bits | (op[0] ^ code));
    16 * groups.iter().take_while(|group| differ(group) == 0).count()
}

/// Lets the object on top of the stack reach up to the end of an operation.
#[inline]
fn grow(stack: &mut [Slot], op: Op<'_>) {
    if let Some(top) = stack.last_mut() {
        *top = Slot::up_to(op.end);
    }
}
