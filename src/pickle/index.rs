//! One pass over a pickle: where its objects begin and end, and what its memo references mean.
//!
//! Objects are contiguous, so a slot of the stack holds only where its object *ends*; it begins where the
//! slot below ends.
//!
//! ```text
//!   bytes   80 04  28  8c 01 61 94  5d 94  4b 07  61  74  2e      ('a', [7])
//!   op      PROTO  (   'a'   MEMO   ]  M   7      a   t   .
//!   slots          3       7           9    11   -> 12       then one slot, ending at 13
//! ```
//! What a `POP` discards thereby belongs to the next object, which may refer to what it memoized: CPython
//! writes a recursive tuple like that. It may also have changed the object before, as *trailing* bytes of
//! that: CPython calls the function that sets an object's state, and discards the result.
//!
//! A memo key is numbered anew each time it is put, because a pickle may put the same key twice.

use super::keys::Keys;
use super::machine::{Builder, Got, Machine, Op, Parts, Run, Span, Stack, index};
use super::{OLD_NAMES, is_managers, malformed, op, runs};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// Objects whose slot is at most this deep have their elements recorded: those of a request
/// (`MARK`, id, method, arguments, keywords) and of a reply.
const SHALLOW: usize = 4;
/// The most elements that are recorded of an object in a message: 1,024 keywords and their values.
const MAX_ELEMENTS: usize = 2048;
/// The entries that the vectors of an [`Index`] may keep from one message to the next.
const KEEP: usize = 1 << 14;

/// An object that was memoized.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memoized {
    /// Where the put is.
    pub(super) at: u32,
    /// The whole object; its end is known once the object is complete.
    pub(super) object: Span,
    /// The end of its trailing bytes.
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

/// What the elements of an object are to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// The elements of a tuple or list.
    Sequence,
    /// The keys and values, in turn, of a dict.
    Mapping,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        match code {
            op::EMPTY_TUPLE
            | op::TUPLE
            | op::TUPLE1
            | op::TUPLE2
            | op::TUPLE3
            | op::EMPTY_LIST
            | op::APPEND
            | op::APPENDS => Some(Self::Sequence),
            op::EMPTY_DICT | op::SETITEM | op::SETITEMS => Some(Self::Mapping),
            _ => None,
        }
    }
}

/// The object that was last put together in a shallow slot.
#[derive(Debug, Default)]
struct Container {
    start: Option<u32>,
    /// `None` if it is neither, or has too many elements to record.
    kind: Option<Kind>,
    elements: Vec<Span>,
}

/// What is known of a pickle's structure. Its vectors are kept from one message to the next.
#[derive(Debug, Default)]
pub(crate) struct Index {
    stack: Stack<u32>,
    /// Objects on the stack that are memoized: their slot, and their number.
    open: Vec<(u32, u32)>,
    /// Objects on the stack with trailing bytes: their slot, and up to where.
    trailing: Vec<(u32, u32)>,
    keys: Keys,
    containers: [Container; SHALLOW + 1],
    /// Whether elements are recorded however many they are.
    all_elements: bool,
    names_managers: bool,
    pub(super) memo: Vec<Memoized>,
    pub(super) fixups: Vec<Fixup>,
}

impl Index {
    /// Indexes a whole pickle, and returns the place of its object.
    pub(crate) fn message(&mut self, bytes: &[u8], limits: &Limits) -> Result<Span> {
        self.run(Machine::whole(bytes, limits), bytes, limits)
    }

    /// Indexes one self-contained object, without `PROTO` and `STOP`.
    pub(super) fn object(&mut self, bytes: &[u8], limits: &Limits) -> Result<Span> {
        self.run(Machine::object(bytes, limits), bytes, limits)
    }

    /// An index that records all elements of shallow objects.
    pub(super) fn of_all_elements() -> Self {
        Self { all_elements: true, ..Self::default() }
    }

