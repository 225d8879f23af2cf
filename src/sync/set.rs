//! `set`, shared.

use std::sync::{Arc, Mutex, MutexGuard};

use super::algebra::{self, Members, Operation, Other, ROLE};
use super::{args, iterate, python};
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::{Element, Held};
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::Pickle;
use crate::value::{Key, Value};
use crate::wait::lock;

/// A set that threads and clients share. A clone is the same set.
///
/// Members are equal as the keys of a [`Dict`](super::dict::Dict) are. They stay in order of insertion, where
/// Python's are in no order.
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

const CLASS: &str = "set";

#[rustfmt::skip]
const METHODS: [&str; 36] = [
    "__and__", "__contains__", "__ge__", "__gt__", "__iand__", "__ior__", "__isub__", "__iter__",
    "__ixor__", "__le__", "__len__", "__lt__", "__or__", "__rand__", "__ror__", "__rsub__",
    "__rxor__", "__sub__", "__xor__", "add", "clear", "copy", "difference", "difference_update",
    "discard", "intersection", "intersection_update", "isdisjoint", "issubset", "issuperset", "pop",
    "remove", "symmetric_difference", "symmetric_difference_update", "union", "update",
];

shared!(Set, default, printed, sized, cleared);

impl Set {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// What Python's `set(…)` makes of a call's arguments, for a registered callable.
    ///
    /// # Errors
    /// `TypeError`, as in Python.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let set = Self::new();
        if !call.keywords().is_empty() {
            return Err(Exception::type_error("set() takes no keyword arguments"));
        }
        let [members] = args::up_to(call, 0)?;
        if let Some(members) = members {
            set.0.apply(Operation::Union, Other::whole(call, members)?);
        }
        Ok(set)
    }

    /// Adds a member; `false` if it was there. What a client sent comes as [`Call::element`], which keeps
    /// the shared objects that it names.
    ///
    /// # Errors
    /// `TypeError` if the value is not hashable.
    #[doc(alias = "add")]
    pub fn insert(&self, member: impl Into<Element>) -> Result<bool> {
        let name = member.into();
        let key = Key::new(&name, ROLE)?;
        let left_over = self.0.lock().insert(key, name, ());
        Ok(left_over.is_none())
    }

    /// Takes a member out; `false` if it was not there.
    ///
    /// # Errors
    /// `TypeError` if the value is not hashable.
    #[doc(alias = "discard")]
    pub fn remove(&self, member: impl Into<Value>) -> Result<bool> {
        let key = Key::new(&member.into(), ROLE)?;
        let removed = self.0.lock().remove(&key);
        Ok(removed.is_some())
    }

    /// Whether a value is a member.
    ///
    /// # Errors
    /// `TypeError` if the value is not hashable.
    pub fn contains(&self, member: impl Into<Value>) -> Result<bool> {
        let key = Key::new(&member.into(), ROLE)?;
        Ok(self.0.lock().contains(&key))
    }

    /// A copy of the members, in order of insertion.
    #[must_use]
    pub fn members(&self) -> Vec<Value> {
        names(&self.0.lock()).data
    }
}

fn names(members: &Members) -> Held<Vec<Value>> {
    members.iter().map(|entry| &entry.name).collect()
}

