//! What queues and containers hold: data, and a hold on the shared objects that the data names.
//!
//! A proxy that a client stores arrives as a pickle with a token in it. As long as that pickle is kept,
//! the object that it names has one reference more.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::value::{Pickle, Value};

/// Counts references to shared objects: the manager.
pub(crate) trait Keeper: Send + Sync {
    fn release(&self, id: &str);
}

/// One reference to a shared object of this manager, given back when dropped.
pub(crate) struct Reference {
    pub(crate) keeper: Arc<dyn Keeper>,
    pub(crate) id: String,
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.keeper.release(&self.id);
    }
}

/// Nearly always none, which takes no memory of their own. A clone shares them: an object is given back
/// when the last one is dropped.
#[derive(Clone, Default)]
pub(crate) struct References(
    #[expect(clippy::box_collection, reason = "one word: every item of every queue has it")]
    Option<Box<Vec<Arc<Reference>>>>,
);

impl FromIterator<Reference> for References {
    fn from_iter<I: IntoIterator<Item = Reference>>(references: I) -> Self {
        Self::new(references.into_iter().map(Arc::new).collect())
    }
}

impl References {
    fn new(references: Vec<Arc<Reference>>) -> Self {
        Self((!references.is_empty()).then(|| Box::new(references)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Reference>> {
        self.0.iter().flat_map(|references| references.iter())
    }
}

impl Extend<Self> for References {
    fn extend<I: IntoIterator<Item = Self>>(&mut self, others: I) {
        for others in others {
            match (&mut self.0, others.0) {
                (Some(own), Some(others)) => own.extend(*others),
                (own @ None, others) => *own = others,
                (Some(_), None) => {}
            }
        }
    }
}

/// Data that a client sent. Objects that it names live at least as long as it, or a clone, is kept.
#[derive(Clone, Default)]
pub struct Held<T> {
    pub(crate) data: T,
    pub(crate) references: References,
}

/// An item of a queue, unopened.
pub type Item = Held<Pickle>;

/// A value in a container.
pub type Element = Held<Value>;

impl<T: Into<Value>> From<T> for Element {
    /// Data of this process's own, which names no objects.
    fn from(data: T) -> Self {
        Self::unnamed(data.into())
    }
}

impl From<Pickle> for Item {
    /// The same, unopened.
    fn from(data: Pickle) -> Self {
        Self::unnamed(data)
    }
}

impl From<Vec<Value>> for Held<Vec<Value>> {
    fn from(data: Vec<Value>) -> Self {
        Self::unnamed(data)
    }
}

impl From<Item> for Element {
    /// An item that is kept elsewhere, still unopened.
    fn from(item: Item) -> Self {
        item.map(Value::Opaque)
    }
}

impl From<Element> for Item {
    fn from(element: Element) -> Self {
        element.map(|value| match value {
            Value::Opaque(pickle) => pickle,
            value => Pickle::from(&value),
        })
    }
}

impl<T> Held<T> {
    /// Data that names no objects.
    fn unnamed(data: T) -> Self {
        Self { data, references: References::default() }
    }

    /// The data in another form, which names the same objects.
    #[must_use]
    pub fn map<U>(self, form: impl FnOnce(T) -> U) -> Held<U> {
        Held { data: form(self.data), references: self.references }
    }
}

impl<'a> FromIterator<&'a Element> for Held<Vec<Value>> {
    /// Copies of many, with all that they name.
    fn from_iter<I: IntoIterator<Item = &'a Element>>(elements: I) -> Self {
        let mut references = Vec::new();
        let copy = |element: &'a Element| {
            references.extend(element.references.iter().cloned());
            element.data.clone()
        };
        let data = elements.into_iter().map(copy).collect();
        Self { data, references: References::new(references) }
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T: fmt::Debug> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}
