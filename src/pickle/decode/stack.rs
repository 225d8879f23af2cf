//! The stack of objects that are being opened.

use super::Instance;
use crate::error::Result;
use crate::pickle::{malformed, op};
use crate::value::Value;

/// What an object is.
#[derive(Debug)]
pub(crate) enum Node {
    /// Plain data.
    Value(Value),
    /// A class or function, by its module and name.
    Global(Box<(String, String)>),
    Instance(Box<Instance>),
    /// Something else, or an object that holds itself.
    Opaque,
}

/// What an object's parts are, taken together.
#[derive(Clone, Copy)]
pub(super) struct Inside {
    /// How deep its containers nest.
    pub(super) depth: u32,
    /// Where the outermost object begins that is referred to before it is complete; [`CLOSED`] if none is.
    /// Whatever does not hold all of that stays a part of what does.
    pub(super) open: u32,
}

pub(super) const CLOSED: u32 = u32::MAX;

impl Inside {
    pub(super) const NOTHING: Self = Self { depth: 0, open: CLOSED };

    pub(super) fn and(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), open: self.open.min(other.open) }
    }

    /// What an object is that is made of these parts.
    pub(super) fn around(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

pub(super) struct Slot {
    pub(super) start: u32,
    /// Where what was discarded after it ends; 0 if nothing was. It may have changed the object.
    pub(super) tail: u32,
    /// Whether it is a reference to an object that is elsewhere too.
    pub(super) shared: bool,
    pub(super) inside: Inside,
    pub(super) node: Node,
}

impl Slot {
    /// Takes more parts in. An object that holds itself has no tree, and one that holds another which
    /// holds it is no object by itself.
    fn take_in(&mut self, inside: Inside) {
        self.inside = self.inside.and(inside);
        if self.inside.open != CLOSED {
            self.node = Node::Opaque;
        }
        if self.inside.open >= self.start {
            self.inside.open = CLOSED;
        }
    }
}

pub(super) struct Stack {
    pub(super) slots: Vec<Slot>,
    /// The slots below each mark, and where the mark stands.
    pub(super) marks: Vec<(usize, u32)>,
    /// Where the object on top ends and the next begins.
    pub(super) end: u32,
    /// The objects put there that are not paid for yet.
    pub(super) made: usize,
    /// What was discarded, and belongs to the next object, or to the one that is changed next.
    discarded: Inside,
}

impl Stack {
    pub(super) fn new(end: u32) -> Self {
        let (slots, marks) = (Vec::new(), Vec::new());
        Self { slots, marks, end, made: 0, discarded: Inside::NOTHING }
    }

    pub(super) fn put(&mut self, start: u32, inside: Inside, node: Node) {
        self.made += 1;
        self.put_slot(Slot { start, tail: 0, shared: false, inside, node });
    }

    pub(super) fn push(&mut self, value: Value) {
        self.put(self.end, Inside::NOTHING, Node::Value(value));
    }

    /// A reference to an object, which has been read where it is.
    pub(super) fn push_referent(&mut self, slot: Slot) {
        self.put_slot(Slot { start: self.end, shared: true, ..slot });
    }

    /// A reference to an object that is not complete yet, and begins at `open`.
    pub(super) fn push_open(&mut self, open: u32) {
        self.made += 1;
        let (start, inside) = (self.end, Inside { depth: 0, open });
        self.put_slot(Slot { start, tail: 0, shared: true, inside, node: Node::Opaque });
    }

    fn put_slot(&mut self, mut slot: Slot) {
        slot.take_in(self.take_discarded());
        self.slots.push(slot);
    }

    fn take_discarded(&mut self) -> Inside {
        std::mem::replace(&mut self.discarded, Inside::NOTHING)
    }

    pub(super) fn push_global(
        &mut self,
        start: u32,
        inside: Inside,
        module: Option<&str>,
        name: Option<&str>,
    ) {
        let names = module.zip(name).map(|(module, name)| (module.to_owned(), name.to_owned()));
        self.put(start, inside, names.map_or(Node::Opaque, |names| Node::Global(Box::new(names))));
    }

    /// The object on top, to be changed by something that is made of these parts.
    pub(super) fn own_top(&mut self, inside: Inside) -> Result<&mut Slot> {
        let inside = inside.around().and(self.take_discarded());
        match self.slots.last_mut() {
            Some(top) if top.shared => Err(malformed("an object is changed by a reference to it")),
            Some(top) => {
                top.take_in(inside);
                Ok(top)
            }
            None => Err(malformed("a container is missing")),
        }
    }

    /// Adds items to the container on top, as an operation does.
    pub(super) fn fill(&mut self, code: u8, inside: Inside, items: Vec<Value>) -> Result<()> {
        let top = self.own_top(inside)?;
        match &mut top.node {
            Node::Value(Value::List(list) | Value::Set(list)) => list.extend(items),
            Node::Value(Value::Dict(dict)) => dict.extend(pairs(items)),
            Node::Instance(instance) => match (code, &mut instance.items) {
                (op::APPEND | op::APPENDS, None) => instance.items = Some(Value::List(items)),
                (op::APPEND | op::APPENDS, Some(Value::List(list))) => list.extend(items),
                (op::SETITEM | op::SETITEMS, None) => {
                    instance.items = Some(Value::Dict(pairs(items)));
                }
                (op::SETITEM | op::SETITEMS, Some(Value::Dict(dict))) => dict.extend(pairs(items)),
                _ => top.node = Node::Opaque,
            },
            node => *node = Node::Opaque,
        }
        Ok(())
    }

    /// Drops the top object or mark; up to `end`, that belongs to the next object, and to the one
    /// before.
    pub(super) fn discard(&mut self, to_mark: bool, end: u32) {
        let first = match self.marks.last() {
            Some(&(slots, start)) if to_mark || slots == self.slots.len() => {
                self.marks.pop();
                self.end = start;
                slots
            }
            _ => {
                let first = self.slots.len().saturating_sub(1);
                self.end = self.slots.get(first).map_or(self.end, |slot| slot.start);
                first
            }
        };
        let gone = self.slots.drain(first.min(self.slots.len())..);
        // It is no container of the next object.
        let open = gone.map(|slot| slot.inside.open).fold(self.discarded.open, u32::min);
        self.discarded.open = open;
        let mark = self.marks.last().map_or(0, |(slots, _)| *slots);
        if let Some(before) = self.slots.get_mut(mark..).and_then(<[_]>::last_mut) {
            before.tail = end;
            if !matches!(before.node, Node::Value(_)) {
                before.take_in(Inside { depth: 0, open });
            }
        }
    }
}

fn pairs(items: Vec<Value>) -> Vec<(Value, Value)> {
    let mut items = items.into_iter();
    std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()
}
