//! Floor 0: the Rust picture of a Python value.
//!
//! [`Value`] is what arguments, results and exceptions are made of. It holds plain data; anything
//! else Python can pickle stays shut in a [`Pickle`] and is handed on as it came.
//!
//! The parts: `bigint.rs` has integers beyond `i64`, `convert.rs` leads from Rust types to values
//! and back, `key.rs` finds equal ones among many (`path.rs` for paths, `numpy.rs` for `NumPy`'s
//! numbers), `nesting.rs` bounds what goes over values in values, `range.rs` writes a `range` out, and
//! `repr.rs` prints a value as Python would.

mod bigint;
mod convert;
mod key;
mod nesting;
mod numpy;
mod path;
mod range;
mod repr;

use std::collections::{HashMap, HashSet, TryReserveError};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

pub use bigint::BigInt;
pub(crate) use key::Key;
#[cfg(feature = "objects")]
pub(crate) use key::Needle;
pub(crate) use nesting::equal_at_once;
pub(crate) use range::Steps;
#[cfg(feature = "objects")]
pub(crate) use repr::Pair;
pub(crate) use repr::beginning;

/// A Python value.
///
/// Rust values become one with [`From`], and come back with [`TryFrom`], the items of a list one by one:
/// `Vec<Value>` is for any, and `Vec<u8>` for `bytes`. Equality is Python's `==`:
/// numbers compare by value, `bytes` equal `bytearray`, and sets and dicts have no order. Opaque ones are
/// equal if their classes are the same and what they are made from is equal.
/// Printing gives Python's `repr()`.
///
/// ```
/// use basemanager::Value;
///
/// let value = Value::from((1, "two", Some(3.0)));
/// assert_eq!(value.to_string(), "(1, 'two', 3.0)");
/// assert_eq!(Value::from(1), Value::from(true));
///
/// let number: u8 = Value::from(7).try_into()?;
/// assert_eq!(number, 7);
/// let (id, name): (u64, String) = Value::from((1, "one")).try_into()?;
/// let items: Vec<Value> = ["a", "b"].into_iter().collect::<Value>().try_into()?;
/// let words = items.into_iter().map(String::try_from).collect::<Result<Vec<_>, _>>()?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Value {
    /// `None`, and Rust's `()`.
    #[default]
    None,
    /// `bool`.
    Bool(bool),
    /// An `int` that fits an `i64`.
    Int(i64),
    /// Any other `int`.
    BigInt(BigInt),
    /// `float`.
    Float(f64),
    /// `str`. One with lone surrogates is not Unicode, and stays [`Opaque`](Self::Opaque).
    Str(String),
    /// `bytes`.
    Bytes(Vec<u8>),
    /// `bytearray`.
    ByteArray(Vec<u8>),
    /// `list`.
    List(Vec<Value>),
    /// `tuple`.
    Tuple(Vec<Value>),
    /// `dict`, in order of insertion. Its keys are taken to be distinct.
    Dict(Vec<(Value, Value)>),
    /// `set`. Its members are taken to be distinct.
    Set(Vec<Value>),
    /// `frozenset`. Its members are taken to be distinct.
    FrozenSet(Vec<Value>),
    /// Anything else, kept as it was pickled.
    Opaque(Pickle),
}

impl Value {
    /// Whether this is `None`.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The integer, if this is one that fits. As in Python, `True` is 1. One of `NumPy`'s is its number.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Bool(truth) => Some(i64::from(*truth)),
            Self::Int(int) => Some(*int),
            Self::Opaque(pickle) => numpy::number(pickle)?.as_i64(),
            _ => None,
        }
    }

    /// The text, if this is a `str`.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, if this is `bytes` or a `bytearray`.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) | Self::ByteArray(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Python's `bool(value)`. What is opaque counts as true, but for `NumPy`'s scalars.
    #[must_use]
    pub fn truthy(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(truth) => *truth,
            Self::Int(int) => *int != 0,
            Self::Float(float) => *float != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::Bytes(bytes) | Self::ByteArray(bytes) => !bytes.is_empty(),
            Self::List(items) | Self::Tuple(items) | Self::Set(items) | Self::FrozenSet(items) => {
                !items.is_empty()
            }
            Self::Dict(pairs) => !pairs.is_empty(),
            Self::BigInt(_) => true,
            Self::Opaque(pickle) => numpy::number(pickle).is_none_or(|number| number.truthy()),
        }
    }

    /// Python's name of the type, such as `int`. What is opaque is an `object`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::ByteArray(_) => "bytearray",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Set(_) => "set",
            Self::FrozenSet(_) => "frozenset",
            Self::Opaque(_) => "object",
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Bytes(a) | Self::ByteArray(a), Self::Bytes(b) | Self::ByteArray(b)) => a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Set(a) | Self::FrozenSet(a), Self::Set(b) | Self::FrozenSet(b)) => {
                a.len() == b.len() && is_subset(a, b)
            }
            (Self::Dict(a), Self::Dict(b)) => a.len() == b.len() && same_pairs(a, b),
            (Self::Opaque(a), Self::Opaque(b)) => a == b || Key::of(self) == Key::of(other),
            (Self::Opaque(pickle), plain) | (plain, Self::Opaque(pickle)) => {
                numpy::number(pickle).is_some_and(|number| number == *plain)
            }
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::BigInt(a), Self::BigInt(b)) => a == b,
            (Self::BigInt(int), Self::Float(float)) | (Self::Float(float), Self::BigInt(int)) => {
                int.eq_float(*float)
            }
            (Self::Float(float), int) | (int, Self::Float(float)) => {
                int.as_i64().is_some_and(|int| eq_float(int, *float))
            }
            _ => self.as_i64().is_some_and(|int| other.as_i64() == Some(int)),
        }
    }
}