    fn run(&mut self, mut machine: Machine<'_>, bytes: &[u8], limits: &Limits) -> Result<Span> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::limit("frame size", u32::MAX as usize));
        }
        self.reset();
        let mut stack = std::mem::take(&mut self.stack);
        let mut building = Building { index: self, max_memo: limits.memo };
        let end = machine.run(&mut building, &mut stack);
        self.truncate(&mut stack.slots, 0);
        self.stack = stack;
        Ok(Span(0, end?))
    }

    fn reset(&mut self) {
        self.stack.slots.clear();
        self.stack.marks.clear();
        self.open.clear();
        self.trailing.clear();
        self.keys.clear();
        self.forget(0);
        self.names_managers = false;
        self.memo.clear();
        self.fixups.clear();
    }

    /// Frees what a huge message took.
    pub(crate) fn trim(&mut self) {
        if self.capacity() > KEEP {
            *self = Self::default();
        }
    }

    pub(super) fn capacity(&self) -> usize {
        let Stack { slots, marks } = &self.stack;
        let elements: usize = self.containers.iter().map(|one| one.elements.capacity()).sum();
        let stack = slots.capacity() + marks.capacity() + self.open.capacity();
        stack + self.trailing.capacity() + elements + self.memo.capacity() + self.fixups.capacity()
    }

    /// Whether the module of proxies and tokens is named in it.
    pub(crate) fn names_managers(&self) -> bool {
        self.names_managers
    }

    /// The elements of a shallow object (see [`SHALLOW`]); `None` if it is not of that kind, or has too
    /// many.
    pub(crate) fn elements(&self, bytes: &[u8], of: Span, kind: Kind) -> Option<&[Span]> {
        if let Some(found) = self.containers.iter().find(|found| found.start == Some(of.0)) {
            return (found.kind == Some(kind)).then_some(&found.elements);
        }
        // An empty one is a single operation, which nothing follows but a put.
        let empty = skip_prefix(bytes, of).of(bytes);
        match *empty {
            [code]
            | [code, op::MEMOIZE]
            | [code, op::BINPUT, _]
            | [code, op::LONG_BINPUT, _, _, _, _]
                if Kind::of(code) == Some(kind) =>
            {
                Some(&[])
            }
            _ => None,
        }
    }

    /// The text of a string, or of a reference to one.
    pub(crate) fn text<'a>(&self, bytes: &'a [u8], mut of: Span) -> Option<&'a str> {
        loop {
            of = skip_prefix(bytes, of);
            let text = match of.of(bytes) {
                [op::SHORT_BINUNICODE, length, rest @ ..] => rest.get(..usize::from(*length)),
                [op::BINUNICODE, a, b, c, d, rest @ ..] => {
                    rest.get(..u32::from_le_bytes([*a, *b, *c, *d]) as usize)
                }
                _ => None,
            };
            if let Some(text) = text {
                return std::str::from_utf8(text).ok();
            }
            let fixup = self.fixups_in(of).first().filter(|fixup| fixup.at == of.0)?;
            let FixupKind::Get(number) = fixup.kind else { return None };
            // Each step leads back, so that it ends.
            of = self.referent(number, of.0).ok().filter(|referent| referent.0 < of.0)?;
        }
    }

    pub(super) fn fixups_in(&self, object: Span) -> &[Fixup] {
        let place = |at| self.fixups.partition_point(|fixup| fixup.at < at);
        self.fixups.get(place(object.0)..place(object.1)).unwrap_or_default()
    }

    pub(super) fn puts_before(&self, at: u32) -> u32 {
        index(self.memo.partition_point(|memoized| memoized.at < at))
    }

    /// Where the object begins that a reference at `at` means, if it was not complete by then.
    pub(super) fn open_referent(&self, number: u32, at: u32) -> Option<u32> {
        let memoized = self.memo.get(number as usize)?;
        (memoized.object.1 > at).then_some(memoized.object.0)
    }

    /// The object that a reference at `at` means: one that was complete by then.
    pub(super) fn referent(&self, number: u32, at: u32) -> Result<Span> {
        match self.memo.get(number as usize) {
            Some(Memoized { object, trailing, .. }) if object.1 <= at => {
                // Within the trailing bytes themselves, the object is meant as it is there.
                Ok(Span(object.0, if *trailing <= at { *trailing } else { object.1 }))
            }
            _ => Err(malformed("an object refers to one that holds it")),
        }
    }

    /// Forgets what was in the shallow slots from `first` on.
    fn forget(&mut self, first: usize) {
        self.containers.iter_mut().skip(first).for_each(|container| container.start = None);
    }

    /// Drops the slots from `length` on; the memoized objects in them are complete now.
    #[inline]
    fn truncate(&mut self, stack: &mut Vec<u32>, length: usize) {
        while let Some((slot, number)) = self.open.pop_if(|(slot, _)| *slot as usize >= length) {
            let trailing = trailing_end(&self.trailing, slot as usize);
            if let (Some(memoized), Some(end)) =
                (self.memo.get_mut(number as usize), stack.get(slot as usize))
            {
                memoized.object.1 = *end;
                memoized.trailing = trailing.max(*end);
            }
        }
        while self.trailing.pop_if(|(slot, _)| *slot as usize >= length).is_some() {}
        stack.truncate(length);
    }

    /// Records the parts of a shallow object as its elements.
    #[inline]
    fn record(&mut self, op: &Op<'_>, stack: &[u32], parts: Parts) {
        if parts.slot <= SHALLOW {
            self.record_shallow(op.code, stack, parts);
        }
    }

    fn record_shallow(&mut self, code: u8, stack: &[u32], Parts { slot, first }: Parts) {
        let (start, mut at) = (Some(begin(stack, slot)), begin(stack, first));
        let max = if self.all_elements { usize::MAX } else { MAX_ELEMENTS };
        let Some(container) = self.containers.get_mut(slot) else { return };
        // A second batch of items joins the first.
        let joins = slot < first && !matches!(code, op::TUPLE | op::FROZENSET);
        if !joins || container.start != start {
            container.elements.clear();
            container.kind = Kind::of(code);
        }
        container.start = start;
        let parts = stack.get(first..).unwrap_or_default();
        if container.kind != Kind::of(code) || container.elements.len() + parts.len() > max {
            container.kind = None;
        }
        if container.kind.is_some() {
            container.elements.extend(parts.iter().zip(first..).map(|(end, slot)| {
                let part = Span(at, trailing_end(&self.trailing, slot).max(*end));
                at = *end;
                part
            }));
        }
    }
}

