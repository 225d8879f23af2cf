//! Pipelined puts on one connection.

use std::collections::VecDeque;

use super::failure;
use super::queue::QueueProxy;
use super::session::Session;
use crate::error::{Error, Result};
use crate::limits::PIPELINED;
use crate::value::Value;
use crate::wire::message::Reply;

/// The most puts in flight at once.
const WINDOW: usize = 64;

/// The results of pipelined puts: [`QueueProxy::put_each`].
#[derive(Debug)]
#[must_use = "items are sent only as the iterator is advanced"]
pub struct PutEach<I> {
    queue: QueueProxy,
    /// `None` once no further item is sent.
    items: Option<I>,
    session: Option<Session>,
    /// The sizes of the requests in flight.
    in_flight: VecDeque<usize>,
    /// Their sum.
    bytes: usize,
    /// The size of a request that is too large to be sent now.
    delayed: Option<usize>,
    /// Why the next item cannot be sent: reported after the results of the items before it.
    unsendable: Option<Error>,
}

impl<I> PutEach<I>
where
    I: Iterator<Item: Into<Value>>,
{
    pub(super) fn new(queue: QueueProxy, items: I) -> Self {
        Self {
            queue,
            items: Some(items),
            session: None,
            in_flight: VecDeque::new(),
            bytes: 0,
            delayed: None,
            unsendable: None,
        }
    }

    /// Sends further items: up to [`WINDOW`] in flight, and no more bytes behind the oldest, which may block, than a
    /// manager accepts behind a blocked call.
    fn fill(&mut self) {
        let mut fresh = 0;
        while self.in_flight.len() < WINDOW {
            let Some(size) = self.delayed.take().or_else(|| self.request_next()) else { break };
            if let Some(oldest) = self.in_flight.front()
                && self.bytes - oldest + size > PIPELINED
            {
                self.delayed = Some(size);
                break;
            }
            self.in_flight.push_back(size);
            self.bytes += size;
            fresh += size;
        }
        if let Some(session) = self.session.as_mut().filter(|_| fresh > 0) {
            session.send(fresh);
        }
    }

    /// Appends the request for the next item, and returns its size; `None` if there is no further item.
    fn request_next(&mut self) -> Option<usize> {
        let size = self.items.as_mut()?.next().map(|item| self.request(&item.into()));
        match size.transpose() {
            Ok(Some(size)) => return Some(size),
            Ok(None) => {}
            Err(error) => self.unsendable = Some(error),
        }
        self.items = None;
        None
    }

    fn request(&mut self, item: &Value) -> Result<usize> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(self.queue.proxy().session()?),
        };
        session.request(self.queue.proxy().id(), "put", item)
    }

    fn receive(&mut self) -> Result<()> {
        match self.session.as_mut().ok_or(Error::Disconnected)?.receive()? {
            Reply::Return(_) => Ok(()),
            other => Err(failure(other)),
        }
    }
}

impl<I> Iterator for PutEach<I>
where
    I: Iterator<Item: Into<Value>>,
{
    type Item = Result<()>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.session.as_ref().is_some_and(|session| !session.is_open()) {
            (self.items, self.delayed) = (None, None);
        }
        // Not after each reply: several requests in one write cost less.
        if self.in_flight.len() <= WINDOW / 2 {
            self.fill();
        }
        let Some(size) = self.in_flight.pop_front() else {
            return self.unsendable.take().map(Err);
        };
        self.bytes -= size;
        Some(self.receive())
    }
}

impl<I> Drop for PutEach<I> {
    fn drop(&mut self) {
        if !self.in_flight.is_empty()
            && let Some(session) = self.session.take()
        {
            // Replies are outstanding, so the connection cannot return to the pool.
            session.close();
        }
    }
}
