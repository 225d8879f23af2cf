//! What Python's `SyncManager` shares beyond the queue, a file each.
//!
//! They are all alike. A type with a constructor and Rust methods, which is a handle on the shared part
//! (`shared!` writes what is the same for each); the shared part's state in a
//! [`Monitor`](crate::object::Monitor) if anything waits; and one `impl SharedObject`, which binds the arguments
//! of each method and calls it. `event.rs` is the shortest: read it first.

/// What the handles on shared objects have in common: a client gets the object that one shares. By
/// `default` one is `new`; `printed` ones print as Python's `repr()`; `sized` ones have a length, and
/// `cleared` ones can be emptied: their shared part has a `lock` on what it holds.
macro_rules! shared {
    ($handle:ident $(, $part:ident)*) => {
        impl From<$handle> for crate::object::Return {
            fn from(handle: $handle) -> Self {
                Self::Shared(handle.0)
            }
        }

        impl From<&$handle> for crate::object::Return {
            fn from(handle: &$handle) -> Self {
                Self::Shared(handle.0.clone())
            }
        }

        $(shared!(@$part $handle);)*
    };
    (@default $handle:ident) => {
        impl Default for $handle {
            fn default() -> Self {
                Self::new()
            }
        }
    };
    (@printed $handle:ident) => {
        impl std::fmt::Display for $handle {
            /// As Python's `repr()`.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&crate::object::SharedObject::repr(&*self.0))
            }
        }
    };
    (@sized $handle:ident) => {
        impl std::fmt::Debug for $handle {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($handle)).field("len", &self.len()).finish()
            }
        }

        impl $handle {
            /// How many it holds.
            #[must_use]
            pub fn len(&self) -> usize {
                self.0.lock().len()
            }

            /// Whether it holds none.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
    (@cleared $handle:ident) => {
        impl $handle {
            /// Takes everything out.
            pub fn clear(&self) {
                self.0.clear();
            }
        }

        impl Shared {
            fn clear(&self) {
                // What was held may be the last to hold another object: it goes without the lock.
                let old = std::mem::take(&mut *self.lock());
                drop(old);
            }
        }
    };
}

mod algebra;
mod args;
pub(crate) mod array;
pub(crate) mod barrier;
pub(crate) mod condition;
pub(crate) mod dict;
pub(crate) mod event;
mod iterate;
mod iterator;
mod key;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod namespace;
mod number;
mod order;
mod ordered;
mod python;
mod register;
pub(crate) mod semaphore;
mod sequence;
pub(crate) mod set;
pub(crate) mod typecode;
pub(crate) mod value;

pub use array::Array;
pub use barrier::Barrier;
pub use condition::Condition;
pub use dict::Dict;
pub use event::Event;
pub use list::List;
pub use lock::{Lock, RLock};
pub use namespace::Namespace;
pub use semaphore::{BoundedSemaphore, Semaphore};
pub use set::Set;
pub use value::SharedValue;

#[doc(inline)]
pub use crate::client::sync::{
    array::ArrayProxy,
    barrier::BarrierProxy,
    condition::{ConditionGuard, ConditionProxy},
    dict::{DictIter, DictProxy},
    event::EventProxy,
    list::{ListIter, ListProxy},
    lock::{LockGuard, LockProxy},
    namespace::NamespaceProxy,
    set::SetProxy,
    value::ValueProxy,
};
