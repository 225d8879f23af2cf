//! Opens a pickle: plain data becomes a tree of [`Value`]s, everything else an opaque node in it.
//!
//! A class or function is only a name here, a `REDUCE` or `BUILD` only a note of what Python would do.
//! The handful of calls by which older protocols spell plain data (`bytearray(b'..')`, `set([..])`,
//! `_codecs.encode(..)`) are recognised by name and become that data.
//!
//! Sharing is not kept: an object that is referred to twice is read twice, within a
//! [`Budget`], so that a small pickle cannot become a huge tree. An object that holds itself has no tree:
//! it stays opaque, and what lies between it and itself is a part of it.

use std::cell::OnceCell;

use super::index::{FixupKind, Index};
use super::machine::{Builder, Machine, Op, Parts, Span, Stack};
use super::node::{
    CLOSED, Inside, Instance, Named, Node, Slot, add, atom, extend, global, instance, plain,
};
use super::{Pickle, is_managers, malformed, op};
use crate::error::{Error, Result};
use crate::limits::{Budget, Limits};
use crate::value::Value;

/// The bytes that a value is taken to cost.
const VALUE: usize = 32;
/// What a token refers to is at most this long: a typeid, an address, an id.
const SHORT: usize = 4096;

struct Decoder<'a> {
    bytes: &'a [u8],
    budget: &'a Budget,
    limits: &'a Limits,
    /// Made when a reference or an opaque node is met: plain data has none.
    index: OnceCell<Index>,
    /// Where the next object begins.
    next: u32,
    /// What was discarded, and belongs to the next object, or to the one that is changed next.
    discarded: Inside,
    /// The references that are being read: their places, and what was discarded before them.
    rereading: Vec<(Span, Inside)>,
    /// Collects the objects with state, however deep, of the module of proxies. Nothing else is kept.
    wanted: Option<Vec<Instance>>,
    /// Collects the names of classes and functions, and the texts.
    named: Option<Named>,
}

impl Pickle {
    /// [`Pickle::decode`], charged to a budget.
    pub(crate) fn decode_within(&self, budget: &Budget, limits: &Limits) -> Result<Value> {
        budget.attempt(|| {
            let mut decoder = Decoder::new(self.ops(), budget, limits);
            let slot = decoder.run()?;
            decoder.value(slot)
        })
    }

    /// The class, arguments and state of an object, if this is one.
    pub(crate) fn as_instance(&self, limits: &Limits) -> Option<Instance> {
        match self.node(limits)? {
            Node::Instance(instance) => Some(*instance),
            _ => None,
        }
    }

    /// The module and name of a class or function, if this is one.
    pub(crate) fn as_global(&self) -> Option<(String, String)> {
        match self.node(&Limits::default())? {
            Node::Global(names) => Some(*names),
            _ => None,
        }
    }

    /// What an object is made of, if it can be read within the limits.
    pub(crate) fn node(&self, limits: &Limits) -> Option<Node> {
        let budget = Budget::new(self.len(), limits);
        Some(Decoder::new(self.ops(), &budget, limits).run().ok()?.node)
    }

    /// The tokens of proxies in it, however deep, each once.
    pub(crate) fn tokens(&self) -> Vec<Instance> {
        let limits = Limits::default();
        let budget = Budget::new(self.len(), &limits);
        let mut decoder = Decoder::new(self.ops(), &budget, &limits);
        decoder.wanted = Some(Vec::new());
        let found = decoder.run().ok().and(decoder.wanted);
        found.unwrap_or_default()
    }

