//! Opens one object: plain data becomes a tree of [`Value`]s, everything else an opaque node in it.
//!
//! A class or function is only a name here, a `REDUCE` or `BUILD` only a note of what Python would do.
//! The handful of calls by which older protocols spell plain data (`bytearray(b'..')`, `set([..])`,
//! `_codecs.encode(..)`) are recognised by name and become that data.
//!
//! Sharing is not kept: an object that is referred to twice is decoded twice, within the message's
//! [`Budget`](crate::limits::Budget), so that a small pickle cannot become a huge tree. An object that
//! holds itself has no tree: it stays opaque, and what is between it and itself is a part of it.

mod dill;
mod stack;

use super::expansion::VALUE;
use super::reader::{Reader, number};
use super::scan::{Edit, EditKind, Range, Scan, index};
use super::{malformed, op};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::value::{Pickle, Value};
pub(crate) use stack::Node;
use stack::{CLOSED, Inside, Slot, Stack};

/// An object of a class that means nothing here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instance {
    pub(crate) module: String,
    pub(crate) name: String,
    /// What the class, or function, is called with; last the dict of keyword arguments, if it has any.
    pub(crate) args: Vec<Value>,
    /// Whether it is called itself, and not only its `__new__`.
    pub(crate) called: bool,
    /// What `BUILD` gives it afterwards.
    pub(crate) state: Option<Value>,
    /// The list of what is appended to it, or the dict of what is set in it.
    pub(crate) items: Option<Value>,
}

type IsModule = fn(&[u8]) -> bool;

struct Decoder<'a> {
    scan: &'a Scan,
    bytes: &'a [u8],
    limits: &'a Limits,
    /// Collects the objects, however deep, whose class is of such a module.
    wanted: Option<(IsModule, Vec<Instance>)>,
    /// Collects the names of classes and functions, and the texts.
    named: Option<Named>,
}

/// The modules and names of the classes and functions in a pickle, and its texts, in their order.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) globals: Vec<(String, String)>,
    pub(crate) texts: Vec<String>,
}

/// An object that is being read.
struct Reading<'a> {
    object: Range,
    from: Reader<'a>,
    /// The references in it that are still to come, and more.
    edits: std::slice::Iter<'a, Edit>,
    stack: Stack,
}

impl Scan {
    /// Decodes one object of `bytes`, the message that was scanned.
    pub(crate) fn decode(&self, bytes: &[u8], object: Range, limits: &Limits) -> Result<Value> {
        let mut decoder = self.decoder(bytes, limits);
        self.budget.attempt(|| {
            let slot = decoder.run(object)?;
            if slot.inside.open != CLOSED {
                return Err(malformed("an object refers to one that holds it"));
            }
            decoder.value(slot, object.1)
        })
    }

    fn decoder<'a>(&'a self, bytes: &'a [u8], limits: &'a Limits) -> Decoder<'a> {
        Decoder { scan: self, bytes, limits, wanted: None, named: None }
    }
}

impl Pickle {
    /// The class, arguments and state of an object, if this is one.
    pub(crate) fn instance(&self, limits: &Limits) -> Option<Instance> {
        match self.node(limits)? {
            Node::Instance(instance) => Some(*instance),
            _ => None,
        }
    }

    /// The module and name of a class or function, if this is one.
    pub(crate) fn global(&self) -> Option<(String, String)> {
        match self.node(&Limits::default())? {
            Node::Global(names) => Some(*names),
            _ => None,
        }
    }

    /// The classes, functions and texts in it, as far as it can be read within the limits.
    pub(crate) fn named(&self, limits: &Limits) -> Named {
        let Ok((scan, all)) = self.scan(limits) else { return Named::default() };
        let mut decoder = scan.decoder(self.ops(), limits);
        decoder.named = Some(Named::default());
        // What was read before a limit is of use, too.
        let _ = decoder.run(all);
        decoder.named.unwrap_or_default()
    }

    /// What an object is made of, if it can be read within the limits.
    pub(crate) fn node(&self, limits: &Limits) -> Option<Node> {
        let (scan, all) = self.scan(limits).ok()?;
        Some(scan.decoder(self.ops(), limits).run(all).ok()?.node)
    }

