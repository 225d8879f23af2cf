//! Pipelined puts on one connection.

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
    in_flight: usize,
    /// The size of the request that did not fit into the last batch.
    delayed: usize,
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
            in_flight: 0,
            delayed: 0,
            unsendable: None,
        }
    }

    /// Sends a batch: up to [`WINDOW`] items, and behind the first, which may block, no more bytes than a manager accepts
    /// behind a blocked call. The request of an item that does not fit waits for the next batch.
    fn send_batch(&mut self) {
        let mut first = std::mem::take(&mut self.delayed);
        let mut batch = first;
        self.in_flight = usize::from(first > 0);
        while self.in_flight < WINDOW
            && let Some(item) = self.items.as_mut().and_then(Iterator::next)
        {
            match self.append(item.into()) {
                Ok(bytes) if first > 0 && bytes - first > PIPELINED => {
                    self.delayed = bytes - batch;
                    break;
                }
                Ok(bytes) => batch = bytes,
                Err(error) => {
                    (self.unsendable, self.items) = (Some(error), None);
                    break;
                }
            }
            if first == 0 {
                first = batch;
            }
            self.in_flight += 1;
        }
        if let Some(connection) = &mut self.connection {
            // After an error there, receiving fails, too.
            let _ = connection.send(batch, None);
        }
    }

    /// Appends the request for an item, and returns the size of all that have not been sent.
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
        if self.in_flight == 0 {
            self.send_batch();
        }
        if self.in_flight == 0 {
            return self.unsendable.take().map(Err);
        }
        self.in_flight -= 1;
        let reply = self.connection.as_mut()?.receive(None);
        if reply.is_err() {
            (self.items, self.delayed) = (None, 0);
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
