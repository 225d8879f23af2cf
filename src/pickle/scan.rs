//! One pass over a pickle: where its objects begin and end, and what its memo references mean.
//!
//! The stack machine is run with positions in place of objects. Objects are contiguous, so a slot of
//! the stack only holds where its object *ends*; it begins where the slot below ends. What a `POP`
//! discards thereby belongs to the next object, which may refer to what it memoized (CPython writes a
//! recursive tuple like that).
//!
//! ```text
//!   bytes   80 04  28  8c 01 61 94  5d 94  4b 07  61  74  2e      ('a', [7])
//!   op      PROTO  (   'a'   MEMO   ]  M   7      a   t   .
//!   slots          3       8           10   ->    13       then one slot, ending at 14
//! ```
//! A memo key is numbered anew each time it is put: CPython lets a pickle put the same key twice.

use super::reader::{Keys, Reader};
use super::{HIGHEST_PROTOCOL, malformed, op};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// A place in a message: from, up to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range(pub(crate) u32, pub(crate) u32);

impl Range {
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
}

/// A place that cannot be copied as it is into another pickle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit {
    pub(super) at: u32,
    pub(super) len: u8,
    pub(super) kind: EditKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum EditKind {
    /// `PROTO` and `FRAME` have no place inside a pickle.
    Drop,
    /// A put with a key of its own.
    Put,
    /// A reference to what was memoized under this number.
    Get(u32),
}

/// Objects whose slot is at most this deep have their parts recorded: those of a request
/// (`MARK`, id, method, arguments, keywords) and of a reply.
const SHALLOW: usize = 4;
/// The module that proxies and tokens come from.
const MANAGERS: &[u8] = b"multiprocessing.managers";

/// More parts than this are not recorded: no call has so many arguments.
const MANY: usize = 256;

/// What is known of a pickle's structure. Its vectors are kept from one message to the next.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    stack: Vec<u32>,
    marks: Vec<u32>,
    /// Objects on the stack that are memoized: their slot, and their number.
    open: Vec<(u32, u32)>,
    keys: Keys,
    names_managers: bool,
    children: Vec<Range>,
    containers: Vec<Container>,
    pub(super) memo: Vec<Memoized>,
    pub(super) edits: Vec<Edit>,
}

/// A shallow object that was put together: where it begins, what it is, its recorded children.
#[derive(Debug)]
struct Container {
    start: u32,
    shape: Shape,
    children: std::ops::Range<usize>,
}

/// What the parts of an object are to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// The elements of a tuple or list.
    Sequence,
    /// The keys and values, in turn, of a dict.
    Mapping,
    /// Something else, or too many parts to record.
    Other,
}

impl Shape {
    fn of(code: u8) -> Self {
        match code {
            op::TUPLE | op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => Self::Sequence,
            op::EMPTY_TUPLE | op::EMPTY_LIST | op::LIST | op::APPEND | op::APPENDS => {
                Self::Sequence
            }
            op::EMPTY_DICT | op::DICT | op::SETITEM | op::SETITEMS => Self::Mapping,
            _ => Self::Other,
        }
    }
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

    /// The parts of a shallow object (see [`SHALLOW`]); `None` if they are not of that shape, or too
    /// many.
    pub(crate) fn children(&self, bytes: &[u8], of: Range, shape: Shape) -> Option<&[Range]> {
        match self.containers.iter().rev().find(|container| container.start == of.0) {
            Some(container) if container.shape == shape => {
                self.children.get(container.children.clone())
            }
            Some(_) => None,
            // An empty one is a single operation, which nothing follows but a put.
            None => (Shape::of(*head(bytes, of).of(bytes).first()?) == shape).then_some(&[]),
        }
    }