/// A set may be looked for, though it is not hashable: it is taken for a frozenset.
fn member(value: Value) -> Result<Key, Exception> {
    match value {
        Value::Set(items) => Key::new(&Value::FrozenSet(items), ROLE),
        value => Key::new(&value, ROLE),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Members> {
        lock(&self.members)
    }

    fn copy(&self) -> Element {
        names(&self.lock()).map(Value::Set)
    }

    fn apply(&self, operation: Operation, other: Other) {
        let left_over = algebra::apply(operation, &mut self.lock(), other);
        drop(left_over);
    }

    /// `self | other` and the like.
    fn operator(&self, operation: Operation, call: &Call<'_>) -> Result<Return, Exception> {
        let Some(other) = Other::operand(call)? else {
            return Ok(iterate::not_implemented().into());
        };
        if call.method().starts_with("__i") {
            self.apply(operation, other);
            return Ok(Return::Element(self.copy()));
        }
        let own = self.lock().clone();
        let reflected = call.method().starts_with("__r");
        let frozen = reflected && other.is_frozen;
        let (mut left, right) =
            if reflected { (other.into_set(), own.into()) } else { (own, other) };
        algebra::apply(operation, &mut left, right);
        let kind = if frozen { Value::FrozenSet } else { Value::Set };
        Ok(Return::Element(names(&left).map(kind)))
    }

    /// `self.union(*others)` and the like.
    fn combine(&self, operation: Operation, call: &Call<'_>) -> Result<Return, Exception> {
        let others: Vec<&Pickle> = if let Operation::SymmetricDifference = operation {
            vec![args::one(call, CLASS)?]
        } else {
            args::no_keywords(call, CLASS)?;
            call.positional().iter().collect()
        };
        let in_place = call.method().ends_with("update");
        if in_place && matches!(operation, Operation::Union | Operation::Difference) {
            // What comes before an error stays.
            for other in others {
                let mut other = Other::new(call, other)?;
                let failed = other.failed.take();
                self.apply(operation, other);
                failed.map_or(Ok(()), Err)?;
            }
            return Ok(().into());
        }
        let others = others.into_iter().map(|other| Other::whole(call, other));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        if in_place {
            for other in others {
                self.apply(operation, other);
            }
            return Ok(().into());
        }
        let mut set = self.lock().clone();
        for other in others {
            algebra::apply(operation, &mut set, other);
        }
        Ok(Return::Element(names(&set).map(Value::Set)))
    }

    fn is_disjoint(&self, call: &Call<'_>) -> Result<bool, Exception> {
        let other = Other::new(call, args::one(call, CLASS)?)?;
        let members = self.lock();
        if other.members.iter().any(|(key, _)| members.contains(key)) {
            return Ok(false);
        }
        other.failed.map_or(Ok(true), Err)
    }

    fn is_superset(&self, other: Other) -> Result<bool, Exception> {
        let members = self.lock();
        if other.members.iter().any(|(key, _)| !members.contains(key)) {
            return Ok(false);
        }
        other.failed.map_or(Ok(true), Err)
    }

    fn is_subset(&self, other: Other) -> bool {
        let other = other.into_set();
        self.lock().iter().all(|entry| other.contains(&entry.key))
    }

    /// `self < other` and the like.
    fn compare(&self, call: &Call<'_>) -> Result<Return, Exception> {
        let Some(other) = Other::operand(call)? else {
            return Ok(iterate::not_implemented().into());
        };
        let (own, others) = (self.lock().len(), other.members.len());
        let holds = match call.method() {
            "__le__" => self.is_subset(other),
            "__lt__" => own < others && self.is_subset(other),
            "__ge__" => self.is_superset(other)?,
            _ => own > others && self.is_superset(other)?,
        };
        Ok(holds.into())
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        METHODS.into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let method = call.method();
        if let Some(operation) = Operation::of(method) {
            return if method.starts_with("__") {
                self.operator(operation, call)
            } else {
                self.combine(operation, call)
            };
        }
        match method {
            "__ge__" | "__gt__" | "__le__" | "__lt__" => self.compare(call),
            "add" => {
                let name = call.element(args::one(call, CLASS)?);
                let key = Key::new(&name, ROLE)?;
                let left_over = self.lock().insert(key, name, ());
                drop(left_over);
                Ok(().into())
            }
            "__contains__" => {
                let key = member(call.kept(args::one(call, CLASS)?))?;
                Ok(self.lock().contains(&key).into())
            }
            "discard" | "remove" => {
                let name = call.kept(args::one(call, CLASS)?);
                let key = member(name.clone())?;
                let removed = self.lock().remove(&key);
                if removed.is_none() && method == "remove" {
                    return Err(Exception::new("builtins", "KeyError", vec![name]));
                }
                Ok(().into())
            }
            "isdisjoint" => Ok(self.is_disjoint(call)?.into()),
            "issubset" => {
                let other = Other::new(call, args::one(call, CLASS)?)?;
                let other = other.until_all_of(&self.lock())?;
                Ok(self.is_subset(other).into())
            }
            "issuperset" => {
                let other = Other::new(call, args::one(call, CLASS)?)?;
                Ok(self.is_superset(other)?.into())
            }
            "__len__" => {
                let [] = args::special(call)?;
                Ok(self.lock().len().into())
            }
            "__iter__" => {
                let [] = args::special(call)?;
                let members = names(&self.lock());
                Ok(Return::Element(members.map(iterate::iterator)))
            }
            _ => {
                args::none(call, CLASS)?;
                self.plain(call)
            }
        }
    }

    fn repr(&self) -> String {
        self.copy().data.to_string()
    }

    fn short_repr(&self, max: usize) -> String {
        let members = self.lock();
        if members.len() == 0 {
            return "set()".chars().take(max).collect();
        }
        let shown = members.iter().map(|entry| &entry.name.data);
        python::beginning(max, |out| python::write_items(out, "{", shown, "}"))
    }

    fn size(&self) -> usize {
        self.lock().iter().map(|entry| python::size(&entry.name)).sum()
    }

    fn value(&self) -> Result<Element, Exception> {
        Ok(self.copy())
    }
}

impl Shared {
    /// The methods without arguments.
    fn plain(&self, call: &Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "copy" => Ok(Return::Element(self.copy())),
            "clear" => {
                self.clear();
                Ok(().into())
            }
            "pop" => {
                let entry = self.lock().pop_first();
                let empty = || Exception::builtin("KeyError", "pop from an empty set");
                entry.map(|entry| Return::Element(entry.name)).ok_or_else(empty)
            }
            _ => Err(call.no_such_method()),
        }
    }
}
