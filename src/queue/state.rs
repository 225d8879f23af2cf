//! What is in a queue, and what was handed out: the book-keeping, without a lock or a clock of its own.
//!
//! ```text
//!  push ──► items ── pop ──► gone                                     a plain queue
//!                      └───► handed out ── done ──► gone              at least once
//!              ▲                 │ nack, holder gone, lease over
//!              └─ returned ◄─────┴──► dead letters, past the most deliveries
//! ```
//! Each item gets a number when it leaves `items`. Whatever comes back was put before all that is still
//! there, so that it goes first, and among those the lowest number.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Policy;
use crate::exception::Exception;
use crate::object::call::Owner;
use crate::object::stored::Item;
use crate::wait::Bell;

/// A queue no longer than this does not keep the memory of one that was much longer.
const SHORT: usize = 4096;

#[derive(Default)]
pub(super) struct State {
    items: VecDeque<Item>,
    /// The number of the next item that leaves `items`.
    next: u64,
    /// What came back, by number.
    returned: BTreeMap<u64, Delivered>,
    /// What is handed out and not done, by number.
    out: BTreeMap<u64, HandedOut>,
    /// What each holder was handed.
    held: HashMap<Owner, Holding>,
    /// When what is handed out comes back by itself.
    leases: BTreeSet<(Instant, u64)>,
    /// The size of what is here or handed out.
    bytes: usize,
    /// Who waits for room in a queue with a bound in bytes, those who came first in front.
    waiting: VecDeque<Arc<Waiting>>,
    /// Items put and not yet marked done.
    pub(super) unfinished: usize,
    pub(super) shut_down: bool,
    /// Shut down so that nothing is left in it.
    immediate: bool,
}

struct Delivered {
    item: Item,
    /// How often it was handed out.
    times: u32,
}

struct HandedOut {
    delivered: Delivered,
    holder: Owner,
    until: Option<Instant>,
}

/// One that waits for room for an item of this size.
#[derive(Debug)]
pub(super) struct Waiting {
    size: usize,
    pub(super) bell: Arc<Bell>,
    /// Whether its bell was rung since it last found no room. Changed under the queue's lock.
    rung: AtomicBool,
}

impl Waiting {
    /// Whether there is room for it now; if not, it is to be woken again.
    pub(super) fn is_ready(&self, state: &State, policy: &Policy) -> bool {
        let ready = state.shut_down || state.fits(policy, self.size);
        if !ready {
            self.rung.store(false, Ordering::Relaxed);
        }
        ready
    }
}

/// What a holder was handed, and has not said to be done.
#[derive(Default)]
struct Holding {
    /// How many went back since: the oldest, for leases are of one length. One that never says what is
    /// done costs no more than this.
    lapsed: u64,
    /// The numbers of the others, the oldest first.
    numbers: VecDeque<u64>,
}

impl Holding {
    fn is_empty(&self) -> bool {
        self.lapsed == 0 && self.numbers.is_empty()
    }

    fn lapse(&mut self, number: u64) {
        if let Some(place) = self.numbers.iter().position(|held| *held == number) {
            self.numbers.remove(place);
            self.lapsed += 1;
        }
    }

    /// Lets go of the oldest; `None` if that went back.
    fn pop_first(&mut self) -> Option<u64> {
        if self.lapsed == 0 {
            return self.numbers.pop_front();
        }
        self.lapsed -= 1;
        None
    }

    /// Lets go of the newest; `None` if that went back.
    fn pop_last(&mut self) -> Option<u64> {
        let last = self.numbers.pop_back();
        if last.is_none() {
            self.lapsed = self.lapsed.saturating_sub(1);
        }
        last
    }
}

/// What became of items that were handed out and not done.
#[derive(Default)]
pub(super) struct Recovered {
    /// How many are in the queue again.
    pub(super) returned: usize,
    /// Those that were delivered too often.
    pub(super) dead: Vec<Item>,
    /// Those that nobody is to have any more.
    pub(super) dropped: Vec<Item>,
}

impl State {
    /// How many can be taken.
    pub(super) fn len(&self) -> usize {
        self.returned.len() + self.items.len()
    }

    pub(super) fn fits(&self, policy: &Policy, bytes: usize) -> bool {
        (policy.maxsize == 0 || self.len() < policy.maxsize)
            && (policy.max_bytes == 0 || self.bytes + bytes <= policy.max_bytes)
    }

    /// Adds one to those who wait for room, until it [`leave`](Self::leave)s.
    pub(super) fn wait_for_room(&mut self, size: usize) -> Arc<Waiting> {
        let waiting = Waiting { size, bell: Arc::default(), rung: AtomicBool::new(false) };
        let waiting = Arc::new(waiting);
        self.waiting.push_back(waiting.clone());
        waiting
    }

    pub(super) fn leave(&mut self, left: &Arc<Waiting>) {
        if let Some(place) = self.waiting.iter().position(|waiting| Arc::ptr_eq(waiting, left)) {
            self.waiting.remove(place);
        }
    }

