//! A connection's two ends as its thread sees them: what comes in, what goes out, and whether anybody
//! is there.

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::objects::{Entry, let_go};
use super::{Core, guarded};
use crate::error::Error;
use crate::limits::PIPELINED;
use crate::net::{Peer, Stream};
use crate::object::SharedObject;
use crate::object::call::{ConnectionId, Context};
use crate::object::stored::{Element, Held, Item, Reference, References};
use crate::pickle::Pickle;
use crate::wait::{Caller, WaitError, Wake, lock};
use crate::wire::frame::Source;
use crate::wire::message::{Reply, Token};

/// Replies are sent off when they come to this many bytes.
const BURST: usize = 64 * 1024;

/// What the manager knows of a connection.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    /// Where its thread is parked.
    parked: Mutex<Option<Wake>>,
}

impl Connection {
    pub(super) fn new(id: u64, stream: Stream, peer: Peer) -> Self {
        Self { id: ConnectionId(id), stream, peer, parked: Mutex::new(None) }
    }

    /// Makes its thread look around, if it is parked.
    pub(super) fn wake(&self) {
        let parked = lock(&self.parked).clone();
        if let Some(parked) = parked {
            parked();
        }
    }
}

/// An item in a reply that has not been sent yet.
struct Handed {
    /// Where its reply ends, in the output with all that is spliced in.
    end: usize,
    /// Where its bytes belong in the output, if they are not there.
    place: Option<usize>,
    from: Arc<Entry>,
    data: Pickle,
    /// Which of the replies that name objects it is in.
    passing: Option<usize>,
}

pub(super) struct Link {
    pub(super) core: Arc<Core>,
    pub(super) connection: Arc<Connection>,
    /// The object whose method is being called, or was called last: to be found again as long as so many
    /// objects were removed and no more.
    pub(super) last: Option<(u64, Weak<Entry>)>,
    /// What was read while a call waited.
    ahead: Vec<u8>,
    out: Vec<u8>,
    /// The bytes to be spliced into the output: those of large items, which are not copied.
    spliced: usize,
    handed: Vec<Handed>,
    /// How many replies named objects, which the manager keeps meanwhile: the client takes references of
    /// its own before it asks for anything else.
    passing: usize,
    /// Objects to tell when the connection ends.
    watched: Vec<Weak<dyn SharedObject>>,
    /// A call asked for the manager's end, which begins once its reply is out.
    ending: Cell<bool>,
    /// The peer was found gone while a call waited, or sent too much behind it: what it still asks for is not
    /// answered.
    pub(super) gone: bool,
    /// Why replies could not be sent before a call waited. Half of one may be out: nothing may follow it.
    failed: Option<io::Error>,
}

impl Link {
    pub(super) fn new(core: Arc<Core>, connection: Arc<Connection>) -> Self {
        let (ahead, out) = (Vec::new(), Vec::new());
        let (handed, watched) = (Vec::new(), Vec::new());
        Self {
            core,
            connection,
            last: None,
            ahead,
            out,
            spliced: 0,
            handed,
            passing: 0,
            watched,
            ending: Cell::default(),
            gone: false,
            failed: None,
        }
    }

    pub(super) fn reply(&mut self, reply: &Reply) {
        if let Err(error) = reply.append(&mut self.out) {
            self.unsendable(&error);
        }
    }

    fn unsendable(&mut self, error: &Error) {
        // A text can be sent.
        let _ = Reply::Unserializable(error.to_string()).append(&mut self.out);
    }

    /// Replies with an item; its object gets it back if the reply cannot be sent.
    pub(super) fn reply_item(&mut self, from: Arc<Entry>, item: Item) {
        let place = match Reply::append_item(&mut self.out, &item.data) {
            Ok(place) => place,
            Err(error) => {
                self.refuse(&from, vec![item], &error);
                return let_go(from);
            }
        };
        let Held { data, references } = item;
        self.spliced += place.map_or(0, |_| data.len());
        let passing = self.pass(references);
        let end = self.out.len() + self.spliced;
        self.handed.push(Handed { end, place, from, data, passing });
    }

