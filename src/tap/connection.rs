//! One connection: two threads, each of which copies one direction.
//!
//! ```text
//!  client ── read ── show ── [check] ── write ──► manager
//!  client ◄── write ── show ── read ──────────── manager
//! ```
//! Bytes are shown before they are written, so that a request is always shown before its reply.
//!
//! With a check, a request is held until it is complete. The client's first three frames are its part of the handshake,
//! which a manager never unpickles.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::channel::Sink;
use super::frames::{HANDSHAKE, Parser};
use super::relay::Check;
use super::{Frame, Kind, Sender};
use crate::net::Stream;
use crate::wire::frame::Source;
use crate::wire::message::Reply;

/// The bytes that are read at a time.
const BUFFER: usize = 32 * 1024;
/// The most refusals that wait for the replies before them.
const MAX_REFUSALS: usize = 1000;

/// The two sockets of a connection.
#[derive(Debug)]
pub(crate) struct Link {
    number: u64,
    client: Stream,
    manager: Stream,
    check: Option<Arc<Check>>,
    replies: Mutex<Replies>,
}

/// Which replies are due, for a connection that is checked.
#[derive(Debug, Default)]
struct Replies {
    /// The frames that the manager has sent.
    frames: u64,
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

impl Link {
    pub(crate) fn new(
        number: u64,
        client: Stream,
        manager: Stream,
        check: Option<Arc<Check>>,
    ) -> Self {
        Self { number, client, manager, check, replies: Mutex::default() }
    }

    /// Ends both directions.
    pub(crate) fn close(&self) {
        self.client.shutdown(Shutdown::Both);
        self.manager.shutdown(Shutdown::Both);
    }