/// Compares exactly, as Python does: `2**53 + 1 != 2.0**53`, though they are equal as floats.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn eq_float(int: i64, float: f64) -> bool {
    int as f64 == float && i128::from(int) == float as i128
}

/// Whether each of some distinct members is among others, in any order.
pub(crate) fn is_subset(members: &[Value], of: &[Value]) -> bool {
    // The same in the same order is common, and quick to tell.
    let equal = |(a, b)| equal_at_once(a, b) == Some(true);
    if members.len() <= of.len() && members.iter().zip(of).all(equal) {
        return true;
    }
    let mut left: HashSet<Key> = of.iter().map(Key::of).collect();
    members.iter().all(|member| left.remove(&Key::of(member)))
}

/// Whether each of some keys has the same value among others, in any order.
fn same_pairs(pairs: &[(Value, Value)], others: &[(Value, Value)]) -> bool {
    let mut left: HashMap<Key, &Value> =
        others.iter().map(|(key, value)| (Key::of(key), value)).collect();
    pairs.iter().all(|(key, value)| left.remove(&Key::of(key)) == Some(value))
}

/// One pickled Python object, kept unopened.
///
/// It holds the object's opcodes alone, without `FRAME` and `STOP`, and `PROTO` only around a name that
/// protocol 2 or older wrote. It refers to nothing outside itself, and numbers its memo from 0 in the
/// order of its `MEMOIZE`s.
///
/// A queue is made of these, so they are small: what fits 21 bytes (an integer, a short string)
/// is held in place and costs no allocation. Two are equal when their bytes are.
#[derive(Clone)]
pub struct Pickle(Repr);

const _: () = assert!(size_of::<Pickle>() == 24);

/// The memo's size is kept along, for it tells by how much the next object's numbers shift.
#[derive(Clone)]
enum Repr {
    Inline {
        len: u8,
        memo: u8,
        bytes: [u8; 21],
    },
    /// A part of memory that may be shared: with clones, and with the rest of a message.
    Heap {
        memo: u32,
        whole: Arc<Vec<u8>>,
        from: u32,
        /// `u32::MAX` is the end, wherever that is.
        to: u32,
    },
}

impl Pickle {
    #[cfg(test)]
    pub(crate) fn new(ops: &[u8], memo: u32) -> Self {
        Self::from_vec(ops.to_vec(), memo)
    }

    /// Copies opcodes that memoize `memo` objects.
    ///
    /// # Errors
    /// If memory is too short.
    pub(crate) fn copy(ops: &[u8], memo: u32) -> Result<Self, TryReserveError> {
        if let Some(inline) = Repr::inline(ops, memo) {
            return Ok(Self(inline));
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(ops.len())?;
        copy.extend_from_slice(ops);
        Ok(Self(Repr::heap(copy, memo)))
    }

    /// Keeps opcodes that memoize `memo` objects.
    pub(crate) fn from_vec(mut ops: Vec<u8>, memo: u32) -> Self {
        Self(Repr::inline(&ops, memo).unwrap_or_else(|| {
            ops.shrink_to_fit();
            Repr::heap(ops, memo)
        }))
    }

    /// The same of opcodes that are a part of a message, which is kept with it.
    pub(crate) fn part_of(whole: &Arc<Vec<u8>>, part: Range<u32>, memo: u32) -> Self {
        Self(Repr::Heap { memo, whole: whole.clone(), from: part.start, to: part.end })
    }

    /// The opcodes.
    pub(crate) fn ops(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes, .. } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Heap { whole, from, to: u32::MAX, .. } => {
                whole.get(*from as usize..).unwrap_or_default()
            }
            Repr::Heap { whole, from, to, .. } => {
                whole.get(*from as usize..*to as usize).unwrap_or_default()
            }
        }
    }

    /// How many memo entries the opcodes make.
    pub(crate) fn memo(&self) -> u32 {
        match self.0 {
            Repr::Inline { memo, .. } => u32::from(memo),
            Repr::Heap { memo, .. } => memo,
        }
    }

    /// The memory that it is kept in, if nobody else uses that.
    pub(crate) fn into_memory(self) -> Option<Vec<u8>> {
        match self.0 {
            Repr::Inline { .. } => None,
            Repr::Heap { whole, .. } => Arc::into_inner(whole),
        }
    }

    /// The size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops().len()
    }

    /// Whether there are no bytes; a pickled object has at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Repr {
    fn heap(ops: Vec<u8>, memo: u32) -> Self {
        let to = u32::try_from(ops.len()).unwrap_or(u32::MAX);
        Self::Heap { memo, whole: Arc::new(ops), from: 0, to }
    }

    fn inline(ops: &[u8], memo: u32) -> Option<Self> {
        let mut bytes = [0; 21];
        bytes.get_mut(..ops.len())?.copy_from_slice(ops);
        Some(Self::Inline { len: ops.len().try_into().ok()?, memo: memo.try_into().ok()?, bytes })
    }
}

impl PartialEq for Pickle {
    fn eq(&self, other: &Self) -> bool {
        self.ops() == other.ops()
    }
}

impl Eq for Pickle {}

impl Hash for Pickle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ops().hash(state);
    }
}

impl fmt::Debug for Pickle {
    /// The size and the first bytes: what passes through may be long, and not for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, more) = self.ops().split_at_checked(16).unwrap_or((self.ops(), &[]));
        let dots = if more.is_empty() { "" } else { "…" };
        write!(f, "Pickle({} bytes: {}{dots})", self.len(), start.escape_ascii())
    }
}

#[cfg(test)]
mod tests;
