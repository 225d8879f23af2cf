//! Peers that die, stop reading, flood or send nonsense; managers that restart or run out of resources.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod bad_clients;
mod bad_moments;
mod challenges;
mod exhaustion;
mod kill;
mod leaks;
mod network;
mod redelivery;
mod restart;
mod unauthenticated;
