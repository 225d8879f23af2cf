//! The check of requests: each is held until it is complete, and then forwarded or refused.
//!
//! ```text
//!  client ──► held ──► check ── allowed ──► manager
//!                        └──── refused ──► waits for the replies before it ──► client
//! ```
//! The client's first three frames are its part of the handshake, which a manager never unpickles: they are not
//! checked. Only a client that the manager has welcomed can have a request held.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::connection::{Link, Tee};
use super::frames::HANDSHAKE;
use super::{Kind, SHOWN};
use crate::wire::message::Reply;

/// The most refusals that wait for the replies before them.
const MAX_REFUSALS: usize = 1000;

/// The function that checks requests, and the most memory for them.
pub(crate) struct Check {
    pub(crate) allows: Box<CheckFn>,
    /// The longest request.
    pub(crate) limit: u64,
    /// The bytes that the requests hold which are arriving now, on all connections.
    pub(crate) held: AtomicUsize,
}

/// Returns why a request is refused.
pub(crate) type CheckFn = dyn Fn(&[u8]) -> Result<(), String> + Send + Sync;

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({:?}, at most {} bytes)", self.held, self.limit)
    }
}

/// Which replies are due, for a connection that is checked.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// The frames that the manager has sent.
    frames: u64,
    /// Whether it accepted the client's proof of the key.
    welcomed: bool,
    /// The requests that the manager got.
    forwarded: u64,
    /// Replies to requests that it did not get, behind the number of replies that come before them.
    refusals: VecDeque<(u64, Vec<u8>)>,
}

impl Replies {
    /// The refusal whose turn it is.
    fn due(&mut self) -> Option<Vec<u8>> {
        let answered = self.frames.saturating_sub(HANDSHAKE);
        let is_due = self.refusals.front().is_some_and(|(before, _)| *before <= answered);
        if is_due { self.refusals.pop_front().map(|(_, refusal)| refusal) } else { None }
    }
}

/// Passes replies on, and puts refusals between them where their turn is.
pub(crate) fn pass_replies(link: &Link, mut bytes: &[u8], tee: &mut Tee) -> io::Result<()> {
    // Held while it writes, so that no refusal comes into the middle of a reply.
    let mut replies = link.replies();
    let mut client = &link.client;
    while !bytes.is_empty() {
        let (used, kind) = tee.parser.next(bytes);
        let (piece, rest) = bytes.split_at(used);
        bytes = rest;
        let is_complete = matches!(kind, Some(Kind::Payload { .. }));
        // Counted before the client can see it, and send more.
        if let Some(Kind::Payload { bytes, .. }) = &kind {
            replies.frames += 1;
            replies.welcomed |= replies.frames == 2 && bytes == b"#WELCOME#";
        }
        if let Some(kind) = kind {
            tee.show(kind);
        }
        client.write_all(piece)?;
        while is_complete && let Some(refusal) = replies.due() {
            tee.show_reply(&refusal);
            client.write_all(&refusal)?;
        }
    }
    Ok(())
}

/// Holds each request until it is complete, and checks it.
pub(crate) struct Gate<'a> {
    link: &'a Link,
    check: &'a Check,
    /// The frame that is arriving, with its header.
    held: Vec<u8>,
    /// Why it is not held to its end.
    too_large: Option<String>,
}

impl<'a> Gate<'a> {
    pub(crate) fn new(link: &'a Link, check: &'a Check) -> Self {
        Self { link, check, held: Vec::new(), too_large: None }
    }
}

impl Gate<'_> {
    pub(crate) fn pass(&mut self, mut bytes: &[u8], tee: &mut Tee) -> io::Result<()> {
        while !bytes.is_empty() {
            let (used, kind) = tee.parser.next(bytes);
            let (piece, rest) = bytes.split_at(used);
            bytes = rest;
            let handshake = HANDSHAKE + u64::from(kind.is_some());
            if tee.parser.frames() >= handshake && !self.link.replies().welcomed {
                return Self::close(tee, "a request came before the end of the handshake");
            }
            self.hold(piece, tee.parser.arriving());
            match kind {
                None => {}
                Some(Kind::Payload { header, length, bytes }) => {
                    tee.show(Kind::Payload { header, length, bytes });
                    self.decide(usize::from(header), tee)?;
                    self.drop_held();
                    self.too_large = None;
                }
                Some(kind) => {
                    tee.show(kind);
                    return Self::close(tee, "the client does not speak the manager protocol");
                }
            }
        }
        Ok(())
    }

    fn close(tee: &mut Tee, why: &str) -> io::Result<()> {
        tee.show(Kind::Note(format!("the guard closed the connection: {why}")));
        Err(ErrorKind::InvalidData.into())
    }

    /// Keeps a piece of the frame, of which so much arrives.
    fn hold(&mut self, piece: &[u8], length: Option<u64>) {
        let limit = self.check.limit;
        let held = self.check.held.fetch_add(piece.len(), Ordering::Relaxed) as u64;
        self.held.extend_from_slice(piece);
        if let Some(length) = length.filter(|length| *length > limit) {
            self.too_large =
                Some(format!("it has {length} bytes; the guard accepts at most {limit}"));
        } else if held > limit.saturating_mul(4) && self.held.len() > SHOWN {
            // A small request is never refused for the large ones of others.
            let busy = "too many large requests are arriving at the same time; try again later";
            self.too_large.get_or_insert_with(|| busy.to_owned());
        }
        if self.too_large.is_some() {
            self.drop_held();
        }
    }

    fn drop_held(&mut self) {
        self.check.held.fetch_sub(self.held.len(), Ordering::Relaxed);
        // A large buffer is returned to the system.
        self.held = Vec::new();
    }

    /// Forwards a complete frame, or refuses it.
    fn decide(&mut self, header: usize, tee: &mut Tee) -> io::Result<()> {
        let mut manager = &self.link.manager;
        if tee.parser.frames() <= HANDSHAKE {
            return manager.write_all(&self.held);
        }
        let payload = self.held.get(header..).unwrap_or_default();
        match self.too_large.take().map_or_else(|| (self.check.allows)(payload), Err) {
            Ok(()) => {
                self.link.replies().forwarded += 1;
                manager.write_all(&self.held)
            }
            Err(reason) => self.refuse(&reason, tee),
        }
    }

    /// Replies in place of the manager, after the replies to the requests before.
    fn refuse(&self, reason: &str, tee: &mut Tee) -> io::Result<()> {
        tee.show(Kind::Note(format!("the guard refused a request: {reason}")));
        let mut refusal = Vec::new();
        let text = format!("basemanager tap --guard refused this request: {reason}");
        let written = Reply::Traceback(text).append(&mut refusal);
        written.map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
        let mut replies = self.link.replies();
        if replies.refusals.len() >= MAX_REFUSALS {
            return Self::close(
                tee,
                "too many refused requests are waiting for the replies before them",
            );
        }
        let before = replies.forwarded;
        replies.refusals.push_back((before, refusal));
        let mut client = &self.link.client;
        while let Some(refusal) = replies.due() {
            tee.show_reply(&refusal);
            client.write_all(&refusal)?;
        }
        Ok(())
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        self.drop_held();
    }
}
