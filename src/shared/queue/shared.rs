//! How threads and clients use a queue at once: what they wait for, and how clients call it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::{Recovered, State};
use super::{Policy, Queue};
use crate::error::{Exception, Result};
use crate::shared::call::{Arg, Call, ConnectionId, Owner};
use crate::shared::element::Item;
use crate::shared::sync::MutexGuard;
use crate::shared::wait::{Bell, CHECK, Interrupted, Monitor, Patience};
use crate::shared::{Return, SharedObject, saturated};
use crate::value::{Pickle, Value};

/// What threads wait for.
const ITEM: usize = 0;
const ROOM: usize = 1;
const DONE: usize = 2;
const DRAINED: usize = 3;

/// Where a thread waits: with others, or where it alone is woken.
#[derive(Clone, Copy)]
enum Place<'a> {
    Common(usize),
    Own(&'a Arc<Bell>),
}

/// What a queue offers: the last three are no `queue.Queue`'s, and the last one is for at-least-once queues
/// only, by which clients recognise them.
const METHODS: [&str; 13] = [
    "empty",
    "full",
    "get",
    "get_nowait",
    "join",
    "put",
    "put_nowait",
    "qsize",
    "shutdown",
    "task_done",
    "get_many",
    "put_many",
    "nack",
];

/// No more is taken at once when the items have come to so many bytes.
const BATCH: usize = 1 << 20;

pub(super) struct Shared {
    state: Monitor<State, 4>,
    pub(super) policy: Policy,
}

impl Shared {
    pub(super) fn new(policy: Policy) -> Self {
        Self { state: Monitor::new(State::default()), policy }
    }

    pub(super) fn put(&self, item: Item, patience: &mut Patience<'_>) -> Result<(), Exception> {
        self.can_fit(&item)?;
        let mut state = self.wait_for_room(item.len(), patience)?.ok_or_else(Exception::full)?;
        if state.shut_down {
            return Err(Exception::shut_down());
        }
        state.push(item);
        self.ring(state);
        self.state.notify_one(ITEM);
        Ok(())
    }

    /// Puts items in turn, and gives how many there was room for in time. Others may put in between.
    fn put_many(&self, items: Vec<Item>, patience: &mut Patience<'_>) -> Result<usize, Exception> {
        items.iter().try_for_each(|item| self.can_fit(item))?;
        let mut items = items.into_iter().peekable();
        let mut put = 0;
        while let Some(size) = items.peek().map(|item| item.len()) {
            let mut state = match self.wait_for_room(size, patience) {
                Ok(Some(state)) if !state.shut_down => state,
                // Those that are in stay: whoever asks again gets the reason.
                _ if put > 0 => break,
                Ok(Some(_)) => return Err(Exception::shut_down()),
                Ok(None) => return Err(Exception::full()),
                Err(interrupted) => return Err(interrupted.into()),
            };
            let before = put;
            while let Some(item) = items.next_if(|item| state.fits(&self.policy, item.len())) {
                state.push(item);
                put += 1;
            }
            self.ring(state);
            (before..put).for_each(|_| self.state.notify_one(ITEM));
        }
        Ok(put)
    }

    fn can_fit(&self, item: &Item) -> Result<(), Exception> {
        let (size, most) = (item.len(), self.policy.max_bytes);
        if most > 0 && size > most {
            let text = format!("an item of {size} bytes never fits a queue of {most} bytes");
            return Err(Exception::value_error(text));
        }
        Ok(())
    }

    fn get_many(
        &self,
        most: usize,
        owner: Owner,
        patience: &mut Patience<'_>,
    ) -> Result<Vec<Item>, Exception> {
        let mut state = self.wait_for_item(owner, patience)?;
        let items = state.pop_many(&self.policy, owner, self.lease_end(), most, BATCH);
        if items.is_empty() {
            return Err(Exception::shut_down());
        }
        self.less(state, items.len());
        Ok(items)
    }

