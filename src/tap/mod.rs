//! A relay that shows every frame between clients and a manager.
//!
//! ```text
//!  client ──► relay ──► manager          bytes are forwarded unchanged
//!               │
//!               └─ Frame ──► Exchanges ──► lines, explanations, JSON, a recording, an HTML page
//! ```
//! It needs no key, because nothing is signed or encrypted after the handshake.
//!
//! [`Relay`] and its [`Frames`] are the source; [`Exchanges`] pairs requests with replies; [`explain()`] and
//! [`listing()`] explain a frame and its pickle; [`Recorder`] and [`Recording`] keep frames in a file; [`Guard`]
//! refuses requests.
//!
//! # What a relay cannot hide
//!
//! A proxy names the address of its manager, and Python connects there. So:
//!
//! - A proxy that a client made through the relay names the relay's address. If the client sends that proxy to a
//!   `CPython` manager, the manager does not recognize it as its own object. It connects back through the relay and
//!   authenticates with `multiprocessing.current_process().authkey`. That key must equal the manager's authkey, or the
//!   request fails with `AuthenticationError`.
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
pub use frames::{Foreign, name_protocol};
pub use guard::Guard;
pub use handshake::Handshake;
pub use listing::{dump, listing};
pub use record::{Recorder, Recording};
pub use relay::{Relay, RelayHandle};

/// The method of a request that could not be decoded.
const UNDECODED: &str = "?";

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
    /// Bytes that are not frames: of another protocol, after an invalid length, or of a frame that ends too early. They
    /// come in pieces, as they passed, up to 64 KiB.
    Foreign(Vec<u8>),
    /// This many frames were relayed but not recorded, because the consumer of [`Frames`] was too slow.
    Lost(u64),
    /// A remark by the relay: it could not reach the manager, or the guard refused a request.
    Note(String),
    /// The relay was stopped, and closes the connection.
    Stopped,
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