    /// Those of the waiting whose items fit together, in the order in which they came; less those whose bells
    /// were rung already.
    pub(super) fn to_ring(&self, policy: &Policy) -> Vec<Arc<Bell>> {
        let mut bytes = policy.max_bytes.saturating_sub(self.bytes);
        let items = if policy.maxsize == 0 { usize::MAX } else { policy.maxsize };
        let mut items = items.saturating_sub(self.len());
        let mut bells = Vec::new();
        for Waiting { size, bell, rung } in self.waiting.iter().map(|waiting| &**waiting) {
            if !self.shut_down {
                if items == 0 {
                    break;
                }
                let Some(left) = bytes.checked_sub(*size) else { continue };
                (bytes, items) = (left, items - 1);
            }
            if !rung.swap(true, Ordering::Relaxed) {
                bells.push(bell.clone());
            }
        }
        bells
    }

    /// Whether all has been taken, and is done where that counts.
    pub(super) fn is_drained(&self) -> bool {
        self.len() == 0 && self.out.is_empty()
    }

    /// Whether nothing will come for this one any more. What others hold may come back, but one that holds
    /// something itself is not to wait for that: two such would wait for each other.
    pub(super) fn is_over(&self, owner: Owner) -> bool {
        let holds = |holding: &Holding| !holding.numbers.is_empty();
        self.shut_down
            && self.len() == 0
            && (self.out.is_empty() || self.held.get(&owner).is_some_and(holds))
    }

    pub(super) fn push(&mut self, item: Item) {
        self.bytes += item.len();
        self.unfinished += 1;
        self.items.push_back(item);
    }

    /// Takes the first item, to be done by some time.
    pub(super) fn pop(
        &mut self,
        policy: &Policy,
        owner: Owner,
        until: Option<Instant>,
    ) -> Option<Item> {
        if !policy.at_least_once {
            let item = self.pop_front()?;
            self.bytes -= item.len();
            return Some(item);
        }
        let (number, mut delivered) = if let Some(returned) = self.returned.pop_first() {
            returned
        } else {
            let item = self.pop_front()?;
            self.next += 1;
            (self.next, Delivered { item, times: 0 })
        };
        delivered.times = delivered.times.saturating_add(1);
        self.leases.extend(until.map(|until| (until, number)));
        self.held.entry(owner).or_default().numbers.push_back(number);
        let item = delivered.item.clone();
        self.out.insert(number, HandedOut { delivered, holder: owner, until });
        Some(item)
    }

    /// Takes the first of the items that were never handed out. What is moved to shrink the queue is little, and
    /// seldom: a queue has to grow to several times that length before it happens again.
    fn pop_front(&mut self) -> Option<Item> {
        let item = self.items.pop_front();
        if self.items.capacity() > 4 * SHORT && self.items.len() <= SHORT {
            self.items.shrink_to(2 * SHORT);
        }
        item
    }

    /// Takes the first items: as many as that, and as can be had before they come to so many bytes.
    pub(super) fn pop_many(
        &mut self,
        policy: &Policy,
        owner: Owner,
        until: Option<Instant>,
        most: usize,
        bytes: usize,
    ) -> Vec<Item> {
        let mut popped = Vec::new();
        let mut size = 0;
        while popped.len() < most && size < bytes {
            let Some(item) = self.pop(policy, owner, until) else { break };
            size += item.len();
            popped.push(item);
        }
        popped
    }

    /// Puts a plain queue's item back at the front: nobody has got it.
    pub(super) fn push_front(&mut self, item: Item) -> Recovered {
        let mut recovered = Recovered::default();
        if self.immediate {
            self.unfinished = self.unfinished.saturating_sub(1);
            recovered.dropped.push(item);
        } else {
            self.bytes += item.len();
            self.items.push_front(item);
            recovered.returned = 1;
        }
        recovered
    }

    /// Marks an item as done: of those that this holder was handed, the oldest. Gives what was kept
    /// of it.
    pub(super) fn done(
        &mut self,
        policy: &Policy,
        owner: Owner,
    ) -> Result<Option<Item>, Exception> {
        let too_often = || Exception::value_error("task_done() called too many times");
        let mut kept = None;
        if policy.at_least_once {
            let Entry::Occupied(mut held) = self.held.entry(owner) else { return Err(too_often()) };
            let number = held.get_mut().pop_first();
            if held.get().is_empty() {
                held.remove();
            }
            let too_late =
                "task_done() called too late: the item's lease ran out, and it went back";
            let handed = number.and_then(|number| self.take_out(number));
            let handed = handed.ok_or_else(|| Exception::value_error(too_late))?;
            self.bytes -= handed.item.len();
            kept = Some(handed.item);
        }
        self.unfinished = self.unfinished.checked_sub(1).ok_or_else(too_often)?;
        Ok(kept)
    }

    /// Takes back the item that this holder was handed last, which counts as a delivery.
    pub(super) fn nack(&mut self, policy: &Policy, owner: Owner) -> Result<Recovered, Exception> {
        if !policy.at_least_once {
            return Err(Exception::value_error("nack() is for at-least-once queues only"));
        }
        let Entry::Occupied(mut held) = self.held.entry(owner) else {
            return Err(Exception::value_error("nack() called, but no item is held"));
        };
        let number = held.get_mut().pop_last();
        if held.get().is_empty() {
            held.remove();
        }
        let too_late = "nack() called too late: the item's lease ran out, and it went back";
        let number = number.ok_or_else(|| Exception::value_error(too_late))?;
        let mut recovered = Recovered::default();
        self.recover(number, policy, &mut recovered);
        Ok(recovered)
    }

