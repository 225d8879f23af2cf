//! The parts of a message: those of a request, of its arguments, of a reply.

use super::scan::{EditKind, Range, Scan, tail};
use super::{Instance, op};
use crate::error::{Error, Result};
use crate::limits::{Budget, Limits};
use crate::pickle::Pickle;
use crate::value::{Steps, Value};

/// Objects whose slot is at most this deep have their parts recorded: those of a request
/// (`MARK`, id, method, arguments, keywords) and of a reply.
const SHALLOW: usize = 4;
/// More parts than this are not recorded, unless all are wanted: no call has so many arguments.
const MANY: usize = 256;

/// For each shallow slot the object that was last put together there.
pub(super) type Containers = [Container; SHALLOW + 1];

/// A shallow object that was put together: where it begins, what it is, its parts.
#[derive(Debug, Default)]
pub(super) struct Container {
    start: Option<u32>,
    shape: Shape,
    pub(super) children: Vec<Range>,
}

/// What the parts of an object are to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Shape {
    /// The elements of a tuple or list.
    Sequence,
    /// The keys and values, in turn, of a dict.
    Mapping,
    /// Something else, or too many parts to record.
    #[default]
    Other,
}

impl Shape {
    #[allow(clippy::match_same_arms, reason = "a line for each type")]
    fn of(code: u8) -> Self {
        match code {
            op::EMPTY_TUPLE | op::TUPLE | op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => Self::Sequence,
            op::EMPTY_LIST | op::APPEND | op::APPENDS => Self::Sequence,
            op::EMPTY_DICT | op::SETITEM | op::SETITEMS => Self::Mapping,
            _ => Self::Other,
        }
    }
}

impl Scan {
    /// Scans a whole pickle with the parts of shallow objects recorded, however many they are.
    pub(crate) fn message_with_all_parts(&mut self, bytes: &[u8], limits: &Limits) -> Result<()> {
        self.all_parts = true;
        let scanned = self.message(bytes, limits);
        // A keyword may be a reference, to a reference, and so on, which is followed for each.
        self.budget.check(self.written_out(scanned?))
    }

    /// The parts of a shallow object (see [`SHALLOW`]); `None` if they are not of that shape, or too
    /// many.
    pub(crate) fn children(&self, bytes: &[u8], of: Range, shape: Shape) -> Option<&[Range]> {
        match self.containers.iter().find(|container| container.start == Some(of.0)) {
            Some(container) => (container.shape == shape).then_some(&container.children),
            // An empty one is a single operation, which nothing follows but a put.
            None => match *head(bytes, of).of(bytes) {
                [code]
                | [code, op::MEMOIZE]
                | [code, op::BINPUT, _]
                | [code, op::LONG_BINPUT, _, _, _, _]
                    if Shape::of(code) == shape =>
                {
                    Some(&[])
                }
                _ => None,
            },
        }
    }

    /// The text of a string, or of a reference to one.
    pub(crate) fn text<'a>(&self, bytes: &'a [u8], mut of: Range) -> Option<&'a str> {
        loop {
            of = head(bytes, of);
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
            let edit = self.edits.get(self.edits_before(of.0))?;
            let EditKind::Get(number) = edit.kind else { return None };
            // Each step leads back, so that it ends.
            let referent = self.referent(number, of.0).ok()?;
            if edit.at != of.0 || referent.0 >= of.0 {
                return None;
            }
            of = referent;
        }
    }

    /// Notes that the objects from slot `first` on become parts of the one in slot `slot`.
    #[inline]
    pub(super) fn record(&mut self, slot: usize, first: usize, code: u8) {
        if slot <= SHALLOW {
            self.record_shallow(slot, first, code);
        }
    }

    fn record_shallow(&mut self, slot: usize, first: usize, code: u8) {
        let (begin, from) = (self.begin(slot), self.begin(first));
        let Self { containers, stack, tails, all_parts, left_out, .. } = self;
        let Some(container) = containers.get_mut(slot) else { return };
        let (start, shape) = (Some(begin), Shape::of(code));
        // A second batch of items joins the first.
        let joins = slot < first && !matches!(code, op::TUPLE | op::FROZENSET);
        if !joins || container.start != start {
            container.children.clear();
            container.shape = shape;
        }
        container.start = start;
        let parts = stack.get(first..).unwrap_or_default();
        let count = container.children.len() + parts.len();
        let too_many = count >= MANY && !*all_parts;
        *left_out |= too_many;
        if container.shape != shape || too_many {
            container.shape = Shape::Other;
        }
        if container.shape != Shape::Other {
            let mut at = from;
            container.children.extend(parts.iter().zip(first..).map(|(end, slot)| {
                let part = Range(at, tail(tails, slot).max(*end));
                at = *end;
                part
            }));
        }
    }

    /// Forgets what was in the shallow slots from `first` on.
    pub(super) fn forget(&mut self, first: usize) {
        self.containers.iter_mut().skip(first).for_each(|container| container.start = None);
    }
}

impl Pickle {
    /// The elements of a list, tuple or `range`, each as a pickle of its own; `None` of anything else. What they
    /// share is in each: together they may have the size of a frame, and they are paid for from the budget.
    pub(crate) fn elements(&self, limits: &Limits, budget: &Budget) -> Result<Option<Vec<Self>>> {
        let mut scan = Scan::default();
        scan.all_parts = true;
        let root = scan.object(self.ops(), limits)?;
        let Some(parts) = scan.children(self.ops(), root, Shape::Sequence) else {
            return self.range().map_or(Ok(None), |range| {
                budget.spend(range.total().saturating_mul(size_of::<Self>()))?;
                range.map(|int| Self::encode(&Value::from(int))).collect::<Result<_>>().map(Some)
            });
        };
        budget.spend(parts.len().saturating_mul(size_of::<Self>()))?;
        let mut left = limits.frame_size;
        let element = |part: &Range| {
            let element = scan.cut(self.ops(), *part, limits)?;
            let over = || Error::Limit("frame size", limits.frame_size as u64);
            left = left.checked_sub(element.len()).ok_or_else(over)?;
            budget.spend(element.len())?;
            Ok(element)
        };
        parts.iter().map(element).collect::<Result<_>>().map(Some)
    }

    /// The integers of a `range` within 64 bits, if this is one.
    fn range(&self) -> Option<Steps> {
        let Instance { module, name, args, .. } = self.instance(&Limits::default())?;
        let bounds: Option<Vec<i64>> = args.iter().map(Value::as_i64).collect();
        match (module.as_str(), name.as_str(), bounds?.as_slice()) {
            ("builtins", "range", &[from, to, step]) => Steps::new(from, to, step),
            _ => None,
        }
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
