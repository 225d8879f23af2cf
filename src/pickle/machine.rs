//! The stack machine that a pickle is a program for. It reads the operations and keeps the stack; what an
//! object *is* on that stack, a [`Builder`] decides.
//!
//! ```text
//!   builder    an object on the stack is         used to
//!   Index      the place where it ends           find and extract the parts of a message
//!   Decoder    a value, or an opaque node        open a pickle
//! ```
//! Nothing is imported, looked up or called here.

use super::opcode::{Effect, Opcode, Operand, number, refusal};
use super::{HIGHEST_PROTOCOL, malformed, op};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// A place in a pickle: from, up to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span(pub(crate) u32, pub(crate) u32);

impl Span {
    pub(crate) fn len(self) -> usize {
        (self.1 - self.0) as usize
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.0 as usize..self.1 as usize).unwrap_or_default()
    }
}

/// An operation, where it stands, and its operand: of a string without its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op<'a> {
    pub(crate) code: u8,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) operand: &'a [u8],
    /// The protocol that the pickle has declared so far.
    pub(crate) protocol: u8,
}

/// Makes the objects on the stack.
pub(crate) trait Builder {
    /// What a slot of the stack holds. A mark takes a slot, too.
    type Slot;

    /// Pushes a new object, or a mark.
    fn push(&mut self, op: Op<'_>, stack: &mut Vec<Self::Slot>) -> Result<()>;

    /// Makes one object of its parts, the last slots, and leaves it in slot `parts.slot`.
    fn join(&mut self, op: Op<'_>, stack: &mut Vec<Self::Slot>, parts: Parts) -> Result<()>;

    /// Puts parts, the last slots, into the object in slot `parts.slot`, which is the last one then.
    fn fill(&mut self, op: Op<'_>, stack: &mut Vec<Self::Slot>, parts: Parts) -> Result<()>;

    /// Memoizes the last object; without a key, under the number of keys in use.
    fn put(&mut self, op: Op<'_>, stack: &mut [Self::Slot], key: Option<usize>) -> Result<()>;

    /// Pushes what was memoized, or returns where it was written, to be read once more.
    fn get(&mut self, op: Op<'_>, stack: &mut Vec<Self::Slot>, key: usize) -> Result<Option<Span>>;

    /// The object that [`Builder::get`] asked for has been read, and is the last slot.
    fn reread(&mut self, _: &mut [Self::Slot]) {}

    /// Drops the slots from `first` on.
    fn discard(&mut self, op: Op<'_>, stack: &mut Vec<Self::Slot>, first: usize);

    /// `PROTO` or `FRAME`.
    fn skip(&mut self, _: Op<'_>) {}

    /// Pushes numbers that follow one of the same kind, at most `max` of them, and returns their count.
    fn numbers(&mut self, _: Op<'_>, _: &mut Vec<Self::Slot>, _rest: &[u8], _max: usize) -> usize {
        0
    }
}

/// What goes into an object: the slots from `first` on. The mark before them, if there is one, goes too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) slot: usize,
    pub(crate) first: usize,
}

/// The stack, and the slots of the marks on it. Kept from one pickle to the next.
#[derive(Debug)]
pub(crate) struct Stack<S> {
    pub(crate) slots: Vec<S>,
    pub(crate) marks: Vec<u32>,
}

impl<S> Default for Stack<S> {
    fn default() -> Self {
        Self { slots: Vec::new(), marks: Vec::new() }
    }
}

impl<S> Stack<S> {
    /// Checks that at least `count` objects lie between the last mark and slot `top`, and returns the
    /// first one's slot.
    #[inline]
    fn last(&self, top: usize, count: usize) -> Result<usize> {
        let floor = self.marks.last().map_or(0, |mark| *mark as usize + 1);
        match top.checked_sub(count) {
            Some(first) if first >= floor => Ok(first),
            _ => Err(malformed("its stack has too few objects")),
        }
    }

    fn pop_mark(&mut self) -> Result<usize> {
        self.marks.pop().map(|mark| mark as usize).ok_or_else(|| malformed("a mark is missing"))
    }
}

/// Where the machine is in a pickle.
pub(crate) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the object ends that is being read; `usize::MAX` in a whole pickle, which ends with `STOP`.
    end: usize,
    /// The places to go back to from what is being read once more.
    returns: Vec<(usize, usize)>,
    /// How many operations may follow.
    left: usize,
    limits: &'a Limits,
    protocol: u8,
    /// Whether bytes are missing at the end.
    is_beginning: bool,
}

impl<'a> Machine<'a> {
    /// For a whole pickle, from `PROTO` to `STOP`.
    pub(crate) fn whole(bytes: &'a [u8], limits: &'a Limits) -> Self {
        let left = limits.operations;
        let (returns, is_beginning) = (Vec::new(), false);
        Self { bytes, at: 0, end: usize::MAX, returns, left, limits, protocol: 0, is_beginning }
    }

    /// For the beginning of a whole pickle: the run fails where that ends, or breaks off.
    #[cfg(feature = "tap")]
    pub(crate) fn beginning(bytes: &'a [u8], limits: &'a Limits) -> Self {
        Self { is_beginning: true, ..Self::whole(bytes, limits) }
    }

    /// For a self-contained object, without `PROTO` and `STOP`.
    pub(crate) fn object(bytes: &'a [u8], limits: &'a Limits) -> Self {
        Self { end: bytes.len(), protocol: HIGHEST_PROTOCOL, ..Self::whole(bytes, limits) }
    }

    /// Runs to the end, which leaves one object on the stack, and returns where it ends.
    pub(crate) fn run<B: Builder>(
        &mut self,
        builder: &mut B,
        stack: &mut Stack<B::Slot>,
    ) -> Result<u32> {
        loop {
            if self.at == self.end {
                let Some(back) = self.returns.pop() else { break };
                (self.at, self.end) = back;
                builder.reread(&mut stack.slots);
            } else if !self.step(builder, stack)? {
                break;
            }
        }
        match stack.slots.len() {
            1 if stack.marks.is_empty() => Ok(index(self.at)),
            // CPython would overlook others below it. No pickler leaves any, and they could have changed it.
            0 | 1 => Err(malformed("its stack has too few objects")),
            _ => Err(malformed("its stack has too many objects")),
        }
    }

    /// Carries out one operation; `false` if it was `STOP`.
    #[allow(clippy::inline_always, reason = "an operation is a few instructions")]
    #[inline(always)]
    fn step<B: Builder>(&mut self, builder: &mut B, stack: &mut Stack<B::Slot>) -> Result<bool> {
        let start = index(self.at);
        let code = *self.bytes.get(self.at).ok_or_else(ended)?;
        let over = || Error::limit("operations", self.limits.operations);
        self.left = self.left.checked_sub(1).ok_or_else(over)?;
        self.at += 1;
        let Opcode { operand: kind, effect, .. } = Opcode::of(code);
        let operand = self.operand(kind)?;
        let op = Op { code, start, end: index(self.at), operand, protocol: self.protocol };
        match effect {
            Effect::Push | Effect::Mark => {
                self.check_room(stack)?;
                if effect == Effect::Mark {
                    stack.marks.push(index(stack.slots.len()));
                }
                builder.push(op, &mut stack.slots)?;
                if let Operand::Fixed(size) = kind {
                    self.numbers(builder, stack, op, usize::from(size) + 1);
                }
            }
            Effect::Get => {
                self.check_room(stack)?;
                let written = builder.get(op, &mut stack.slots, number(op.operand))?;
                if let Some(Span(from, to)) = written {
                    self.returns.push((self.at, self.end));
                    (self.at, self.end) = (from as usize, to as usize);
                }
            }
            Effect::Put => {
                stack.last(stack.slots.len(), 1)?;
                let key = (kind != Operand::None).then(|| number(op.operand));
                builder.put(op, &mut stack.slots, key)?;
            }
            Effect::Join(count) => {
                let first = stack.last(stack.slots.len(), usize::from(count))?;
                builder.join(op, &mut stack.slots, Parts { slot: first, first })?;
            }
            Effect::JoinMark => {
                let mark = stack.pop_mark()?;
                builder.join(op, &mut stack.slots, Parts { slot: mark, first: mark + 1 })?;
            }
            Effect::Fill(count) => {
                let slot = stack.last(stack.slots.len(), usize::from(count) + 1)?;
                builder.fill(op, &mut stack.slots, Parts { slot, first: slot + 1 })?;
            }
            Effect::FillMark => {
                let mark = stack.pop_mark()?;
                if op.code == op::SETITEMS && (stack.slots.len() - mark).is_multiple_of(2) {
                    return Err(malformed("a key without a value"));
                }
                let slot = stack.last(mark, 1)?;
                builder.fill(op, &mut stack.slots, Parts { slot, first: mark + 1 })?;
            }
            Effect::Pop => {
                if stack.marks.last().is_some_and(|mark| *mark as usize + 1 == stack.slots.len()) {
                    stack.marks.pop();
                }
                let slot = stack.last(stack.slots.len(), 1)?;
                builder.discard(op, &mut stack.slots, slot);
            }
            Effect::PopMark => {
                let mark = stack.pop_mark()?;
                builder.discard(op, &mut stack.slots, mark);
            }
            Effect::Skip => {
                self.check(op.code, op.operand)?;
                builder.skip(op);
            }
            Effect::Stop if self.end == usize::MAX => {
                self.at -= 1;
                return Ok(false);
            }
            Effect::Stop => return Err(malformed("it ends within an object")),
            Effect::Refused => return Err(refused(op.code)),
        }
        Ok(true)
    }

    #[inline]
    fn check_room<S>(&self, stack: &Stack<S>) -> Result<()> {
        if stack.slots.len() >= self.limits.stack {
            return Err(Error::limit("stack size", self.limits.stack));
        }
        Ok(())
    }

    /// Lets the builder push numbers like the last one, which took `size` bytes.
    #[allow(clippy::inline_always, reason = "see above")]
    #[inline(always)]
    fn numbers<B: Builder>(
        &mut self,
        builder: &mut B,
        stack: &mut Stack<B::Slot>,
        op: Op<'_>,
        size: usize,
    ) {
        let max = self.left.min(self.limits.stack - stack.slots.len());
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = builder.numbers(op, &mut stack.slots, rest, max);
        self.at += count * size;
        self.left -= count;
    }

    /// Checks the operand of `PROTO` or `FRAME`.
    #[allow(clippy::inline_always, reason = "see above")]
    #[inline(always)]
    fn check(&mut self, code: u8, operand: &[u8]) -> Result<()> {
        let value = number(operand);
        if code == op::PROTO {
            self.protocol = operand.first().copied().unwrap_or_default();
            if self.protocol > HIGHEST_PROTOCOL {
                return Err(malformed(format_args!("unsupported protocol {value}")));
            }
        } else if value > self.bytes.len() - self.at && !self.is_beginning {
            return Err(malformed("it ends within a frame"));
        }
        Ok(())
    }

    /// Reads the operand of an operation; every read is checked against the end.
    #[allow(clippy::inline_always, reason = "1.7 ns an operation instead of 3")]
    #[inline(always)]
    fn operand(&mut self, kind: Operand) -> Result<&'a [u8]> {
        // Sizes that the compiler knows take half the time.
        match kind {
            Operand::None => Ok(&[]),
            Operand::Fixed(1) => self.take(1),
            Operand::Fixed(4) => self.take(4),
            Operand::Fixed(size) => self.take(usize::from(size)),
            Operand::Counted(1) => self.counted(1),
            Operand::Counted(4) => self.counted(4),
            Operand::Counted(size) => self.counted(usize::from(size)),
            Operand::TwoLines => self.two_lines(),
        }
    }

    #[allow(clippy::inline_always, reason = "see above")]
    #[inline(always)]
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or_else(ended)?;
        self.at += count;
        Ok(taken)
    }

    /// A length of `size` bytes, and that many bytes.
    #[allow(clippy::inline_always, reason = "see above")]
    #[inline(always)]
    fn counted(&mut self, size: usize) -> Result<&'a [u8]> {
        let length = number(self.take(size)?);
        self.take(length)
    }

    #[allow(clippy::inline_always, reason = "see above")]
    #[inline(always)]
    fn two_lines(&mut self) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let (end, _) = ends.nth(1).ok_or_else(|| malformed("a line has no end"))?;
        let lines = self.take(end)?;
        self.at += 1;
        Ok(lines)
    }
}

/// A place in a pickle, or a count of what is in it. Longer pickles than `u32` can measure are refused before
/// they are read.
#[allow(clippy::cast_possible_truncation)]
#[inline]
pub(crate) fn index(at: usize) -> u32 {
    at as u32
}

#[cold]
fn ended() -> Error {
    malformed("it ends too early")
}

fn refused(code: u8) -> Error {
    match Opcode::of(code).name {
        "?" => malformed(format_args!("unknown opcode {code:#04x}")),
        name => malformed(format_args!("{name} is refused: {}", refusal(code))),
    }
}
