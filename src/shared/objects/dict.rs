//! `dict`, shared.

mod update;

use std::sync::{Arc, Mutex, MutexGuard};

use super::ordered::{Entry, Ordered, PLACE};
use super::{args, iterate, iterator, python};
use crate::error::{Exception, Result};
use crate::shared::call::{Arg, Call};
use crate::shared::element::{Element, Held};
use crate::shared::wait::lock;
use crate::shared::{Return, SharedObject};
use crate::value::{Key, Pair, Value};
use update::entry;

/// A dict that threads and clients share. A clone is the same dict.
///
/// Keys are equal when Python says so: `1`, `1.0` and `True` are one. Opaque keys are equal if their classes
/// are the same and what they are made from is equal; above 4 KiB, if their pickles are the same bytes.
///
/// Under a typeid of its own, such as `ages`, a Python client uses it with `register("ages",
/// proxytype=DictProxy)`. Without that it gets an `AutoProxy`, which has the public methods only, as in
/// CPython: no `ages["Ada"]` and no `for`. [`Registration::exposed`](crate::Registration::exposed) names others.
///
/// ```
/// use basemanager::Dict;
/// let ages = Dict::new();
/// ages.insert("Guido", 69)?;
/// assert_eq!(ages.get("Guido")?, Some(69.into()));
/// assert_eq!(ages.to_string(), "{'Guido': 69}");
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone)]
pub struct Dict(Arc<Shared>);

pub(super) type Entries = Ordered<Element>;

#[derive(Default)]
struct Shared {
    // Iterators share the entries, and not the dict: what clients know as the dict goes with their
    // last proxy of it.
    entries: Arc<Mutex<Entries>>,
}

const CLASS: &str = "dict";

const ROLE: &str = "dict key";

#[rustfmt::skip]
const METHODS: [&str; 21] = [
    "__contains__", "__delitem__", "__getitem__", "__ior__", "__iter__", "__len__", "__or__",
    "__reversed__", "__ror__", "__setitem__", "clear", "copy", "fromkeys", "get", "items", "keys",
    "pop", "popitem", "setdefault", "update", "values",
];

shared!(Dict, default, printed, sized, cleared);

impl Dict {
    /// An empty dict.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// What Python's `dict(…)` makes of a call's arguments, for a registered callable.
    ///
    /// # Errors
    /// `TypeError` or `ValueError`, as in Python.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let dict = Self::new();
        dict.0.update(call)?;
        Ok(dict)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// `TypeError` if the key is not hashable.
    pub fn get(&self, key: impl Into<Value>) -> Result<Option<Value>> {
        let key = Key::new(&key.into(), ROLE)?;
        Ok(self.0.lock().get(&key).map(|value| value.data.clone()))
    }

    /// Gives a key a value; returns the old one. What a client sent comes as [`Call::element`], which
    /// keeps the shared objects that it names.
    ///
    /// # Errors
    /// `TypeError` if the key is not hashable.
    pub fn insert(
        &self,
        key: impl Into<Element>,
        value: impl Into<Element>,
    ) -> Result<Option<Value>> {
        let (name, value) = (key.into(), value.into());
        let key = Key::new(&name, ROLE)?;
        let old = self.0.lock().insert(key, name, value);
        Ok(old.map(|(_, value)| value.data))
    }

