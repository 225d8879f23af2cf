//! Shows what passes between clients and a manager: a relay that prints every frame.
//!
//! ```text
//!  client ──► relay ──► manager          bytes pass unchanged
//!               │
//!               └─ Frame ──► Exchanges ──► lines, explanations, JSON, a recording, an HTML page
//! ```
//! It needs no key, because nothing is signed or encrypted after the handshake.
//!
//! [`Relay`] and its [`Frames`] are the source; [`Exchanges`] pairs requests with replies; [`explain()`] and [`listing()`]
//! explain a frame and its pickle; [`Recorder`] and [`Recording`] keep frames in a file; [`Guard`] refuses requests.
//!
//! # What a relay cannot hide
//!
//! A proxy names the address of its manager, and Python connects there. So:
//!
//! - A client that connected to the relay makes proxies that name the relay. If it sends one to a manager of `CPython`, as an
//!   item or argument, the manager does not recognize it as its own. It connects to itself, through the relay, with the key of its
//!   process (`multiprocessing.current_process().authkey`), which must be the manager's.
//! - Clients can connect to the manager itself, past a guard. Make the manager's address one that they cannot reach.
//!
//! If one side resets a connection, the other side sees it closed.

mod channel;
mod connection;
mod event;
mod exchange;
mod explain;
mod frames;
mod gate;
mod guard;
mod handshake;
pub mod html;
mod listing;
mod message;
mod pending;
mod record;
mod relay;
mod remarks;

use std::fmt;
use std::time::Duration;

pub use channel::Frames;
pub use event::{Call, Event, Exchange, Meaning, Outcome, escape};
pub use exchange::{Exchanges, Read};
pub use explain::{duration, explain};
pub use frames::name_protocol;
pub use guard::Guard;
pub use handshake::Handshake;
pub use listing::listing;
pub use record::{Recorder, Recording};
pub use relay::{Relay, RelayHandle};

/// The most bytes of a frame's payload that are kept to be shown.
pub(crate) const SHOWN: usize = 64 * 1024;

/// A frame, or other bytes, that one side sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// When its last byte passed, since the tap was started.
    pub time: Duration,
    /// The number of its connection, from 1.
    pub connection: u64,
    /// Who sent it.
    pub sender: Sender,
    /// What it is.
    pub kind: Kind,
}

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The side that connected.
    Client,
    /// The side that listens.
    Manager,
}

impl Sender {
    /// The side that receives what this one sends.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Manager,
            Self::Manager => Self::Client,
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Manager => "manager",
        })
    }
}

/// What a side sent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// The connection was made, from this address.
    Opened(String),
    /// A frame.
    Payload {
        /// The bytes of its header: 4, or 12.
        header: u8,
        /// The length of its payload.
        length: u64,
        /// The payload, or its first 64 KiB.
        bytes: Vec<u8>,
    },
    /// Bytes that are no frame: of another protocol, after a wrong length, or of a frame that ends too early. They come
    /// in pieces, as they passed, up to 64 KiB.
    Foreign(Vec<u8>),
    /// This many frames passed unseen, because whatever shows them was too slow.
    Lost(u64),
    /// The relay has something to say: it could not reach the manager, or the guard refused a request.
    Note(String),
    /// The side has sent its last byte.
    Closed,
}

impl Kind {
    /// The bytes that were kept: of a payload, or of other traffic.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Payload { bytes, .. } | Self::Foreign(bytes) => bytes,
            _ => &[],
        }
    }
}
