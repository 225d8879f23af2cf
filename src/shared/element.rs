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

/// Nearly always none, which takes no memory of their own.
#[derive(Default)]
pub(crate) struct References(
    #[expect(dead_code, reason = "kept to be dropped")]
    #[expect(clippy::box_collection, reason = "one word: every item of every queue has it")]
    Option<Box<Vec<Reference>>>,
);

impl FromIterator<Reference> for References {
    fn from_iter<I: IntoIterator<Item = Reference>>(references: I) -> Self {
        let references: Vec<_> = references.into_iter().collect();
        Self((!references.is_empty()).then(|| Box::new(references)))
    }
}

/// Data that a client sent. Objects that it names live at least as long as it is kept.
#[derive(Default)]
pub struct Held<T> {
    pub(crate) data: T,
    pub(crate) references: References,
}

/// An item of a queue, unopened.
pub type Item = Held<Pickle>;

/// A value in a container.
pub type Element = Held<Value>;

impl<T> From<T> for Held<T> {
    /// Data of this process's own, which names no objects.
    fn from(data: T) -> Self {
        Self { data, references: References::default() }
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