    /// The text of a string, or of a reference to one.
    pub(crate) fn text<'a>(&self, bytes: &'a [u8], mut of: Range) -> Option<&'a str> {
        loop {
            of = head(bytes, of);
            let mut from = Reader { bytes: of.of(bytes), at: 0 };
            let text = match from.byte().ok()? {
                op::SHORT_BINUNICODE => from.counted(1),
                op::BINUNICODE => from.counted(4),
                _ => {
                    let edit = self.edits.get(self.edits_before(of.0))?;
                    let EditKind::Get(number) = edit.kind else { return None };
                    // Each step leads back, so that it ends.
                    let referent = self.referent(number, of.0).ok()?;
                    if edit.at != of.0 || referent.0 >= of.0 {
                        return None;
                    }
                    of = referent;
                    continue;
                }
            };
            return std::str::from_utf8(text.ok()?).ok();
        }
    }

    /// Whether the module of proxies and tokens is named in it.
    pub(crate) fn names_managers(&self) -> bool {
        self.names_managers
    }

    fn reset(&mut self) {
        // One huge message does not make its connection huge for ever.
        if self.stack.capacity() + self.memo.capacity() + self.edits.capacity() > 1 << 16 {
            *self = Self::default();
        }
        self.stack.clear();
        self.marks.clear();
        self.open.clear();
        self.keys.clear();
        self.names_managers = false;
        self.children.clear();
        self.containers.clear();
        self.memo.clear();
        self.edits.clear();
    }

    fn run(&mut self, bytes: &[u8], limits: &Limits, whole: bool) -> Result<Range> {
        self.reset();
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::Limit("frame size", u64::from(u32::MAX)));
        }
        let mut from = Reader { bytes, at: 0 };
        let mut left = limits.operations;
        while whole || from.at < bytes.len() {
            let start = from.at;
            let code = from.byte()?;
            left = left.checked_sub(1).ok_or_else(|| limit("operations", limits.operations))?;
            match code {
                op::BININT1 => self.skip(&mut from, 1, limits)?,
                op::BININT2 => self.skip(&mut from, 2, limits)?,
                op::BININT => self.skip(&mut from, 4, limits)?,
                op::BINFLOAT => self.skip(&mut from, 8, limits)?,
                op::SHORT_BINUNICODE => {
                    self.names_managers |= from.counted(1)? == MANAGERS;
                    self.push(from.at, limits)?;
                }
                op::SHORT_BINBYTES | op::SHORT_BINSTRING | op::LONG1 => {
                    from.counted(1)?;
                    self.push(from.at, limits)?;
                }
                op::BINUNICODE => {
                    self.names_managers |= from.counted(4)? == MANAGERS;
                    self.push(from.at, limits)?;
                }
                op::BINBYTES | op::BINSTRING | op::LONG4 => {
                    from.counted(4)?;
                    self.push(from.at, limits)?;
                }
                op::BINUNICODE8 | op::BINBYTES8 | op::BYTEARRAY8 => {
                    from.counted(8)?;
                    self.push(from.at, limits)?;
                }
                op::NONE
                | op::NEWTRUE
                | op::NEWFALSE
                | op::EMPTY_LIST
                | op::EMPTY_TUPLE
                | op::EMPTY_DICT
                | op::EMPTY_SET => self.push(from.at, limits)?,
                op::INT | op::LONG | op::FLOAT | op::STRING | op::UNICODE => {
                    from.line()?;
                    self.push(from.at, limits)?;
                }
                op::GLOBAL => {
                    self.names_managers |= from.line()? == MANAGERS;
                    from.line()?;
                    self.push(from.at, limits)?;
                }
                op::MARK => {
                    self.push(from.at, limits)?;
                    self.marks.push(index(self.stack.len() - 1));
                }
                op::MEMOIZE => self.put(start, from.at, self.keys.next(), false, limits)?,
                op::BINPUT => {
                    let key = from.number(1)?;
                    self.put(start, from.at, key, true, limits)?;
                }
                op::LONG_BINPUT => {
                    let key = from.number(4)?;
                    self.put(start, from.at, key, true, limits)?;
                }
                op::PUT => {
                    let key = from.key()?;
                    self.put(start, from.at, key, true, limits)?;
                }
                op::BINGET => {
                    let key = from.number(1)?;
                    self.get(start, from.at, key, limits)?;
                }
                op::LONG_BINGET => {
                    let key = from.number(4)?;
                    self.get(start, from.at, key, limits)?;
                }
                op::GET => {
                    let key = from.key()?;
                    self.get(start, from.at, key, limits)?;
                }
                op::TUPLE1 => self.collapse(1, code, from.at)?,
                op::TUPLE2 | op::STACK_GLOBAL | op::REDUCE | op::NEWOBJ => {
                    self.collapse(2, code, from.at)?;
                }
                op::TUPLE3 | op::NEWOBJ_EX => self.collapse(3, code, from.at)?,
                op::TUPLE | op::LIST | op::DICT | op::FROZENSET | op::OBJ => {
                    self.collapse_mark(code, from.at)?;
                }
                op::INST => {
                    from.line()?;
                    from.line()?;
                    self.collapse_mark(code, from.at)?;
                }
                op::APPEND | op::BUILD => self.extend(1, code, from.at)?,
                op::SETITEM => self.extend(2, code, from.at)?,
                op::APPENDS | op::SETITEMS | op::ADDITEMS => {
                    let mark = self.pop_mark()?;
                    let items = self.stack.len() - mark - 1;
                    if code == op::SETITEMS && items % 2 != 0 {
                        return Err(malformed("a key without a value"));
                    }
                    self.need(mark, 1)?;
                    self.record(mark - 1, mark + 1, code);
                    self.truncate(mark);
                    self.grow(from.at);
                }
                op::POP => {
                    if self.marks.last() == self.stack.len().checked_sub(1).map(index).as_ref() {
                        self.marks.pop();
                    }
                    self.need(self.stack.len(), 1)?;
                    self.truncate(self.stack.len() - 1);
                }
                op::POP_MARK => {
                    let mark = self.pop_mark()?;
                    self.truncate(mark);
                }
                op::PROTO => {
                    let version = from.byte()?;
                    if version > HIGHEST_PROTOCOL {
                        return Err(malformed(format_args!("unsupported protocol {version}")));
                    }
                    self.edit(start, from.at, EditKind::Drop);
                }
                op::FRAME => {
                    let length = from.number(8)?;
                    if length > (bytes.len() - from.at) as u64 {
                        return Err(malformed("it ends within a frame"));
                    }
                    self.edit(start, from.at, EditKind::Drop);
                }
                op::STOP if whole => {
                    self.need(self.stack.len(), 1)?;
                    from.at -= 1;
                    break;
                }
                _ => return Err(refused(code)),
            }
        }
        self.close(from.at)
    }

    /// Completes the object on top of the stack: it is what the pickle means.
    fn close(&mut self, end: usize) -> Result<Range> {
        self.need(self.stack.len(), 1)?;
        self.grow(end);
        let start = self.stack.len().checked_sub(2).and_then(|below| self.stack.get(below));
        let root = Range(start.copied().unwrap_or(0), index(end));
        self.truncate(0);
        Ok(root)
    }

    #[inline]
    fn skip(&mut self, from: &mut Reader<'_>, operand: usize, limits: &Limits) -> Result<()> {
        from.at += operand;
        if from.at > from.bytes.len() {
            return Err(malformed("it ends too early"));
        }
        self.push(from.at, limits)
    }

    #[inline]
    fn push(&mut self, end: usize, limits: &Limits) -> Result<()> {
        if self.stack.len() >= limits.stack {
            return Err(limit("stack size", limits.stack));
        }
        self.stack.push(index(end));
        Ok(())
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
            if let (Some(memoized), Some(end)) =
                (self.memo.get_mut(number as usize), self.stack.get(slot as usize))
            {
                memoized.object.1 = *end;
            }
            self.open.pop();
        }
        self.stack.truncate(length);
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
        self.record(slot, slot, code);
        self.truncate(slot);
        self.stack.push(index(end));
        Ok(())
    }

    /// The objects from the last mark on become one.
    fn collapse_mark(&mut self, code: u8, end: usize) -> Result<()> {
        let mark = self.pop_mark()?;
        self.record(mark, mark + 1, code);
        self.truncate(mark);
        self.stack.push(index(end));
        Ok(())
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

    /// Notes that the objects from slot `first` on become parts of the one in slot `parent`.
    #[inline]
    fn record(&mut self, parent: usize, first: usize, code: u8) {
        if parent <= SHALLOW {
            self.record_shallow(parent, first, code);
        }
    }

    fn record_shallow(&mut self, parent: usize, first: usize, code: u8) {
        let begin =
            |slot: usize| slot.checked_sub(1).and_then(|below| self.stack.get(below).copied());
        let start = begin(parent).unwrap_or(0);
        let end = self.children.len();
        let (mut shape, mut from) = (Shape::of(code), end);
        // A second batch of items joins the first.
        if let Some(last) = self.containers.last()
            && last.start == start
            && parent < first
            && matches!(code, op::APPEND | op::APPENDS | op::SETITEM | op::SETITEMS | op::BUILD)
        {
            from = last.children.start;
            if last.shape != shape || last.children.end != end {
                shape = Shape::Other;
            }
        }
        if end - from + self.stack.len() - first >= MANY {
            shape = Shape::Other;
        }
        if shape != Shape::Other {
            let mut at = begin(first).unwrap_or(0);
            for end in self.stack.get(first..).unwrap_or_default() {
                self.children.push(Range(at, *end));
                at = *end;
            }
        }
        let children = from..self.children.len();
        self.containers.push(Container { start, shape, children });
    }

    fn edit(&mut self, start: usize, end: usize, kind: EditKind) {
        let len = u8::try_from(end - start).unwrap_or(u8::MAX);
        self.edits.push(Edit { at: index(start), len, kind });
    }

    fn put(&mut self, at: usize, end: usize, key: u64, named: bool, limits: &Limits) -> Result<()> {
        self.need(self.stack.len(), 1)?;
        let number = index(self.memo.len());
        if self.memo.len() >= limits.memo {
            return Err(limit("memo size", limits.memo));
        }
        let slot = self.stack.len() - 1;
        let start = slot.checked_sub(1).and_then(|below| self.stack.get(below)).copied();
        self.keys.put(key, number);
        self.memo.push(Memoized { at: index(at), object: Range(start.unwrap_or(0), u32::MAX) });
        self.open.push((index(slot), number));
        if named {
            self.edit(at, end, EditKind::Put);
        }
        self.grow(end);
        Ok(())
    }

    fn get(&mut self, at: usize, end: usize, key: u64, limits: &Limits) -> Result<()> {
        let number = self.keys.get(key);
        let number =
            number.ok_or_else(|| malformed(format_args!("memo key {key} was never put")))?;
        self.edit(at, end, EditKind::Get(number));
        self.push(end, limits)
    }
}

/// An object without the `PROTO` and `FRAME` before it.
fn head(bytes: &[u8], mut of: Range) -> Range {
    loop {
        match of.of(bytes) {
            [op::PROTO, ..] => of.0 += 2,
            [op::FRAME, ..] => of.0 += 9,
            _ => return of,
        }
    }
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
        _ => format!("unknown opcode {code:#04x}"),
    })
}
