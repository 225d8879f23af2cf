//! One connection: two threads, each of which copies one direction.
//!
//! ```text
//!  client ── read ── show ── [check] ── write ──► manager
//!  client ◄── write ── show ── read ──────────── manager
//! ```
//! Bytes are shown before they are written, so that a request is always shown before its reply.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::channel::Sink;
use super::frames::Parser;
use super::gate::{Check, Gate, Replies, pass_replies};
use super::{Frame, Kind, Sender};
use crate::net::Stream;
use crate::wire::frame::Source;

/// The bytes that are read at a time.
const BUFFER: usize = 32 * 1024;

/// How long a client may send after the manager has closed its direction. No manager half-closes a connection.
const LINGER: Duration = Duration::from_secs(10);

/// The two sockets of a connection.
#[derive(Debug)]
pub(crate) struct Link {
    number: u64,
    pub(super) client: Stream,
    pub(super) manager: Stream,
    check: Option<Arc<Check>>,
    replies: Mutex<Replies>,
    stopped: AtomicBool,
}

impl Link {
    pub(crate) fn new(
        number: u64,
        client: Stream,
        manager: Stream,
        check: Option<Arc<Check>>,
    ) -> Self {
        let (replies, stopped) = (Mutex::default(), AtomicBool::new(false));
        Self { number, client, manager, check, replies, stopped }
    }

    /// Notes that the relay was stopped; `true` the first time.
    pub(crate) fn stop(&self) -> bool {
        !self.stopped.swap(true, Ordering::SeqCst)
    }

    /// Ends both directions.
    pub(crate) fn close(&self) {
        self.client.shutdown(Shutdown::Both);
        self.manager.shutdown(Shutdown::Both);
    }

    /// Which replies are due, for a connection that is checked.
    pub(super) fn replies(&self) -> MutexGuard<'_, Replies> {
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
            Some(_) => pass_replies(&other, bytes, tee),
            None => pass(&other.client, bytes, tee),
        };
        copy(&other.manager, &other.client, &mut replies, to_client);
        // A manager that has closed the connection gets no more requests: its client must not keep the connection open.
        thread::park_timeout(LINGER);
        other.client.shutdown(Shutdown::Read);
    });
    let mut requests = tee(Sender::Client);
    match back {
        Ok(back) => {
            if let Some(check) = &link.check {
                let mut gate = Gate::new(link, check);
                let checked = |bytes: &[u8], tee: &mut Tee| gate.pass(bytes, tee);
                copy(&link.client, &link.manager, &mut requests, checked);
            } else {
                let to_manager = |bytes: &[u8], tee: &mut Tee| pass(&link.manager, bytes, tee);
                copy(&link.client, &link.manager, &mut requests, to_manager);
            }
            back.thread().unpark();
            let _ = back.join();
        }
        Err(error) => {
            requests.show(Kind::Note(format!("cannot start a thread: {error}")));
            requests.show(Kind::Closed);
            tee(Sender::Manager).show(Kind::Closed);
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

/// The time since then in whole microseconds, as a recording has it.
pub(crate) fn since(started: Instant) -> Duration {
    Duration::from_micros(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// Shows the frames of one direction.
pub(super) struct Tee {
    sink: Sink,
    connection: u64,
    sender: Sender,
    started: Instant,
    pub(super) parser: Parser,
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

    pub(super) fn show(&mut self, kind: Kind) {
        let (connection, sender) = (self.connection, self.sender);
        let time = since(self.started);
        self.sink.push(Frame { time, connection, sender, kind }, &mut self.lost);
    }

    /// Shows a reply that the guard sends in place of the manager.
    pub(super) fn show_reply(&mut self, frame: &[u8]) {
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
