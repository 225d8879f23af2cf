//! Floor 4, feature `objects`: what Python's `SyncManager` shares beyond the queue, a file each.
//!
//! They are all alike. A type with a constructor and Rust methods, which is a handle on the shared part;
//! the shared part's state in a [`Monitor`](crate::Monitor) if anything waits; and one `impl
//! SharedObject`, which binds the arguments of each method and calls it. `event.rs` is the shortest:
//! read it first.

mod algebra;
mod args;
pub(crate) mod array;
pub(crate) mod barrier;
pub(crate) mod condition;
pub(crate) mod dict;
pub(crate) mod event;
mod iterate;
mod iterator;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod namespace;
mod number;
mod order;
mod ordered;
mod python;
pub(crate) mod semaphore;
mod sequence;
pub(crate) mod set;
pub(crate) mod typecode;
pub(crate) mod value;