    /// When the first lease runs out.
    pub(super) fn due(&self) -> Option<Instant> {
        self.leases.first().map(|(until, _)| *until)
    }

    /// Takes back what should have been done by now.
    pub(super) fn expire(&mut self, policy: &Policy, now: Instant) -> Recovered {
        let mut recovered = Recovered::default();
        while let Some((_, number)) = self.leases.first().filter(|(until, _)| *until <= now) {
            let number = *number;
            let holder = self.out.get(&number).map(|handed| handed.holder);
            if let Some(holding) = holder.and_then(|holder| self.held.get_mut(&holder)) {
                holding.lapse(number);
            }
            self.recover(number, policy, &mut recovered);
        }
        recovered
    }

    /// Takes back what a holder that is gone was handed.
    pub(super) fn abandon(&mut self, policy: &Policy, owner: Owner) -> Recovered {
        let mut recovered = Recovered::default();
        let numbers = self.held.remove(&owner).map(|holding| holding.numbers);
        for number in numbers.into_iter().flatten() {
            self.recover(number, policy, &mut recovered);
        }
        recovered
    }

    /// Takes back what a holder was handed last, for it has not got it: that was no delivery.
    pub(super) fn undeliver(&mut self, policy: &Policy, owner: Owner) -> Recovered {
        let mut recovered = Recovered::default();
        let number = self.held.get_mut(&owner).and_then(Holding::pop_last);
        if let Some(number) = number {
            if let Some(handed) = self.out.get_mut(&number) {
                handed.delivered.times -= 1;
            }
            self.recover(number, policy, &mut recovered);
        }
        recovered
    }

    fn take_out(&mut self, number: u64) -> Option<Delivered> {
        let handed = self.out.remove(&number)?;
        if let Some(until) = handed.until {
            self.leases.remove(&(until, number));
        }
        Some(handed.delivered)
    }

    fn recover(&mut self, number: u64, policy: &Policy, recovered: &mut Recovered) {
        let Some(delivered) = self.take_out(number) else { return };
        let most = policy.dead_letters.as_ref().map(|(most, _)| *most);
        if !self.immediate && most.is_none_or(|most| delivered.times < most) {
            self.returned.insert(number, delivered);
            recovered.returned += 1;
            return;
        }
        self.bytes -= delivered.item.len();
        self.unfinished = self.unfinished.saturating_sub(1);
        let heap = if self.immediate { &mut recovered.dropped } else { &mut recovered.dead };
        heap.push(delivered.item);
    }

    /// Refuses items from now on, and gives those that are dropped at once.
    pub(super) fn shut_down(&mut self, immediate: bool) -> impl Sized + use<> {
        self.shut_down = true;
        if !immediate {
            return (VecDeque::new(), BTreeMap::new());
        }
        self.immediate = true;
        self.unfinished = self.unfinished.saturating_sub(self.len());
        let gone = (std::mem::take(&mut self.items), std::mem::take(&mut self.returned));
        self.bytes = self.out.values().map(|handed| handed.delivered.item.len()).sum();
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pickle::Pickle;
    use crate::value::Value;

    #[test]
    fn queue_that_was_long_releases_its_memory() {
        for at_least_once in [false, true] {
            let policy = Policy { at_least_once, ..Policy::default() };
            let owner = Owner::this_thread();
            let mut state = State::default();
            let item = || Pickle::encode(&Value::None).unwrap().into();
            (0..1_000_000).for_each(|_| state.push(item()));
            let long = state.items.capacity();
            // Not even empty.
            while state.len() > 10 {
                assert!(state.pop(&policy, owner, None).is_some());
                assert!(!at_least_once || state.done(&policy, owner).is_ok());
            }
            let short = state.items.capacity();
            assert!(short <= 4 * SHORT && long >= 1_000_000, "{short} of {long}");
            // One of that length keeps what it has.
            for _ in 0..3 {
                (0..short - 100).for_each(|_| state.push(item()));
                while state.pop(&policy, owner, None).is_some() {}
                assert_eq!(state.items.capacity(), short);
            }
        }
    }

    #[test]
    fn a_holder_that_never_says_what_is_done_costs_nothing_more() {
        let policy = Policy { at_least_once: true, ..Policy::default() };
        let mut state = State::default();
        let (owner, now) = (Owner::this_thread(), Instant::now());
        state.push(Pickle::encode(&Value::None).unwrap().into());
        for _ in 0..1000 {
            assert!(state.pop(&policy, owner, Some(now)).is_some());
            assert_eq!(state.expire(&policy, now).returned, 1);
        }
        let holding = state.held.remove(&owner).unwrap_or_default();
        assert_eq!((holding.lapsed, holding.numbers.len()), (1000, 0));
    }
}