    /// The classes, functions and texts in it, as far as it can be read within the limits.
    pub(crate) fn named(&self, limits: &Limits) -> Named {
        let budget = Budget::new(self.len(), limits);
        let mut decoder = Decoder::new(self.ops(), &budget, limits);
        decoder.named = Some(Named::default());
        // What was read before a limit is of use, too.
        let _ = decoder.run();
        decoder.named.unwrap_or_default()
    }
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8], budget: &'a Budget, limits: &'a Limits) -> Self {
        let (index, rereading) = (OnceCell::new(), Vec::new());
        let (next, discarded, wanted, named) = (0, Inside::NOTHING, None, None);
        Self { bytes, budget, limits, index, next, discarded, rereading, wanted, named }
    }

    fn run(&mut self) -> Result<Slot> {
        self.budget.spend(self.bytes.len())?;
        let mut stack = Stack::default();
        Machine::object(self.bytes, self.limits).run(self, &mut stack)?;
        match stack.slots.pop() {
            Some(slot) if slot.inside.open == CLOSED => Ok(slot),
            _ => Err(malformed("an object refers to one that holds it")),
        }
    }

    fn index(&self) -> Result<&Index> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let mut index = Index::default();
        // It was indexed when it was made.
        index.object(self.bytes, &Limits::NONE)?;
        Ok(self.index.get_or_init(|| index))
    }

    /// A new object, up to the end of this operation.
    fn slot(&mut self, op: Op<'_>, start: u32, inside: Inside, node: Node) -> Result<Slot> {
        self.budget.spend(VALUE)?;
        let (object, discarded) = (Span(start, op.end), self.take_discarded());
        let mut slot = Slot { object, trailing: 0, shared: false, inside, node };
        slot.take_in(discarded);
        self.next = op.end;
        self.check_depth(&mut slot)?;
        Ok(slot)
    }

    fn check_depth(&self, slot: &mut Slot) -> Result<()> {
        if slot.inside.depth as usize <= self.limits.depth {
            return Ok(());
        }
        if self.wanted.is_none() {
            return Err(Error::limit("nesting depth", self.limits.depth));
        }
        // Dropping a deep value takes stack.
        slot.node = Node::Opaque;
        Ok(())
    }

    fn take_discarded(&mut self) -> Inside {
        std::mem::replace(&mut self.discarded, Inside::NOTHING)
    }

    /// The slots from `first` on: what is inside them, and their values.
    fn parts(&self, stack: &mut Vec<Slot>, first: usize) -> Result<(Inside, Vec<Value>)> {
        let mut inside = Inside::NOTHING;
        let mut values = Vec::with_capacity(stack.len().saturating_sub(first));
        for slot in stack.drain(first.min(stack.len())..) {
            inside = inside.and(slot.inside);
            // What is open has no value: nor will what it is put into.
            let open = slot.inside.open != CLOSED;
            values.push(if open { Value::None } else { self.value(slot)? });
        }
        Ok((inside, values))
    }

    fn value(&self, slot: Slot) -> Result<Value> {
        match slot.node {
            Node::Value(value) => return Ok(value),
            Node::Instance(instance) if slot.trailing == 0 => {
                if let Some(value) = plain(&instance) {
                    return Ok(value);
                }
            }
            Node::Instance(_) | Node::Global(..) | Node::Opaque | Node::Mark => {}
        }
        if self.wanted.is_some() {
            return Ok(Value::None);
        }
        let object = Span(slot.object.0, slot.object.1.max(slot.trailing));
        self.budget.spend(object.len())?;
        self.index()?.extract(self.bytes, None, object, self.budget, self.limits).map(Value::Opaque)
    }

    /// Notes the name or text that an object is.
    fn note(&mut self, node: &Node) {
        match (&mut self.named, node) {
            (Some(found), Node::Global(names)) => found.globals.push((**names).clone()),
            (Some(found), Node::Value(Value::Str(text))) => found.texts.push(text.clone()),
            _ => {}
        }
    }
}

