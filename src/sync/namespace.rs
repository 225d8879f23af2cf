//! Python's `multiprocessing.managers.Namespace`: attributes, shared.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{args, python};
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::{Element, Held};
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::Pickle;
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

    /// What Python's constructor makes of a client's arguments: `Namespace(**attributes)`.
    ///
    /// # Errors
    /// `TypeError` for an argument without a name.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let more = call.positional().len();
        if more > 0 {
            return Err(Exception::type_error(format!(
                "Namespace.__init__() takes 1 positional argument but {} were given",
                more + 1
            )));
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

    /// Sets an attribute. A value that a client sent comes as [`Call::element`], which keeps the shared
    /// objects that it names.
    pub fn set(&self, name: &str, value: impl Into<Element>) {
        self.0.set(name, value.into());
    }

    /// Removes an attribute, if it is there.
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
    fn all(&self) -> Held<Vec<(Value, Value)>> {
        let attributes = self.lock();
        let copies: Held<Vec<Value>> = attributes.values().collect();
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
        // What was there may be the last to hold another object: it goes without the lock.
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
                let [name] = args::special(call)?;
                self.get(&text(call, name)?).map(Return::Element)
            }
            "__setattr__" => {
                let [name, value] = args::special(call)?;
                let (name, value) = (text(call, name)?, call.element(value));
                self.set(&name, value);
                Ok(().into())
            }
            "__delattr__" => {
                let [name] = args::special(call)?;
                Ok(self.delete(&text(call, name)?)?.into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self) -> String {
        let attributes = self.lock();
        let shown = attributes.iter().filter(|(name, _)| !name.starts_with('_'));
        let mut shown: Vec<_> = shown.map(|(name, value)| format!("{name}={}", **value)).collect();
        shown.sort_unstable();
        format!("Namespace({})", shown.join(", "))
    }

    fn short_repr(&self, max: usize) -> String {
        let attributes = self.lock();
        let shown = attributes.iter().filter(|(name, _)| !name.starts_with('_'));
        let mut shown: Vec<_> = shown.collect();
        shown.sort_by_key(|(name, _)| format!("{name}="));
        python::beginning(max, |out| {
            out.write_str("Namespace")?;
            let shown = shown.into_iter().map(|(name, value)| Attribute(name, value));
            python::write_items(out, "(", shown, ")")
        })
    }

    fn size(&self) -> usize {
        self.lock().values().map(|value| python::size(value)).sum()
    }

    /// An instance of `multiprocessing.managers.Namespace`.
    fn value(&self) -> Result<Element, Exception> {
        Ok(self.all().map(|attributes| python::object("Namespace", attributes)))
    }
}

struct Attribute<'a>(&'a str, &'a Value);

impl fmt::Display for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.0, self.1)
    }
}

/// An attribute's name.
fn text(call: &Call<'_>, name: &Pickle) -> Result<String, Exception> {
    match call.value(name)? {
        Value::Str(name) => Ok(name),
        other => {
            let other = python::type_name(&other);
            let text = format!("attribute name must be string, not '{other}'");
            Err(Exception::type_error(text))
        }
    }
}

fn missing(name: &str) -> Exception {
    Exception::attribute_error(format!("'Namespace' object has no attribute '{name}'"))
}
