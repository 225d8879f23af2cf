//! `threading.Event`, shared: a flag to wait for.

use std::sync::Arc;
use std::time::Duration;

use super::number::{not_compared, timeout};
use crate::error::Exception;
use crate::shared::call::Call;
use crate::shared::wait::{Interrupted, Monitor, Patience};
use crate::shared::{Return, SharedObject};

/// A flag that threads and clients wait for. A clone is the same event.
///
/// ```
/// use basemanager::Event;
/// let event = Event::new();
/// event.set();
/// assert!(event.wait(None));
/// ```
#[derive(Clone, Debug)]
pub struct Event(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    set: Monitor<bool>,
}

const SET: usize = 0;

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Event> for Return {
    fn from(event: Event) -> Self {
        Self::Shared(event.0)
    }
}

impl Event {
    /// An event that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared { set: Monitor::new(false) }))
    }

    /// What Python's constructor makes of a client's arguments.
    ///
    /// # Errors
    /// `TypeError`: there are none.
    pub fn from_call(call: &Call<'_>) -> Result<Self, Exception> {
        let [] = call.bind(0, [])?;
        Ok(Self::new())
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.0.set.lock()
    }

    /// Sets the flag, and wakes all who wait.
    pub fn set(&self) {
        self.0.set();
    }

    /// Takes the flag down.
    pub fn clear(&self) {
        *self.0.set.lock() = false;
    }

    /// Waits until the flag is set, or the time is up; `None` waits for ever. Gives whether it is set.
    #[must_use]
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        // Nobody interrupts a thread of this process.
        self.0.wait(&mut Patience::new(timeout)).unwrap_or(false)
    }
}

impl Shared {
    fn set(&self) {
        *self.set.lock() = true;
        self.set.notify_all(SET);
    }

    fn wait(&self, patience: &mut Patience<'_>) -> Result<bool, Interrupted> {
        Ok(self.set.wait(SET, patience, |set| *set)?.is_some())
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> &[&str] {
        &["clear", "is_set", "set", "wait"]
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        if call.method() == "wait" {
            let [within] = call.bind(0, ["timeout"])?;
            if *self.set.lock() {
                // Only whoever has to wait looks at the timeout.
                return Ok(true.into());
            }
            let within = timeout(within, not_compared)?;
            return Ok(self.wait(&mut call.patience(within))?.into());
        }
        let [] = call.bind(0, [])?;
        match call.method() {
            "is_set" => Ok((*self.set.lock()).into()),
            "set" => {
                self.set();
                Ok(().into())
            }
            "clear" => {
                *self.set.lock() = false;
                Ok(().into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self) -> String {
        let set = if *self.set.lock() { "set" } else { "unset" };
        format!("<threading.Event at {self:p}: {set}>")
    }
}
