//! `iter(dict)`: an iterator over the keys of a shared dict, which stays in the manager.

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
    /// The keys still to come.
    left: usize,
    ended: bool,
}

impl Iterator {
    pub(super) fn new(entries: &Arc<Mutex<Entries>>) -> Arc<Self> {
        let size = lock(entries).len();
        let progress = Progress { place: 0, size, left: size, ended: false };
        Arc::new(Self { entries: entries.clone(), progress: Mutex::new(progress) })
    }

    /// As `dictiter_iternextkey` of CPython's `dictobject.c`.
    fn next(&self) -> Result<Element, Exception> {
        let mut progress = lock(&self.progress);
        let entries = lock(&self.entries);
        let next = entries.at(progress.place).filter(|_| !progress.ended);
        if !progress.ended && entries.len() != progress.size {
            // No dict has this size: the error stays.
            progress.size = usize::MAX;
            return Err(Exception::runtime_error("dictionary changed size during iteration"));
        }
        match (next, progress.left.checked_sub(1)) {
            (Some((entry, place)), Some(left)) => {
                (progress.place, progress.left) = (place, left);
                Ok(entry.name.clone())
            }
            (None, _) => {
                progress.ended = true;
                Err(Exception::new("builtins", "StopIteration", Vec::new()))
            }
            (Some(_), None) => {
                progress.ended = true;
                Err(Exception::runtime_error("dictionary keys changed during iteration"))
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

    fn repr(&self) -> String {
        format!("<dict_keyiterator object at {self:p}>")
    }
}
