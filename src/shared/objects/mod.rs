//! Floor 4, feature `objects`: what Python's `SyncManager` shares beyond the queue, a file each.
//!
//! They are all alike. A type with a constructor and Rust methods, which is a handle on the shared part;
//! the shared part's state in a [`Monitor`](crate::Monitor) if anything waits; and one `impl
//! SharedObject`, which binds the arguments of each method and calls it. `event.rs` is the shortest:
//! read it first.

mod args;
pub(crate) mod barrier;
pub(crate) mod condition;
pub(crate) mod event;
pub(crate) mod lock;
mod number;
pub(crate) mod semaphore;
