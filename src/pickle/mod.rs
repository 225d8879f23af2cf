//! Pickles, as data.
//!
//! A pickle is a program for a small stack machine, whose operations `opcode.rs` lists. This module never runs
//! it as Python does: nothing is imported, looked up or called. What it does with the bytes:
//!
//! ```text
//!  machine   reads the operations and keeps the stack; what is on the stack is up to a builder
//!  index     bytes -> where each object begins and ends, what each memo reference means   (one pass)
//!  extract   one object's bytes out of a message, made self-contained                     -> Pickle
//!  decode    a pickle -> the tree of plain values in it, the rest opaque                  -> Value
//!  encode    Value, Pickle -> bytes
//! ```
//! A queue only indexes and extracts: its items cross the manager unopened.

mod class;
mod containers;
mod decode;
mod dill;
mod encode;
mod extract;
mod index;
pub(crate) mod machine;
mod node;
pub(crate) mod opcode;
pub(crate) mod proxy;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;

pub(crate) use containers::Kind;
pub(crate) use encode::Writer;
pub(crate) use index::Index;
pub(crate) use machine::Span;
#[cfg(feature = "sync")]
pub(crate) use node::Node;
pub(crate) use node::{Instance, int_from_le_bytes};
use opcode as op;

use std::collections::TryReserveError;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::limits::{Budget, Limits};
use crate::value::{FromValue, Value};

/// Whether proxies and tokens come from a module: Python's, or that of one of two libraries that copy it.
#[inline]
pub(crate) fn is_managers(module: &[u8]) -> bool {
    // By length, for it is asked of every string.
    match module.len() {
        24 => module == b"multiprocessing.managers",
        21 => module == b"multiprocess.managers",
        17 => module == b"billiard.managers",
        _ => false,
    }
}

/// The newest protocol that is understood.
const HIGHEST_PROTOCOL: u8 = 5;
/// The newest protocol whose names are those of Python 2, which Python 3 translates.
const OLD_NAMES: u8 = 2;

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

    /// The buffer that holds it, unless another pickle shares it.
    pub(crate) fn into_buffer(self) -> Option<Vec<u8>> {
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

impl Pickle {
    /// Takes a whole pickle, protocol 2 to 5, without opening it.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is not one, [`Error::Limit`] if it passes a limit.
    pub fn from_bytes(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let mut index = Index::default();
        let root = index.message(bytes, limits)?;
        index.extract(bytes, None, root, &Budget::new(bytes.len(), limits), limits)
    }

    /// A whole pickle, as `pickle.loads` takes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&[op::PROTO, HIGHEST_PROTOCOL], self.ops(), &[op::STOP]].concat()
    }

    /// Opens it: plain data becomes a tree of values, and every object that is not plain data an
    /// opaque node in it.
    ///
    /// # Errors
    /// [`Error::Limit`] if it nests too deep, an integer has too many digits, or the tree takes too much
    /// memory ([`Limits::expansion`]); [`Error::Protocol`] if it is malformed. What holds itself has no
    /// tree: it is an opaque node.
    pub fn decode(&self, limits: &Limits) -> Result<Value> {
        self.decode_within(&Budget::new(self.len(), limits), limits)
    }

    /// Opens it as a Rust type.
    ///
    /// # Errors
    /// [`Error::Conversion`] if it is not of that type; else as [`Pickle::decode`].
    pub fn to<T: FromValue>(&self) -> Result<T> {
        self.decode(&Limits::default())?.to()
    }

    /// Python's `None`.
    pub(crate) const fn none() -> Self {
        let mut bytes = [0; 21];
        bytes[0] = op::NONE;
        Self(Repr::Inline { len: 1, memo: 0, bytes })
    }

    /// Opens it like [`Pickle::decode`], or stays an opaque node as a whole where that fails: nothing
    /// is lost.
    #[must_use]
    pub fn into_value(self, limits: &Limits) -> Value {
        self.decode(limits).unwrap_or(Value::Opaque(self))
    }

    /// Pickles a value.
    ///
    /// # Errors
    /// [`Error::Conversion`] if the value is larger than 4 GiB − 1, or nests deeper, than any message may.
    pub fn encode(value: &Value) -> Result<Self> {
        Writer::encode(value)
    }
}

fn malformed(what: impl std::fmt::Display) -> Error {
    Error::protocol(format!("malformed pickle: {what}"))
}