    fn wait_for_item(
        &self,
        owner: Owner,
        patience: &mut Patience<'_>,
    ) -> Result<MutexGuard<'_, State>, Exception> {
        let ready = |state: &State| state.len() > 0 || state.is_over(owner);
        self.wait(Place::Common(ITEM), patience, ready)?.ok_or_else(Exception::empty)
    }

    /// When what is handed out now comes back by itself.
    fn lease_end(&self) -> Option<Instant> {
        self.policy.lease.and_then(|lease| Instant::now().checked_add(lease))
    }

    pub(super) fn get(&self, owner: Owner, patience: &mut Patience<'_>) -> Result<Item, Exception> {
        let mut state = self.wait_for_item(owner, patience)?;
        let item = state.pop(&self.policy, owner, self.lease_end());
        let item = item.ok_or_else(Exception::shut_down)?;
        self.less(state, 1);
        Ok(item)
    }

    pub(super) fn task_done(&self, owner: Owner) -> Result<(), Exception> {
        let mut state = self.look();
        let kept = state.done(&self.policy, owner)?;
        self.less(state, 1);
        drop(kept);
        Ok(())
    }

    pub(super) fn nack(&self, owner: Owner) -> Result<(), Exception> {
        let mut state = self.look();
        let recovered = state.nack(&self.policy, owner)?;
        self.recovered(state, recovered);
        Ok(())
    }

    pub(super) fn join(&self, patience: &mut Patience<'_>) -> Result<(), Interrupted> {
        self.wait(Place::Common(DONE), patience, |state| state.unfinished == 0).map(drop)
    }

    pub(super) fn shut_down(&self, immediate: bool) {
        let mut state = self.state.lock();
        let gone = state.shut_down(immediate);
        self.less(state, 0);
        self.state.notify_all(ROOM);
        drop(gone);
    }

    /// The state, with what is due back in its place.
    pub(super) fn look(&self) -> MutexGuard<'_, State> {
        loop {
            let state = self.state.lock();
            if !is_due(&state) {
                return state;
            }
            self.expire(state, Instant::now());
        }
    }

    pub(super) fn is_full(&self) -> bool {
        !self.look().fits(&self.policy, 1)
    }

    /// [`Monitor::wait`], in which leases run out. Nobody is woken when one does: whoever waits looks
    /// around at least once in that time.
    fn wait(
        &self,
        place: Place<'_>,
        patience: &mut Patience<'_>,
        ready: impl Fn(&State) -> bool,
    ) -> Result<Option<MutexGuard<'_, State>>, Interrupted> {
        if let Some(lease) = self.policy.lease {
            patience.look_every(lease.min(CHECK));
        }
        loop {
            let ready = |state: &State| is_due(state) || ready(state);
            let state = match place {
                Place::Common(condition) => self.state.wait(condition, patience, ready)?,
                Place::Own(bell) => self.state.wait_for_bell(bell, patience, ready)?,
            };
            match state {
                Some(state) if is_due(&state) => self.expire(state, Instant::now()),
                state => return Ok(state),
            }
        }
    }

    pub(super) fn expire(&self, mut state: MutexGuard<'_, State>, now: Instant) {
        let recovered = state.expire(&self.policy, now);
        self.recovered(state, recovered);
    }

    /// After so many items left: wakes whoever waits for that.
    fn less(&self, state: MutexGuard<'_, State>, count: usize) {
        let (all_done, shut_down) = (state.unfinished == 0, state.shut_down);
        let drained = state.is_drained();
        self.ring(state);
        if all_done {
            self.state.notify_all(DONE);
        }
        if shut_down {
            self.state.notify_all(ITEM);
        }
        if drained {
            self.state.notify_all(DRAINED);
        }
        if self.policy.maxsize > 0 {
            (0..count).for_each(|_| self.state.notify_one(ROOM));
        }
    }

    /// Waits for room for an item of this size, or the end. With a bound in bytes, each of those who wait has
    /// an item of another size, and is woken when there is room for that.
    fn wait_for_room(
        &self,
        size: usize,
        patience: &mut Patience<'_>,
    ) -> Result<Option<MutexGuard<'_, State>>, Interrupted> {
        let ready = |state: &State| state.shut_down || state.fits(&self.policy, size);
        if self.policy.max_bytes == 0 {
            return self.wait(Place::Common(ROOM), patience, ready);
        }
        let state = self.look();
        if ready(&state) {
            return Ok(Some(state));
        }
        drop(state);
        // Room is kept for those who wait, which must not be one whose client reads nothing.
        patience.settle();
        let mut state = self.look();
        let waiting = state.wait_for_room(size);
        drop(state);
        let ready = |state: &State| waiting.is_ready(state, &self.policy);
        match self.wait(Place::Own(&waiting.bell), patience, ready) {
            Ok(Some(mut state)) => {
                state.leave(&waiting);
                Ok(Some(state))
            }
            in_vain => {
                let mut state = self.state.lock();
                state.leave(&waiting);
                // There may be room all the same, for others.
                self.ring(state);
                in_vain
            }
        }
    }

    /// Wakes those whose items fit.
    fn ring(&self, state: MutexGuard<'_, State>) {
        let bells = state.to_ring(&self.policy);
        drop(state);
        for bell in bells {
            bell.ring();
        }
    }

    /// After items came back: wakes somebody for each, and moves those that shall not be delivered again,
    /// before anybody can find this queue without them. The other queue was there first: none leads back.
    fn recovered(&self, state: MutexGuard<'_, State>, recovered: Recovered) {
        let dead = recovered.dead.len();
        if let Some((_, Queue(letters))) = &self.policy.dead_letters {
            for item in recovered.dead {
                letters.state.lock().push(item);
                letters.state.notify_one(ITEM);
            }
        }
        self.less(state, dead);
        for _ in 0..recovered.returned {
            self.state.notify_one(ITEM);
        }
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> &[&str] {
        let [plain @ .., _] = &METHODS;
        if self.policy.at_least_once { &METHODS } else { plain }
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        call.method_of("Queue");
        match call.method() {
            "put" => {
                let [item, block, within] = call.bind(1, ["item", "block", "timeout"])?;
                let within = timeout(block, within)?;
                self.put_call(item, call, within)
            }
            "put_nowait" => {
                let [item] = call.bind(1, ["item"])?;
                self.put_call(item, call, Some(Duration::ZERO))
            }
            "get" => {
                let [block, within] = call.bind(0, ["block", "timeout"])?;
                let within = timeout(block, within)?;
                self.get_call(call, within)
            }
            "get_nowait" => {
                let [] = call.bind(0, [])?;
                self.get_call(call, Some(Duration::ZERO))
            }
            "put_many" => {
                let [items, within] = call.bind(1, ["items", "timeout"])?;
                let within = call.timeout(within)?;
                // Bound as required.
                let items = items.map_or(Ok(Vec::new()), |items| call.items(items))?;
                Ok(self.put_many(items, &mut call.patience(within))?.into())
            }
            "get_many" => {
                let [most, within] = call.bind(1, ["max", "timeout"])?;
                let within = call.timeout(within)?;
                let most: i64 = most.map_or(Ok(1), |most| most.to())?;
                if most <= 0 {
                    return Err(Exception::value_error("'max' must be positive"));
                }
                let most = saturated(most);
                self.watch(call);
                let owner = Owner::of(call);
                self.get_many(most, owner, &mut call.patience(within)).map(Return::Items)
            }
            "join" => {
                let [] = call.bind(0, [])?;
                Ok(self.join(&mut call.patience(None))?.into())
            }
            "shutdown" => {
                let [immediate] = call.bind(0, ["immediate"])?;
                self.shut_down(immediate.map_or(Ok(false), |immediate| immediate.truthy())?);
                Ok(().into())
            }
            method => {
                let [] = call.bind(0, [])?;
                match method {
                    "task_done" => Ok(self.task_done(Owner::of(call))?.into()),
                    "nack" => Ok(self.nack(Owner::of(call))?.into()),
                    "qsize" => Ok(self.look().len().into()),
                    "empty" => Ok((self.look().len() == 0).into()),
                    "full" => Ok(self.is_full().into()),
                    _ => Err(call.no_such_method()),
                }
            }
        }
    }

    fn repr(&self) -> String {
        format!("<Queue of {} items>", self.look().len())
    }

    fn take_back(&self, item: Item, connection: ConnectionId) {
        let mut state = self.state.lock();
        let recovered = if self.policy.at_least_once {
            state.undeliver(&self.policy, Owner::Connection(connection))
        } else {
            state.push_front(item)
        };
        self.recovered(state, recovered);
    }

    fn disconnected(&self, connection: ConnectionId) {
        let mut state = self.state.lock();
        let recovered = state.abandon(&self.policy, Owner::Connection(connection));
        self.recovered(state, recovered);
    }

    fn drain(&self, patience: &mut Patience<'_>) {
        self.shut_down(false);
        // If the time runs out, what is left stays.
        let _ = self.wait(Place::Common(DRAINED), patience, State::is_drained);
    }
}

