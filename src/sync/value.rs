//! Python's `multiprocessing.managers.Value`: one value, shared.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::python;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::Element;
use crate::object::{Exposed, Return, SharedObject};
use crate::value::Value;
use crate::wait::lock;

/// A value that this process and clients get and set. A clone is the same value.
///
/// ```
/// use basemanager::sync::SharedValue;
/// let value = SharedValue::new("i", 5);
/// value.set(7);
/// assert_eq!(value.get(), 7.into());
/// assert_eq!(value.to_string(), "Value('i', 7)");
/// ```
#[derive(Clone, Debug)]
pub struct SharedValue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Shown only: a value of any type can be set.
    typecode: Element,
    value: Mutex<Element>,
}

shared!(SharedValue, printed);

impl SharedValue {
    /// A value. The typecode is shown only, as in Python: a value of any type can be set.
    pub fn new(typecode: &str, value: impl Into<Element>) -> Self {
        let (typecode, value) = (typecode.into(), value.into());
        Self(Arc::new(Shared { typecode, value: Mutex::new(value) }))
    }

    /// Creates a value from a client's arguments, as Python's `Value(typecode, value, lock=True)`: a callable for
    /// [`Manager::register`](crate::Manager::register).
    ///
    /// # Errors
    /// `TypeError` if an argument is missing.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let ([typecode, value], [_]) = call.args(["typecode", "value"], ["lock"])?;
        let (typecode, value) = (call.element(typecode), call.element(value));
        Ok(Self(Arc::new(Shared { typecode, value: Mutex::new(value) })))
    }

    /// A copy of the value.
    #[must_use]
    pub fn get(&self) -> Value {
        lock(&self.0.value).data.clone()
    }

    /// Replaces the value. For an argument of a client use [`Call::element`], which keeps the shared objects alive
    /// that it names.
    pub fn set(&self, value: impl Into<Element>) {
        self.0.set(value.into());
    }
}

impl Shared {
    fn set(&self, new: Element) {
        // Dropped without the lock: the old value may be the last reference to another object.
        let old = std::mem::replace(&mut *lock(&self.value), new);
        drop(old);
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["get", "set"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "get" => {
                call.no_args()?;
                Ok(Return::Element(lock(&self.value).clone()))
            }
            "set" => {
                let ([value], []) = call.args(["value"], [])?;
                self.set(call.element(value));
                Ok(().into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let value = lock(&self.value);
        write!(out, "Value({}, {})", *self.typecode, **value)
    }

    fn size(&self) -> usize {
        python::size(&lock(&self.value))
    }

    /// An instance of `multiprocessing.managers.Value`.
    fn value(&self) -> Result<Element, Exception> {
        let args = [&self.typecode, &*lock(&self.value)].into_iter().collect();
        python::construct("multiprocessing.managers", "Value", args)
    }
}
