//! `threading.Event`, shared: a flag to wait for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::python;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::{Exposed, Return, SharedObject};
use crate::wait::{Monitor, Wait, WaitError};

/// A flag that threads and clients wait for. A clone is the same event.
///
/// ```
/// use basemanager::sync::Event;
/// let event = Event::new();
/// event.set();
/// assert!(event.wait(None));
/// ```
#[derive(Clone, Debug)]
pub struct Event(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Monitor<State>,
}

#[derive(Debug, Default)]
struct State {
    set: bool,
    /// How often the flag was set: wakes those that wait even if it is cleared at once.
    times: u64,
}

shared!(Event, default);

impl Event {
    /// An event that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared { state: Monitor::new(State::default()) }))
    }

    /// Creates an event from a client's call without arguments: a callable for
    /// [`Manager::register`](crate::Manager::register).
    ///
    /// # Errors
    /// `TypeError` for any argument.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        call.no_args()?;
        Ok(Self::new())
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.state.lock().set
    }

    /// Sets the flag, and wakes every thread and client that waits.
    pub fn set(&self) {
        self.0.set();
    }

    /// Clears the flag.
    pub fn clear(&self) {
        self.0.state.lock().set = false;
    }

    /// Waits until the flag is set; `false` if it was not within the timeout. `None` waits for ever.
    #[must_use]
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        // A thread of this process cannot be interrupted.
        self.0.wait(&mut Wait::new(timeout)).unwrap_or(false)
    }
}

impl Shared {
    fn set(&self) {
        let mut state = self.state.lock();
        state.set = true;
        state.times += 1;
        drop(state);
        self.state.notify_all();
    }

    fn wait(&self, wait: &mut Wait<'_>) -> Result<bool, WaitError> {
        let state = self.state.lock();
        let times = state.times;
        let ready = |state: &State| state.set || state.times > times;
        Ok(self.state.wait_from(state, wait, ready)?.is_some())
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["clear", "is_set", "set", "wait"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        if call.method() == "wait" {
            let ([], [timeout]) = call.args([], ["timeout"])?;
            let timeout = python::timeout(call, timeout)?;
            return Ok(self.wait(&mut call.wait(timeout))?.into());
        }
        call.no_args()?;
        match call.method() {
            "is_set" => Ok(self.state.lock().set.into()),
            "set" => {
                self.set();
                Ok(().into())
            }
            "clear" => {
                self.state.lock().set = false;
                Ok(().into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let set = if self.state.lock().set { "set" } else { "unset" };
        write!(out, "<threading.Event at {self:p}: {set}>")
    }
}
