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

use super::objects::{Entry, Objects, drop_guarded};
use super::peer::Connection;
use super::{ServerState, guarded};
use crate::error::{Error, Result};
use crate::object::stored::{Item, ObjectRefs};
use crate::wire::message::Reply;

/// Replies are sent early when they reach this many bytes.
const FULL: usize = 64 * 1024;

pub(super) struct Outbox {
    connection: Arc<Connection>,
    objects: Arc<Objects>,
    /// The replies that are not sent yet, without the bytes of a large item.
    buffer: Vec<u8>,
    /// Where a large item belongs in the buffer. It is the last one in flight, and is not copied into the buffer.
    large: Option<usize>,
    /// In the order of their replies.
    in_flight: Vec<InFlight>,
    /// The ids of the pinned objects.
    pinned: Vec<String>,
}

/// An item in a reply that has not been written yet.
struct InFlight {
    /// Where its reply ends in the output.
    end: usize,
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
            large: None,
            in_flight: Vec::new(),
            pinned: Vec::new(),
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
                self.large = place;
                let end = self.buffer.len() + place.map_or(0, |_| item.len());
                self.in_flight.push(InFlight { end, item, from });
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
        let end = self.buffer.len();
        let in_flight = |item| InFlight { end, item, from: from.clone() };
        self.in_flight.extend(items.into_iter().map(in_flight));
    }

    /// Returns items to their object, because the reply with them could not be made.
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

    /// Whether the replies must be sent before another request is answered.
    pub(super) fn is_full(&self) -> bool {
        self.large.is_some() || self.buffer.len() >= FULL
    }

    /// Keeps the objects that a reply names until [`unpin`](Self::unpin).
    pub(super) fn pin(&mut self, references: &ObjectRefs) {
        if !references.is_empty() {
            self.objects.pin(references);
            self.pinned.extend(references.ids().map(str::to_owned));
        }
    }

    /// The client has sent another request. If it can have read all replies, their objects need no pins.
    pub(super) fn unpin(&mut self) {
        if self.buffer.is_empty() && !self.pinned.is_empty() {
            self.objects.unpin(self.pinned.drain(..));
        }
    }

    /// The connection has ended: its replies are not sent any more.
    pub(super) fn close(&mut self) {
        self.take_back();
        self.objects.unpin(self.pinned.drain(..));
    }

    /// Sends the replies. Items whose replies were not written completely are taken back.
    pub(super) fn flush(&mut self) -> Result<()> {
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
        self.large = None;
        result.map_err(Error::connection)
    }

    /// Returns the items in flight to their objects, the last first.
    fn take_back(&mut self) {
        while let Some(InFlight { item, from, .. }) = self.in_flight.pop() {
            // A panic must not keep the next item from going back.
            let _ = guarded(|| from.object.take_back(item, self.connection.id));
            drop_guarded(from);
        }
    }

    /// Writes the output; returns how many bytes were written.
    fn write(&self) -> (usize, io::Result<()>) {
        let mut written = 0;
        let large = self.large.and_then(|place| self.buffer.split_at_checked(place));
        let result = match (large, self.in_flight.last()) {
            (Some((before, after)), Some(InFlight { item, .. })) => {
                self.write_all(&mut [before, item.ops(), after].map(IoSlice::new), &mut written)
            }
            _ => self.write_all(&mut [IoSlice::new(&self.buffer)], &mut written),
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