    /// Takes a key out; returns its value.
    ///
    /// # Errors
    /// `TypeError` if the key is not hashable.
    pub fn remove(&self, key: impl Into<Value>) -> Result<Option<Value>> {
        let key = Key::new(&key.into(), ROLE)?;
        let entry = self.0.lock().remove(&key);
        Ok(entry.map(|entry| entry.value.data))
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// `TypeError` if the key is not hashable.
    pub fn contains(&self, key: impl Into<Value>) -> Result<bool> {
        let key = Key::new(&key.into(), ROLE)?;
        Ok(self.0.lock().contains(&key))
    }

    /// A copy of the keys and values, in order of insertion.
    #[must_use]
    pub fn items(&self) -> Vec<(Value, Value)> {
        pairs(&self.0.lock()).data
    }
}

fn pairs(entries: &Entries) -> Held<Vec<(Value, Value)>> {
    let all = entries.iter().flat_map(|entry| [&entry.name, &entry.value]);
    all.collect::<Held<Vec<Value>>>().map(|all| {
        let mut all = all.into_iter();
        std::iter::from_fn(|| Some((all.next()?, all.next()?))).collect()
    })
}

fn names(entries: &Entries) -> Held<Vec<Value>> {
    entries.iter().map(|entry| &entry.name).collect()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }

    fn copy(&self) -> Element {
        pairs(&self.lock()).map(Value::Dict)
    }

    /// The entries, and an argument as a key.
    fn find(&self, key: Arg<'_>) -> Result<(MutexGuard<'_, Entries>, Key), Exception> {
        let key = Key::new(&key.kept()?, ROLE)?;
        Ok((self.lock(), key))
    }

    fn set_default(&self, call: &Call<'_>) -> Result<Element, Exception> {
        let (name, default) = args::one_or_two(call, CLASS)?;
        let name = call.element(name)?;
        let default = default.map_or(Ok(Element::default()), |default| call.element(default))?;
        let key = Key::new(&name, ROLE)?;
        let mut entries = self.lock();
        if let Some(value) = entries.get(&key) {
            return Ok(value.clone());
        }
        let value = default.clone();
        entries.insert(key, name, default);
        Ok(value)
    }
}

fn key_error(key: Arg<'_>) -> Result<Exception, Exception> {
    Ok(Exception::new("builtins", "KeyError", vec![key.kept()?]))
}

impl SharedObject for Shared {
    fn exposed(&self) -> &[&str] {
        &METHODS
    }

