//! The elements of the tuples, lists and dicts that a request or reply is made of. They are recorded while it is
//! indexed, to take it apart without a second pass.

use super::machine::{Parts, Span};
use super::op;

/// Objects whose slot is at most this deep have their elements recorded: those of a request
/// (`MARK`, id, method, arguments, keywords) and of a reply.
const SHALLOW: usize = 4;
/// The most elements that are recorded of an object in a message: 1,024 keywords and their values.
pub(super) const MAX_ELEMENTS: usize = 2048;

/// An object on the stack: where it ends, and where its trailing bytes do, if it has any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(super) end: u32,
    pub(super) trailing: u32,
}

impl Slot {
    pub(super) fn up_to(end: u32) -> Self {
        Self { end, trailing: end }
    }
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

/// For each shallow slot, the object that was last put together there.
#[derive(Debug, Default)]
pub(super) struct Containers {
    slots: [Container; SHALLOW + 1],
    max: usize,
}

impl Containers {
    /// Forgets all, and records at most `max` elements of an object from now on.
    pub(super) fn reset(&mut self, max: usize) {
        self.max = max;
        self.forget(0);
    }

    /// Forgets what was in the slots from `first` on.
    pub(super) fn forget(&mut self, first: usize) {
        self.slots.iter_mut().skip(first).for_each(|container| container.start = None);
    }

    /// Records a new object that is made of these parts.
    #[inline]
    pub(super) fn join(&mut self, code: u8, stack: &[Slot], parts: Parts) {
        if let Some(container) = self.slots.get_mut(parts.slot) {
            container.start = Some(begin(stack, parts.slot));
            container.kind = Kind::of(code);
            container.elements.clear();
            container.add(stack, parts, self.max);
        }
    }

    /// Records parts that are put into an object, after those of an earlier batch.
    #[inline]
    pub(super) fn fill(&mut self, code: u8, stack: &[Slot], parts: Parts) {
        if let Some(container) = self.slots.get_mut(parts.slot) {
            let start = Some(begin(stack, parts.slot));
            if container.start != start || container.kind != Kind::of(code) {
                (container.start, container.kind) = (start, None);
            }
            container.add(stack, parts, self.max);
        }
    }

    pub(super) fn elements(&self, of: Span, kind: Kind) -> Option<&[Span]> {
        let found = self.slots.iter().find(|found| found.start == Some(of.0))?;
        (found.kind == Some(kind)).then_some(&found.elements)
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.iter().map(|container| container.elements.capacity()).sum()
    }
}

impl Container {
    fn add(&mut self, stack: &[Slot], parts: Parts, max: usize) {
        let Some(slots @ [_, ..]) = stack.get(parts.first..) else { return };
        if self.elements.len() + slots.len() > max {
            self.kind = None;
        }
        if self.kind.is_some() {
            let mut at = begin(stack, parts.first);
            self.elements.extend(slots.iter().map(|slot| {
                let element = Span(at, slot.trailing);
                at = slot.end;
                element
            }));
        }
    }
}

/// Where the object in a slot begins.
#[inline]
pub(super) fn begin(stack: &[Slot], slot: usize) -> u32 {
    slot.checked_sub(1).and_then(|below| stack.get(below)).map_or(0, |below| below.end)
}