    /// The objects that have state, however deep in it, whose class is of such a module: each once.
    pub(crate) fn instances_of(&self, module: IsModule) -> Vec<Instance> {
        let limits = Limits::default();
        let scanned = self.scan(&Limits::NONE.expansion(limits.expansion));
        let Ok((scan, all)) = scanned else { return Vec::new() };
        let mut decoder = scan.decoder(self.ops(), &limits);
        decoder.wanted = Some((module, Vec::new()));
        let found = decoder.run(all).ok().and(decoder.wanted);
        found.map(|(_, found)| found).unwrap_or_default()
    }
}

impl<'a> Decoder<'a> {
    fn spend(&self, bytes: usize) -> Result<()> {
        self.scan.budget.spend(bytes)
    }

    /// Reads an object, and what it refers to. Not by recursion: a connection's thread has a small
    /// stack.
    fn run(&mut self, object: Range) -> Result<Slot> {
        self.scan.budget.check(self.scan.written_out(object))?;
        let mut waiting: Vec<Reading<'a>> = Vec::new();
        let mut reading = self.begin(object)?;
        loop {
            if let Some(referent) = self.read(&mut reading)? {
                if waiting.len() >= self.limits.depth {
                    return Err(self.too_deep());
                }
                waiting.push(std::mem::replace(&mut reading, self.begin(referent)?));
                continue;
            }
            let slot = reading.stack.slots.pop().ok_or_else(|| malformed("it has no object"))?;
            let Some(referring) = waiting.pop() else { return Ok(slot) };
            reading = referring;
            reading.stack.push_referent(slot);
            self.advance(&mut reading)?;
        }
    }

