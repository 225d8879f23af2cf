//! One pass over a pickle: where its objects begin and end, and what its memo references mean.
//!
//! The stack machine is run with positions in place of objects. Objects are contiguous, so a slot of
//! the stack only holds where its object *ends*; it begins where the slot below ends. What a `POP`
//! discards thereby belongs to the next object, which may refer to what it memoized: CPython writes a
//! recursive tuple like that. It may also have changed the object before, whose tail it is too:
//! CPython calls the function that sets an object's state, and discards the result.
//!
//! ```text
//!   bytes   80 04  28  8c 01 61 94  5d 94  4b 07  61  74  2e      ('a', [7])
//!   op      PROTO  (   'a'   MEMO   ]  M   7      a   t   .
//!   slots          3       7           9    11   -> 12       then one slot, ending at 13
//! ```
//! A memo key is numbered anew each time it is put: CPython lets a pickle put the same key twice.

use std::cell::OnceCell;

use super::parts::Containers;
use super::reader::{Keys, Reader, number};
use super::{HIGHEST_PROTOCOL, OLD_NAMES, is_managers, malformed, op};
use crate::error::{Error, Result};
use crate::limits::{Budget, Limits};

/// A place in a message: from, up to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range(pub(crate) u32, pub(crate) u32);

impl Range {
    pub(super) fn len(self) -> usize {
        (self.1 - self.0) as usize
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.0 as usize..self.1 as usize).unwrap_or_default()
    }
}

/// An object that was memoized.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memoized {
    /// Where the put stands.
    pub(super) at: u32,
    /// The whole object; its end is known once the object is complete.
    pub(super) object: Range,
    /// The end of its tail.
    pub(super) tail: u32,
}

/// A place that cannot be copied as it is into another pickle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit {
    pub(super) at: u32,
    pub(super) len: u32,
    pub(super) kind: EditKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum EditKind {
    /// `PROTO` and `FRAME` have no place inside a pickle.
    Drop,
    /// A name under protocol 2 or older: Python takes it for one of Python 2 (`__builtin__`).
    OldName,
    /// A put with a key of its own.
    Put,
    /// A reference to what was memoized under this number.
    Get(u32),
}

/// The entries that the vectors of a [`Scan`] may keep from one message to the next.
const KEPT: usize = 1 << 14;

/// What is known of a pickle's structure. Its vectors are kept from one message to the next.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(super) stack: Vec<u32>,
    marks: Vec<u32>,
    /// Objects on the stack that are memoized: their slot, and their number.
    open: Vec<(u32, u32)>,
    keys: Keys,
    /// Objects on the stack after which something was discarded: their slot, and up to where.
    pub(super) tails: Vec<(u32, u32)>,
    pub(super) containers: Containers,
    /// Whether the parts of shallow objects are recorded however many they are.
    pub(super) all_parts: bool,
    /// Whether an object had too many to be recorded.
    pub(crate) left_out: bool,
    names_managers: bool,
    pub(super) memo: Vec<Memoized>,
    pub(super) edits: Vec<Edit>,
    /// Summed up when an object is first opened: see `expansion.rs`.
    pub(super) sums: OnceCell<Vec<u64>>,
    pub(crate) budget: Budget,
}

impl Scan {
    /// Scans a whole pickle, and gives the place of its object.
    pub(crate) fn message(&mut self, bytes: &[u8], limits: &Limits) -> Result<Range> {
        self.run(bytes, limits, true)
    }

    /// Scans one self-contained object, without `PROTO` and `STOP`.
    pub(super) fn object(&mut self, bytes: &[u8], limits: &Limits) -> Result<Range> {
        self.run(bytes, limits, false)
    }

    /// Whether the module of proxies and tokens is named in it.
    pub(crate) fn names_managers(&self) -> bool {
        self.names_managers
    }

    /// Gives back what a huge message took: to be called once it has been dealt with.
    pub(crate) fn trim(&mut self) {
        if self.all_parts || self.entries() > KEPT {
            *self = Self::default();
        }
    }

    pub(super) fn entries(&self) -> usize {
        let (stack, keys) = (self.stack.capacity() + self.marks.capacity(), self.keys.capacity());
        let (open, tails) = (self.open.capacity(), self.tails.capacity());
        stack + keys + open + tails + self.memo.capacity() + self.edits.capacity()
    }