    /// Replies with a list of items; each goes back if the reply cannot be sent.
    pub(super) fn reply_items(&mut self, from: &Arc<Entry>, items: Vec<Item>) {
        if let Err(error) = Reply::append_items(&mut self.out, &items, |item| &item.data) {
            return self.refuse(from, items, &error);
        }
        let end = self.out.len() + self.spliced;
        for Held { data, references } in items {
            let passing = self.pass(references);
            self.handed.push(Handed { end, place: None, from: from.clone(), data, passing });
        }
    }

    /// Gives back items that cannot be sent.
    fn refuse(&mut self, from: &Arc<Entry>, items: Vec<Item>, error: &Error) {
        for item in items.into_iter().rev() {
            let _ = guarded(|| from.object.take_back(item, self.connection.id));
        }
        self.unsendable(error);
    }

    /// Replies with an element.
    pub(super) fn reply_element(&mut self, Held { data, references }: Element) {
        self.reply(&Reply::Return(data));
        self.pass(references);
    }

    /// Keeps what a reply names.
    fn pass(&mut self, references: References) -> Option<usize> {
        if references.is_empty() {
            return None;
        }
        self.core.objects.pass(self.connection.id, references);
        self.passing += 1;
        Some(self.passing - 1)
    }

    /// The client asks for something: it has taken references to what the replies named that it got.
    pub(super) fn passed(&mut self) {
        if self.passing > 0 && self.out.is_empty() {
            self.passing = 0;
            self.core.objects.passed(self.connection.id);
        }
    }

    /// Sends the replies if they are many; the others go when nothing is left to answer.
    pub(super) fn flush_many(&mut self) -> io::Result<()> {
        if self.out.len() + self.spliced < BURST { Ok(()) } else { self.flush() }
    }

