//! `threading.Barrier`, shared: each of a number of parties waits until all have arrived.
//!
//! ```text
//!  a round: filling ── the last party arrives ─────► all pass, a new round begins
//!                   ── reset ──────────────────────► broken, a new round begins
//!                   ── abort, or a party times out ► broken, until reset
//! ```
//! A party keeps a reference to its round, so that the next round may fill while the last parties leave. A client
//! that dies while it waits gives its place back, and breaks nothing.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::python;
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::{Exposed, Return, SharedObject};
use crate::wait::{Monitor, Wait};

/// A barrier for threads and clients. A clone is the same barrier.
///
/// ```
/// use basemanager::sync::Barrier;
/// let barrier = Barrier::new(2);
/// let other = barrier.clone();
/// let thread = std::thread::spawn(move || other.wait(None));
/// let places = [barrier.wait(None)?, thread.join().unwrap()?];
/// assert!(places == [0, 1] || places == [1, 0]);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Barrier(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Monitor<State>,
    parties: usize,
    timeout: Option<Duration>,
}

#[derive(Debug, Default)]
struct State {
    round: Arc<Round>,
    waiting: usize,
    /// Places below the highest one taken that were given back.
    free: Vec<usize>,
    broken: bool,
}

/// Set when the round ends: whether all parties passed.
type Round = OnceLock<bool>;

shared!(Barrier);

impl Barrier {
    /// A barrier for a number of parties, at least 1. Waits for ever.
    #[must_use]
    pub fn new(parties: usize) -> Self {
        Self::with(parties, None)
    }

    /// A barrier with a default timeout for `wait`.
    #[must_use]
    pub fn with_timeout(parties: usize, timeout: Duration) -> Self {
        Self::with(parties, Some(timeout))
    }

    fn with(parties: usize, timeout: Option<Duration>) -> Self {
        let state = Monitor::new(State::default());
        Self(Arc::new(Shared { state, parties: parties.max(1), timeout }))
    }

    /// Creates a barrier from a client's arguments `parties, action=None, timeout=None`: a callable for
    /// [`Manager::register`](crate::Manager::register).
    ///
    /// # Errors
    /// `ValueError` if there are no parties; `TypeError` for another type, or for an action, since the manager
    /// runs no functions.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let ([parties], [action, timeout]) = call.args(["parties"], ["action", "timeout"])?;
        if call.is_true(action, false)? {
            let text = "a Barrier of this manager takes no action, for it runs no functions";
            return Err(Exception::type_error(text));
        }
        Ok(Self::with(python::count(call, parties, 1)?, python::timeout(call, timeout)?))
    }

    /// Waits until all parties have arrived. Returns the place of this one, from 0. `None` waits for the default
    /// timeout.
    ///
    /// # Errors
    /// `threading.BrokenBarrierError` ([`Error::is_broken_barrier`](crate::Error::is_broken_barrier)) if the
    /// barrier is broken, or times out, which breaks it for all.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<usize> {
        Ok(self.0.wait(Wait::new(timeout.or(self.0.timeout)))?)
    }

    /// Breaks the barrier: every `wait`, now and later, returns an error.
    pub fn abort(&self) {
        self.0.end_round(true);
    }

    /// Breaks the round of those that wait, and repairs the barrier for the next.
    pub fn reset(&self) {
        self.0.end_round(false);
    }

    /// The number of parties.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.0.parties
    }

    /// The number of parties that wait.
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        self.0.state.lock().waiting
    }

    /// Whether the barrier is broken.
    #[doc(alias = "broken")]
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.state.lock().broken
    }
}

fn broken() -> Exception {
    Exception::new("threading", "BrokenBarrierError", Vec::new())
}

impl State {
    /// Ends the round, and begins another.
    fn end_round(&mut self, passed: bool, broken: bool) {
        // The state is locked, so that the round is not ended already.
        let _ = std::mem::take(&mut self.round).set(passed);
        self.waiting = 0;
        self.free.clear();
        self.broken = broken;
    }
}

impl Shared {
    fn wait(&self, mut wait: Wait<'_>) -> Result<usize, Exception> {
        let mut state = self.state.lock();
        if state.broken {
            return Err(broken());
        }
        let place = state.free.pop().unwrap_or(state.waiting);
        state.waiting += 1;
        let round = state.round.clone();
        if state.waiting == self.parties {
            state.end_round(true, false);
            self.state.notify_all();
        }
        let ended = |_: &State| round.get().is_some();
        let waited = self.state.wait_from(state, &mut wait, ended).map(drop);
        let mut state = self.state.lock();
        match round.get() {
            Some(_) => {}
            None if waited.is_ok() => {
                state.end_round(false, true);
                self.state.notify_all();
            }
            None => {
                state.waiting -= 1;
                state.free.push(place);
            }
        }
        waited?;
        if round.get() == Some(&true) { Ok(place) } else { Err(broken()) }
    }

    /// Ends the round before all parties have arrived.
    fn end_round(&self, broken: bool) {
        self.state.lock().end_round(false, broken);
        self.state.notify_all();
    }

    /// `__getattribute__(name)`: Python's proxy reads the attributes by it.
    fn attribute(&self, call: &Call<'_>) -> Result<Return, Exception> {
        let ([name], []) = call.args(["name"], [])?;
        let state = self.state.lock();
        match name.to::<String>()?.as_str() {
            "parties" => Ok(self.parties.into()),
            "n_waiting" => Ok(state.waiting.into()),
            "broken" => Ok(state.broken.into()),
            name => Err(Exception::attribute_error(format!("there is no attribute '{name}'"))),
        }
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["__getattribute__", "abort", "reset", "wait"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "__getattribute__" => self.attribute(call),
            "wait" => {
                let ([], [timeout]) = call.args([], ["timeout"])?;
                let timeout = python::timeout(call, timeout)?.or(self.timeout);
                Ok(self.wait(call.wait(timeout))?.into())
            }
            method @ ("abort" | "reset") => {
                call.no_args()?;
                self.end_round(method == "abort");
                Ok(().into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let state = self.state.lock();
        if state.broken {
            return write!(out, "<threading.Barrier at {self:p}: broken>");
        }
        write!(out, "<threading.Barrier at {self:p}: waiters={}/{}>", state.waiting, self.parties)
    }
}