    fn reset(&mut self) {
        self.stack.clear();
        self.marks.clear();
        self.open.clear();
        self.keys.clear();
        self.tails.clear();
        self.forget(0);
        self.names_managers = false;
        self.left_out = false;
        self.memo.clear();
        self.edits.clear();
        self.sums.take();
    }

    #[allow(clippy::match_same_arms, reason = "what is pushed, kind by kind")]
    fn run(&mut self, bytes: &[u8], limits: &Limits, whole: bool) -> Result<Range> {
        self.reset();
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::Limit("frame size", u64::from(u32::MAX)));
        }
        self.budget = Budget::new(bytes.len(), limits);
        let mut from = Reader { bytes, at: 0 };
        let mut left = limits.operations;
        let mut protocol = if whole { 0 } else { HIGHEST_PROTOCOL };
        while whole || from.at < bytes.len() {
            let start = from.at;
            let code = from.byte()?;
            left = left.checked_sub(1).ok_or_else(|| limit("operations", limits.operations))?;
            let operand = from.operand(code)?;
            let end = from.at;
            match code {
                op::NONE | op::NEWTRUE | op::NEWFALSE => self.push(end, limits)?,
                op::BININT1 | op::BININT2 | op::BININT | op::LONG1 | op::LONG4 | op::BINFLOAT => {
                    self.push(end, limits)?;
                    from.at = self.numbers(bytes, end, &mut left, limits);
                }
                op::SHORT_BINBYTES | op::BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => {
                    self.push(end, limits)?;
                }
                op::EMPTY_LIST | op::EMPTY_TUPLE | op::EMPTY_DICT | op::EMPTY_SET => {
                    self.push(end, limits)?;
                }
                op::SHORT_BINUNICODE | op::BINUNICODE | op::BINUNICODE8 => {
                    self.names_managers |= is_managers(operand);
                    self.push(end, limits)?;
                }
                op::GLOBAL => {
                    let mut lines = operand.split(|byte| *byte == b'\n');
                    self.names_managers |= lines.next().is_some_and(is_managers);
                    self.name(start, end, protocol);
                    self.push(end, limits)?;
                }
                op::MARK => {
                    self.push(end, limits)?;
                    self.marks.push(index(self.stack.len() - 1));
                }
                op::MEMOIZE => self.put(start, end, self.keys.next(), limits)?,
                op::BINPUT | op::LONG_BINPUT => {
                    self.put(start, end, number(operand), limits)?;
                    self.edit(start, end, EditKind::Put);
                }
                op::BINGET | op::LONG_BINGET => {
                    let key = number(operand);
                    let unknown = || malformed(format_args!("memo key {key} was never put"));
                    let number = self.keys.get(key).ok_or_else(unknown)?;
                    self.edit(start, end, EditKind::Get(number));
                    self.push(end, limits)?;
                }
                op::TUPLE1 => self.collapse(1, code, end)?,
                op::TUPLE2 | op::REDUCE | op::NEWOBJ => self.collapse(2, code, end)?,
                op::STACK_GLOBAL => {
                    self.name(start, end, protocol);
                    self.collapse(2, code, end)?;
                }
                op::TUPLE3 | op::NEWOBJ_EX => self.collapse(3, code, end)?,
                op::TUPLE | op::FROZENSET => {
                    let mark = self.pop_mark()?;
                    self.gather(mark, mark + 1, code, end);
                }
                op::APPEND | op::BUILD => self.extend(1, code, end)?,
                op::SETITEM => self.extend(2, code, end)?,
                op::APPENDS | op::SETITEMS | op::ADDITEMS => {
                    let mark = self.pop_mark()?;
                    let items = self.stack.len() - mark - 1;
                    if code == op::SETITEMS && !items.is_multiple_of(2) {
                        return Err(malformed("a key without a value"));
                    }
                    self.need(mark, 1)?;
                    self.record(mark - 1, mark + 1, code);
                    self.truncate(mark);
                    self.grow(end);
                }
                op::POP => {
                    if self.marks.last() == self.stack.len().checked_sub(1).map(index).as_ref() {
                        self.marks.pop();
                    }
                    self.need(self.stack.len(), 1)?;
                    self.discard(self.stack.len() - 1, end);
                }
                op::POP_MARK => {
                    let mark = self.pop_mark()?;
                    self.discard(mark, end);
                }
                op::PROTO => {
                    protocol = operand.first().copied().unwrap_or_default();
                    if protocol > HIGHEST_PROTOCOL {
                        return Err(malformed(format_args!("unsupported protocol {protocol}")));
                    }
                    self.edit(start, end, EditKind::Drop);
                }
                op::FRAME => {
                    if number(operand) > bytes.len() - end {
                        return Err(malformed("it ends within a frame"));
                    }
                    self.edit(start, end, EditKind::Drop);
                }
                op::STOP if whole => {
                    from.at = start;
                    break;
                }
                _ => return Err(refused(code)),
            }
        }
        self.close(from.at)
    }

    /// Completes the object on the stack: it is what the pickle means. CPython would overlook others
    /// below it; no pickler leaves any, and they could have changed it.
    fn close(&mut self, end: usize) -> Result<Range> {
        self.need(self.stack.len(), 1)?;
        if self.stack.len() > 1 {
            return Err(malformed("its stack has too many objects"));
        }
        self.truncate(0);
        Ok(Range(0, index(end)))
    }

    #[inline]
    fn push(&mut self, end: usize, limits: &Limits) -> Result<()> {
        if self.stack.len() >= limits.stack {
            return Err(limit("stack size", limits.stack));
        }
        self.stack.push(index(end));
        Ok(())
    }

    /// Goes over numbers of one kind after another, of which long lists are often made, and gives where
    /// they end. Whatever passes a limit is left to the caller.
    fn numbers(&mut self, bytes: &[u8], mut at: usize, left: &mut usize, limits: &Limits) -> usize {
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let room = (limits.stack - self.stack.len()).min(*left);
            let (size, count) = match rest.first() {
                Some(&op::BININT1) => (2, alike::<2>(rest, room)),
                Some(&op::BININT2) => (3, alike::<3>(rest, room)),
                Some(&op::BININT) => (5, alike::<5>(rest, room)),
                Some(&op::BINFLOAT) => (9, alike::<9>(rest, room)),
                _ => return at,
            };
            if count == 0 {
                return at;
            }
            let (from, step) = (index(at), index(size));
            self.stack.extend((1..=index(count)).map(|nth| from + nth * step));
            at += count * size;
            *left -= count;
        }
    }

    /// Checks that at least `count` objects lie between the last mark and slot `top`.
    #[inline]
    fn need(&self, top: usize, count: usize) -> Result<()> {
        let floor = self.marks.last().map_or(0, |mark| *mark as usize + 1);
        if top < floor + count {
            return Err(malformed("its stack has too few objects"));
        }
        Ok(())
    }

    fn pop_mark(&mut self) -> Result<usize> {
        self.marks.pop().map(|mark| mark as usize).ok_or_else(|| malformed("a mark is missing"))
    }

    /// Drops the slots from `length` on; the memoized objects in them are complete now.
    #[inline]
    fn truncate(&mut self, length: usize) {
        while let Some(&(slot, number)) = self.open.last()
            && slot as usize >= length
        {
            let tail = tail(&self.tails, slot as usize);
            if let (Some(memoized), Some(end)) =
                (self.memo.get_mut(number as usize), self.stack.get(slot as usize))
            {
                memoized.object.1 = *end;
                memoized.tail = tail.max(*end);
            }
            self.open.pop();
        }
        while self.tails.pop_if(|(slot, _)| *slot as usize >= length).is_some() {}
        self.stack.truncate(length);
    }

    /// Drops the slots from `length` on for good. Up to `end`, that is the tail of the object below.
    fn discard(&mut self, length: usize, end: usize) {
        self.truncate(length);
        self.forget(length);
        if let Some(below) = length.checked_sub(1).map(index) {
            self.tails.pop_if(|(slot, _)| *slot == below);
            self.tails.push((below, index(end)));
        }
    }

    /// Lets the object on top of the stack reach up to `end`.
    #[inline]
    fn grow(&mut self, end: usize) {
        if let Some(top) = self.stack.last_mut() {
            *top = index(end);
        }
    }

    /// The last `count` objects become one.
    fn collapse(&mut self, count: usize, code: u8, end: usize) -> Result<()> {
        self.need(self.stack.len(), count)?;
        let slot = self.stack.len() - count;
        self.gather(slot, slot, code, end);
        Ok(())
    }

    /// The objects from slot `first` on become one, in slot `slot`.
    fn gather(&mut self, slot: usize, first: usize, code: u8, end: usize) {
        self.record(slot, first, code);
        self.truncate(slot);
        self.stack.push(index(end));
    }

    /// The last `count` objects go into the one below them.
    fn extend(&mut self, count: usize, code: u8, end: usize) -> Result<()> {
        self.need(self.stack.len(), count + 1)?;
        let slot = self.stack.len() - count;
        self.record(slot - 1, slot, code);
        self.truncate(slot);
        self.grow(end);
        Ok(())
    }

    fn edit(&mut self, start: usize, end: usize, kind: EditKind) {
        self.edits.push(Edit { at: index(start), len: index(end - start), kind });
    }

    fn name(&mut self, start: usize, end: usize, protocol: u8) {
        if protocol <= OLD_NAMES {
            self.edit(start, end, EditKind::OldName);
        }
    }

    #[allow(clippy::inline_always, reason = "26 instructions fewer a put")]
    #[inline(always)]
    fn put(&mut self, at: usize, end: usize, key: usize, limits: &Limits) -> Result<()> {
        self.need(self.stack.len(), 1)?;
        if self.memo.len() >= limits.memo {
            return Err(limit("memo size", limits.memo));
        }
        let (slot, number) = (self.stack.len() - 1, index(self.memo.len()));
        self.keys.put(key, number);
        let object = Range(self.begin(slot), u32::MAX);
        self.memo.push(Memoized { at: index(at), object, tail: u32::MAX });
        self.open.push((index(slot), number));
        self.grow(end);
        Ok(())
    }

    /// Where the object in a slot begins.
    pub(super) fn begin(&self, slot: usize) -> u32 {
        slot.checked_sub(1).and_then(|below| self.stack.get(below)).copied().unwrap_or(0)
    }
}

