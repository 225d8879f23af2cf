//! The manager, its clients and the queue.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod batches;
mod client;
mod delivery;
mod drain;
mod guide;
mod hostile;
mod hostile_frames;
mod large_frames;
mod listeners;
mod logging;
mod manager;
mod owner;
mod queue;
mod sharing;
