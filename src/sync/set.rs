//! Python's `set`, shared.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::ordered::{Entry, OVERHEAD, Ordered};
use super::python::{self, Key};
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::{Element, Stored};
use crate::object::{Exposed, Return, SharedObject};
use crate::value::Value;
use crate::wait::lock;

/// A set for this process and for clients. A clone is the same set.
///
/// Members are equal as the keys of a [`Dict`](super::Dict) are. They stay in order of insertion, where
/// Python's sets have no order.
///
/// ```
/// use basemanager::sync::Set;
/// let seen = Set::new();
/// assert!(seen.insert("a")?);
/// assert!(!seen.insert("a")?);
/// assert_eq!(seen.to_string(), "{'a'}");
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone)]
pub struct Set(Arc<Shared>);

#[derive(Default)]
struct Shared {
    members: Mutex<Members>,
}

type Members = Ordered<()>;

shared!(Set, default, printed, sized, cleared);

impl Set {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Creates a set from a client's arguments, as Python's `set(iterable=())`: a callable for
    /// [`Manager::register`](crate::Manager::register).
    ///
    /// # Errors
    /// `TypeError` if the argument is not plain data, a `range` or a proxy of a container, or if a member is not
    /// hashable.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let ([], [iterable]) = call.args([], ["iterable"])?;
        let members = iterable.map(|iterable| members(call, call.kept(iterable))).transpose()?;
        let members = Mutex::new(members.unwrap_or_default());
        Ok(Self(Arc::new(Shared { members })))
    }

    /// Adds a member; `false` if it was in the set. For an argument of a client use [`Call::element`], which
    /// keeps the shared objects alive that it names.
    ///
    /// # Errors
    /// `TypeError` if the value is not hashable.
    #[doc(alias = "add")]
    pub fn insert(&self, member: impl Into<Element>) -> Result<bool> {
        let new = entry(member.into())?;
        let left_over = self.0.lock().insert(new);
        Ok(left_over.is_none())
    }

    /// Removes a member; `false` if it was not in the set.
    ///
    /// # Errors
    /// `TypeError` if the value is not hashable.
    #[doc(alias = "discard")]
    pub fn remove(&self, member: impl Into<Value>) -> Result<bool> {
        let key = Key::new(&member.into())?;
        let removed = self.0.lock().remove(&key);
        Ok(removed.is_some())
    }

    /// Whether a value is in the set.
    ///
    /// # Errors
    /// `TypeError` if the value is not hashable.
    pub fn contains(&self, member: impl Into<Value>) -> Result<bool> {
        let key = Key::new(&member.into())?;
        Ok(self.0.lock().contains(&key))
    }

    /// A copy of the members, in order of insertion.
    #[must_use]
    pub fn members(&self) -> Vec<Value> {
        names(&self.0.lock()).data
    }
}

#[rustfmt::skip]
const METHODS: [&str; 36] = [
    "__and__", "__contains__", "__ge__", "__gt__", "__iand__", "__ior__", "__isub__", "__iter__",
    "__ixor__", "__le__", "__len__", "__lt__", "__or__", "__rand__", "__ror__", "__rsub__",
    "__rxor__", "__sub__", "__xor__", "add", "clear", "copy", "difference", "difference_update",
    "discard", "intersection", "intersection_update", "isdisjoint", "issubset", "issuperset", "pop",
    "remove", "symmetric_difference", "symmetric_difference_update", "union", "update",
];

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        METHODS.into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "__contains__" => {
                let ([member], []) = call.args(["member"], [])?;
                let key = lookup_key(call.kept(member))?;
                Ok(self.lock().contains(&key).into())
            }
            "add" => {
                let ([member], []) = call.args(["member"], [])?;
                let new = entry(call.element(member))?;
                let left_over = self.lock().insert(new);
                drop(left_over);
                Ok(().into())
            }
            method @ ("discard" | "remove") => {
                let ([member], []) = call.args(["member"], [])?;
                let key = lookup_key(call.kept(member))?;
                let removed = self.lock().remove(&key);
                if removed.is_none() && method == "remove" {
                    return Err(Exception::new("builtins", "KeyError", vec![call.kept(member)]));
                }
                Ok(().into())
            }
            "isdisjoint" | "issubset" | "issuperset" => {
                let ([other], []) = call.args(["other"], [])?;
                let other = members(call, call.kept(other))?;
                Ok(self.holds(call.method(), &other).into())
            }
            "__len__" | "__iter__" | "copy" | "clear" | "pop" => {
                call.no_args()?;
                self.whole(call.method())
            }
            method if method.starts_with("__") => self.operator(call),
            _ => self.combine(call),
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let members = self.lock();
        let (open, close) = if members.len() == 0 { ("set(", ")") } else { ("{", "}") };
        let shown = members.iter().map(|entry| &entry.name.data);
        python::write_items(out, open, shown, close)
    }

    fn size(&self) -> usize {
        self.lock().iter().map(|entry| python::size(&entry.name)).sum()
    }

    fn value(&self) -> Result<Element, Exception> {
        Ok(names(&self.lock()).map(Value::Set))
    }
}