    fn replies(&self) -> MutexGuard<'_, Replies> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Relays until both directions have ended.
pub(crate) fn relay(link: &Arc<Link>, sink: &Sink, started: Instant) {
    let tee = |sender| Tee {
        sink: sink.clone(),
        connection: link.number,
        sender,
        started,
        parser: Parser::new(sender),
        lost: 0,
    };
    let (other, mut replies) = (link.clone(), tee(Sender::Manager));
    let name = format!("tap-{}-replies", link.number);
    let back = thread::Builder::new().name(name).stack_size(super::relay::STACK).spawn(move || {
        let to_client = |bytes: &[u8], tee: &mut Tee| match &other.check {
            Some(_) => write_replies(&other, bytes, tee),
            None => pass(&other.client, bytes, tee),
        };
        copy(&other.manager, &other.client, &mut replies, to_client);
    });
    let mut requests = tee(Sender::Client);
    match back {
        Ok(back) => {
            if let Some(check) = &link.check {
                let mut gate = Gate { link, check, held: Vec::new(), too_large: false };
                let checked = |bytes: &[u8], tee: &mut Tee| gate.pass(bytes, tee);
                copy(&link.client, &link.manager, &mut requests, checked);
            } else {
                let to_manager = |bytes: &[u8], tee: &mut Tee| pass(&link.manager, bytes, tee);
                copy(&link.client, &link.manager, &mut requests, to_manager);
            }
            let _ = back.join();
        }
        Err(error) => {
            requests.show(Kind::Note(format!("cannot start a thread: {error}")));
            requests.show(Kind::Closed);
        }
    }
    link.close();
}

/// Copies one direction until it ends.
fn copy(
    from: &Stream,
    to: &Stream,
    tee: &mut Tee,
    mut pass: impl FnMut(&[u8], &mut Tee) -> io::Result<()>,
) {
    let mut buffer = vec![0; BUFFER];
    let mut reader = from;
    loop {
        if tee.parser.expects_more() {
            from.ack_now();
        }
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                if pass(buffer.get(..read).unwrap_or_default(), tee).is_err() {
                    // The other direction ends after what came before.
                    to.shutdown(Shutdown::Both);
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if let Some(kind) = tee.parser.end() {
        tee.show(kind);
    }
    tee.show(Kind::Closed);
    to.shutdown(Shutdown::Write);
}

/// Passes bytes on unchecked.
fn pass(mut to: &Stream, bytes: &[u8], tee: &mut Tee) -> io::Result<()> {
    tee.show_all(bytes);
    to.write_all(bytes)
}

/// Passes replies on, and puts refusals between them where their turn is.
fn write_replies(link: &Link, mut bytes: &[u8], tee: &mut Tee) -> io::Result<()> {
    // Held while it writes, so that no refusal comes into the middle of a reply.
    let mut replies = link.replies();
    let mut client = &link.client;
    while !bytes.is_empty() {
        let (used, kind) = tee.parser.next(bytes);
        let (piece, rest) = bytes.split_at(used);
        bytes = rest;
        let is_complete = matches!(kind, Some(Kind::Payload { .. }));
        if let Some(kind) = kind {
            tee.show(kind);
        }
        // Counted before the client can see it, and send more.
        replies.frames += u64::from(is_complete);
        client.write_all(piece)?;
        while is_complete && let Some(refusal) = replies.due() {
            tee.show_reply(&refusal);
            client.write_all(&refusal)?;
        }
    }
    Ok(())
}

/// Holds each request until it is complete, and checks it.
struct Gate<'a> {
    link: &'a Link,
    check: &'a Check,
    /// The frame that is arriving, with its header.
    held: Vec<u8>,
    /// Whether it is more than may be held.
    too_large: bool,
}

impl Gate<'_> {
    fn pass(&mut self, mut bytes: &[u8], tee: &mut Tee) -> io::Result<()> {
        while !bytes.is_empty() {
            let (used, kind) = tee.parser.next(bytes);
            let (piece, rest) = bytes.split_at(used);
            bytes = rest;
            let too_long = tee.parser.arriving().is_some_and(|length| length > self.check.limit);
            self.hold(piece, too_long);
            match kind {
                None => {}
                Some(Kind::Payload { header, length, bytes }) => {
                    tee.show(Kind::Payload { header, length, bytes });
                    self.decide(usize::from(header), length, tee)?;
                    self.release();
                }
                Some(kind) => {
                    tee.show(kind);
                    let why = "the guard closed the connection: its bytes are no frames of a manager's client";
                    tee.show(Kind::Note(why.to_owned()));
                    return Err(ErrorKind::InvalidData.into());
                }
            }
        }
        Ok(())
    }

    fn hold(&mut self, piece: &[u8], too_long: bool) {
        let held = self.check.held.fetch_add(piece.len(), Ordering::Relaxed) as u64;
        self.held.extend_from_slice(piece);
        if self.too_large || too_long || held > self.check.limit.saturating_mul(4) {
            self.too_large = true;
            self.drop_held();
        }
    }

    fn drop_held(&mut self) {
        self.check.held.fetch_sub(self.held.len(), Ordering::Relaxed);
        // A large buffer is returned to the system.
        self.held = Vec::new();
    }

    fn release(&mut self) {
        self.drop_held();
        self.too_large = false;
    }

    /// Forwards a complete frame, or refuses it.
    fn decide(&mut self, header: usize, length: u64, tee: &mut Tee) -> io::Result<()> {
        let mut manager = &self.link.manager;
        if tee.parser.frames() <= HANDSHAKE {
            if self.too_large {
                return Err(ErrorKind::OutOfMemory.into());
            }
            return manager.write_all(&self.held);
        }
        if self.link.replies().frames < HANDSHAKE {
            let why =
                "the guard closed the connection: a request came before the end of the handshake";
            tee.show(Kind::Note(why.to_owned()));
            return Err(ErrorKind::InvalidData.into());
        }
        let payload = self.held.get(header..).unwrap_or_default();
        let checked = if self.too_large {
            let limit = self.check.limit;
            Err(format!(
                "a request of {length} bytes; at most {limit} are checked, and four times that many at a time"
            ))
        } else {
            (self.check.allows)(payload)
        };
        match checked {
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
            return Err(ErrorKind::InvalidData.into());
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

/// The time since then in whole microseconds, as a recording has it.
pub(crate) fn since(started: Instant) -> Duration {
    Duration::from_micros(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// Shows what passes in one direction.
struct Tee {
    sink: Sink,
    connection: u64,
    sender: Sender,
    started: Instant,
    parser: Parser,
    /// The frames that were not shown, since the last that was.
    lost: u64,
}

impl Tee {
    fn show_all(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (used, kind) = self.parser.next(bytes);
            bytes = bytes.get(used..).unwrap_or_default();
            if let Some(kind) = kind {
                self.show(kind);
            }
        }
    }

    fn show(&mut self, kind: Kind) {
        let (connection, sender) = (self.connection, self.sender);
        let time = since(self.started);
        self.sink.push(Frame { time, connection, sender, kind }, &mut self.lost);
    }

    /// Shows a reply that the guard sends in place of the manager.
    fn show_reply(&mut self, frame: &[u8]) {
        let (connection, sender) = (self.connection, Sender::Manager);
        let bytes = frame.get(4..).unwrap_or_default().to_vec();
        let kind = Kind::Payload { header: 4, length: bytes.len() as u64, bytes };
        let time = since(self.started);
        let mut lost = 0;
        self.sink.push(Frame { time, connection, sender, kind }, &mut lost);
        if lost > 0 {
            let kind = Kind::Lost(lost);
            self.sink.push(Frame { time, connection, sender, kind }, &mut 0);
        }
    }
}
