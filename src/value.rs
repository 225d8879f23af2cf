//! The Rust picture of a Python value.
//!
//! [`Value`] is what arguments, results and exceptions are made of. It holds plain data; anything
//! else Python can pickle stays shut in a [`Pickle`] and is handed on as it came.
//!
//! The parts: `bigint.rs` has integers beyond `i64`, `convert.rs` leads from Rust types to values
//! and back, `key.rs` finds equal ones among many (`path.rs` for paths, `numpy.rs` for `NumPy`'s
//! numbers), `nesting.rs` bounds what goes over values in values, `range.rs` writes a `range` out, and
//! `repr.rs` prints a value as Python would.

mod args;
mod bigint;
mod convert;
mod key;
mod nesting;
mod numpy;
mod path;
mod range;
mod repr;

use std::collections::{HashMap, HashSet};

use crate::pickle::Pickle;
pub use args::{Args, IntoArgs};
pub use bigint::BigInt;
pub use convert::{FromValue, IntoValue};
pub(crate) use key::Key;
use nesting::in_same_order;
pub(crate) use range::Steps;
#[cfg(feature = "sync")]
pub(crate) use repr::Pair;
pub(crate) use repr::beginning;

/// A Python value.
///
/// [`From`] converts Rust values, [`Value::to`] converts back. `Vec<u8>` is `bytes`, any other `Vec` a `list`. Equality is Python's `==`:
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
/// let number: u8 = Value::from(7).to()?;
/// assert_eq!(number, 7);
/// let (id, words): (u64, Vec<String>) = Value::from((1, ["a", "b"])).to()?;
/// assert_eq!(words, ["a", "b"]);
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
    if members.len() <= of.len() && members.iter().zip(of).all(|(a, b)| in_same_order(a, b)) {
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

#[cfg(test)]
mod tests;
