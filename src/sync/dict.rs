//! Python's `dict`, shared.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::iterator;
use super::ordered::{Entries, Entry, OVERHEAD};
use super::python::{self, Key};
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::{Element, Stored};
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::Pickle;
use crate::value::{Pair, Value};
use crate::wait::lock;

/// A dict for this process and for clients. A clone is the same dict.
///
/// Keys are equal as in Python: `1`, `1.0` and `True` are one key. Instances are equal if their classes and what
/// they are pickled from are equal; above 4 KiB, if their pickles are the same bytes.
///
/// A Python client that calls `register("ages", proxytype=DictProxy)` can index and iterate over the dict.
/// Without `proxytype` it gets an `AutoProxy` with the public methods only, as in CPython: not `ages["Ada"]`, and
/// no `for`. [`Registration::exposed`](crate::Registration::exposed) names other methods.
///
/// ```
/// use basemanager::sync::Dict;
/// let ages = Dict::new();
/// ages.insert("Guido", 69)?;
/// assert_eq!(ages.get("Guido")?, Some(69.into()));
/// assert_eq!(ages.to_string(), "{'Guido': 69}");
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone)]
pub struct Dict(Arc<Shared>);

#[derive(Default)]
struct Shared {
    // Iterators share the entries, not the dict: its reference count is that of the clients' proxies.
    entries: Arc<Mutex<Entries>>,
}

shared!(Dict, default, printed, sized, cleared);

impl Dict {
    /// An empty dict.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Creates a dict from a client's arguments, as Python's `dict(mapping_or_pairs=(), **kwargs)`: a callable for
    /// [`Manager::register`](crate::Manager::register).
    ///
    /// # Errors
    /// `TypeError` or `ValueError` if the argument is neither a mapping nor an iterable of pairs.
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
        let key = Key::new(&key.into())?;
        Ok(self.0.lock().get(&key).map(|value| value.data.clone()))
    }

    /// Sets the value of a key; returns the old one. For an argument of a client use [`Call::element`], which
    /// keeps the shared objects alive that it names.
    ///
    /// # Errors
    /// `TypeError` if the key is not hashable.
    pub fn insert(
        &self,
        key: impl Into<Element>,
        value: impl Into<Element>,
    ) -> Result<Option<Value>> {
        let entry = entry(key.into(), value.into())?;
        let old = self.0.lock().insert(entry);
        Ok(old.map(|entry| entry.value.data))
    }

    /// Removes a key; returns its value.
    ///
    /// # Errors
    /// `TypeError` if the key is not hashable.
    pub fn remove(&self, key: impl Into<Value>) -> Result<Option<Value>> {
        let key = Key::new(&key.into())?;
        let entry = self.0.lock().remove(&key);
        Ok(entry.map(|entry| entry.value.data))
    }

    /// Whether a key is in the dict.
    ///
    /// # Errors
    /// `TypeError` if the key is not hashable.
    pub fn contains(&self, key: impl Into<Value>) -> Result<bool> {
        let key = Key::new(&key.into())?;
        Ok(self.0.lock().contains(&key))
    }

    /// A copy of the keys and values, in order of insertion.
    #[must_use]
    pub fn items(&self) -> Vec<(Value, Value)> {
        pairs(&self.0.lock()).data
    }
}

