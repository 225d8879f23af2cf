//! What the guard knows of an object.

use super::forms::Name;
use super::refused;
use crate::error::Result;
use crate::pickle::machine::Span;

/// The number of a dict that is not followed.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Slot {
    Mark,
    /// Plain data, or a proxy: a part of a value, and nothing more.
    Data,
    None,
    /// An integer; -1 for those that may be no port.
    Int(i32),
    Str(Span),
    Bytes(Span),
    List,
    Set,
    /// A dict, by its number.
    Dict(u32),
    /// A tuple: where its elements are, and their number.
    Tuple(u32, u32),
    /// Such a tuple, of ASCII identifiers.
    Names(u32, u32),
    /// The arguments of `RebuildProxy`: where the four are. No value, for they name a class.
    ProxyArgs(u32),
    /// A token, by its number.
    Token(u32),
    /// A class or function that the guard knows. No value.
    Global(Name),
    /// A class or function that a pattern allows.
    Allowed,
    /// An object that such a class or function made.
    Instance,
}

/// How deep tuples may nest: `CPython` calls a function for each level when it hashes one, and its stack overflows.
pub(super) const MAX_DEPTH: u32 = 1000;

/// What it takes to hash a tuple. `CPython` visits an object that is in it twice, twice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) depth: u32,
    pub(super) objects: u32,
}

/// What is in a dict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Dict {
    Empty,
    /// Only `exposed`, a tuple of ASCII identifiers.
    Exposed,
    Other,
    /// Keywords of a proxy. They have been checked, so they must not change any more.
    Keywords,
}

/// Checks that all of these may be parts of a value.
pub(super) fn values(slots: &[Slot]) -> Result<()> {
    slots.iter().try_for_each(|slot| value(*slot))
}

/// Checks that an object may be a part of a value.
pub(super) fn value(slot: Slot) -> Result<()> {
    match slot {
        Slot::Global(name) => {
            Err(refused(format!("{name} is not called, but a value", name = name.shown())))
        }
        Slot::ProxyArgs(_) => Err(refused("the class of a proxy is a part of a value")),
        Slot::Mark => Err(refused("a mark is no value")),
        _ => Ok(()),
    }
}
