//! The error of a `put` that did not succeed: it returns the item.

use std::fmt;

use crate::error::Error;
use crate::exception::Exception;

/// Why an item was not put into a queue, and the item.
#[derive(Debug)]
pub struct PutError<T> {
    error: Error,
    item: T,
}

impl<T> PutError<T> {
    pub(crate) fn new(error: Error, item: T) -> Self {
        Self { error, item }
    }

    /// The item.
    pub fn into_inner(self) -> T {
        self.item
    }

    /// Why the item is not in the queue.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Whether the queue was full (`queue.Full`).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.error.is_full()
    }

    /// Whether the queue has been shut down (`queue.ShutDown`).
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.error.is_shut_down()
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: fmt::Debug> std::error::Error for PutError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl<T> From<PutError<T>> for Error {
    fn from(error: PutError<T>) -> Self {
        error.error
    }
}

impl<T> From<PutError<T>> for Exception {
    fn from(error: PutError<T>) -> Self {
        error.error.into()
    }
}
