//! A connection's two ends as its thread sees them: what comes in, what goes out, and whether anybody
//! is there.

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::objects::Entry;
use super::{Core, guarded};
use crate::frame::Source;
use crate::message::Reply;
use crate::shared::SharedObject;
use crate::shared::call::{ConnectionId, Context};
use crate::shared::element::{Item, Reference, References};
use crate::shared::wait::{Caller, Wake, lock};
use crate::transport::Stream;

/// The most that is read ahead while a call waits.
const AHEAD: usize = 1024 * 1024;
/// Replies are sent off when they come to this many bytes.
const BURST: usize = 64 * 1024;

/// What the manager knows of a connection.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) stream: Stream,
    /// Where its thread is parked.
    parked: Mutex<Option<Arc<dyn Wake>>>,
}

impl Connection {
    pub(super) fn new(id: u64, stream: Stream) -> Self {
        Self { id: ConnectionId(id), stream, parked: Mutex::new(None) }
    }

    /// Makes its thread look around, if it is parked.
    pub(super) fn wake(&self) {
        let parked = lock(&self.parked).clone();
        if let Some(parked) = parked {
            parked.wake();
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
    item: Item,
}

pub(super) struct Link {
    pub(super) core: Arc<Core>,
    pub(super) connection: Arc<Connection>,
    /// The object whose method is being called.
    pub(super) current: Option<Arc<Entry>>,
    /// What was read while a call waited.
    ahead: Vec<u8>,
    out: Vec<u8>,
    /// The bytes to be spliced into the output: those of large items, which are not copied.
    spliced: usize,
    handed: Vec<Handed>,
    /// What replies named: the client takes references of its own before it asks for anything else.
    pub(super) passing: Vec<References>,
    /// Objects to tell when the connection ends.
    watched: Vec<Weak<dyn SharedObject>>,
    /// A call asked for the manager's end, which begins once its reply is out.
    ending: Cell<bool>,
    /// The peer was found gone while a call waited: what it still asks for is not answered.
    pub(super) gone: bool,
}

impl Link {
    pub(super) fn new(core: Arc<Core>, connection: Arc<Connection>) -> Self {
        let (ahead, out) = (Vec::new(), Vec::new());
        let (handed, passing, watched) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            core,
            connection,
            current: None,
            ahead,
            out,
            spliced: 0,
            handed,
            passing,
            watched,
            ending: Cell::default(),
            gone: false,
        }
    }

    pub(super) fn reply(&mut self, reply: &Reply) {
        reply.append(&mut self.out);
    }

    /// Replies with an item; its object gets it back if the reply cannot be sent.
    pub(super) fn reply_item(&mut self, from: Arc<Entry>, item: Item) {
        let place = Reply::append_item(&mut self.out, &item);
        self.spliced += place.map_or(0, |_| item.len());
        self.handed.push(Handed { end: self.out.len() + self.spliced, place, from, item });
    }

    /// Replies with a list of items; each goes back if the reply cannot be sent.
    pub(super) fn reply_items(&mut self, from: &Arc<Entry>, items: Vec<Item>) {
        Reply::append_items(&mut self.out, &items);
        let end = self.out.len() + self.spliced;
        let handed = |item| Handed { end, place: None, from: from.clone(), item };
        self.handed.extend(items.into_iter().map(handed));
    }

    /// Sends the replies if they are many; the others go when nothing is left to answer.
    pub(super) fn flush_many(&mut self) -> io::Result<()> {
        if self.out.len() + self.spliced < BURST { Ok(()) } else { self.flush() }
    }

    /// Sends the replies. Items whose replies did not get out whole go back, the last one first.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let (sent, result) = self.send();
        while let Some(Handed { end, from, item, .. }) = self.handed.pop() {
            if end > sent {
                self.give_back(&from, item);
            } else {
                self.passing.push(item.references);
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
            for Handed { place, item, .. } in &self.handed {
                let Some(place) = *place else { continue };
                parts.push(IoSlice::new(self.out.get(at..place).unwrap_or_default()));
                parts.push(IoSlice::new(item.ops()));
                at = place;
            }
            parts.push(IoSlice::new(self.out.get(at..).unwrap_or_default()));
            write(&mut parts)
        };
        (sent, result)
    }

    fn give_back(&self, from: &Entry, item: Item) {
        // Its panic must not keep the next item from going back.
        let _ = guarded(|| from.object.take_back(item, self.connection.id));
    }

    fn end_if_asked(&self) {
        if self.ending.take() {
            self.core.stop(true);
        }
    }

    /// Reads what has arrived without waiting; `false` if the peer has closed the connection.
    fn poll(&mut self) -> io::Result<bool> {
        let mut stream = &self.connection.stream;
        let mut room = [0; 512];
        stream.set_nonblocking(true)?;
        let there = loop {
            if self.ahead.len() >= AHEAD {
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
        while let Some(Handed { from, item, .. }) = self.handed.pop() {
            self.give_back(&from, item);
        }
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
        Ok(count)
    }
}

impl Source for Link {
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
    fn settle(&mut self) {
        // If it fails the caller is gone, which the wait finds out by itself.
        let _ = self.flush();
    }

    fn is_there(&mut self) -> bool {
        self.gone = !self.poll().unwrap_or(false);
        !self.gone
    }

    fn is_ending(&self) -> bool {
        self.core.is_stopping()
    }

    fn longest_wait(&self) -> Option<Duration> {
        self.core.settings.max_wait
    }

    fn park(&self, at: Option<Arc<dyn Wake>>) {
        *lock(&self.connection.parked) = at;
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
        let current = || self.current.as_ref().map(|entry| Arc::downgrade(&entry.object));
        let Some(object) = object.or_else(current) else { return };
        if !self.watched.iter().any(|watched| watched.ptr_eq(&object)) {
            self.watched.retain(|watched| watched.strong_count() > 0);
            self.watched.push(object);
        }
    }

    fn hold(&self, id: &str) -> Option<Reference> {
        let keeper = self.core.clone();
        keeper.objects.incref(id).then(|| Reference { keeper, id: id.to_owned() })
    }

    fn object(&self, id: &str) -> Option<Arc<dyn SharedObject>> {
        self.core.objects.get(id).map(|entry| entry.object.clone())
    }

    fn as_caller(&mut self) -> &mut dyn Caller {
        self
    }
}