impl Builder for Decoder<'_> {
    type Slot = Slot;

    fn push(&mut self, op: Op<'_>, stack: &mut Vec<Slot>) -> Result<()> {
        let slot = if op.code == op::MARK {
            let (object, inside) = (Span(self.next, op.end), Inside::NOTHING);
            self.next = op.end;
            Slot { object, trailing: 0, shared: false, inside, node: Node::Mark }
        } else {
            let node = atom(op)?;
            self.note(&node);
            self.slot(op, self.next, Inside::NOTHING, node)?
        };
        stack.push(slot);
        Ok(())
    }

    fn join(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, parts: Parts) -> Result<()> {
        let Parts { slot, first } = parts;
        let start = stack.get(slot).map_or(self.next, |slot| slot.object.0);
        let is_call = matches!(op.code, op::REDUCE | op::NEWOBJ | op::NEWOBJ_EX);
        let (inside, parts) = self.parts(stack, first + usize::from(is_call))?;
        let mut inside = inside.around();
        let node = match op.code {
            op::FROZENSET => Node::Value(Value::FrozenSet(parts)),
            op::STACK_GLOBAL => {
                inside = inside.flat();
                if let Some(named) = &mut self.named {
                    // The last two texts are these names.
                    named.texts.truncate(named.texts.len().saturating_sub(2));
                }
                let mut names = parts.iter().map(Value::as_str);
                let node = global(names.next().flatten(), names.next().flatten());
                self.note(&node);
                node
            }
            _ if is_call => match stack.pop() {
                Some(class) => {
                    inside = inside.and(class.inside.flat());
                    instance(op, class.node, parts)
                }
                None => Node::Opaque,
            },
            _ => Node::Value(Value::Tuple(parts)),
        };
        stack.truncate(slot);
        let made = self.slot(op, start, inside, node)?;
        stack.push(made);
        Ok(())
    }

    fn fill(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, parts: Parts) -> Result<()> {
        let Parts { slot, first } = parts;
        let (inside, items) = self.parts(stack, first)?;
        stack.truncate(slot + 1);
        let inside = inside.around().and(self.take_discarded());
        let top = stack.last_mut().filter(|top| !top.shared);
        let top = top.ok_or_else(|| malformed("an object is changed by a reference to it"))?;
        top.take_in(inside);
        top.object.1 = op.end;
        self.next = op.end;
        let added = match &mut top.node {
            Node::Value(value) => extend(value, op.code, items),
            Node::Instance(instance) => add(instance, op.code, items),
            Node::Mark | Node::Global(_) | Node::Opaque => false,
        };
        match (&top.node, &mut self.wanted) {
            _ if !added => top.node = Node::Opaque,
            (Node::Instance(instance), Some(found))
                if op.code == op::BUILD
                    && is_managers(instance.module.as_bytes())
                    && self.rereading.is_empty() =>
            {
                found.push((**instance).clone());
            }
            _ => {}
        }
        self.check_depth(top)
    }

    fn put(&mut self, op: Op<'_>, stack: &mut [Slot], _: Option<usize>) -> Result<()> {
        if let Some(top) = stack.last_mut() {
            top.object.1 = op.end;
        }
        self.next = op.end;
        Ok(())
    }

    fn get(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, _: usize) -> Result<Option<Span>> {
        let index = self.index()?;
        let fixup = index.fixups_in(Span(op.start, op.end)).first().map(|fixup| fixup.kind);
        let Some(FixupKind::Get(number)) = fixup else {
            return Err(malformed("a reference was not indexed"));
        };
        let open = index.open_referent(number, op.start);
        // What is wanted in a long one was found where it is.
        let found = |referent: Span| self.wanted.is_some() && referent.len() > SHORT;
        let written = match open {
            Some(_) => None,
            None => Some(index.referent(number, op.start)?).filter(|referent| !found(*referent)),
        };
        let Some(referent) = written else {
            let inside = Inside { depth: 0, open: open.unwrap_or(CLOSED) };
            let slot = self.slot(op, self.next, inside, Node::Opaque)?;
            stack.push(Slot { shared: true, ..slot });
            return Ok(None);
        };
        if self.rereading.len() >= self.limits.depth {
            return Err(Error::limit("nesting depth", self.limits.depth));
        }
        self.budget.spend(referent.len())?;
        let discarded = self.take_discarded();
        self.rereading.push((Span(self.next, op.end), discarded));
        self.next = referent.0;
        Ok(Some(referent))
    }

    fn reread(&mut self, stack: &mut [Slot]) {
        let (Some(top), Some((object, discarded))) = (stack.last_mut(), self.rereading.pop())
        else {
            return;
        };
        (top.object, top.shared, self.next) = (object, true, object.1);
        self.discarded = Inside::NOTHING;
        top.take_in(discarded);
    }

    fn discard(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, slot: usize) {
        if let Some(first) = stack.get(slot) {
            self.next = first.object.0;
        }
        let gone = stack.drain(slot.min(stack.len())..);
        // It is no container of the next object.
        let open = gone.map(|slot| slot.inside.open).fold(self.discarded.open, u32::min);
        self.discarded.open = open;
        match stack.last_mut() {
            Some(Slot { node: Node::Mark, .. }) | None => {}
            Some(before) => {
                before.trailing = op.end;
                if !matches!(before.node, Node::Value(_)) {
                    before.take_in(Inside { depth: 0, open });
                }
            }
        }
    }
}