#[rustfmt::skip]
const METHODS: [&str; 21] = [
    "__contains__", "__delitem__", "__getitem__", "__ior__", "__iter__", "__len__", "__or__",
    "__reversed__", "__ror__", "__setitem__", "clear", "copy", "fromkeys", "get", "items", "keys",
    "pop", "popitem", "setdefault", "update", "values",
];

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        METHODS.into()
    }

    fn method_to_typeid(&self) -> HashMap<String, String> {
        [("__iter__".to_owned(), "Iterator".to_owned())].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "__contains__" => {
                let ([key], []) = call.args(["key"], [])?;
                let key = Key::new(&call.kept(key))?;
                Ok(self.lock().contains(&key).into())
            }
            "__getitem__" => {
                let ([key], []) = call.args(["key"], [])?;
                let value = self.get(&Key::new(&call.kept(key))?);
                value.ok_or_else(|| key_error(call, key))
            }
            "__delitem__" => {
                let ([key], []) = call.args(["key"], [])?;
                let removed = self.remove(&Key::new(&call.kept(key))?);
                removed.map(|_| ().into()).ok_or_else(|| key_error(call, key))
            }
            "get" => {
                let ([key], [default]) = call.args(["key"], ["default"])?;
                let value = self.get(&Key::new(&call.kept(key))?);
                Ok(value.unwrap_or_else(|| Return::Element(or_none(call, default))))
            }
            "pop" => {
                let ([key], [default]) = call.args(["key"], ["default"])?;
                let value = self.remove(&Key::new(&call.kept(key))?);
                let value = value.or_else(|| Some(Return::Element(call.element(default?))));
                value.ok_or_else(|| key_error(call, key))
            }
            "setdefault" => {
                let ([key], [default]) = call.args(["key"], ["default"])?;
                let new = entry(call.element(key), or_none(call, default))?;
                let mut entries = self.lock();
                if let Some(value) = entries.get(&new.key) {
                    return Ok(Return::Element(value.clone()));
                }
                let value = new.value.clone();
                entries.insert(new);
                Ok(Return::Element(value))
            }
            "__setitem__" => {
                let ([key, value], []) = call.args(["key", "value"], [])?;
                self.set([entry(call.element(key), call.element(value))?]);
                Ok(().into())
            }
            "update" => Ok(self.update(call)?.into()),
            "__ior__" => {
                let ([other], []) = call.args(["other"], [])?;
                self.set(gather(call, other)?);
                self.value().map(Return::Element)
            }
            "__or__" | "__ror__" => self.union(call),
            "fromkeys" => from_keys(call),
            _ => {
                call.no_args()?;
                self.whole(call)
            }
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let entries = self.lock();
        let shown = entries.iter().map(|entry| Pair(&entry.name, &entry.value));
        python::write_items(out, "{", shown, "}")
    }

    fn size(&self) -> usize {
        let entries = self.lock();
        entries.iter().map(|entry| python::size(&entry.name) + python::size(&entry.value)).sum()
    }

    fn value(&self) -> Result<Element, Exception> {
        Ok(pairs(&self.lock()).map(Value::Dict))
    }
}

// The methods drop what they remove without the lock: a value may be the last reference to another object.
impl Shared {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }

    fn get(&self, key: &Key) -> Option<Return> {
        self.lock().get(key).cloned().map(Return::Element)
    }

    fn remove(&self, key: &Key) -> Option<Return> {
        let removed = self.lock().remove(key);
        removed.map(|entry| Return::Element(entry.value))
    }

    /// The methods without arguments.
    fn whole(&self, call: &Call<'_>) -> Result<Return, Exception> {
        Ok(Return::Element(match call.method() {
            "__len__" => return Ok(self.lock().len().into()),
            "__iter__" => return Ok(iterator::Iterator::new(&self.entries).into()),
            "clear" => {
                self.clear();
                return Ok(().into());
            }
            "copy" => self.value()?,
            "keys" => names(&self.lock()).map(Value::List),
            "values" => {
                let values: Stored<_> = self.lock().iter().map(|entry| &entry.value).collect();
                values.map(Value::List)
            }
            "items" => pairs(&self.lock()).map(Value::from_iter),
            "__reversed__" => {
                let reversed = self.lock().iter().rev().map(|entry| &entry.name).collect();
                python::iterator(reversed)?
            }
            "popitem" => {
                let last = self.lock().pop_last();
                let last =
                    last.ok_or_else(|| Exception::builtin("KeyError", "the dict is empty"))?;
                let pair: Stored<Vec<Value>> = [&last.name, &last.value].into_iter().collect();
                pair.map(Value::Tuple)
            }
            _ => return Err(call.no_such_method()),
        }))
    }

    /// `self | other` or `other | self`.
    fn union(&self, call: &Call<'_>) -> Result<Return, Exception> {
        let ([other], []) = call.args(["other"], [])?;
        if !matches!(call.value(other)?, Value::Dict(_)) {
            return Ok(python::not_implemented());
        }
        let other: Entries = gather(call, other)?.into_iter().collect();
        let own = self.lock().clone();
        let (left, right) = if call.method() == "__or__" { (own, other) } else { (other, own) };
        let union: Entries = left.into_iter().chain(right.into_iter()).collect();
        Ok(Return::Element(pairs(&union).map(Value::Dict)))
    }

    /// `update(mapping_or_pairs=(), **kwargs)`. Changes nothing if it fails.
    fn update(&self, call: &Call<'_>) -> Result<(), Exception> {
        let mut given = match call.positional() {
            [] => Vec::new(),
            [other] => gather(call, other)?,
            more => {
                let text = format!("takes at most 1 positional argument, {} given", more.len());
                return Err(Exception::type_error(format!("{}() {text}", call.method())));
            }
        };
        for (name, value) in call.keywords() {
            given.push(entry(name.as_str().into(), call.element(value))?);
        }
        self.set(given);
        Ok(())
    }

    fn set(&self, given: impl IntoIterator<Item = Entry<Element>>) {
        let mut entries = self.lock();
        let old: Vec<_> = given.into_iter().filter_map(|entry| entries.insert(entry)).collect();
        drop(entries);
        drop(old);
    }
}

