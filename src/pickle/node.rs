//! The objects that the decoder puts on the stack: values, and nodes that stay opaque.

use std::fmt;

use super::machine::{Op, Span};
use super::opcode::number;
use super::{dill, malformed, op};
use crate::error::Result;
use crate::value::Value;

/// An object of a class that means nothing here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instance {
    pub(crate) module: String,
    pub(crate) name: String,
    /// The arguments of the class or function; the last is the dict of keyword arguments, if there are any.
    pub(crate) args: Vec<Value>,
    /// Whether it is called itself, and not only its `__new__`.
    pub(crate) called: bool,
    /// The state that `BUILD` sets afterwards.
    pub(crate) state: Option<Value>,
    /// The list of items that are appended to it, or the dict of items that are set in it.
    pub(crate) items: Option<Value>,
}

impl fmt::Display for Instance {
    /// The call that makes the object. Attributes are shown as keyword arguments.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut args: Vec<String> = self.args.iter().map(Value::to_string).collect();
        args.extend(self.items.as_ref().map(Value::to_string));
        match &self.state {
            Some(Value::Dict(attributes)) => args.extend(attributes.iter().map(|(name, value)| {
                let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
                format!("{name}={value}")
            })),
            state => args.extend(state.as_ref().map(|state| format!("state={state}"))),
        }
        let module = if self.module == "builtins" { "" } else { &self.module };
        let dot = if module.is_empty() { "" } else { "." };
        write!(f, "{module}{dot}{}({})", self.name, args.join(", "))
    }
}

/// What an object is.
#[derive(Debug)]
pub(crate) enum Node {
    Mark,
    /// Plain data.
    Value(Value),
    /// A class or function, by its module and name.
    Global(Box<(String, String)>),
    Instance(Box<Instance>),
    /// Something else, or an object that holds itself.
    Opaque,
}

/// The modules and names of the classes and functions in a pickle, and its texts, in their order.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) globals: Vec<(String, String)>,
    pub(crate) texts: Vec<String>,
}

/// What an object's parts are, taken together.
#[derive(Clone, Copy)]
pub(super) struct Inside {
    /// How deep its containers nest.
    pub(super) depth: u32,
    /// Where the outermost object begins that is referred to before it is complete; [`CLOSED`] if none is.
    /// An object that does not hold all of that stays a part of one that does.
    pub(super) open: u32,
}

pub(super) const CLOSED: u32 = u32::MAX;

impl Inside {
    pub(super) const NOTHING: Self = Self { depth: 0, open: CLOSED };

    pub(super) fn and(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), open: self.open.min(other.open) }
    }

    /// Of an object that is made of these parts.
    pub(super) fn around(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    /// Of an object that is no container of these parts.
    pub(super) fn flat(self) -> Self {
        Self { depth: 0, ..self }
    }
}

pub(crate) struct Slot {
    pub(super) object: Span,
    /// Where its trailing bytes end, which may change it; 0 if it has none.
    pub(super) trailing: u32,
    /// Whether it is a reference to an object that is elsewhere too.
    pub(super) shared: bool,
    pub(super) inside: Inside,
    pub(super) node: Node,
}

impl Slot {
    /// Takes more parts in. An object that holds itself has no tree, and one that holds another which
    /// holds it is no object by itself.
    pub(super) fn take_in(&mut self, inside: Inside) {
        self.inside = self.inside.and(inside);
        if self.inside.open != CLOSED {
            self.node = Node::Opaque;
        }
        if self.inside.open >= self.object.0 {
            self.inside.open = CLOSED;
        }
    }
}

