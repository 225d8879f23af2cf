//! What a monitor is made of. With `--cfg loom` the tests get loom's parts instead, which try every order
//! in which threads may meet.

#[cfg(all(test, loom))]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicUsize};
#[cfg(not(all(test, loom)))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, atomic::AtomicUsize},
    thread::yield_now,
};

/// Loom tries every order anyway; after its own yield it would try fewer.
#[cfg(all(test, loom))]
pub(crate) fn yield_now() {}
