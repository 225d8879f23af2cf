//! The types of Python's `SyncManager`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod auto_proxy;
mod container_copies;
mod container_locks;
mod cpython_suite;
mod depth;
mod dict;
mod differential;
mod equality;
mod expansion;
mod list;
mod locks;
mod odd_calls;
mod reference_memory;
mod references;
