//! The other types of Python's `SyncManager`, one in each file.
//!
//! Each file has a public handle with Rust methods, the object behind it (`Shared`), and `impl SharedObject`, which
//! reads the arguments of each Python method and calls it. Where a method waits, the state is in a
//! [`Monitor`](crate::object::Monitor). `event.rs` is the shortest: read it first. `python/` does what Python does with any
//! value: `==`, hash, order, slices, iteration.

/// The code that is the same for every handle: it becomes a `Return`. With `default`, `Default` is `new`; with
/// `printed`, `Display` is Python's `repr()`; `sized` adds `len`, and `cleared` adds `clear`, by `Shared::lock`.
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
                crate::object::SharedObject::repr(&*self.0, f)
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
            /// The number of items.
            #[must_use]
            pub fn len(&self) -> usize {
                self.0.lock().len()
            }

            /// Whether it is empty.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
    (@cleared $handle:ident) => {
        impl $handle {
            /// Removes all items.
            pub fn clear(&self) {
                self.0.clear();
            }
        }

        impl Shared {
            fn clear(&self) {
                // Dropped without the lock: an item may be the last reference to another object.
                let old = std::mem::take(&mut *self.lock());
                drop(old);
            }
        }
    };
}

pub(crate) mod array;
pub(crate) mod barrier;
pub(crate) mod condition;
pub(crate) mod dict;
pub(crate) mod event;
mod iterator;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod namespace;
mod ordered;
pub(crate) mod python;
pub(crate) mod set;
pub(crate) mod value;

use crate::exception::Exception;
use crate::manager::Manager;
use crate::queue::Queue;
use crate::server::Registration;
pub use array::Array;
pub use barrier::Barrier;
pub use condition::Condition;
pub use dict::Dict;
pub use event::Event;
pub use list::List;
pub use lock::{BoundedSemaphore, Lock, RLock, Semaphore};
pub use namespace::Namespace;
pub use set::Set;
pub use value::SharedValue;

#[doc(inline)]
pub use crate::client::sync::{
    ArrayProxy, BarrierProxy, ConditionGuard, ConditionProxy, DictProxy, EventProxy, ListProxy,
    LockGuard, LockProxy, NamespaceProxy, SetProxy, ValueProxy,
};

impl Manager {
    /// Registers the typeids of Python's `SyncManager`: `Queue`, `JoinableQueue`, `Event`, `Lock`, `RLock`,
    /// `Semaphore`, `BoundedSemaphore`, `Condition`, `Barrier`, `list`, `dict`, `set`, `Value`, `Array` and
    /// `Namespace`. Each `create` makes a new object.
    ///
    /// `Pool` raises `NotImplementedError`, since it would run Python functions inside the manager.
    ///
    /// ```
    /// use basemanager::{Client, Manager};
    /// use basemanager::sync::DictProxy;
    /// use basemanager::value::Args;
    /// let server = Manager::new("key").register_sync_types().bind("127.0.0.1:0")?;
    /// let handle = server.start()?;
    /// let client = Client::connect(handle.address(), "key")?;
    /// let dict: DictProxy = client.create("dict", Args::new().kwarg("a", 1))?.into();
    /// assert_eq!(dict.get("a")?, Some(1.into()));
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// To register one type only: `manager.register("dict", Dict::from_call)`.
    #[must_use]
    pub fn register_sync_types(self) -> Self {
        self.register("Queue", Queue::from_call)
            .register("JoinableQueue", Queue::from_call)
            .register("Event", Event::from_call)
            .register("Lock", Lock::from_call)
            .register("RLock", RLock::from_call)
            .register("Semaphore", Semaphore::from_call)
            .register("BoundedSemaphore", BoundedSemaphore::from_call)
            .register("Condition", Condition::from_call)
            .register("Barrier", Barrier::from_call)
            .register("list", List::from_call)
            .register_with(
                "dict",
                Registration::new(Dict::from_call).method_to_typeid([("__iter__", "Iterator")]),
            )
            .register("set", Set::from_call)
            .register("Value", SharedValue::from_call)
            .register("Array", Array::from_call)
            .register("Namespace", Namespace::from_call)
            .register("Pool", |_| {
                let text = "a pool would run Python functions, which this manager does not";
                Err::<(), _>(Exception::builtin("NotImplementedError", text))
            })
    }
}