impl Shared {
    fn put_call(
        &self,
        item: Option<Arg<'_>>,
        call: &mut Call<'_>,
        within: Option<Duration>,
    ) -> Result<Return, Exception> {
        // Bound as required.
        let item = match item {
            Some(item) => call.item(item)?,
            None => Pickle::from(&Value::None).into(),
        };
        Ok(self.put(item, &mut call.patience(within))?.into())
    }

    fn get_call(&self, call: &mut Call<'_>, within: Option<Duration>) -> Result<Return, Exception> {
        self.watch(call);
        self.get(Owner::of(call), &mut call.patience(within)).map(Return::Item)
    }

    /// Asks to be told when the caller is gone, if it is to be remembered what it takes.
    fn watch(&self, call: &mut Call<'_>) {
        if self.policy.at_least_once {
            call.watch_connection();
        }
    }
}

/// Whether a lease has run out. Without leases this asks for no time.
fn is_due(state: &State) -> bool {
    state.due().is_some_and(|due| due <= Instant::now())
}

/// The arguments `block` and `timeout`, as a timeout.
fn timeout(
    block: Option<Arg<'_>>,
    timeout: Option<Arg<'_>>,
) -> Result<Option<Duration>, Exception> {
    if !block.map_or(Ok(true), |block| block.truthy())? {
        return Ok(Some(Duration::ZERO));
    }
    timeout.map_or(Ok(None), |timeout| timeout.timeout())
}
