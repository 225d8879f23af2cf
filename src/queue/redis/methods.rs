//! The methods of a queue in Redis.

use std::fmt;
use std::slice;

use redis::RedisError;

use super::server::exception;
use super::shared::{Delivery, POLL, Shared, State};
use super::store::CHUNK;
use crate::exception::Exception;
use crate::object::call::{Call, ConnectionId, Owner};
use crate::object::stored::Item;
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::Pickle;
use crate::pickle::proxy::Token;
use crate::queue::calls::{Backend, METHODS, also_exposed, dispatch};
use crate::queue::fifo::BATCH;
use crate::queue::owners::{Which, not_at_least_once};
use crate::wait::Wait;

impl Backend for Shared {
    fn is_at_least_once(&self) -> bool {
        self.options.at_least_once
    }

    fn put(&self, item: Item, wait: &mut Wait<'_>) -> Result<(), Exception> {
        self.put_many(vec![item], wait).map(drop)
    }

    fn put_many(&self, items: Vec<Item>, wait: &mut Wait<'_>) -> Result<usize, Exception> {
        items.iter().try_for_each(|item| refuse_proxies(&item.data))?;
        let items: Vec<Vec<u8>> = items.iter().map(|item| item.data.to_bytes()).collect();
        let maxsize = self.options.maxsize;
        // A put that waits also ends when the queue is shut down.
        let may_go_on = || Ok(self.state.lock().puts_end || self.store.counts()?.ready < maxsize);
        let mut count = 0;
        let error = loop {
            if self.state.lock().puts_end {
                break Exception::shut_down();
            }
            let chunk = chunk(items.get(count..).unwrap_or_default());
            // After an error, these items may have been put. To try again could put them twice.
            let put = self.store.put(chunk, maxsize).map_err(|error| exception(&error))?;
            self.state.lock().totals.puts += put as u64;
            count += put;
            if count == items.len() {
                return Ok(count);
            }
            if put < chunk.len() {
                match self.wait_until(wait, may_go_on) {
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
                Ok(self.store.remove(slice::from_ref(&delivery.tag), true)?.contains(&true))
            })?;
        } else if !self.store.task_done().map_err(|error| exception(&error))? {
            return Err(Exception::value_error("task_done() called too many times"));
        }
        self.change(|state| state.totals.done += 1);
        Ok(())
    }

    fn nack(&self, owner: Owner) -> Result<(), Exception> {
        if !self.options.at_least_once {
            return Err(not_at_least_once());
        }
        self.settle(owner, "nack", Which::Newest, |delivery| {
            let Delivery { tag, .. } = delivery;
            if tag.times >= self.max_deliveries() {
                return self.move_to_dead_letters(delivery);
            }
            Ok(self.store.requeue(&[(tag.clone(), tag.times)])?.contains(&true))
        })
    }

    fn join(&self, wait: &mut Wait<'_>) -> Result<(), Exception> {
        let is_done = || Ok(self.store.unfinished()? == 0);
        // A call that begins while Redis is down raises; one that waits already goes on.
        if !is_done().map_err(|error: RedisError| exception(&error))? {
            self.wait_until(wait, is_done)?;
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
        self.change(|state| state.gets_end = true);
        let clear = || loop {
            let found = self.store.take(CHUNK, BATCH)?;
            if found.is_empty() {
                return Ok(());
            }
            let tags: Vec<_> = found.into_iter().map(|found| found.tag).collect();
            self.store.remove(&tags, true)?;
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
        // Redis learns of it when the connection has ended, or at the next tick.
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
        let (dead, alive): (Vec<_>, Vec<_>) = self.change(|state| {
            let items = state.owners.remove_all(Owner::Connection(connection));
            items.into_iter().partition(|delivery| delivery.tag.times >= self.max_deliveries())
        });
        let requeued = alive.into_iter().map(|Delivery { tag, .. }| {
            let times = tag.times;
            (tag, times)
        });
        self.state.lock().requeued.extend(requeued);
        // If Redis is down, the items become idle.
        let moved =
            dead.iter().try_for_each(|delivery| self.move_to_dead_letters(delivery).map(drop));
        let _ = self.flush().and(moved);
    }

    fn drain(&self, wait: &mut Wait<'_>) {
        // Other managers deliver what is left.
        self.change(|state| (state.puts_end, state.gets_end) = (true, true));
        let has_none = |state: &State| state.owners.len() == 0;
        wait.check_every(POLL);
        let _ = self.state.wait(self.lock(), &self.changed, wait, has_none);
    }
}

/// The first items that one command puts.
fn chunk(items: &[Vec<u8>]) -> &[Vec<u8>] {
    let mut bytes = 0;
    let fits = |item: &&Vec<u8>| {
        bytes += item.len();
        bytes - item.len() < BATCH
    };
    let count = items.iter().take(CHUNK).take_while(fits).count();
    items.get(..count).unwrap_or_default()
}

fn refuse_proxies(item: &Pickle) -> Result<(), Exception> {
    if Token::all(item).is_empty() {
        return Ok(());
    }
    Err(Exception::type_error(
        "an item of a queue in Redis cannot contain a proxy: its object exists in one manager only",
    ))
}
