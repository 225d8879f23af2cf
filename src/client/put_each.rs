//! Pipelined puts on one connection.

use std::collections::VecDeque;

use super::connection::Connection;
use super::queue::QueueProxy;
use super::returned;
use crate::error::{Error, Result};
use crate::limits::PIPELINED;
use crate::value::Value;

/// The most puts in flight at once.
const WINDOW: usize = 64;

/// The results of pipelined puts: [`QueueProxy::put_each`].
#[derive(Debug)]
#[must_use = "items are sent only as the iterator is advanced"]
pub struct PutEach<I> {
    queue: QueueProxy,
    /// `None` once no further item is sent.
    items: Option<I>,
    connection: Option<Connection>,
    /// The sizes of the requests in flight.
    in_flight: VecDeque<usize>,
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
            connection: None,
            in_flight: VecDeque::new(),
            delayed: None,
            unsendable: None,
        }
    }

    /// Sends further items: up to [`WINDOW`] in flight, and no more bytes behind the oldest, which may block, than a
    /// manager accepts behind a blocked call.
    fn send_more(&mut self) {
        let mut behind: usize = self.in_flight.iter().skip(1).sum();
        let mut fresh = 0;
        while self.in_flight.len() < WINDOW
            && let Some(size) = self.delayed.take().or_else(|| self.append_next())
        {
            if !self.in_flight.is_empty() {
                behind += size;
            }
            if behind > PIPELINED {
                self.delayed = Some(size);
                break;
            }
            self.in_flight.push_back(size);
            fresh += size;
        }
        if let Some(connection) = self.connection.as_mut().filter(|_| fresh > 0) {
            // If this fails, so do the replies.
            let _ = connection.send(fresh, None);
        }
    }

    /// Appends the request for the next item, and returns its size; `None` if there is no further item.
    fn append_next(&mut self) -> Option<usize> {
        let size = self.items.as_mut()?.next().map(|item| self.append(item.into()));
        match size {
            Some(Ok(size)) => return Some(size),
            Some(Err(error)) => self.unsendable = Some(error),
            None => {}
        }
        self.items = None;
        None
    }

    fn append(&mut self, item: Value) -> Result<usize> {
        let proxy = self.queue.proxy();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(proxy.client().checkout()?),
        };
        connection.append(Some(proxy.id()), "put", (item,))
    }
}

impl<I> Iterator for PutEach<I>
where
    I: Iterator<Item: Into<Value>>,
{
    type Item = Result<()>;

    fn next(&mut self) -> Option<Self::Item> {
        // Not after each reply: several requests in one write cost less.
        if self.in_flight.len() <= WINDOW / 2 {
            self.send_more();
        }
        if self.in_flight.pop_front().is_none() {
            return self.unsendable.take().map(Err);
        }
        let reply = self.connection.as_mut()?.receive(None);
        if reply.is_err() {
            (self.items, self.delayed) = (None, None);
        }
        Some(reply.and_then(returned).map(drop))
    }
}

impl<I> Drop for PutEach<I> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.queue.proxy().client().checkin(connection);
        }
    }
}
