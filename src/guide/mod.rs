//! A course about managers, and reference pages.
//!
//! # The course
//!
//! For readers who know Python. Each page builds on those before it, shows real bytes or real output, and ends with an
//! exercise.
//!
//! 1. [`one_put`]: one `put`, from the first byte to the last ([in Chinese](one_put_zh_cn)).
//! 2. [`handshake`]: how both sides prove that they know the key, and what this does not protect.
//! 3. [`pickle`]: how values become bytes, and why this manager never runs them.
//! 4. [`waiting`]: how a call waits, and how it notices that its client is gone.
//! 5. [`proxies`]: what keeps a shared object alive, and when it is freed.
//! 6. [`delivery`]: queues that deliver again what was not acknowledged.
//! 7. [`build_one`]: a manager with one queue, in four steps.
//! 8. [`troubleshooting`]: errors by the text that you see, with cause and fix.
//! 9. [`production`]: running a manager as a service, and building it into a program.
//!
//! # Reference
//!
//! - [`wire`]: each message, byte for byte.
//! - [`limits`]: what a client may use, and what happens beyond.
//! - [`security`]: what the key protects, and what it does not.
//! - [`promises`]: what is promised, with the tests that check it.
//! - [`speed`]: figures, next to Redis and CPython.
//! - `redis` (with the feature `redis`): queues stored in Redis, shared by several managers.
//! - [`differences`]: where the types of `SyncManager` differ from CPython's.
//! - [`python`]: Python's names, and their equivalents in Rust.
//! - [`walk`]: one `put` and one blocked `get`, through the code.

#![allow(clippy::doc_markdown)]

#[doc = include_str!("one_put.md")]
pub mod one_put {}

#[doc = include_str!("one_put_zh_cn.md")]
pub mod one_put_zh_cn {}

#[doc = include_str!("handshake.md")]
pub mod handshake {}

#[doc = include_str!("pickle.md")]
pub mod pickle {}

#[doc = include_str!("waiting.md")]
pub mod waiting {}

#[doc = include_str!("proxies.md")]
pub mod proxies {}

#[doc = include_str!("delivery.md")]
pub mod delivery {}

#[doc = include_str!("build_one.md")]
pub mod build_one {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}

#[doc = include_str!("production.md")]
pub mod production {}

#[doc = include_str!("wire.md")]
pub mod wire {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("security.md")]
pub mod security {}

#[doc = include_str!("promises.md")]
pub mod promises {}

#[doc = include_str!("speed.md")]
pub mod speed {}

#[doc = include_str!("differences.md")]
pub mod differences {}

#[cfg(feature = "redis")]
#[doc = include_str!("redis.md")]
pub mod redis {}

#[doc = include_str!("python.md")]
pub mod python {}

#[doc = include_str!("walk.md")]
pub mod walk {}
