//! How clients call a queue: the methods of `queue.Queue`, and four more.

use std::fmt;
use std::time::Duration;

use super::fifo::{QueueInner, State};
use crate::exception::Exception;
use crate::object::call::{Call, ConnectionId, Owner};
use crate::object::stored::{Element, Item, ObjectRefs};
use crate::object::{Exposed, Return, SharedObject, saturated};
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::Wait;

/// The methods of `queue.Queue`, two for batches, and one that copies the first items.
pub(super) const METHODS: [&str; 13] = [
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

/// A queue that clients call, wherever it keeps its items.
pub(super) trait Backend {
    fn is_at_least_once(&self) -> bool;
    fn put(&self, item: Item, wait: &mut Wait<'_>) -> Result<(), Exception>;
    fn put_many(&self, items: Vec<Item>, wait: &mut Wait<'_>) -> Result<usize, Exception>;
    fn get(&self, owner: Owner, wait: &mut Wait<'_>) -> Result<Item, Exception>;
    fn get_many(
        &self,
        max: usize,
        owner: Owner,
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Item>, Exception>;
    fn peek(&self, max: usize) -> Result<Vec<Item>, Exception>;
    fn task_done(&self, owner: Owner) -> Result<(), Exception>;
    fn nack(&self, owner: Owner) -> Result<(), Exception>;
    fn join(&self, wait: &mut Wait<'_>) -> Result<(), Exception>;
    fn len(&self) -> Result<usize, Exception>;
    fn is_full(&self) -> Result<bool, Exception>;
    fn shutdown(&self, immediate: bool) -> Result<(), Exception>;
}

/// The methods that a queue has in addition to those that its registration exposes.
pub(super) fn also_exposed(queue: &impl Backend, exposed: &[String]) -> Exposed {
    // Clients tell by this method that an item belongs to the connection that takes it.
    let gets = exposed.iter().any(|name| name.starts_with("get"));
    (gets && queue.is_at_least_once()).then_some("nack").into_iter().collect()
}

/// Calls a method of a queue.
pub(super) fn dispatch(queue: &impl Backend, call: &mut Call<'_>) -> Result<Return, Exception> {
    let owner = Owner::of(call);
    if queue.is_at_least_once() && call.method().starts_with("get") {
        call.watch_connection();
    }
    match call.method() {
        "put" => {
            let ([item], [block, timeout]) = call.args(["item"], ["block", "timeout"])?;
            let timeout = blocking(call, block, timeout)?;
            Ok(queue.put(call.item(item), &mut call.wait(timeout))?.into())
        }
        "put_nowait" => {
            let ([item], []) = call.args(["item"], [])?;
            Ok(queue.put(call.item(item), &mut call.wait(Some(Duration::ZERO)))?.into())
        }
        "put_many" => {
            let ([items], [timeout]) = call.args(["items"], ["timeout"])?;
            let timeout = call.timeout(timeout)?;
            Ok(queue.put_many(call.items(items)?, &mut call.wait(timeout))?.into())
        }
        "get" => {
            let ([], [block, timeout]) = call.args([], ["block", "timeout"])?;
            let timeout = blocking(call, block, timeout)?;
            queue.get(owner, &mut call.wait(timeout)).map(Return::Item)
        }
        "get_nowait" => {
            call.no_args()?;
            queue.get(owner, &mut call.wait(Some(Duration::ZERO))).map(Return::Item)
        }
        "get_many" => {
            let ([max], [timeout]) = call.args(["max"], ["timeout"])?;
            let timeout = call.timeout(timeout)?;
            let max: i64 = max.to()?;
            if max <= 0 {
                return Err(Exception::value_error("'max' must be positive"));
            }
            queue.get_many(saturated(max), owner, &mut call.wait(timeout)).map(Return::Items)
        }
        "peek" => {
            let ([], [max]) = call.args([], ["max"])?;
            let max: i64 = max.map_or(Ok(1), Pickle::to)?;
            Ok(Return::Element(list(queue.peek(saturated(max))?)))
        }
        "shutdown" => {
            let ([], [immediate]) = call.args([], ["immediate"])?;
            queue.shutdown(call.is_true(immediate, false)?)?;
            Ok(().into())
        }
        method => {
            call.no_args()?;
            match method {
                "join" => Ok(queue.join(&mut call.wait(None))?.into()),
                "task_done" => Ok(queue.task_done(owner)?.into()),
                "nack" => Ok(queue.nack(owner)?.into()),
                "qsize" => Ok(queue.len()?.into()),
                "empty" => Ok((queue.len()? == 0).into()),
                "full" => Ok(queue.is_full()?.into()),
                _ => Err(call.no_such_method()),
            }
        }
    }
}

/// A list of items.
fn list(items: Vec<Item>) -> Element {
    let references = ObjectRefs::union(items.iter().map(|item| &item.references));
    let items = items.into_iter().map(|item| Value::Opaque(item.data));
    Element { data: items.collect(), references }
}

impl SharedObject for QueueInner {
    fn exposed(&self) -> Exposed {
        METHODS.into()
    }

    fn also_exposed(&self, exposed: &[String]) -> Exposed {
        also_exposed(self, exposed)
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        dispatch(self, call)
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
        self.shut_down(false);
        // After the timeout, the rest stays in the queue.
        let _ = self.wait(&self.drained, wait, State::is_drained);
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
