//! The proxy of a barrier.

use std::time::Duration;

use crate::client::{Proxy, seconds};
use crate::error::Result;
use crate::value::Value;

/// A barrier in a manager. A clone is the same barrier.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Barrier, BarrierProxy};
/// # let server = Manager::new("key").register("Barrier", |call| Barrier::from_call(call));
/// # let handle = server.bind("127.0.0.1:0")?.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let barrier: BarrierProxy = client.create("Barrier", (2,))?.into();
/// let other = barrier.clone();
/// let thread = std::thread::spawn(move || other.wait(None));
/// assert_eq!(barrier.wait(None)? + thread.join().unwrap()?, 1);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BarrierProxy(Proxy);

typed!(BarrierProxy);

impl BarrierProxy {
    /// Waits until all parties have come, and gives the place at which this one did, from 0. `None`
    /// waits for as long as the barrier was made to.
    ///
    /// # Errors
    /// `threading.BrokenBarrierError`
    /// ([`Error::is_broken_barrier`](crate::Error::is_broken_barrier)), and whatever [`Proxy::call`]
    /// may give.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<usize> {
        self.0.call_waiting("wait", (seconds(timeout),), timeout)?.to()
    }

    /// Breaks the barrier: whoever waits, and whoever comes, gets an error.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn abort(&self) -> Result<()> {
        self.0.call("abort", ()).map(drop)
    }

    /// Breaks the round for whoever waits, and makes the barrier whole.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn reset(&self) -> Result<()> {
        self.0.call("reset", ()).map(drop)
    }

    /// How many it is for.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn parties(&self) -> Result<usize> {
        self.attribute("parties")?.to()
    }

    /// How many wait.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn n_waiting(&self) -> Result<usize> {
        self.attribute("n_waiting")?.to()
    }

    /// Whether it is broken.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> Result<bool> {
        self.attribute("broken")?.to()
    }

    fn attribute(&self, name: &str) -> Result<Value> {
        self.0.call("__getattribute__", (name,))
    }
}