    fn method_to_typeid(&self) -> &[(&str, &str)] {
        &[("__iter__", "Iterator")]
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "__getitem__" => {
                let key = args::one(call, CLASS)?;
                let (entries, found) = self.find(key)?;
                let value = entries.get(&found).cloned();
                value.map(Return::Element).map_or_else(|| Err(key_error(key)?), Ok)
            }
            "get" => {
                let (key, default) = args::one_or_two(call, CLASS)?;
                let (entries, found) = self.find(key)?;
                let value = entries.get(&found).cloned();
                drop(entries);
                or_default(call, value, default)
            }
            "__contains__" => {
                let (entries, found) = self.find(args::one(call, CLASS)?)?;
                Ok(entries.contains(&found).into())
            }
            "__setitem__" => {
                let [name, value] = args::special(call)?;
                let (name, value) = (call.element(name)?, call.element(value)?);
                self.set([Entry { key: Key::new(&name, ROLE)?, name, value }]);
                Ok(().into())
            }
            "__delitem__" => {
                let [key] = args::special(call)?;
                let (mut entries, found) = self.find(key)?;
                let old = entries.remove(&found);
                drop(entries);
                old.map(|_| ().into()).map_or_else(|| Err(key_error(key)?), Ok)
            }
            "pop" => {
                let (key, default) = args::one_or_two(call, CLASS)?;
                let mut old = None;
                // CPython does not even hash what it looks for in an empty one.
                if self.lock().len() > 0 {
                    let (mut entries, found) = self.find(key)?;
                    old = entries.remove(&found);
                }
                let old = old.map(|entry| entry.value);
                if old.is_none() && default.is_none() {
                    return Err(key_error(key)?);
                }
                or_default(call, old, default)
            }
            "setdefault" => self.set_default(call).map(Return::Element),
            "update" => Ok(self.update(call)?.into()),
            "__ior__" => {
                let [other] = args::special(call)?;
                self.merge(call, call.element(other)?.data)?;
                Ok(Return::Element(self.copy()))
            }
            method @ ("__or__" | "__ror__") => {
                let [other] = args::special(call)?;
                let Value::Dict(other) = other.value()? else {
                    return Ok(iterate::not_implemented().into());
                };
                let other = other.into_iter().map(|(name, value)| entry(call, name, value));
                let other = other.collect::<Result<Entries, _>>()?;
                let own = self.lock().clone();
                let (left, right) = if method == "__or__" { (own, other) } else { (other, own) };
                let union: Entries = left.into_iter().chain(right.into_iter()).collect();
                Ok(Return::Element(pairs(&union).map(Value::Dict)))
            }
            "fromkeys" => {
                let (names, value) = args::one_or_two(call, CLASS)?;
                let value = value.map_or(Ok(Element::default()), |value| call.element(value))?;
                let names = iterate::items(call, names.value()?, PLACE)?;
                let Held { data, references: _until_held } = names;
                call.spend(data.len().saturating_mul(python::size(&value)))?;
                let entry = |name| {
                    Ok(Entry {
                        key: Key::new(&name, ROLE)?,
                        name: call.hold(name)?,
                        value: value.clone(),
                    })
                };
                let made = data.into_iter().map(entry).collect::<Result<Entries, Exception>>()?;
                Ok(Return::Element(pairs(&made).map(Value::Dict)))
            }
            "__len__" => {
                let [] = args::special(call)?;
                Ok(self.lock().len().into())
            }
            "__iter__" => {
                let [] = args::special(call)?;
                Ok(iterator::Iterator::new(&self.entries).into())
            }
            method => {
                args::none(call, CLASS)?;
                self.plain(method).unwrap_or_else(|| Err(call.no_such_method()))
            }
        }
    }

    fn repr(&self) -> String {
        self.copy().data.to_string()
    }

    fn short_repr(&self, max: usize) -> String {
        let entries = self.lock();
        let shown = entries.iter().map(|entry| Pair(&entry.name, &entry.value));
        python::beginning(max, |out| python::write_items(out, "{", shown, "}"))
    }

    fn size(&self) -> usize {
        let entries = self.lock();
        entries.iter().map(|entry| python::size(&entry.name) + python::size(&entry.value)).sum()
    }

    fn value(&self) -> Result<Element, Exception> {
        Ok(self.copy())
    }
}

impl Shared {
    /// The methods without arguments.
    fn plain(&self, method: &str) -> Option<Result<Return, Exception>> {
        let mut entries = self.lock();
        let result = match method {
            "copy" => Return::Element(pairs(&entries).map(Value::Dict)),
            "keys" => Return::Element(names(&entries).map(Value::List)),
            "values" => {
                let values: Held<_> = entries.iter().map(|entry| &entry.value).collect();
                Return::Element(values.map(Value::List))
            }
            "items" => {
                let items = |pairs: Vec<_>| pairs.into_iter().map(Value::from).collect::<Vec<_>>();
                Return::Element(pairs(&entries).map(items).map(Value::List))
            }
            "__reversed__" => {
                let reversed =
                    names(&entries).map(|names| names.into_iter().rev().collect::<Vec<_>>());
                Return::Element(reversed.map(iterate::iterator))
            }
            "popitem" => {
                let Some(last) = entries.pop_last() else {
                    let text = "popitem(): dictionary is empty";
                    return Some(Err(Exception::builtin("KeyError", text)));
                };
                let pair: Held<Vec<Value>> = [&last.name, &last.value].into_iter().collect();
                Return::Element(pair.map(Value::Tuple))
            }
            "clear" => {
                drop(entries);
                self.clear();
                ().into()
            }
            _ => return None,
        };
        Some(Ok(result))
    }
}

/// What was found, or the default, or `None`.
fn or_default(
    call: &Call<'_>,
    found: Option<Element>,
    default: Option<Arg<'_>>,
) -> Result<Return, Exception> {
    let default = || default.map_or(Ok(Element::default()), |default| call.element(default));
    found.map_or_else(default, Ok).map(Return::Element)
}
