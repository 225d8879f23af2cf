//! `threading.Event`, shared: a flag to wait for.

use std::sync::Arc;
use std::time::Duration;

use super::number::{not_compared, timeout};
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::{Exposed, Return, SharedObject};
use crate::wait::{Interrupted, Monitor, Patience};

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
    /// How often it was set: whoever waits then is woken, even if the flag is taken down at once.
    times: u64,
}

const SET: usize = 0;

shared!(Event, default);

impl Event {
    /// An event that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared { state: Monitor::new(State::default()) }))
    }

    /// What Python's constructor makes of a client's arguments.
    ///
    /// # Errors
    /// `TypeError`: there are none.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        call.no_args()?;
        Ok(Self::new())
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// Sets the flag, and wakes all who wait.
    pub fn set(&self) {
        self.0.set();
    }

    /// Takes the flag down.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Waits until the flag is set, or the time is up; `None` waits for ever. Gives whether it is set.
    #[must_use]
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        // Nobody interrupts a thread of this process.
        self.0.wait(&mut Patience::new(timeout)).unwrap_or(false)
    }
}

impl Shared {
    fn is_set(&self) -> bool {
        self.state.lock().set
    }

    fn set(&self) {
        let mut state = self.state.lock();
        state.set = true;
        state.times += 1;
        drop(state);
        self.state.notify_all(SET);
    }

    fn clear(&self) {
        self.state.lock().set = false;
    }

    fn wait(&self, patience: &mut Patience<'_>) -> Result<bool, Interrupted> {
        let state = self.state.lock();
        let times = state.times;
        let ready = |state: &State| state.set || state.times > times;
        Ok(self.state.wait_from(state, SET, patience, ready)?.is_some())
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["clear", "is_set", "set", "wait"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        if call.method() == "wait" {
            let ([], [within]) = call.args([], ["timeout"])?;
            if self.is_set() {
                // Only whoever has to wait looks at the timeout.
                return Ok(true.into());
            }
            let within = timeout(call, within, not_compared)?;
            return Ok(self.wait(&mut call.patience(within))?.into());
        }
        call.no_args()?;
        match call.method() {
            "is_set" => Ok(self.is_set().into()),
            "set" => {
                self.set();
                Ok(().into())
            }
            "clear" => {
                self.clear();
                Ok(().into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self) -> String {
        let set = if self.is_set() { "set" } else { "unset" };
        format!("<threading.Event at {self:p}: {set}>")
    }
}
