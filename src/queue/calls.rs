//! How clients call a queue: the methods of `queue.Queue`, and three more.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use super::fifo::{QueueInner, State};
use crate::exception::Exception;
use crate::object::call::{Call, ConnectionId, Owner};
use crate::object::stored::Item;
use crate::object::{Exposed, Return, SharedObject, saturated};
use crate::pickle::Pickle;
use crate::wait::Wait;

/// `queue.Queue`'s methods, two for batches, and one that tells clients that the queue is at-least-once.
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
    "nack",
];

/// Whether an object is an at-least-once queue.
pub(crate) fn is_at_least_once(object: &dyn SharedObject) -> bool {
    let object: &dyn Any = object;
    object.downcast_ref().is_some_and(|queue: &QueueInner| queue.options.at_least_once)
}

impl SharedObject for QueueInner {
    fn exposed(&self) -> Exposed {
        let [plain @ .., _nack] = METHODS;
        if self.options.at_least_once { METHODS.into() } else { plain.into() }
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "put" => {
                let ([item], [block, timeout]) = call.args(["item"], ["block", "timeout"])?;
                let timeout = blocking(call, block, timeout)?;
                let item = call.item(item);
                Ok(self.put(item, &mut call.wait(timeout))?.into())
            }
            "put_nowait" => {
                let ([item], []) = call.args(["item"], [])?;
                let item = call.item(item);
                Ok(self.put(item, &mut call.wait(Some(Duration::ZERO)))?.into())
            }
            "put_many" => {
                let ([items], [timeout]) = call.args(["items"], ["timeout"])?;
                let timeout = call.timeout(timeout)?;
                let items = call.items(items)?;
                Ok(self.put_many(items, &mut call.wait(timeout))?.into())
            }
            "get" => {
                let ([], [block, timeout]) = call.args([], ["block", "timeout"])?;
                let timeout = blocking(call, block, timeout)?;
                let owner = self.owner(call);
                self.get(owner, &mut call.wait(timeout)).map(Return::Item)
            }
            "get_nowait" => {
                call.no_args()?;
                let owner = self.owner(call);
                self.get(owner, &mut call.wait(Some(Duration::ZERO))).map(Return::Item)
            }
            "get_many" => {
                let ([max], [timeout]) = call.args(["max"], ["timeout"])?;
                let timeout = call.timeout(timeout)?;
                let max: i64 = max.to()?;
                if max <= 0 {
                    return Err(Exception::value_error("'max' must be positive"));
                }
                let owner = self.owner(call);
                self.get_many(saturated(max), owner, &mut call.wait(timeout)).map(Return::Items)
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
                    "task_done" => Ok(self.task_done(Owner::of(call))?.into()),
                    "nack" => Ok(self.nack(Owner::of(call))?.into()),
                    "qsize" => Ok(self.len().into()),
                    "empty" => Ok((self.len() == 0).into()),
                    "full" => Ok(self.is_full().into()),
                    _ => Err(call.no_such_method()),
                }
            }
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "<Queue of {} items>", self.len())
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
    /// The client that is about to take items. The queue requeues them when its connection ends.
    fn owner(&self, call: &mut Call<'_>) -> Owner {
        if self.options.at_least_once {
            call.watch_connection();
        }
        Owner::of(call)
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