/// The object that an operation spells out.
pub(super) fn atom(op: Op<'_>) -> Result<Node> {
    let operand = op.operand;
    Ok(Node::Value(match op.code {
        op::NONE => Value::None,
        op::NEWTRUE | op::NEWFALSE => Value::Bool(op.code == op::NEWTRUE),
        // These are unsigned.
        op::BININT1 | op::BININT2 => Value::from(number(operand)),
        op::BININT | op::LONG1 | op::LONG4 => match int_from_le_bytes(operand) {
            Some(int) => Value::Int(int),
            None => return Ok(Node::Opaque),
        },
        op::BINFLOAT => {
            let bits = operand.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
            Value::Float(f64::from_bits(bits))
        }
        op::SHORT_BINUNICODE | op::BINUNICODE | op::BINUNICODE8 => {
            match std::str::from_utf8(operand) {
                Ok(text) => text.into(),
                // Lone surrogates, which Rust's text cannot hold.
                Err(_) => return Ok(Node::Opaque),
            }
        }
        op::SHORT_BINBYTES | op::BINBYTES | op::BINBYTES8 => Value::Bytes(operand.to_vec()),
        op::BYTEARRAY8 => Value::ByteArray(operand.to_vec()),
        op::EMPTY_LIST => Value::List(Vec::new()),
        op::EMPTY_TUPLE => Value::Tuple(Vec::new()),
        op::EMPTY_DICT => Value::Dict(Vec::new()),
        op::EMPTY_SET => Value::Set(Vec::new()),
        op::GLOBAL => {
            let mut lines = operand.split(|byte| *byte == b'\n');
            let mut line = || lines.next().and_then(|line| std::str::from_utf8(line).ok());
            return Ok(global(line(), line()));
        }
        code => return Err(malformed(format_args!("unexpected opcode {code:#04x}"))),
    }))
}

/// A class or function.
pub(super) fn global(module: Option<&str>, name: Option<&str>) -> Node {
    let names = module.zip(name).map(|(module, name)| (module.to_owned(), name.to_owned()));
    names.map_or(Node::Opaque, |names| Node::Global(Box::new(names)))
}

/// The object that a call makes.
pub(super) fn instance(op: Op<'_>, class: Node, parts: Vec<Value>) -> Node {
    let mut parts = parts.into_iter();
    let (Node::Global(names), Some(Value::Tuple(mut args))) = (class, parts.next()) else {
        return Node::Opaque;
    };
    args.extend(parts);
    let (module, name) = *names;
    let called = op.code == op::REDUCE;
    dill::node(Instance { module, name, args, called, state: None, items: None })
}

/// Adds items to plain data; `false` if the operation does not apply to it.
pub(super) fn extend(value: &mut Value, code: u8, items: Vec<Value>) -> bool {
    match value {
        Value::List(list) | Value::Set(list) if code != op::BUILD => list.extend(items),
        Value::Dict(dict) if code != op::BUILD => dict.extend(pairs(items)),
        _ => return false,
    }
    true
}

/// Adds state or items to an object; `false` if the operation does not apply to it.
pub(super) fn add(instance: &mut Instance, code: u8, items: Vec<Value>) -> bool {
    match (code, &mut instance.state, &mut instance.items) {
        (op::BUILD, state @ None, _) => *state = items.into_iter().next(),
        (op::APPEND | op::APPENDS, _, own @ None) => *own = Some(Value::List(items)),
        (op::APPEND | op::APPENDS, _, Some(Value::List(list))) => list.extend(items),
        (op::SETITEM | op::SETITEMS, _, own @ None) => *own = Some(Value::Dict(pairs(items))),
        (op::SETITEM | op::SETITEMS, _, Some(Value::Dict(dict))) => dict.extend(pairs(items)),
        _ => return false,
    }
    true
}

fn pairs(items: Vec<Value>) -> Vec<(Value, Value)> {
    let mut items = items.into_iter();
    std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()
}

/// An integer in two's complement, little-endian, of any length, if 128 bits are enough for it.
pub(crate) fn int_from_le_bytes(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.last().is_some_and(|last| *last >= 0x80) { 0xff } else { 0 };
    let (low, rest) = bytes.split_at(bytes.len().min(16));
    let mut int = [sign; 16];
    int.get_mut(..low.len())?.copy_from_slice(low);
    let int = i128::from_le_bytes(int);
    // What is beyond only repeats the sign.
    let fits = rest.iter().all(|byte| *byte == sign) && (int < 0) == (sign != 0);
    fits.then_some(int)
}

/// Plain data that older protocols write as a call.
pub(super) fn plain(instance: &Instance) -> Option<Value> {
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