    fn begin(&mut self, object: Range) -> Result<Reading<'a>> {
        self.spend(object.len())?;
        let from = Reader { bytes: object.of(self.bytes), at: 0 };
        let edits = self.scan.edits.get(self.scan.edits_before(object.0)..).unwrap_or_default();
        Ok(Reading { object, from, edits: edits.iter(), stack: Stack::new(object.0) })
    }

    /// Goes on from where the reader is: the operation before it is done.
    fn advance(&mut self, reading: &mut Reading<'a>) -> Result<()> {
        let stack = &mut reading.stack;
        stack.end = reading.object.0 + index(reading.from.at);
        self.spend(VALUE * std::mem::take(&mut stack.made))?;
        if stack.slots.last().is_some_and(|slot| slot.inside.depth as usize > self.limits.depth) {
            return Err(self.too_deep());
        }
        Ok(())
    }

    /// Reads up to the end, or up to a reference, and gives what that means.
    fn read(&mut self, reading: &mut Reading<'a>) -> Result<Option<Range>> {
        while reading.from.at < reading.from.bytes.len() {
            let Reading { object, from, edits, stack } = reading;
            let here = object.0 + index(from.at);
            let code = from.byte()?;
            let operand = from.operand(code)?;
            match code {
                op::NONE => stack.push(Value::None),
                op::NEWTRUE | op::NEWFALSE => stack.push(Value::Bool(code == op::NEWTRUE)),
                op::BININT1 | op::BININT2 => {
                    stack.push(Value::Int(i64::try_from(number(operand)).unwrap_or_default()));
                }
                op::BININT => stack.push(Value::from_le_bytes(operand)),
                op::LONG1 | op::LONG4 => stack.push(self.long(operand)?),
                op::BINFLOAT => {
                    let bits = operand.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
                    stack.push(Value::Float(f64::from_bits(bits)));
                }
                op::SHORT_BINUNICODE | op::BINUNICODE | op::BINUNICODE8 => {
                    // Lone surrogates, which Rust's text cannot hold, stay opaque.
                    let text = std::str::from_utf8(operand).ok();
                    if let Some((named, text)) = self.named.as_mut().zip(text) {
                        named.texts.push(text.to_owned());
                    }
                    let node = text.map_or(Node::Opaque, |text| Node::Value(text.into()));
                    stack.put(stack.end, Inside::NOTHING, node);
                }
                op::SHORT_BINBYTES | op::BINBYTES | op::BINBYTES8 => {
                    stack.push(Value::Bytes(operand.to_vec()));
                }
                op::BYTEARRAY8 => stack.push(Value::ByteArray(operand.to_vec())),
                op::EMPTY_LIST => stack.push(Value::List(Vec::new())),
                op::EMPTY_TUPLE => stack.push(Value::Tuple(Vec::new())),
                op::EMPTY_DICT => stack.push(Value::Dict(Vec::new())),
                op::EMPTY_SET => stack.push(Value::Set(Vec::new())),
                op::GLOBAL => {
                    let lines = operand.split(|byte| *byte == b'\n');
                    let mut lines = lines.map(|line| std::str::from_utf8(line).ok());
                    let (module, name) = (lines.next().flatten(), lines.next().flatten());
                    self.note_global(module, name);
                    stack.push_global(stack.end, Inside::NOTHING, module, name);
                }
                op::MARK => stack.marks.push((stack.slots.len(), stack.end)),
                op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                    let (start, inside, items) =
                        self.pop(stack, usize::from(code - op::TUPLE1) + 1)?;
                    stack.put(start, inside.around(), Node::Value(Value::Tuple(items)));
                }
                op::TUPLE | op::FROZENSET => {
                    let (start, inside, items) = self.pop_mark(stack)?;
                    let shape = if code == op::TUPLE { Value::Tuple } else { Value::FrozenSet };
                    stack.put(start, inside.around(), Node::Value(shape(items)));
                }
                op::APPEND | op::SETITEM => {
                    let count = if code == op::APPEND { 1 } else { 2 };
                    let (_, inside, items) = self.pop(stack, count)?;
                    stack.fill(code, inside, items)?;
                }
                op::APPENDS | op::SETITEMS | op::ADDITEMS => {
                    let (_, inside, items) = self.pop_mark(stack)?;
                    stack.fill(code, inside, items)?;
                }
                op::STACK_GLOBAL => {
                    let (start, inside, names) = self.pop(stack, 2)?;
                    let mut names = names.iter().map(Value::as_str);
                    let (module, name) = (names.next().flatten(), names.next().flatten());
                    if let Some(named) = &mut self.named {
                        // The names were the last texts.
                        for part in [name, module].into_iter().flatten() {
                            named.texts.pop_if(|text| text == part);
                        }
                    }
                    self.note_global(module, name);
                    stack.push_global(start, Inside { depth: 0, ..inside }, module, name);
                }
                op::REDUCE | op::NEWOBJ | op::NEWOBJ_EX => {
                    let count = if code == op::NEWOBJ_EX { 2 } else { 1 };
                    let (_, inside, args) = self.pop(stack, count)?;
                    let class = stack.slots.pop().ok_or_else(|| malformed("a class is missing"))?;
                    let mut args = args.into_iter();
                    let node = match (class.node, args.next()) {
                        (Node::Global(names), Some(Value::Tuple(mut positional))) => {
                            let (module, name) = *names;
                            positional.extend(args);
                            let args = positional;
                            let called = code == op::REDUCE;
                            let (state, items) = (None, None);
                            let made = Instance { module, name, args, called, state, items };
                            dill::node(made)
                        }
                        _ => Node::Opaque,
                    };
                    let inside = inside.around().and(Inside { depth: 0, ..class.inside });
                    stack.put(class.start, inside, node);
                }
                op::BUILD => {
                    let (_, inside, state) = self.pop(stack, 1)?;
                    let top = stack.own_top(inside)?;
                    match &mut top.node {
                        Node::Instance(instance) if instance.state.is_none() => {
                            instance.state = state.into_iter().next();
                            if let Some((module, found)) = &mut self.wanted
                                && module(instance.module.as_bytes())
                                // Not where a reference leads to it again.
                                && object.1 as usize == self.bytes.len()
                            {
                                found.push((**instance).clone());
                            }
                        }
                        node => *node = Node::Opaque,
                    }
                }
                op::POP | op::POP_MARK => {
                    stack.discard(code == op::POP_MARK, object.0 + index(from.at));
                    continue;
                }
                op::MEMOIZE | op::BINPUT | op::LONG_BINPUT => {}
                // They are a part of the next object.
                op::PROTO | op::FRAME => continue,
                op::BINGET | op::LONG_BINGET => {
                    let edit = edits.find(|edit| edit.at == here).map(|edit| edit.kind);
                    let Some(EditKind::Get(number)) = edit else {
                        return Err(malformed("a reference was not scanned"));
                    };
                    match self.scan.open_referent(number, here) {
                        Some(open) => stack.push_open(open),
                        None => return self.scan.referent(number, here).map(Some),
                    }
                }
                _ => return Err(malformed(format_args!("unexpected opcode {code:#04x}"))),
            }
            self.advance(reading)?;
        }
        Ok(None)
    }

    fn note_global(&mut self, module: Option<&str>, name: Option<&str>) {
        if let Some((named, (module, name))) = self.named.as_mut().zip(module.zip(name)) {
            named.globals.push((module.to_owned(), name.to_owned()));
        }
    }

    fn too_deep(&self) -> Error {
        Error::Limit("nesting depth", self.limits.depth as u64)
    }

    fn long(&self, bytes: &[u8]) -> Result<Value> {
        // A decimal digit holds a little over 3.32 bits. What fills its bytes badly has two to spare.
        let most = (self.limits.digits as u64).saturating_mul(10) / 3 + 16;
        if bytes.len() as u64 * 8 > most {
            return Err(Error::Limit("integer digits", self.limits.digits as u64));
        }
        Ok(Value::from_le_bytes(bytes))
    }

    /// The last `count` objects: where they begin, what is inside them, and their values.
    fn pop(&mut self, stack: &mut Stack, count: usize) -> Result<(u32, Inside, Vec<Value>)> {
        let first = stack.slots.len().checked_sub(count);
        self.pop_from(stack, first.ok_or_else(|| malformed("its stack has too few objects"))?)
    }

    fn pop_mark(&mut self, stack: &mut Stack) -> Result<(u32, Inside, Vec<Value>)> {
        let (slot, start) = stack.marks.pop().ok_or_else(|| malformed("a mark is missing"))?;
        let (_, inside, values) = self.pop_from(stack, slot)?;
        Ok((start, inside, values))
    }

    fn pop_from(&mut self, stack: &mut Stack, first: usize) -> Result<(u32, Inside, Vec<Value>)> {
        let mut values = Vec::with_capacity(stack.slots.len().saturating_sub(first));
        let start = stack.slots.get(first).map_or(stack.end, |slot| slot.start);
        let mut inside = Inside::NOTHING;
        let mut slots = stack.slots.drain(first.min(stack.slots.len())..).peekable();
        while let Some(slot) = slots.next() {
            inside = inside.and(slot.inside);
            let end = slots.peek().map_or(stack.end, |next| next.start);
            // What is open has no value: nor will what it is put into.
            let open = slot.inside.open != CLOSED;
            values.push(if open { Value::None } else { self.value(slot, end)? });
        }
        Ok((start, inside, values))
    }

    /// What a slot that ends at `end` holds, as a value.
    fn value(&mut self, slot: Slot, end: u32) -> Result<Value> {
        let object = Range(slot.start, end.max(slot.tail));
        match slot.node {
            Node::Value(value) => return Ok(value),
            Node::Instance(instance) if slot.tail == 0 => {
                if let Some(value) = plain(&instance) {
                    return Ok(value);
                }
            }
            Node::Instance(_) | Node::Global(..) | Node::Opaque => {}
        }
        self.spend(object.len())?;
        Ok(Value::Opaque(self.scan.cut(self.bytes, object, self.limits)?))
    }
}

/// Plain data that older protocols write as a call.
fn plain(instance: &Instance) -> Option<Value> {
    let Instance { module, name, args, called: true, state: None, items: None } = instance else {
        return None;
    };
    let module = if module == "__builtin__" { "builtins" } else { module };
    match (module, name.as_str(), args.as_slice()) {
        ("builtins", "bytes", []) => Some(Value::Bytes(Vec::new())),
        ("builtins", "bytearray", []) => Some(Value::ByteArray(Vec::new())),
        ("builtins", "bytearray", [Value::Bytes(bytes)]) => Some(Value::ByteArray(bytes.clone())),
        ("builtins", "bytearray", [Value::Str(text), Value::Str(codec)]) if codec == "latin-1" => {
            latin1(text).map(Value::ByteArray)
        }
        ("builtins", "set", [Value::List(items)]) => Some(Value::Set(items.clone())),
        ("builtins", "frozenset", [Value::List(items)]) => Some(Value::FrozenSet(items.clone())),
        ("_codecs", "encode", [Value::Str(text), Value::Str(codec)]) if codec == "latin1" => {
            latin1(text).map(Value::Bytes)
        }
        _ => None,
    }
}

fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}
