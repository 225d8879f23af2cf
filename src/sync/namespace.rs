//! Python's `multiprocessing.managers.Namespace`: attributes, shared.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::python;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::{Element, Stored};
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::{Pickle, Writer};
use crate::value::Value;
use crate::wait::lock;

/// Attributes that this process and clients get and set. A clone is the same namespace.
///
/// ```
/// use basemanager::sync::Namespace;
/// let namespace = Namespace::new();
/// namespace.set("a", 1);
/// namespace.set("b", "x");
/// assert_eq!(namespace.get("a"), Some(1.into()));
/// assert_eq!(namespace.to_string(), "Namespace(a=1, b='x')");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Namespace(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    attributes: Mutex<BTreeMap<String, Element>>,
}

shared!(Namespace, printed);

impl Namespace {
    /// A namespace without attributes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a namespace from a client's arguments, as Python's `Namespace(**attributes)`: a callable for
    /// [`Manager::register`](crate::Manager::register).
    ///
    /// # Errors
    /// `TypeError` for a positional argument.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        if !call.positional().is_empty() {
            return Err(Exception::type_error("a Namespace takes keyword arguments only"));
        }
        let attribute = |(name, arg): &(String, Pickle)| (name.clone(), call.element(arg));
        let attributes = call.keywords().iter().map(attribute).collect();
        Ok(Self(Arc::new(Shared { attributes: Mutex::new(attributes) })))
    }

    /// A copy of an attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value> {
        self.0.lock().get(name).map(|value| value.data.clone())
    }

    /// Sets an attribute. For an argument of a client use [`Call::element`], which keeps the shared objects alive
    /// that it names.
    pub fn set(&self, name: &str, value: impl Into<Element>) {
        self.0.set(name, value.into());
    }

    /// Removes an attribute, if there is one of this name.
    pub fn remove(&self, name: &str) {
        let old = self.0.lock().remove(name);
        drop(old);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Element>> {
        lock(&self.attributes)
    }

    /// Copies of all attributes.
    fn all(&self) -> Stored<Vec<(Value, Value)>> {
        let attributes = self.lock();
        let copies: Stored<Vec<Value>> = attributes.values().collect();
        let names = attributes.keys().map(|name| name.as_str().into());
        copies.map(|copies| names.zip(copies).collect())
    }

    fn get(&self, name: &str) -> Result<Element, Exception> {
        if name == "__dict__" {
            return Ok(self.all().map(Value::Dict));
        }
        self.lock().get(name).cloned().ok_or_else(|| missing(name))
    }

    fn set(&self, name: &str, new: Element) {
        // Dropped without the lock: the old value may be the last reference to another object.
        let old = self.lock().insert(name.to_owned(), new);
        drop(old);
    }

    fn delete(&self, name: &str) -> Result<(), Exception> {
        let old = self.lock().remove(name);
        old.map(drop).ok_or_else(|| missing(name))
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["__delattr__", "__getattribute__", "__setattr__"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "__getattribute__" => {
                let ([name], []) = call.args(["name"], [])?;
                self.get(&name.to::<String>()?).map(Return::Element)
            }
            "__setattr__" => {
                let ([name, value], []) = call.args(["name", "value"], [])?;
                let (name, value) = (name.to::<String>()?, call.element(value));
                self.set(&name, value);
                Ok(().into())
            }
            "__delattr__" => {
                let ([name], []) = call.args(["name"], [])?;
                Ok(self.delete(&name.to::<String>()?)?.into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let attributes = self.lock();
        let shown = attributes.iter().filter(|(name, _)| !name.starts_with('_'));
        let mut shown: Vec<_> = shown.collect();
        shown.sort_by_key(|(name, _)| format!("{name}="));
        out.write_str("Namespace(")?;
        for (at, (name, value)) in shown.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(out, "{comma}{name}={}", **value)?;
        }
        out.write_str(")")
    }

    fn size(&self) -> usize {
        self.lock().values().map(|value| python::size(value)).sum()
    }

    /// An instance of `multiprocessing.managers.Namespace`.
    fn value(&self) -> Result<Element, Exception> {
        Ok(self.all().map(|attributes| {
            let mut writer = Writer::default();
            writer.global("multiprocessing.managers", "Namespace");
            writer.tuple(0, |_| ());
            writer.newobj();
            writer.value(&Value::Dict(attributes));
            writer.build();
            writer.into_pickle().into()
        }))
    }
}

fn missing(name: &str) -> Exception {
    Exception::attribute_error(format!("there is no attribute '{name}'"))
}
