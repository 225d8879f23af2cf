//! The methods of a queue in Redis.

use std::fmt;
use std::slice;
use std::time::Duration;

use redis::RedisError;

use super::server::{exception, is_unavailable};
use super::shared::{POLL, Shared};
use super::store::CHUNK;
use crate::exception::Exception;
use crate::object::call::{Call, ConnectionId, Owner};
use crate::object::stored::Item;
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::Pickle;
use crate::pickle::proxy::Token;
use crate::queue::calls::{Backend, METHODS, also_exposed, dispatch};
use crate::queue::fifo::{BATCH, batch};
use crate::queue::owners::{Which, not_at_least_once};
use crate::wait::Wait;

/// The size of the largest item, in bytes: Redis's default for `proto-max-bulk-len`, 512 MB, less what is around an item.
const LARGEST: usize = (512 << 20) - 64;

impl Backend for Shared {
    fn is_at_least_once(&self) -> bool {
        self.options.at_least_once
    }

    fn put(&self, item: Item, wait: &mut Wait<'_>) -> Result<(), Exception> {
        self.put_many(vec![item], wait).map(drop)
    }

    fn put_many(&self, items: Vec<Item>, wait: &mut Wait<'_>) -> Result<usize, Exception> {
        items.iter().try_for_each(|item| check(&item.data))?;
        let items: Vec<Vec<u8>> = items.iter().map(|item| item.data.to_bytes()).collect();
        let mut count = 0;
        let error = loop {
            if self.state.lock().puts_end {
                break Exception::shut_down();
            }
            let left = items.get(count..).unwrap_or_default();
            let chunk = batch(left.iter().take(CHUNK).map(Vec::len));
            let chunk = left.get(..chunk).unwrap_or_default();
            let put = match self.store.put(chunk, self.options.maxsize) {
                Ok(put) => put,
                // These items may have been put. To try again could put them twice.
                Err(error) if is_unavailable(&error) => return Err(exception(&error)),
                Err(error) => break exception(&error),
            };
            self.state.lock().totals.puts += put as u64;
            count += put;
            if count == items.len() {
                return Ok(count);
            }
            if put < chunk.len() {
                // Whatever waiting puts were told about room is out of date.
                self.state.lock().room = 0;
                match self.wait_for_room(wait) {
                    Ok(true) => {}
                    Ok(false) => break Exception::full(),
                    Err(error) => break error,
                }
            }
        };
        if count > 0 { Ok(count) } else { Err(error) }
    }

    fn get(&self, owner: Owner, wait: &mut Wait<'_>) -> Result<Item, Exception> {
        self.get_many(1, owner, wait)?.pop().ok_or_else(Exception::empty)
    }

    fn get_many(
        &self,
        max: usize,
        owner: Owner,
        wait: &mut Wait<'_>,
    ) -> Result<Vec<Item>, Exception> {
        if self.state.lock().gets_end {
            return Err(Exception::shut_down());
        }
        let items = self.take(max, owner).map_err(|error| exception(&error))?;
        if !items.is_empty() {
            return Ok(items);
        }
        self.state.lock().totals.waiting_getters += 1;
        let items = self.wait_for_items(max, owner, wait);
        self.state.lock().totals.waiting_getters -= 1;
        items
    }

    fn peek(&self, max: usize) -> Result<Vec<Item>, Exception> {
        self.store.peek(max.min(CHUNK), BATCH).map_err(|error| exception(&error))
    }

    fn task_done(&self, owner: Owner) -> Result<(), Exception> {
        if self.options.at_least_once {
            self.settle(owner, "task_done", Which::Oldest, |delivery| {
                self.store.remove(slice::from_ref(&delivery.tag), true)
            })?;
        } else if !self.store.task_done().map_err(|error| exception(&error))? {
            return Err(Exception::value_error("task_done() called too many times"));
        }
        self.state.lock().totals.done += 1;
        Ok(())
    }