    /// Sends the replies. Items whose replies did not get out whole go back, the last one first.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(failed) = self.failed.take() {
            // The connection ends with it, and what was not sent goes back.
            return Err(failed);
        }
        let (sent, result) = self.send();
        while let Some(handed) = self.handed.pop() {
            if handed.end <= sent {
                self.core.buffers.keep(handed.data);
                let_go(handed.from);
            } else {
                self.give_back(handed);
            }
        }
        self.out.clear();
        self.out.shrink_to(BURST);
        self.spliced = 0;
        self.end_if_asked();
        result
    }

    /// Writes the output, and gives how much of it was taken.
    fn send(&self) -> (usize, io::Result<()>) {
        let mut stream = &self.connection.stream;
        let mut sent = 0;
        let mut write = |mut parts: &mut [IoSlice<'_>]| {
            while !parts.is_empty() {
                let written = match &*parts {
                    [only] => stream.write(only),
                    parts => stream.write_vectored(parts),
                };
                match written {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => {
                        sent += count;
                        IoSlice::advance_slices(&mut parts, count);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let result = if self.out.is_empty() {
            Ok(())
        } else if self.spliced == 0 {
            write(&mut [IoSlice::new(&self.out)])
        } else {
            let mut parts = Vec::with_capacity(2 * self.handed.len() + 1);
            let mut at = 0;
            for Handed { place, data, .. } in &self.handed {
                let Some(place) = *place else { continue };
                parts.push(IoSlice::new(self.out.get(at..place).unwrap_or_default()));
                parts.push(IoSlice::new(data.ops()));
                at = place;
            }
            parts.push(IoSlice::new(self.out.get(at..).unwrap_or_default()));
            write(&mut parts)
        };
        (sent, result)
    }

    fn give_back(&self, Handed { from, data, passing, .. }: Handed) {
        let connection = self.connection.id;
        let references = passing.map(|place| self.core.objects.take_back(connection, place));
        let item = Held { data, references: references.unwrap_or_default() };
        // Its panic must not keep the next item from going back.
        let _ = guarded(|| from.object.take_back(item, connection));
        let_go(from);
    }

    fn end_if_asked(&self) {
        if self.ending.take() {
            self.core.stop(true);
        }
    }

    /// Whether the peer has sent more behind a call that waits than is read to find out whether it is there.
    pub(super) fn has_pipelined_too_much(&self) -> bool {
        self.ahead.len() > PIPELINED
    }

    /// Reads what has arrived without waiting; `false` if the peer has closed the connection.
    fn poll(&mut self) -> io::Result<bool> {
        let mut stream = &self.connection.stream;
        let mut room = [0; 512];
        stream.set_nonblocking(true)?;
        let there = loop {
            if self.has_pipelined_too_much() {
                break Ok(true);
            }
            match stream.read(&mut room) {
                Ok(0) => break Ok(false),
                Ok(count) => self.ahead.extend(room.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(true),
                Err(error) => break Err(error),
            }
        };
        stream.set_nonblocking(false)?;
        there
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end_if_asked();
        // What could not be sent goes back, whatever ended the connection.
        while let Some(handed) = self.handed.pop() {
            self.give_back(handed);
        }
        self.core.objects.passed(self.connection.id);
        for object in self.watched.drain(..).filter_map(|object| object.upgrade()) {
            // One that panics keeps no other from being told.
            let _ = guarded(|| object.disconnected(self.connection.id));
        }
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            self.flush()?;
            return (&self.connection.stream).read(buffer);
        }
        let count = self.ahead.as_slice().read(buffer)?;
        self.ahead.drain(..count);
        if self.ahead.is_empty() {
            self.ahead.shrink_to(BURST);
        }
        Ok(count)
    }
}

impl Source for Link {
    fn used_buffer(&self, length: usize) -> Option<Vec<u8>> {
        self.core.buffers.take(length)
    }

    fn ack_now(&self) {
        (&self.connection.stream).ack_now();
    }

    fn read_into(&mut self, buffer: &mut Vec<u8>, bytes: u64) -> io::Result<usize> {
        let count = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.ahead.len());
        buffer.extend(self.ahead.drain(..count));
        self.flush()?;
        let rest = (&self.connection.stream).read_into(buffer, bytes - count as u64)?;
        Ok(count + rest)
    }
}

impl Caller for Link {
    fn flush(&mut self) {
        self.failed = self.flush().err();
    }

    fn is_connected(&mut self) -> Result<(), WaitError> {
        self.gone = self.failed.is_some() || !self.poll().unwrap_or(false);
        if self.has_pipelined_too_much() {
            self.gone = true;
            return Err(WaitError::PipelineLimit);
        }
        if self.gone { Err(WaitError::Disconnected) } else { Ok(()) }
    }

    fn is_stopping(&self) -> bool {
        self.core.is_stopping()
    }

    fn max_wait(&self) -> Option<Duration> {
        self.core.settings.max_wait
    }

    fn set_wake(&self, wake: Option<Wake>) {
        *lock(&self.connection.parked) = wake;
    }
}

impl Context for Link {
    fn connection(&self) -> ConnectionId {
        self.connection.id
    }

    fn shut_down(&self) {
        self.ending.set(true);
    }

    fn watch(&mut self, object: Option<Weak<dyn SharedObject>>) {
        let entry = || self.last.as_ref().and_then(|(_, last)| last.upgrade());
        let current = || entry().map(|entry| Arc::downgrade(&entry.object));
        let Some(object) = object.or_else(current) else { return };
        if !self.watched.iter().any(|watched| watched.ptr_eq(&object)) {
            self.watched.retain(|watched| watched.strong_count() > 0);
            self.watched.push(object);
        }
    }

    fn hold(&self, token: &Token) -> Option<Reference> {
        let (keeper, id) = (self.core.clone(), &token.id);
        keeper.objects.incref(id).then(|| Reference { keeper, id: id.clone() })
    }

    fn object(&self, token: &Token) -> Option<Arc<dyn SharedObject>> {
        self.core.objects.get(&token.id).map(|entry| entry.object.clone())
    }

    fn as_caller(&mut self) -> &mut dyn Caller {
        self
    }
}
