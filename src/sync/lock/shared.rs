//! What both kinds of lock are, and the part of a condition that locks.

use std::fmt;
use std::time::Duration;

use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::{Call, ConnectionId, Owner};
use crate::object::stored::Item;
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::Pickle;
use crate::sync::args::none;
use crate::sync::number::{duration, not_seconds, number};
use crate::value::Value;
use crate::wait::{Interrupted, Monitor, Patience};

/// Both kinds of lock.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Monitor<State>,
    reentrant: bool,
    /// Whether it is released when the connection that acquired it ends.
    follows: bool,
}

#[derive(Debug, Default)]
struct State {
    owner: Option<Owner>,
    depth: usize,
}

const FREE: usize = 0;

impl Shared {
    pub(super) fn new(reentrant: bool, follows: bool) -> Self {
        Self { state: Monitor::new(State::default()), reentrant, follows }
    }

    pub(crate) fn acquire(
        &self,
        owner: Owner,
        patience: &mut Patience<'_>,
    ) -> Result<bool, Interrupted> {
        let mine = |state: &State| self.reentrant && state.owner == Some(owner);
        let ready = |state: &State| state.depth == 0 || mine(state);
        let Some(mut state) = self.state.wait(FREE, patience, ready)? else { return Ok(false) };
        state.owner = Some(owner);
        state.depth += 1;
        Ok(true)
    }

    pub(crate) fn release(&self, owner: Owner) -> Result<(), Exception> {
        let mut state = self.state.lock();
        if self.reentrant && state.owner != Some(owner) {
            return Err(Exception::runtime_error("cannot release un-acquired lock"));
        }
        let left = state.depth.checked_sub(1);
        state.depth = left.ok_or_else(|| Exception::runtime_error("release unlocked lock"))?;
        if state.depth == 0 {
            state.owner = None;
            drop(state);
            self.state.notify_one(FREE);
        }
        Ok(())
    }

    pub(super) fn is_locked(&self) -> bool {
        self.state.lock().depth > 0
    }

    /// Whether it is locked, and this owner's if it minds owners: what a `Condition` asks.
    pub(crate) fn is_owned(&self, owner: Owner) -> bool {
        let state = self.state.lock();
        if self.reentrant { state.owner == Some(owner) } else { state.depth > 0 }
    }

    /// Releases it however often it was acquired; gives how often.
    pub(crate) fn release_all(&self) -> usize {
        self.release_if(|_| true)
    }

    fn release_if(&self, wanted: impl FnOnce(&State) -> bool) -> usize {
        let mut state = self.state.lock();
        if !wanted(&state) {
            return 0;
        }
        let was = std::mem::take(&mut *state);
        drop(state);
        self.state.notify_one(FREE);
        was.depth
    }

    /// Waits until it is free, and acquires it that often.
    pub(crate) fn acquire_all(
        &self,
        owner: Owner,
        depth: usize,
        patience: &mut Patience<'_>,
    ) -> Result<(), Interrupted> {
        if let Some(mut state) = self.state.wait(FREE, patience, |state| state.depth == 0)? {
            *state = State { owner: Some(owner), depth };
        }
        Ok(())
    }

    /// `acquire(blocking=True, timeout=-1)`.
    fn acquire_call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let given = call.positional().len() + call.keywords().len();
        if given > 2 {
            let text = format!("acquire() takes at most 2 arguments ({given} given)");
            return Err(Exception::type_error(text));
        }
        let ([], [blocking, timeout]) = call.args([], ["blocking", "timeout"])?;
        let blocking = call.is_true(blocking, true)?;
        let seconds = timeout.map_or(Ok(-1.0), |timeout| number(call, timeout, not_seconds))?;
        let within = duration(seconds.abs())?;
        let unset = seconds < 0.0 && within == Duration::from_secs(1);
        let within = match (blocking, unset) {
            (true, true) => None,
            (false, true) => Some(Duration::ZERO),
            (false, false) => {
                let text = "can't specify a timeout for a non-blocking call";
                return Err(Exception::value_error(text));
            }
            (true, false) if seconds < 0.0 => {
                let text = "timeout value must be a non-negative number";
                return Err(Exception::value_error(text));
            }
            (true, false) => Some(within),
        };
        if self.follows {
            call.watch_connection();
        }
        let acquired = self.acquire(Owner::of(call), &mut call.patience(within))?;
        if acquired && !self.follows {
            // Whoever cannot be told of it never knew: see `take_back`.
            return Ok(Return::Item(Pickle::encode(&Value::Bool(true))?.into()));
        }
        Ok(acquired.into())
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["acquire", "locked", "release"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        if call.method() == "acquire" {
            return self.acquire_call(call);
        }
        none(call, if self.reentrant { "RLock" } else { "lock" })?;
        match call.method() {
            "locked" => Ok(self.is_locked().into()),
            "release" => Ok(self.release(Owner::of(call))?.into()),
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self) -> String {
        let state = self.state.lock();
        let locked = if state.depth > 0 { "locked" } else { "unlocked" };
        if self.reentrant {
            let owner = state.owner.map_or_else(|| "0".to_owned(), |owner| owner.to_string());
            let count = state.depth;
            format!("<{locked} _thread.RLock object owner={owner} count={count} at {self:p}>")
        } else {
            format!("<{locked} _thread.lock object at {self:p}>")
        }
    }

    fn take_back(&self, _: Item, connection: ConnectionId) {
        // Another may have released it already, and somebody else may hold it.
        self.release_if(|state| state.owner == Some(Owner::Connection(connection)));
    }

    fn disconnected(&self, connection: ConnectionId) {
        if self.follows {
            self.release_if(|state| state.owner == Some(Owner::Connection(connection)));
        }
    }
}

impl fmt::Display for Owner {
    /// A number, as CPython shows a thread.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(ConnectionId(id)) => id.fmt(f),
            Self::Thread(id) => write!(f, "{id:?}"),
        }
    }
}
