//! `iter(dict)`: an iterator over the keys of a shared dict, which stays in the manager.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::ordered::Entries;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::Element;
use crate::object::{Exposed, Return, SharedObject};
use crate::wait::lock;

pub(super) struct Iterator {
    entries: Arc<Mutex<Entries>>,
    progress: Mutex<Progress>,
}

struct Progress {
    /// The next place to look at.
    place: u64,
    /// The size that the dict must still have.
    size: usize,
    /// The keys still to come; `None` when the iteration has ended.
    left: Option<usize>,
}

impl Iterator {
    pub(super) fn new(entries: &Arc<Mutex<Entries>>) -> Arc<Self> {
        let size = lock(entries).len();
        let progress = Progress { place: 0, size, left: Some(size) };
        Arc::new(Self { entries: entries.clone(), progress: Mutex::new(progress) })
    }

    /// As `dictiter_iternextkey` of CPython's `dictobject.c`.
    fn next(&self) -> Result<Element, Exception> {
        let mut progress = lock(&self.progress);
        let entries = lock(&self.entries);
        if progress.left.is_some() && entries.len() != progress.size {
            // No dict has this size: the error stays.
            progress.size = usize::MAX;
            return Err(Exception::runtime_error("dictionary changed size during iteration"));
        }
        let left = progress.left.take();
        match left.and_then(|left| Some((left, entries.at(progress.place)?))) {
            None => Err(Exception::new("builtins", "StopIteration", Vec::new())),
            Some((0, _)) => {
                Err(Exception::runtime_error("dictionary keys changed during iteration"))
            }
            Some((left, (entry, place))) => {
                (progress.place, progress.left) = (place, Some(left - 1));
                Ok(entry.name.clone())
            }
        }
    }
}

impl SharedObject for Iterator {
    /// The methods of Python's `IteratorProxy`, which stands for generators too.
    fn exposed(&self) -> Exposed {
        ["__next__", "close", "send", "throw"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        if call.method() == "__next__" {
            call.no_args()?;
            return self.next().map(Return::Element);
        }
        let text = format!("'dict_keyiterator' object has no attribute '{}'", call.method());
        Err(Exception::attribute_error(text))
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "<dict_keyiterator object at {self:p}>")
    }
}
