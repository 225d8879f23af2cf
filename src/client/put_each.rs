//! Puts that are under way together, on one connection.

use std::collections::VecDeque;

use super::queue::QueueProxy;
use super::{Session, failure};
use crate::error::{Error, Result};
use crate::limits::PIPELINED;
use crate::message::Reply;
use crate::value::Value;

/// The most puts that are under way at once.
const WINDOW: usize = 64;

/// The results of puts that are under way together: [`QueueProxy::put_each`].
#[derive(Debug)]
#[must_use = "items are put as the results are asked for"]
pub struct PutEach<I> {
    queue: QueueProxy,
    /// `None` once no more are sent.
    items: Option<I>,
    session: Option<Session>,
    /// The sizes of the requests that were sent and whose reply has not been read.
    under_way: VecDeque<usize>,
    /// Their sum.
    bytes: usize,
    /// The size of a request that is too large to be sent behind those.
    held: Option<usize>,
}

impl<I> PutEach<I>
where
    I: Iterator<Item: Into<Value>>,
{
    pub(super) fn new(queue: QueueProxy, items: I) -> Self {
        let under_way = VecDeque::new();
        Self { queue, items: Some(items), session: None, under_way, bytes: 0, held: None }
    }

    /// Sends further items: up to [`WINDOW`] under way, and no more behind the oldest, which may wait for
    /// room, than a manager takes.
    fn fill(&mut self) -> Result<()> {
        let mut fresh = 0;
        while self.under_way.len() < WINDOW {
            let size = if let Some(size) = self.held.take() {
                size
            } else if let Some(item) = self.items.as_mut().and_then(Iterator::next) {
                self.request(&item.into())?
            } else {
                self.items = None;
                break;
            };
            if let Some(oldest) = self.under_way.front()
                && self.bytes - oldest + size > PIPELINED
            {
                self.held = Some(size);
                break;
            }
            self.under_way.push_back(size);
            self.bytes += size;
            fresh += size;
        }
        if let Some(session) = self.session.as_mut().filter(|_| fresh > 0) {
            session.send(fresh);
        }
        Ok(())
    }

    /// Makes a request, and gives its size.
    fn request(&mut self, item: &Value) -> Result<usize> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(self.queue.proxy().session()?),
        };
        Ok(session.request(self.queue.proxy().id(), "put", item))
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
            (self.items, self.held) = (None, None);
        }
        // Not at each reply: requests that go together cost one write.
        if self.under_way.len() <= WINDOW / 2
            && let Err(error) = self.fill()
        {
            self.items = None;
            return Some(Err(error));
        }
        self.bytes -= self.under_way.pop_front()?;
        Some(self.receive())
    }
}

impl<I> Drop for PutEach<I> {
    fn drop(&mut self) {
        if !self.under_way.is_empty()
            && let Some(session) = self.session.take()
        {
            // Replies are still to come.
            session.close();
        }
    }
}