    fn nack(&self, owner: Owner) -> Result<(), Exception> {
        if !self.options.at_least_once {
            return Err(not_at_least_once());
        }
        self.settle(owner, "nack", Which::Newest, |delivery| {
            let tag = delivery.tag.clone();
            if self.is_last_delivery(&tag) {
                let outcome = self.store.renew(&[(tag.clone(), Duration::ZERO)])?;
                self.state.lock().dead.push(tag);
                return Ok(outcome);
            }
            let times = tag.times;
            self.store.requeue(&[(tag, times)])
        })
    }

    fn join(&self, wait: &mut Wait<'_>) -> Result<(), Exception> {
        // A call that begins while Redis is down raises; one that waits already continues.
        let mut unfinished = self.store.unfinished().map_err(|error| exception(&error))?;
        while unfinished > 0 {
            self.pause(wait, POLL)?;
            match self.store.unfinished() {
                Ok(count) => unfinished = count,
                Err(error) if is_unavailable(&error) => {}
                Err(error) => return Err(exception(&error)),
            }
        }
        Ok(())
    }

    fn len(&self) -> Result<usize, Exception> {
        let count = self.requeue_idle().and_then(|()| self.store.counts());
        Ok(count.map_err(|error| exception(&error))?.ready)
    }

    fn is_full(&self) -> Result<bool, Exception> {
        let maxsize = self.options.maxsize;
        Ok(maxsize > 0 && self.len()? >= maxsize)
    }

    fn shutdown(&self, immediate: bool) -> Result<(), Exception> {
        self.refuse_puts();
        if !immediate {
            return Ok(());
        }
        self.state.lock().gets_end = true;
        let clear = || {
            // Other managers may go on to put.
            let mut left = self.store.counts()?.ready;
            while left > 0 {
                let found = self.store.take(left.min(CHUNK), BATCH)?;
                if found.is_empty() {
                    break;
                }
                left -= found.len();
                let tags: Vec<_> = found.into_iter().map(|found| found.tag).collect();
                self.store.remove(&tags, true)?;
            }
            Ok(())
        };
        clear().map_err(|error: RedisError| exception(&error))
    }
}

impl SharedObject for Shared {
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
        write!(out, "<Queue {:?} in Redis>", self.name)
    }

    fn take_back(&self, _: Item, connection: ConnectionId) {
        // The next tick requeues it in Redis: a connection that ends with many must not wait for each.
        self.requeue_undelivered(1, Owner::Connection(connection));
    }

    fn delivered(&self, _: &Item, connection: ConnectionId) {
        if self.options.at_least_once {
            return;
        }
        let owner = Owner::Connection(connection);
        let mut state = self.state.lock();
        if let Ok(delivery) = state.owners.remove(owner, "get", Which::Oldest) {
            state.delivered.push(delivery.tag);
        }
        // Those of a batch are removed together.
        let is_last = !state.owners.has_items(owner);
        drop(state);
        if is_last {
            // If this fails, the next tick tries again.
            let _ = self.flush();
        }
    }

    fn disconnected(&self, connection: ConnectionId) {
        self.requeue_all(Owner::Connection(connection));
        // If this fails, the items become idle.
        let _ = self.flush();
    }

    fn drain(&self, wait: &mut Wait<'_>) {
        // Other managers deliver what is left.
        self.refuse_puts();
        self.state.lock().gets_end = true;
        // Leases may expire meanwhile.
        while self.lock().owners.len() > 0 && self.pause(wait, POLL).is_ok_and(|before| before) {}
    }
}

/// Refuses items that Redis cannot store.
fn check(item: &Pickle) -> Result<(), Exception> {
    if item.len() > LARGEST {
        let text = format!("an item of {} bytes is larger than Redis stores", item.len());
        return Err(Exception::value_error(text));
    }
    if Token::all(item).is_empty() {
        return Ok(());
    }
    Err(Exception::type_error(
        "an item of a queue in Redis cannot contain a proxy: its object exists in one manager only",
    ))
}
