//! The Rust picture of a Python value.
//!
//! [`Value`] is what arguments, results and exceptions are made of. It holds plain data; anything
//! else Python can pickle stays shut in a [`Pickle`] and is handed on as it came.
//!
//! The parts: `args.rs` has the arguments of a call, `convert.rs` leads from Rust types to values and back,
//! `numpy.rs` reads `NumPy`'s numbers, `nesting.rs` bounds the depth of a value, `range.rs` counts through a
//! `range`, and `repr.rs` prints a value as Python would.

mod args;
mod convert;
mod nesting;
mod numpy;
mod range;
mod repr;

use crate::pickle::Pickle;
pub use args::{Args, IntoArgs};
pub use convert::{FromValue, IntoValue};
pub(crate) use range::range;
pub(crate) use repr::beginning;
#[cfg(feature = "sync")]
pub(crate) use repr::{Pair, write_items};

/// A Python value.
///
/// [`From`] converts Rust values, [`Value::to`] converts back. `Vec<u8>` is `bytes`, any other `Vec` a `list`.
/// Equality is structural: the same variant with equal parts in the same order. Printing gives Python's `repr()`.
///
/// ```
/// use basemanager::Value;
///
/// let value = Value::from((1, "two", Some(3.0)));
/// assert_eq!(value.to_string(), "(1, 'two', 3.0)");
///
/// let number: u8 = Value::from(7).to()?;
/// assert_eq!(number, 7);
/// let (id, words): (u64, Vec<String>) = Value::from((1, ["a", "b"])).to()?;
/// assert_eq!(words, ["a", "b"]);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `None`, and Rust's `()`.
    #[default]
    None,
    /// `bool`.
    Bool(bool),
    /// `int`. One that needs more than 128 bits stays [`Opaque`](Self::Opaque).
    Int(i128),
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
            Self::Int(int) => i64::try_from(*int).ok(),
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
            Self::Opaque(pickle) => numpy::number(pickle).is_none_or(|number| number.truthy()),
        }
    }

    /// Python's name of the type, such as `int`. What is opaque is an `object`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
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

#[cfg(test)]
mod tests;
