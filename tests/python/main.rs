//! The manager with unmodified `CPython` processes, of every version that is installed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod codec;
mod corpus;
mod examples;
mod exceptions;
mod interop;
mod latency;
mod numpy;
mod packages;
mod queue;