/// An index in the making.
struct Building<'a> {
    index: &'a mut Index,
    max_memo: usize,
}

impl Building<'_> {
    fn fixup(&mut self, op: &Op<'_>, kind: FixupKind) {
        self.index.fixups.push(Fixup { at: op.start, end: op.end, kind });
    }

    fn name(&mut self, op: &Op<'_>) {
        if op.protocol <= OLD_NAMES {
            self.fixup(op, FixupKind::OldName);
        }
    }
}

impl Builder for Building<'_> {
    type Slot = u32;

    #[allow(clippy::inline_always, reason = "as in machine.rs")]
    #[inline(always)]
    fn push(&mut self, op: &Op<'_>) -> Result<u32> {
        match op.code {
            op::SHORT_BINUNICODE | op::BINUNICODE | op::BINUNICODE8 => {
                self.index.names_managers |= is_managers(op.operand);
            }
            op::GLOBAL => {
                let module = op.operand.split(|byte| *byte == b'\n').next();
                self.index.names_managers |= module.is_some_and(is_managers);
                self.name(op);
            }
            _ => {}
        }
        Ok(op.end)
    }

    fn join(&mut self, op: &Op<'_>, stack: &mut Vec<u32>, parts: Parts) -> Result<()> {
        if op.code == op::STACK_GLOBAL {
            self.name(op);
        }
        self.index.record(op, stack, parts);
        self.index.truncate(stack, parts.slot);
        stack.push(op.end);
        Ok(())
    }

    fn fill(&mut self, op: &Op<'_>, stack: &mut Vec<u32>, parts: Parts) -> Result<()> {
        self.index.record(op, stack, parts);
        self.index.truncate(stack, parts.slot + 1);
        grow(stack, op);
        Ok(())
    }

    #[allow(clippy::inline_always, reason = "26 instructions fewer a put")]
    #[inline(always)]
    fn put(&mut self, op: &Op<'_>, stack: &mut [u32], key: Option<usize>) -> Result<()> {
        let Index { memo, open, keys, .. } = &mut *self.index;
        if memo.len() >= self.max_memo {
            return Err(Error::limit("memo size", self.max_memo));
        }
        let (slot, number) = (stack.len() - 1, index(memo.len()));
        keys.put(key.unwrap_or_else(|| keys.count()), number);
        let object = Span(begin(stack, slot), u32::MAX);
        memo.push(Memoized { at: op.start, object, trailing: u32::MAX });
        open.push((index(slot), number));
        grow(stack, op);
        if key.is_some() {
            self.fixup(op, FixupKind::Put);
        }
        Ok(())
    }

    fn get(&mut self, op: &Op<'_>, key: usize) -> Result<Got<u32>> {
        let unknown = || malformed(format_args!("memo key {key} was never put"));
        let number = self.index.keys.get(key).ok_or_else(unknown)?;
        self.fixup(op, FixupKind::Get(number));
        Ok(Got::Slot(op.end))
    }

    /// Up to the end of this operation, what is dropped are trailing bytes of the object below.
    fn discard(&mut self, op: &Op<'_>, stack: &mut Vec<u32>, slot: usize) {
        self.index.truncate(stack, slot);
        self.index.forget(slot);
        if let Some(below) = slot.checked_sub(1).map(index) {
            self.index.trailing.pop_if(|(slot, _)| *slot == below);
            self.index.trailing.push((below, op.end));
        }
    }

    fn skip(&mut self, op: &Op<'_>) {
        self.fixup(op, FixupKind::Skip);
    }

    fn numbers(&mut self, stack: &mut Vec<u32>, rest: &[u8], at: u32, max: usize) -> Run {
        runs::push(stack, rest, at, max)
    }
}

/// Where the object in a slot begins.
#[inline]
fn begin(stack: &[u32], slot: usize) -> u32 {
    slot.checked_sub(1).and_then(|below| stack.get(below)).copied().unwrap_or(0)
}

/// Lets the object on top of the stack reach up to the end of an operation.
#[inline]
fn grow(stack: &mut [u32], op: &Op<'_>) {
    if let Some(top) = stack.last_mut() {
        *top = op.end;
    }
}

/// Where the trailing bytes of the object in a slot end; 0 if it has none.
fn trailing_end(trailing: &[(u32, u32)], slot: usize) -> u32 {
    let found = trailing.binary_search_by_key(&index(slot), |(slot, _)| *slot);
    found.ok().and_then(|at| trailing.get(at)).map_or(0, |(_, end)| *end)
}

/// An object without the `PROTO` and `FRAME` before it.
fn skip_prefix(bytes: &[u8], mut of: Span) -> Span {
    loop {
        match of.of(bytes) {
            [op::PROTO, ..] => of.0 += 2,
            [op::FRAME, ..] => of.0 += 9,
            _ => return of,
        }
    }
}