fn entry(name: Element, value: Element) -> Result<Entry<Element>, Exception> {
    Ok(Entry { key: Key::new(&name)?, name, value })
}

fn key_error(call: &Call<'_>, key: &Pickle) -> Exception {
    Exception::new("builtins", "KeyError", vec![call.kept(key)])
}

/// An optional argument, or `None`.
fn or_none(call: &Call<'_>, arg: Option<&Pickle>) -> Element {
    arg.map_or_else(Element::default, |arg| call.element(arg))
}

fn pairs(entries: &Entries) -> Stored<Vec<(Value, Value)>> {
    let all = entries.iter().flat_map(|entry| [&entry.name, &entry.value]);
    all.collect::<Stored<Vec<Value>>>().map(|all| {
        let mut all = all.into_iter();
        std::iter::from_fn(|| Some((all.next()?, all.next()?))).collect()
    })
}

fn names(entries: &Entries) -> Stored<Vec<Value>> {
    entries.iter().map(|entry| &entry.name).collect()
}

/// The entries of a mapping, or of an iterable of pairs.
fn gather(call: &Call<'_>, arg: &Pickle) -> Result<Vec<Entry<Element>>, Exception> {
    let other = call.kept(arg);
    // The message spells out the entries of a dict.
    let overhead = if matches!(other, Value::Dict(_)) { 0 } else { OVERHEAD };
    let Stored { data, references: _until_held } = python::referent(call, other)?;
    let hold = |name, value| entry(call.hold(name)?, call.hold(value)?);
    if let Value::Dict(pairs) = data {
        call.spend(pairs.len().saturating_mul(overhead))?;
        return pairs.into_iter().map(|(name, value)| hold(name, value)).collect();
    }
    let items = python::items(call, data, OVERHEAD)?;
    let pair = |item| {
        let Stored { data: pair, references: _until_held } = python::items(call, item, 0)?;
        let [name, value] = <[Value; 2]>::try_from(pair).map_err(|pair| {
            let len = pair.len();
            Exception::value_error(format!("expected pairs of key and value, got {len} items"))
        })?;
        hold(name, value)
    };
    items.data.into_iter().map(pair).collect()
}

/// `fromkeys(iterable, value=None)`: a new dict, which is returned as a copy.
fn from_keys(call: &Call<'_>) -> Result<Return, Exception> {
    let ([keys], [value]) = call.args(["iterable"], ["value"])?;
    let value = or_none(call, value);
    let keys = python::items(call, call.value(keys)?, OVERHEAD)?;
    let Stored { data: keys, references: _until_held } = keys;
    call.spend(keys.len().saturating_mul(python::size(&value)))?;
    let made = keys.into_iter().map(|key| entry(call.hold(key)?, value.clone()));
    let made = made.collect::<Result<Entries, Exception>>()?;
    Ok(Return::Element(pairs(&made).map(Value::Dict)))
}