/// Where the tail of the object in a slot ends; 0 if it has none.
pub(super) fn tail(tails: &[(u32, u32)], slot: usize) -> u32 {
    let found = tails.binary_search_by_key(&index(slot), |(slot, _)| *slot);
    found.ok().and_then(|at| tails.get(at)).map_or(0, |(_, end)| *end)
}

/// How many operations of so many bytes stand at the beginning that are like the first one, up to `most`.
fn alike<const SIZE: usize>(bytes: &[u8], most: usize) -> usize {
    let (all, _) = bytes.as_chunks::<SIZE>();
    let all = all.get(..most).unwrap_or(all);
    let Some(&code) = bytes.first() else { return 0 };
    let count = |some: &[[u8; SIZE]]| some.iter().take_while(|op| op[0] == code).count();
    // Sixteen at a time without a branch take half the time, where there are so many.
    let (groups, rest) = all.as_chunks::<16>();
    let begun = groups.first().map_or_else(|| count(all), |first| count(first));
    if begun < 16 {
        return begun;
    }
    let differ =
        |group: &[[u8; SIZE]; 16]| group.iter().fold(0_u8, |bits, op| bits | (op[0] ^ code));
    let whole = groups.iter().take_while(|group| differ(group) == 0).count();
    16 * whole + groups.get(whole).map_or_else(|| count(rest), |last| count(last))
}

/// Positions fit `u32`: `run` refuses longer input.
#[inline]
pub(super) fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn limit(what: &'static str, most: usize) -> Error {
    Error::Limit(what, most as u64)
}

fn refused(code: u8) -> Error {
    malformed(match code {
        op::PERSID | op::BINPERSID => "persistent ids are refused".to_owned(),
        op::EXT1 | op::EXT2 | op::EXT4 => "extension codes are refused".to_owned(),
        op::NEXT_BUFFER | op::READONLY_BUFFER => "out-of-band buffers are refused".to_owned(),
        op::DUP => "DUP is refused: no pickler writes it".to_owned(),
        _ => match op::OLD.iter().find(|(old, _)| *old == code) {
            Some((_, name)) => format!("{name} is refused: protocols 2 to 5 are read"),
            None => format!("unknown opcode {code:#04x}"),
        },
    })
}
