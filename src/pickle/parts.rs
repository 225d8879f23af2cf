//! The parts of a message: those of a request, of its arguments, of a reply.

use super::op;
use super::reader::Reader;
use super::scan::{EditKind, Range, Scan};

/// Objects whose slot is at most this deep have their parts recorded: those of a request
/// (`MARK`, id, method, arguments, keywords) and of a reply.
const SHALLOW: usize = 4;
/// More parts than this are not recorded: no call has so many arguments.
const MANY: usize = 256;

/// A shallow object that was put together: where it begins, what it is, its recorded children.
#[derive(Debug)]
pub(super) struct Container {
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

    /// Notes that the objects from slot `first` on become parts of the one in slot `parent`.
    #[inline]
    pub(super) fn record(&mut self, parent: usize, first: usize, code: u8) {
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
            for (slot, end) in self.stack.iter().enumerate().skip(first) {
                self.children.push(Range(at, self.tail(slot).max(*end)));
                at = *end;
            }
        }
        let children = from..self.children.len();
        self.containers.push(Container { start, shape, children });
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
