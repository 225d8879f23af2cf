//! What two sets make together.

use std::collections::HashSet;

use super::ordered::{Entry, Ordered, PLACE};
use super::{args, iterate};
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::{Element, Held};
use crate::pickle::Pickle;
use crate::value::{Key, Value};

pub(super) const ROLE: &str = "set element";

pub(super) type Members = Ordered<()>;

/// How two sets become one.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Union,
    Intersection,
    Difference,
    SymmetricDifference,
}

impl Operation {
    /// The operation that a method carries out.
    pub(super) fn of(method: &str) -> Option<Self> {
        Some(match method {
            "__ior__" | "__or__" | "__ror__" | "union" | "update" => Self::Union,
            "__and__" | "__iand__" | "__rand__" | "intersection" | "intersection_update" => {
                Self::Intersection
            }
            "__isub__" | "__rsub__" | "__sub__" | "difference" | "difference_update" => {
                Self::Difference
            }
            "__ixor__"
            | "__rxor__"
            | "__xor__"
            | "symmetric_difference"
            | "symmetric_difference_update" => Self::SymmetricDifference,
            _ => return None,
        })
    }
}

/// Another set, or what can be one: an operand, or an argument.
pub(super) struct Other {
    pub(super) members: Vec<(Key, Element)>,
    /// Whether Python takes it for a set.
    is_set: bool,
    /// Whether it is a frozenset: what it makes with another, as the first of the two, is one too.
    pub(super) is_frozen: bool,
    /// What ended it early: an item that is not hashable.
    pub(super) failed: Option<Exception>,
}

impl Other {
    pub(super) fn new(call: &Call<'_>, arg: &Pickle) -> Result<Self, Exception> {
        Self::of(call, call.element(arg).data)
    }

    fn of(call: &Call<'_>, value: Value) -> Result<Self, Exception> {
        let is_frozen = matches!(value, Value::FrozenSet(_));
        let is_set = is_frozen || matches!(value, Value::Set(_));
        let mut other = Self { members: Vec::new(), is_set, is_frozen, failed: None };
        let Held { data, references: _until_held } = iterate::items(call, value, PLACE)?;
        for item in data {
            match Key::new(&item, ROLE) {
                Ok(key) => other.members.push((key, call.hold(item)?)),
                Err(error) => {
                    other.failed = Some(error);
                    break;
                }
            }
        }
        Ok(other)
    }

    /// The operand of an operator; `None` if it is no set.
    pub(super) fn operand(call: &Call<'_>) -> Result<Option<Self>, Exception> {
        let [other] = args::special(call)?;
        let other = call.value(other)?;
        let is_set = matches!(other, Value::Set(_) | Value::FrozenSet(_));
        is_set.then(|| Self::of(call, other)?.unless_failed()).transpose()
    }

    /// All of it, or nothing.
    pub(super) fn whole(call: &Call<'_>, arg: &Pickle) -> Result<Self, Exception> {
        Self::new(call, arg)?.unless_failed()
    }

    /// As much of it as tells which of `members` it has: since Python 3.12 `issubset` reads no
    /// further than to the last of them.
    pub(super) fn until_all_of(self, members: &Members) -> Result<Self, Exception> {
        let found = self.members.iter().map(|(key, _)| key).filter(|key| members.contains(key));
        let all = found.collect::<HashSet<_>>().len() == members.len();
        if all && !self.members.is_empty() {
            return Ok(Self { failed: None, ..self });
        }
        self.unless_failed()
    }

    fn unless_failed(self) -> Result<Self, Exception> {
        self.failed.map_or(Ok(Self { failed: None, ..self }), Err)
    }

    pub(super) fn into_set(self) -> Members {
        let mut set = Members::default();
        apply(Operation::Union, &mut set, self);
        set
    }
}

impl From<Members> for Other {
    fn from(members: Members) -> Self {
        let members = members.into_iter().map(|entry| (entry.key, entry.name)).collect();
        Self { members, is_set: true, is_frozen: false, failed: None }
    }
}

/// Changes a set; returns what is left over, to be dropped when no lock is held. Of two equal members the one stays that stays in `CPython`.
pub(super) fn apply(operation: Operation, set: &mut Members, other: Other) -> Vec<Element> {
    let mut left_over = Vec::new();
    match operation {
        Operation::Union => {
            for (key, name) in other.members {
                left_over.extend(set.insert(key, name, ()).map(|(name, ())| name));
            }
        }
        Operation::Difference => {
            let gone = other.members.iter().filter_map(|(key, _)| set.remove(key));
            left_over.extend(gone.map(|entry| entry.name));
            left_over.extend(other.members.into_iter().map(|(_, name)| name));
        }
        Operation::SymmetricDifference => {
            let mut others = Members::default();
            left_over = apply(Operation::Union, &mut others, other);
            for Entry { key, name, .. } in others.into_iter() {
                match set.remove(&key) {
                    Some(entry) => left_over.extend([entry.name, name]),
                    None => left_over.extend(set.insert(key, name, ()).map(|(name, ())| name)),
                }
            }
        }
        Operation::Intersection => {
            let mut old = std::mem::take(set);
            // The smaller of two sets is gone over, and what is found there stays.
            let keep_old = other.is_set && other.members.len() > old.len();
            for (key, name) in other.members {
                let Some(entry) = old.remove(&key) else {
                    left_over.push(name);
                    continue;
                };
                let (kept, other) = if keep_old { (entry.name, name) } else { (name, entry.name) };
                set.insert(key, kept, ());
                left_over.push(other);
            }
            left_over.extend(old.into_iter().map(|entry| entry.name));
        }
    }
    left_over
}