// The methods drop what they remove without the lock: a member may be the last reference to another object.
impl Shared {
    fn lock(&self) -> MutexGuard<'_, Members> {
        lock(&self.members)
    }

    /// The methods without arguments.
    fn whole(&self, method: &str) -> Result<Return, Exception> {
        Ok(Return::Element(match method {
            "__len__" => return Ok(self.lock().len().into()),
            "clear" => {
                self.clear();
                return Ok(().into());
            }
            "__iter__" => {
                let names = names(&self.lock());
                python::iterator(names)?
            }
            "pop" => {
                let first = self.lock().pop_first();
                first.ok_or_else(|| Exception::builtin("KeyError", "the set is empty"))?.name
            }
            _ => self.value()?,
        }))
    }

    /// Whether this set is a subset, superset or the like of another.
    fn holds(&self, relation: &str, other: &Members) -> bool {
        let own = self.lock();
        let (small, large) = if own.len() < other.len() { (&*own, other) } else { (other, &*own) };
        let common = small.iter().filter(|entry| large.contains(&entry.key)).count();
        match relation {
            "__le__" | "issubset" => common == own.len(),
            "__lt__" => common == own.len() && common < other.len(),
            "__ge__" | "issuperset" => common == other.len(),
            "__gt__" => common == other.len() && common < own.len(),
            _ => common == 0,
        }
    }

    /// `self < other`, `self | other`, `other | self`, `self |= other` and the like, if the other is a `set` or a
    /// `frozenset`. The result is of the left one's type.
    fn operator(&self, call: &Call<'_>) -> Result<Return, Exception> {
        let ([other], []) = call.args(["other"], [])?;
        let other = call.value(other)?;
        let kind = match other {
            Value::Set(_) => Value::Set,
            Value::FrozenSet(_) => Value::FrozenSet,
            _ => return Ok(python::not_implemented()),
        };
        let other = members(call, other)?;
        let Some(operation) = Operation::of(call.method()) else {
            return Ok(self.holds(call.method(), &other).into());
        };
        if call.method().starts_with("__i") {
            self.apply(operation, other);
            return self.value().map(Return::Element);
        }
        let own = self.lock().clone();
        let reflected = call.method().starts_with("__r");
        let (mut left, right) = if reflected { (other, own) } else { (own, other) };
        operation.apply(&mut left, right);
        Ok(Return::Element(names(&left).map(if reflected { kind } else { Value::Set })))
    }

    /// `self.union(*others)`, `self.update(*others)` and the like. Changes nothing if it fails.
    fn combine(&self, call: &Call<'_>) -> Result<Return, Exception> {
        let operation = Operation::of(call.method()).ok_or_else(|| call.no_such_method())?;
        if !call.keywords().is_empty() {
            let text = format!("{}() takes no keyword arguments", call.method());
            return Err(Exception::type_error(text));
        }
        if operation == Operation::SymmetricDifference {
            call.args(["other"], [])?;
        }
        let others = call.positional().iter().map(|other| members(call, call.kept(other)));
        let others = others.collect::<Result<Vec<_>, Exception>>()?;
        if call.method().ends_with("update") {
            for other in others {
                self.apply(operation, other);
            }
            return Ok(().into());
        }
        let mut set = self.lock().clone();
        for other in others {
            operation.apply(&mut set, other);
        }
        Ok(Return::Element(names(&set).map(Value::Set)))
    }

    fn apply(&self, operation: Operation, other: Members) {
        let removed = operation.apply(&mut self.lock(), other);
        drop(removed);
    }
}

/// How two sets become one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
    SymmetricDifference,
}

impl Operation {
    /// The operation of a method.
    fn of(method: &str) -> Option<Self> {
        let name = method.strip_suffix("_update").unwrap_or(method).trim_matches('_');
        Some(match name {
            "or" | "ior" | "ror" | "union" | "update" => Self::Union,
            "and" | "iand" | "rand" | "intersection" => Self::Intersection,
            "sub" | "isub" | "rsub" | "difference" => Self::Difference,
            "xor" | "ixor" | "rxor" | "symmetric_difference" => Self::SymmetricDifference,
            _ => return None,
        })
    }

    /// Changes a set. Returns what it removed, to be dropped without the lock.
    fn apply(self, set: &mut Members, other: Members) -> Vec<Entry<()>> {
        let mut removed = Vec::new();
        if self == Self::Intersection {
            let all = std::mem::take(set).into_iter();
            let (kept, gone) = all.partition::<Vec<_>, _>(|entry| other.contains(&entry.key));
            *set = kept.into_iter().collect();
            removed.extend(gone.into_iter().chain(other.into_iter()));
            return removed;
        }
        for new in other.into_iter() {
            let old = if self == Self::Union { None } else { set.remove(&new.key) };
            if old.is_some() || self == Self::Difference {
                removed.extend(old.into_iter().chain([new]));
            } else {
                removed.extend(set.insert(new));
            }
        }
        removed
    }
}

fn entry(name: Element) -> Result<Entry<()>, Exception> {
    Ok(Entry { key: Key::new(&name)?, name, value: () })
}

/// Python looks for a set, which is not hashable, as for a frozenset.
fn lookup_key(value: Value) -> Result<Key, Exception> {
    match value {
        Value::Set(members) => Key::new(&Value::FrozenSet(members)),
        value => Key::new(&value),
    }
}

fn names(members: &Members) -> Stored<Vec<Value>> {
    members.iter().map(|entry| &entry.name).collect()
}

/// The members of an iterable.
fn members(call: &Call<'_>, iterable: Value) -> Result<Members, Exception> {
    let Stored { data, references: _until_held } = python::items(call, iterable, OVERHEAD)?;
    data.into_iter().map(|item| entry(call.hold(item)?)).collect()
}
