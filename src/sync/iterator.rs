//! `Iterator`: what `iter()` of a shared dict gives; it stays in the manager.

use std::sync::{Arc, Mutex};

use super::args;
use super::dict::Entries;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::Element;
use crate::object::{Exposed, Return, SharedObject};
use crate::wait::lock;

/// Goes over the keys of a dict that may change meanwhile.
pub(super) struct Iterator {
    entries: Arc<Mutex<Entries>>,
    at: Mutex<Progress>,
}

struct Progress {
    /// The next place to look at.
    place: u64,
    /// The size that the dict must still have.
    size: usize,
    /// The keys still to come.
    left: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Going,
    /// The dict grew or shrank, and that is said for ever.
    Resized,
    Ended,
}

impl Iterator {
    pub(super) fn new(entries: &Arc<Mutex<Entries>>) -> Arc<Self> {
        let size = lock(entries).len();
        let at = Progress { place: 0, size, left: size, state: State::Going };
        Arc::new(Self { entries: entries.clone(), at: Mutex::new(at) })
    }

    /// As `dictiter_iternextkey` of CPython's `dictobject.c`.
    fn next(&self) -> Result<Element, Exception> {
        let mut at = lock(&self.at);
        if at.state == State::Ended {
            return Err(Exception::new("builtins", "StopIteration", Vec::new()));
        }
        let entries = lock(&self.entries);
        if at.state == State::Resized || entries.len() != at.size {
            at.state = State::Resized;
            return Err(Exception::runtime_error("dictionary changed size during iteration"));
        }
        match (entries.at(at.place), at.left.checked_sub(1)) {
            (Some((entry, place)), Some(left)) => {
                (at.place, at.left) = (place, left);
                Ok(entry.name.clone())
            }
            (Some(_), None) => {
                at.state = State::Ended;
                Err(Exception::runtime_error("dictionary keys changed during iteration"))
            }
            (None, _) => {
                at.state = State::Ended;
                Err(Exception::new("builtins", "StopIteration", Vec::new()))
            }
        }
    }
}

impl SharedObject for Iterator {
    /// What Python's `IteratorProxy` offers: it stands for generators too.
    fn exposed(&self) -> Exposed {
        ["__next__", "close", "send", "throw"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        if call.method() == "__next__" {
            let [] = args::special(call)?;
            return self.next().map(Return::Element);
        }
        let text = format!("'dict_keyiterator' object has no attribute '{}'", call.method());
        Err(Exception::attribute_error(text))
    }

    fn repr(&self) -> String {
        format!("<dict_keyiterator object at {self:p}>")
    }
}
