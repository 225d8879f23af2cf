//! Pages beyond the reference: how the code works, what it promises, and what it costs.

#![allow(clippy::doc_markdown)]

#[doc = include_str!("one_put.md")]
pub mod one_put {}

#[doc = include_str!("handshake.md")]
pub mod handshake {}

#[doc = include_str!("pickle.md")]
pub mod pickle {}

#[doc = include_str!("wire.md")]
pub mod wire {}

#[doc = include_str!("walk.md")]
pub mod walk {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}

#[doc = include_str!("production.md")]
pub mod production {}

#[doc = include_str!("promises.md")]
pub mod promises {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("security.md")]
pub mod security {}

#[doc = include_str!("speed.md")]
pub mod speed {}

#[doc = include_str!("python.md")]
pub mod python {}

#[doc = include_str!("differences.md")]
pub mod differences {}
