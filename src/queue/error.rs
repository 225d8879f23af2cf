//! The error of a put that returns its item.

use std::fmt;

use crate::error::Error;
use crate::exception::Exception;

/// Why an item was not put, with the item: the error of `try_put` and `put_timeout`.
///
/// `?` converts it into an [`Error`] or an [`Exception`], which drops the item.
///
/// ```
/// use basemanager::Queue;
/// let (tasks, spare) = (Queue::bounded(1), Queue::new());
/// for item in 1..=2 {
///     match tasks.try_put(item) {
///         Err(error) if error.is_full() => spare.put(error.into_inner())?,
///         result => result?,
///     }
/// }
/// assert_eq!(spare.get()?, 2.into());
/// # Ok::<(), basemanager::Error>(())
/// ```
pub struct PutError<T>(
    // Boxed, so that the `Result` of every put stays small.
    Box<(Error, T)>,
);

impl<T> PutError<T> {
    pub(crate) fn new(error: Error, item: T) -> Self {
        Self(Box::new((error, item)))
    }

    /// The item that was not put.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0.1
    }

    /// The reason.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.0.0
    }

    /// Whether the queue was full (`queue.Full`).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.0.is_full()
    }

    /// Whether the queue was shut down (`queue.ShutDown`).
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.0.0.is_shut_down()
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutError").field("error", &self.0.0).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.fmt(f)
    }
}

impl<T> std::error::Error for PutError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.0.source()
    }
}

impl<T> From<PutError<T>> for Error {
    fn from(refused: PutError<T>) -> Self {
        refused.0.0
    }
}

impl<T> From<PutError<T>> for Exception {
    fn from(refused: PutError<T>) -> Self {
        refused.0.0.into()
    }
}
