//! Data in queues and containers, with references to the shared objects that the data names.
//!
//! A proxy that a client stores arrives as a pickle with a token in it. As long as the pickle is stored, it holds a
//! reference to the token's object.

use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

#[cfg(feature = "sync")]
use super::SharedObject;
use crate::error::{Error, Result};
use crate::limits::DEEPEST;
use crate::pickle::Pickle;
use crate::value::Value;

/// The manager's objects by id, with their reference counts.
pub(crate) trait ObjectTable: Send + Sync {
    #[cfg(feature = "sync")]
    fn get(&self, id: &str) -> Option<Arc<dyn SharedObject>>;
    /// Adds a reference; `false` if the id is unknown.
    fn incref(&self, id: &str) -> bool;
    /// Drops a reference, and the object with the last; `false` if there was none, unless the object is shared.
    fn decref(&self, id: &str) -> bool;
}

/// One reference to a shared object of this manager, released when dropped.
pub(crate) struct ObjectRef {
    objects: Arc<dyn ObjectTable>,
    id: String,
}

impl ObjectRef {
    /// Takes a reference; `None` if the id is unknown.
    pub(crate) fn new(objects: &Arc<dyn ObjectTable>, id: String) -> Option<Self> {
        objects.incref(&id).then(|| Self { objects: objects.clone(), id })
    }
}

impl Drop for ObjectRef {
    fn drop(&mut self) {
        self.objects.decref(&self.id);
    }
}

/// References to objects, each object once. Nearly always there are none, which takes no allocation. A clone shares
/// the list: a reference is released when the last list with it is dropped.
#[derive(Clone, Default)]
pub(crate) struct ObjectRefs(
    // One word: every item of every queue has it.
    Option<Arc<Vec<Arc<ObjectRef>>>>,
);

impl FromIterator<Arc<ObjectRef>> for ObjectRefs {
    fn from_iter<I: IntoIterator<Item = Arc<ObjectRef>>>(references: I) -> Self {
        let mut references: Vec<_> = references.into_iter().collect();
        references.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        references.dedup_by(|a, b| a.id == b.id);
        Self((!references.is_empty()).then(|| Arc::new(references)))
    }
}

impl ObjectRefs {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// All references of these lists. Many elements of a container share one list, which is read only once.
    pub(crate) fn union<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut lists: Vec<_> = all.into_iter().filter_map(|list| list.0.as_ref()).collect();
        let mut seen = HashSet::new();
        lists.retain(|list| seen.insert(Arc::as_ptr(list).addr()));
        lists.into_iter().flat_map(|list| list.iter().cloned()).collect()
    }

    /// The ids of the objects.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|list| list.iter()).map(|reference| &*reference.id)
    }
}

/// Stored data, such as an item of a queue. The objects that it names live at least as long as the data and its clones.
#[derive(Clone, Default)]
pub struct Stored<T> {
    pub(crate) data: T,
    pub(crate) references: ObjectRefs,
}

/// An item of a queue, pickled.
pub type Item = Stored<Pickle>;

/// A value in a container.
pub type Element = Stored<Value>;

impl<T: Into<Value>> From<T> for Element {
    /// Data of this process, which names no objects. A value that nests deeper than a connection's stack allows is
    /// stored pickled.
    fn from(data: T) -> Self {
        let value = data.into();
        let unopened = (!value.fits(DEEPEST)).then(|| Pickle::encode(&value).ok()).flatten();
        Self::own(unopened.map_or(value, Value::Opaque))
    }
}

impl From<Pickle> for Item {
    /// Data of this process, which names no objects.
    fn from(data: Pickle) -> Self {
        Self::own(data)
    }
}

impl From<Item> for Element {
    /// An item as an element of a container, still pickled.
    fn from(item: Item) -> Self {
        item.map(Value::Opaque)
    }
}

impl TryFrom<&Element> for Item {
    type Error = Error;

    fn try_from(Stored { data, references }: &Element) -> Result<Self> {
        let data = match data {
            Value::Opaque(pickle) => pickle.clone(),
            value => Pickle::encode(value)?,
        };
        Ok(Self { data, references: references.clone() })
    }
}

impl<T> Stored<T> {
    /// Data that names no objects.
    pub(crate) fn own(data: T) -> Self {
        Self { data, references: ObjectRefs::default() }
    }

    /// The data in another form, which names the same objects.
    #[must_use]
    pub fn map<U>(self, form: impl FnOnce(T) -> U) -> Stored<U> {
        Stored { data: form(self.data), references: self.references }
    }
}

impl<'a> FromIterator<&'a Element> for Stored<Vec<Value>> {
    /// Copies of many elements, with references to all objects that they name.
    fn from_iter<I: IntoIterator<Item = &'a Element>>(elements: I) -> Self {
        let mut references = Vec::new();
        let copy = |element: &'a Element| {
            references.extend((!element.references.is_empty()).then_some(&element.references));
            element.data.clone()
        };
        let data = elements.into_iter().map(copy).collect();
        Self { data, references: ObjectRefs::union(references) }
    }
}

impl<T> Deref for Stored<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T: fmt::Debug> fmt::Debug for Stored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}

/// About how many bytes a value takes in a container.
pub(crate) fn size(value: &Value) -> usize {
    let inside = match value {
        Value::Str(text) => text.len(),
        Value::Bytes(bytes) | Value::ByteArray(bytes) => bytes.len(),
        Value::Opaque(pickle) => pickle.len(),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            items.iter().map(size).sum()
        }
        Value::Dict(items) => items.iter().map(|(key, value)| size(key) + size(value)).sum(),
        _ => 0,
    };
    size_of::<Element>() + inside
}
