//! The proxy of an event.

use std::time::Duration;

use crate::client::{Proxy, seconds};
use crate::error::Result;

/// A flag in a manager. A clone is the same flag.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Event, EventProxy};
/// # let server = Manager::new("key").register("Event", |_| Event::new()).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let event: EventProxy = client.create("Event", ())?.into();
/// event.set()?;
/// assert!(event.wait(None)?);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EventProxy(Proxy);

typed!(EventProxy);

impl EventProxy {
    /// Whether the flag is set.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn is_set(&self) -> Result<bool> {
        self.0.call("is_set", ())?.to()
    }

    /// Sets the flag, and wakes all who wait.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn set(&self) -> Result<()> {
        self.0.call("set", ()).map(drop)
    }

    /// Takes the flag down.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn clear(&self) -> Result<()> {
        self.0.call("clear", ()).map(drop)
    }

    /// Waits until the flag is set, or the time is up; `None` waits for ever. Gives whether it is set.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        self.0.call_waiting("wait", (seconds(timeout),), timeout)?.to()
    }
}
