//! `threading.Barrier`, shared: a place where a number of parties wait until all have come.
//!
//! ```text
//!  a round: filling ── the last one comes ─────────────────────► all pass, a new round begins
//!                   ── reset ──────────────────────────────────► broken, a new round begins
//!                   ── abort, or somebody's time is up ────────► broken, until reset
//! ```
//! A client that dies while it waits takes its place with it, and breaks nothing. Whoever was in a
//! round keeps it, so that the next may fill while the last ones leave.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::number::{count, not_added, timeout};
use super::{args, python};
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::{Exposed, Return, SharedObject};
use crate::value::Value;
use crate::wait::primitives::MutexGuard;
use crate::wait::{Monitor, Patience};

/// A place to wait for each other. A clone is the same barrier.
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
    /// Places below the highest one taken that their holders gave up.
    free: Vec<usize>,
    broken: bool,
}

/// How a round ended: whether all have passed.
type Round = OnceLock<bool>;

const ENDED: usize = 0;

shared!(Barrier);

impl Barrier {
    /// A barrier for so many; none is taken for one.
    #[must_use]
    pub fn new(parties: usize) -> Self {
        Self::with(parties, None)
    }

    /// One where `wait` without a time waits no longer than this. Defaults to waiting for ever.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self::with(self.0.parties, Some(timeout))
    }

    fn with(parties: usize, timeout: Option<Duration>) -> Self {
        let state = Monitor::new(State::default());
        Self(Arc::new(Shared { state, parties: parties.max(1), timeout }))
    }

    /// What Python's constructor makes of a client's arguments: `parties, action=None, timeout=None`.
    ///
    /// # Errors
    /// `ValueError` or `TypeError`, in Python's words; `TypeError` for an action, for no function is
    /// run here.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let ([parties], [action, within]) = call.args(["parties"], ["action", "timeout"])?;
        let parties = count(call, parties, 1, "parties must be >= 1")?;
        if call.is_true(action, false)? {
            let text = "a Barrier of this manager takes no action: it runs no functions";
            return Err(Exception::type_error(text));
        }
        Ok(Self::with(parties, timeout(call, within, not_added)?))
    }

    /// Waits until all parties have come, and gives the place at which this one did, from 0.
    ///
    /// # Errors
    /// `threading.BrokenBarrierError`
    /// ([`Error::is_broken_barrier`](crate::Error::is_broken_barrier)) if the barrier is broken, or if
    /// the time is up, which breaks it for all.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<usize> {
        Ok(self.0.wait(|| Ok(Patience::new(timeout.or(self.0.timeout))))?)
    }

    /// Breaks the barrier: whoever waits, and whoever comes, gets an error.
    pub fn abort(&self) {
        self.0.end_round(true);
    }

    /// Breaks the round for whoever waits, and makes the barrier whole.
    pub fn reset(&self) {
        self.0.end_round(false);
    }

    /// How many it is for.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.0.parties
    }

    /// How many wait.
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        self.0.state.lock().waiting
    }

    /// Whether it is broken.
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
    /// The next place: one that was given up, or the first that nobody had.
    fn take_place(&mut self) -> usize {
        let place = self.free.pop().unwrap_or(self.waiting);
        self.waiting += 1;
        place
    }

    fn end_round(&mut self, passed: bool) {
        // Nobody else ends it: its state is locked.
        let _ = std::mem::take(&mut self.round).set(passed);
        self.waiting = 0;
        self.free.clear();
    }
}

impl Shared {
    /// Waits, with a patience that is asked for only if there is a wait.
    fn wait<'a>(
        &self,
        patience: impl FnOnce() -> Result<Patience<'a>, Exception>,
    ) -> Result<usize, Exception> {
        let mut state = self.state.lock();
        if state.broken {
            return Err(broken());
        }
        if state.waiting + 1 == self.parties {
            let place = state.take_place();
            state.end_round(true);
            drop(state);
            self.state.notify_all(ENDED);
            return Ok(place);
        }
        let mut patience = patience()?;
        let place = state.take_place();
        let round = state.round.clone();
        let ended = |_: &State| round.get().is_some();
        let waited = self.state.wait_from(state, ENDED, &mut patience, ended).map(drop);
        let mut state = self.state.lock();
        match (round.get(), waited) {
            (Some(true), Ok(())) => Ok(place),
            (Some(false), Ok(())) => Err(broken()),
            (Some(_), Err(interrupted)) => Err(interrupted.into()),
            (None, Err(interrupted)) => {
                state.waiting -= 1;
                state.free.push(place);
                Err(interrupted.into())
            }
            (None, Ok(())) => {
                self.end_round_from(state, true);
                Err(broken())
            }
        }
    }

    /// Ends the round before its time.
    fn end_round(&self, broken: bool) {
        self.end_round_from(self.state.lock(), broken);
    }

    fn end_round_from(&self, mut state: MutexGuard<'_, State>, broken: bool) {
        state.end_round(false);
        state.broken = broken;
        drop(state);
        self.state.notify_all(ENDED);
    }

    /// `__getattribute__(name)`, by which Python's proxy reads what is no method.
    fn attribute(&self, call: &Call<'_>) -> Result<Return, Exception> {
        let [name] = args::special(call)?;
        let state = self.state.lock();
        match call.value(name)? {
            Value::Str(name) => match name.as_str() {
                "parties" => Ok(self.parties.into()),
                "n_waiting" => Ok(state.waiting.into()),
                "broken" => Ok(state.broken.into()),
                name => {
                    let text = format!("'Barrier' object has no attribute '{name}'");
                    Err(Exception::attribute_error(text))
                }
            },
            other => {
                let name = python::type_name(&other);
                let text = format!("attribute name must be string, not '{name}'");
                Err(Exception::type_error(text))
            }
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
                let ([], [within]) = call.args([], ["timeout"])?;
                let place = self.wait(move || {
                    let within = timeout(call, within, not_added)?.or(self.timeout);
                    Ok(call.patience(within))
                })?;
                Ok(place.into())
            }
            method @ ("abort" | "reset") => {
                call.no_args()?;
                self.end_round(method == "abort");
                Ok(().into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self) -> String {
        let state = self.state.lock();
        if state.broken {
            return format!("<threading.Barrier at {self:p}: broken>");
        }
        format!("<threading.Barrier at {self:p}: waiters={}/{}>", state.waiting, self.parties)
    }
}
