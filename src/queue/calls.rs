//! How clients call a queue: the methods of `queue.Queue`, and four more.

use std::fmt;
use std::time::Duration;

use super::fifo::{BATCH, QueueInner, State};
use crate::exception::Exception;
use crate::object::call::{Call, ConnectionId, Owner};
use crate::object::stored::{Element, Item, ObjectRefs};
use crate::object::{Exposed, Return, SharedObject, saturated};
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::Wait;

/// The methods of `queue.Queue`, two for batches, and one that copies the first items.
const METHODS: [&str; 13] = [
    "empty",
    "full",
    "get",
    "get_nowait",
    "join",
    "put",
    "put_nowait",
    "qsize",
    "shutdown",
    "task_done",
    "get_many",
    "put_many",
    "peek",
];

impl SharedObject for QueueInner {
    fn exposed(&self) -> Exposed {
        METHODS.into()
    }

    fn also_exposed(&self, exposed: &[String]) -> Exposed {
        // Clients tell by this method that an item belongs to the connection that takes it.
        let gets = exposed.iter().any(|name| name.starts_with("get"));
        (gets && self.options.at_least_once).then_some("nack").into_iter().collect()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let owner = Owner::of(call);
        if self.options.at_least_once && call.method().starts_with("get") {
            call.watch_connection();
        }
        match call.method() {
            "put" => {
                let ([item], [block, timeout]) = call.args(["item"], ["block", "timeout"])?;
                let timeout = blocking(call, block, timeout)?;
                Ok(self.put(call.item(item), &mut call.wait(timeout))?.into())
            }
            "put_nowait" => {
                let ([item], []) = call.args(["item"], [])?;
                Ok(self.put(call.item(item), &mut call.wait(Some(Duration::ZERO)))?.into())
            }
            "put_many" => {
                let ([items], [timeout]) = call.args(["items"], ["timeout"])?;
                let timeout = call.timeout(timeout)?;
                Ok(self.put_many(call.items(items)?, &mut call.wait(timeout))?.into())
            }
            "get" => {
                let ([], [block, timeout]) = call.args([], ["block", "timeout"])?;
                let timeout = blocking(call, block, timeout)?;
                self.get(owner, &mut call.wait(timeout)).map(Return::Item)
            }
            "get_nowait" => {
                call.no_args()?;
                self.get(owner, &mut call.wait(Some(Duration::ZERO))).map(Return::Item)
            }
            "get_many" => {
                let ([max], [timeout]) = call.args(["max"], ["timeout"])?;
                let timeout = call.timeout(timeout)?;
                let max: i64 = max.to()?;
                if max <= 0 {
                    return Err(Exception::value_error("'max' must be positive"));
                }
                self.get_many(saturated(max), owner, &mut call.wait(timeout)).map(Return::Items)
            }
            "peek" => {
                let ([], [max]) = call.args([], ["max"])?;
                let max: i64 = max.map_or(Ok(1), Pickle::to)?;
                Ok(Return::Element(self.peek(saturated(max))))
            }
            "shutdown" => {
                let ([], [immediate]) = call.args([], ["immediate"])?;
                self.shutdown(call.is_true(immediate, false)?);
                Ok(().into())
            }
            method => {
                call.no_args()?;
                match method {
                    "join" => Ok(self.join(&mut call.wait(None))?.into()),
                    "task_done" => Ok(self.task_done(owner)?.into()),
                    "nack" => Ok(self.nack(owner)?.into()),
                    "qsize" => Ok(self.lock().len().into()),
                    "empty" => Ok((self.lock().len() == 0).into()),
                    "full" => Ok(self.is_full().into()),
                    _ => Err(call.no_such_method()),
                }
            }
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let len = self.lock().len();
        write!(out, "<Queue of {len} items>")
    }

    fn take_back(&self, item: Item, connection: ConnectionId) {
        self.undo_get(item, Owner::Connection(connection));
    }

    fn disconnected(&self, connection: ConnectionId) {
        self.requeue_all(Owner::Connection(connection));
    }

    fn drain(&self, wait: &mut Wait<'_>) {
        self.shutdown(false);
        // After the timeout, the rest stays in the queue.
        let _ = self.wait(&self.drained, wait, State::is_drained);
    }
}

impl QueueInner {
    /// A list of the first items, up to `max`.
    fn peek(&self, max: usize) -> Element {
        let mut bytes = 0;
        let fits = |item: &&Item| {
            bytes += item.len();
            bytes - item.len() < BATCH
        };
        let items: Vec<Item> = self.lock().iter().take(max).take_while(fits).cloned().collect();
        let references = ObjectRefs::union(items.iter().map(|item| &item.references));
        let items = items.into_iter().map(|item| Value::Opaque(item.data));
        Element { data: items.collect(), references }
    }
}

/// The arguments `block` and `timeout` of `queue.Queue`'s methods, as a timeout.
fn blocking(
    call: &Call<'_>,
    block: Option<&Pickle>,
    timeout: Option<&Pickle>,
) -> Result<Option<Duration>, Exception> {
    if call.is_true(block, true)? { call.timeout(timeout) } else { Ok(Some(Duration::ZERO)) }
}
