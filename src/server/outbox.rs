//! A connection's replies that have not been sent yet, and the items in them.
//!
//! ```text
//!  reply_item ──► in flight ── reply written ──────► delivered; the objects that the item names are pinned
//!                     │                              until the connection's next request
//!                     └─ reply could not be written ─► taken back by the object that returned it
//! ```
//! Objects named in a reply stay pinned until the connection's next request, so that the client has time to
//! take references of its own. These come on other connections, so they cannot end the pinning earlier.

use std::io::{self, IoSlice, Write};
use std::sync::Arc;

use super::objects::{Entry, Objects, Pins, drop_guarded};
use super::peer::Connection;
use super::{ServerState, guarded};
use crate::error::Error;
use crate::object::stored::{Item, ObjectRefs};
use crate::wire::message::Reply;

/// Replies are sent early when they reach this many bytes.
const FULL: usize = 64 * 1024;

pub(super) struct Outbox {
    connection: Arc<Connection>,
    objects: Arc<Objects>,
    /// Replies, without large items.
    buffer: Vec<u8>,
    /// The bytes of large items, which are written from where they are and not copied into the buffer.
    out_of_line: usize,
    /// In the order of their replies.
    in_flight: Vec<InFlight>,
    pinned: Vec<Pins>,
    /// Why replies could not be sent before a call waited. Part of a reply may have been written, so nothing may
    /// follow it.
    failed: Option<io::Error>,
}

/// An item in a reply that has not been written yet.
struct InFlight {
    /// Where its reply ends in the output, with all out-of-line items.
    end: usize,
    /// Where an out-of-line item belongs in the buffer.
    place: Option<usize>,
    item: Item,
    /// The object that returned it.
    from: Arc<Entry>,
}

impl Outbox {
    pub(super) fn new(state: &ServerState, connection: Arc<Connection>) -> Self {
        Self {
            connection,
            objects: state.objects.clone(),
            buffer: Vec::new(),
            out_of_line: 0,
            in_flight: Vec::new(),
            pinned: Vec::new(),
            failed: None,
        }
    }

    pub(super) fn reply(&mut self, reply: &Reply) {
        if let Err(error) = reply.append(&mut self.buffer) {
            self.reply_unserializable(&error);
        }
    }

    /// Replies with an item of this object.
    pub(super) fn reply_item(&mut self, from: Arc<Entry>, item: Item) {
        match Reply::append_item(&mut self.buffer, &item.data) {
            Ok(place) => {
                self.out_of_line += place.map_or(0, |_| item.len());
                let end = self.end();
                self.in_flight.push(InFlight { end, place, item, from });
            }
            Err(error) => {
                self.refuse(&from, vec![item], &error);
                drop_guarded(from);
            }
        }
    }

    /// Replies with a list of items of this object.
    pub(super) fn reply_items(&mut self, from: &Arc<Entry>, items: Vec<Item>) {
        if let Err(error) = Reply::append_items(&mut self.buffer, &items, |item| &item.data) {
            return self.refuse(from, items, &error);
        }
        let end = self.end();
        let in_flight = |item| InFlight { end, place: None, item, from: from.clone() };
        self.in_flight.extend(items.into_iter().map(in_flight));
    }

    /// Returns items that cannot be sent to their object.
    fn refuse(&mut self, from: &Arc<Entry>, items: Vec<Item>, error: &Error) {
        for item in items.into_iter().rev() {
            let _ = guarded(|| from.object.take_back(item, self.connection.id));
        }
        self.reply_unserializable(error);
    }

    fn reply_unserializable(&mut self, error: &Error) {
        // A text can always be sent.
        let _ = Reply::Unserializable(error.to_string()).append(&mut self.buffer);
    }

    /// The length of the output.
    fn end(&self) -> usize {
        self.buffer.len() + self.out_of_line
    }

    /// Whether so much is buffered that it should be sent before another request is answered.
    pub(super) fn is_full(&self) -> bool {
        self.end() >= FULL
    }

    /// Keeps the objects that a reply names until [`unpin`](Self::unpin).
    pub(super) fn pin(&mut self, references: &ObjectRefs) {
        if !references.is_empty() {
            self.pinned.push(Pins::new(&self.objects, references));
        }
    }

    /// The client has sent another request. If it can have read all replies, their objects need no pins.
    pub(super) fn unpin(&mut self) {
        if self.buffer.is_empty() {
            self.pinned.clear();
        }
    }

    /// Sends the replies. Items whose replies were not written completely are taken back.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (written, result) = self.write();
        let delivered = self.in_flight.partition_point(|item| item.end <= written);
        let named = self.in_flight.iter().take(delivered).map(|item| &item.item.references);
        self.pin(&ObjectRefs::union(named));
        for InFlight { item, from, .. } in self.in_flight.drain(..delivered) {
            let _ = guarded(|| from.object.delivered(&item, self.connection.id));
            drop_guarded(from);
            self.connection.buffers.keep(item.data);
        }
        self.take_back();
        self.buffer.clear();
        self.buffer.shrink_to(FULL);
        self.out_of_line = 0;
        result
    }

    /// Sends the replies before a call waits. An error is returned by the next [`flush`](Self::flush).
    pub(super) fn flush_or_fail_later(&mut self) {
        self.failed = self.flush().err();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Returns the items in flight to their objects, the last first.
    pub(super) fn take_back(&mut self) {
        while let Some(InFlight { item, from, .. }) = self.in_flight.pop() {
            // A panic must not keep the next item from going back.
            let _ = guarded(|| from.object.take_back(item, self.connection.id));
            drop_guarded(from);
        }
    }

    /// Writes the output; returns how many bytes were written.
    fn write(&self) -> (usize, io::Result<()>) {
        let mut written = 0;
        let result = if self.out_of_line == 0 {
            self.write_all(&mut [IoSlice::new(&self.buffer)], &mut written)
        } else {
            let mut parts = Vec::with_capacity(2 * self.in_flight.len() + 1);
            let mut at = 0;
            for InFlight { place, item, .. } in &self.in_flight {
                let Some(place) = *place else { continue };
                parts.push(IoSlice::new(self.buffer.get(at..place).unwrap_or_default()));
                parts.push(IoSlice::new(item.ops()));
                at = place;
            }
            parts.push(IoSlice::new(self.buffer.get(at..).unwrap_or_default()));
            self.write_all(&mut parts, &mut written)
        };
        (written, result)
    }

    fn write_all(&self, mut parts: &mut [IoSlice<'_>], written: &mut usize) -> io::Result<()> {
        let mut stream = &self.connection.stream;
        while !parts.is_empty() {
            let result = match &*parts {
                [only] => stream.write(only),
                parts => stream.write_vectored(parts),
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    *written += count;
                    IoSlice::advance_slices(&mut parts, count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
