//! Models of the queue's concurrency: loom runs each in every possible interleaving of its threads.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`
//!
//! There is no clock: no wait times out or checks its client at intervals, and leases expire when a model calls
//! `expire`. So a lost notification is a thread that waits forever, which loom reports as a deadlock.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::model::Builder;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread::{self, JoinHandle};

use super::calls::Backend;
use super::{Queue, QueueOptions};
use crate::exception::Exception;
use crate::limits::Limits;
use crate::object::SharedObject;
use crate::object::call::{ConnectionId, Owner};
use crate::object::stored::Item;
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::{Caller, Wait, WaitError, Wake};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Runs a model with up to three preemptions, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(threads);
}

/// A client, with the number of its connection.
struct Peer {
    id: u64,
    is_there: bool,
    /// Whether a call of it had to wait.
    waited: bool,
    end: End,
    /// Locked while the client reads no replies.
    reads: Option<Arc<Mutex<()>>>,
}

/// Stops the manager of a client.
#[derive(Clone, Default)]
struct End(Arc<Ending>);

#[derive(Default)]
struct Ending {
    begun: AtomicBool,
    parked: Mutex<Option<Wake>>,
}

impl End {
    fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        let parked = self.0.parked.lock().unwrap().clone();
        if let Some(parked) = parked {
            parked();
        }
    }
}

impl Caller for Peer {
    fn flush(&mut self) {
        self.waited = true;
        self.reads.as_ref().map(|reads| drop(reads.lock()));
    }

    fn is_connected(&mut self) -> Result<(), WaitError> {
        if self.is_there { Ok(()) } else { Err(WaitError::Disconnected) }
    }

    fn is_stopping(&self) -> bool {
        self.end.0.begun.load(Ordering::Acquire)
    }

    fn max_wait(&self) -> Option<Duration> {
        None
    }

    fn set_wake(&self, wake: Option<Wake>) {
        *self.end.0.parked.lock().unwrap() = wake;
    }
}

impl Peer {
    fn new(id: u64) -> Self {
        Self { id, is_there: true, waited: false, end: End::default(), reads: None }
    }

    fn dead(id: u64) -> Self {
        Self { is_there: false, ..Self::new(id) }
    }

    fn owner(&self) -> Owner {
        Owner::Connection(ConnectionId(self.id))
    }

    fn get(&mut self, queue: &Queue) -> Result<i64, Exception> {
        let owner = self.owner();
        queue.0.get(owner, &mut Wait::of(self, None)).map(number)
    }

    fn put(&mut self, queue: &Queue, number: i64) -> Result<(), Exception> {
        queue.0.put(item(number), &mut Wait::of(self, None))
    }

    fn done(&self, queue: &Queue) -> Result<(), Exception> {
        queue.0.task_done(self.owner())
    }

    /// Takes and acknowledges items until the queue is shut down; returns those that it acknowledged.
    fn consume(mut self, queue: &Queue) -> Vec<i64> {
        let mut finished = Vec::new();
        loop {
            match self.get(queue) {
                Ok(number) => finished.extend(self.done(queue).is_ok().then_some(number)),
                Err(over) => {
                    assert_eq!(over, Exception::shut_down());
                    return finished;
                }
            }
        }
    }

    /// Waits for an item as a client that is dead. If it gets one, the reply cannot be sent.
    fn die_waiting(id: u64, queue: &Queue) {
        let mut peer = Self::dead(id);
        let owner = peer.owner();
        if let Ok(item) = queue.0.get(owner, &mut Wait::of(&mut peer, None)) {
            assert!(!peer.waited, "a dead client that waited got an item");
            queue.0.take_back(item, ConnectionId(id));
        }
        queue.0.disconnected(ConnectionId(id));
    }
}

fn item(number: i64) -> Item {
    Pickle::encode(&Value::from(number)).unwrap().into()
}

fn number(item: Item) -> i64 {
    item.data.into_value(&Limits::default()).to().unwrap()
}

fn queue(options: QueueOptions, items: &[i64]) -> Queue {
    let queue = options.build();
    for number in items {
        queue.put(*number).unwrap();
    }
    queue
}

fn spawn<T: 'static>(queue: &Queue, thread: impl FnOnce(&Queue) -> T + 'static) -> JoinHandle<T> {
    let queue = queue.clone();
    thread::spawn(move || thread(&queue))
}

fn sorted(numbers: impl IntoIterator<Item = Vec<i64>>) -> Vec<i64> {
    let mut all: Vec<i64> = numbers.into_iter().flatten().collect();
    all.sort_unstable();
    all
}

/// Asserts that no item is left, and that no thread would wait for one.
fn assert_finished(queue: &Queue) {
    assert!(queue.is_empty());
    queue.join();
    queue.0.drain(&mut Wait::new(None));
}

#[test]
fn notification_of_dead_getter_is_passed_on() {
    for options in [Queue::options(), Queue::options().at_least_once()] {
        model(move || {
            let queue = queue(options.clone(), &[]);
            let dead = spawn(&queue, |queue| Peer::die_waiting(1, queue));
            let living = spawn(&queue, |queue| {
                let mut peer = Peer::new(2);
                let got = peer.get(queue);
                peer.done(queue).unwrap();
                got
            });
            queue.put(7).unwrap();
            assert_eq!(living.join().unwrap(), Ok(7));
            // Otherwise the dead getter, if it was not notified, would wait until it checks its client.
            queue.shutdown(false);
            dead.join().unwrap();
        });
    }
}

#[test]
fn two_dead_getters_pass_notification_on() {
    model(|| {
        let queue = queue(Queue::options(), &[]);
        let dead = [1, 2].map(|id| spawn(&queue, move |queue| Peer::die_waiting(id, queue)));
        let living = spawn(&queue, |queue| Peer::new(3).get(queue));
        queue.put(7).unwrap();
        assert_eq!(living.join().unwrap(), Ok(7));
        queue.shutdown(false);
        for dead in dead {
            dead.join().unwrap();
        }
    });
}

#[test]
fn room_of_dead_putter_is_passed_on() {
    // All items have the same size.
    for options in [Queue::options().maxsize(1), Queue::options().max_bytes(item(0).len())] {
        model(move || {
            let queue = queue(options.clone(), &[0]);
            let dead = spawn(&queue, |queue| Peer::dead(1).put(queue, 1).is_ok());
            let living = spawn(&queue, |queue| Peer::new(2).put(queue, 2));
            let mut peer = Peer::new(3);
            assert_eq!(peer.get(&queue), Ok(0));
            // If the call of the dead putter is first, it finds room at once: clients are checked only in waits.
            let mut got = vec![peer.get(&queue).unwrap()];
            if got == [1] {
                got.push(peer.get(&queue).unwrap());
            }
            living.join().unwrap().unwrap();
            queue.shutdown(false);
            let was_put = dead.join().unwrap();
            got.extend(peer.get(&queue));
            assert_eq!(sorted([got]), if was_put { vec![1, 2] } else { vec![2] });
        });
    }
}

#[test]
fn room_is_not_kept_for_a_putter_that_reads_no_replies() {
    model(|| {
        let queue = queue(Queue::options().max_bytes(item(0).len()), &[0]);
        let reads = Arc::new(Mutex::new(()));
        let mut blocked = Peer { reads: Some(reads.clone()), ..Peer::new(1) };
        let _unread = reads.lock();
        spawn(&queue, move |queue| blocked.put(queue, 1).unwrap());
        spawn(&queue, |queue| Peer::new(2).put(queue, 2).unwrap());
        // The blocked one may find room at once.
        while Peer::new(3).get(&queue).unwrap() != 2 {}
    });
}

#[test]
fn putter_whose_item_fits_passes_larger_one() {
    model(|| {
        let [small, large] = [1, 1000].map(|number| item(number).len());
        assert!(small < large);
        let queue = queue(Queue::options().max_bytes(large + small), &[1, 1000]);
        let put_large = spawn(&queue, |queue| Peer::new(1).put(queue, 1001));
        let put_small = spawn(&queue, |queue| Peer::new(2).put(queue, 2));
        let mut peer = Peer::new(3);
        assert_eq!(peer.get(&queue), Ok(1));
        // The putter that has waited longest cannot use this room.
        assert_eq!(put_small.join().unwrap(), Ok(()));
        assert_eq!(peer.get(&queue), Ok(1000));
        assert_eq!(put_large.join().unwrap(), Ok(()));
    });
}

#[test]
fn shutdown_wakes_all_putters() {
    for options in [Queue::options().maxsize(1), Queue::options().max_bytes(item(7).len())] {
        model(move || {
            let queue = queue(options.clone(), &[7]);
            let putters = [1, 2].map(|id| spawn(&queue, move |queue| Peer::new(id).put(queue, 8)));
            queue.shutdown(false);
            for putter in putters {
                assert_eq!(putter.join().unwrap(), Err(Exception::shut_down()));
            }
            assert_eq!(queue.len(), 1);
        });
    }
}

#[test]
fn manager_stop_wakes_putter_waiting_for_bytes() {
    model(|| {
        let queue = queue(Queue::options().max_bytes(item(7).len()), &[7]);
        let mut peer = Peer::new(1);
        let end = peer.end.clone();
        let putter = spawn(&queue, move |queue| peer.put(queue, 8).is_err());
        end.begin();
        assert!(putter.join().unwrap());
    });
}

#[test]
fn shutdown_wakes_all_and_loses_nothing() {
    for (options, immediate) in [
        (Queue::options().maxsize(1), false),
        (Queue::options().maxsize(1), true),
        (Queue::options().maxsize(1).at_least_once(), false),
        (Queue::options().maxsize(1).at_least_once(), true),
    ] {
        model(move || {
            let queue = queue(options.clone(), &[]);
            let putter = spawn(&queue, |queue| {
                let mut peer = Peer::new(1);
                (1..=2).take_while(|number| peer.put(queue, *number).is_ok()).collect::<Vec<i64>>()
            });
            let getter = spawn(&queue, |queue| Peer::new(2).consume(queue));
            queue.shutdown(immediate);
            // This thread is the other consumer.
            let rest = Peer::new(3).consume(&queue);
            let put = putter.join().unwrap();
            let got = sorted([getter.join().unwrap(), rest]);
            if immediate {
                assert!(got.is_sorted_by(|a, b| a < b) && got.iter().all(|one| put.contains(one)));
            } else {
                assert_eq!(got, put);
            }
            assert_finished(&queue);
        });
    }
}

#[test]
fn manager_stop_wakes_all_and_loses_nothing() {
    model(|| {
        let queue = queue(Queue::options(), &[]);
        let peers = [1, 2].map(Peer::new);
        let ends = peers.each_ref().map(|peer| peer.end.clone());
        let getters = peers.map(|mut peer| spawn(&queue, move |queue| peer.get(queue).ok()));
        queue.put(7).unwrap();
        ends.iter().for_each(End::begin);
        let got = getters.map(|getter| getter.join().unwrap());
        let left = queue.try_get().unwrap().map(|left| left.to::<i64>().unwrap());
        assert_eq!(sorted(got.into_iter().chain([left]).map(Vec::from_iter)), [7]);
    });
}

#[test]
fn lease_expires_during_task_done() {
    model(|| {
        let queue = queue(Queue::options().lease(HOUR), &[7]);
        let consumers = [1, 2].map(|id| spawn(&queue, move |queue| Peer::new(id).consume(queue)));
        queue.0.expire(queue.0.lock(), Instant::now() + 2 * HOUR);
        queue.shutdown(false);
        assert_eq!(sorted(consumers.map(|consumer| consumer.join().unwrap())), [7]);
        assert_finished(&queue);
    });
}

#[test]
fn dead_letter_wakes_reader() {
    model(|| {
        let dead = Queue::new();
        let queue = queue(Queue::options().lease(HOUR).dead_letters(1, &dead), &[7]);
        let reader = spawn(&dead, |dead| Peer::new(1).get(dead));
        let mut holder = Peer::new(2);
        assert_eq!(holder.get(&queue), Ok(7));
        queue.0.expire(queue.0.lock(), Instant::now() + 2 * HOUR);
        assert_eq!(reader.join().unwrap(), Ok(7));
        assert!(holder.done(&queue).is_err());
        assert_finished(&queue);
    });
}

#[test]
fn join_returns_after_last_item_is_dead_letter() {
    model(|| {
        let dead = Queue::new();
        let queue = queue(Queue::options().dead_letters(1, &dead), &[7]);
        assert_eq!(Peer::new(1).get(&queue), Ok(7));
        let dying = spawn(&queue, |queue| queue.0.disconnected(ConnectionId(1)));
        queue.join();
        assert_eq!(dead.len(), 1);
        dying.join().unwrap();
    });
}

#[test]
fn nack_wakes_waiting_getter() {
    model(|| {
        let queue = queue(Queue::options().at_least_once(), &[7]);
        let mut holder = Peer::new(1);
        assert_eq!(holder.get(&queue), Ok(7));
        let waiting = spawn(&queue, |queue| Peer::new(2).get(queue));
        queue.0.nack(holder.owner()).unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(7));
    });
}

#[test]
fn item_of_dead_holder_goes_to_waiting_getter() {
    model(|| {
        let queue = queue(Queue::options().at_least_once(), &[7]);
        let dying = spawn(&queue, |queue| {
            let mut peer = Peer::new(1);
            let number = peer.get(queue);
            queue.0.disconnected(ConnectionId(1));
            number
        });
        let living = spawn(&queue, |queue| {
            let mut peer = Peer::new(2);
            let number = peer.get(queue);
            peer.done(queue).unwrap();
            number
        });
        // Either may be first; if the dying one is second, it waits.
        assert_eq!(living.join().unwrap(), Ok(7));
        queue.shutdown(false);
        let had = dying.join().unwrap();
        assert!(had == Ok(7) || had == Err(Exception::shut_down()));
        assert_finished(&queue);
    });
}

#[test]
fn drain_waits_for_item_of_dead_holder() {
    model(|| {
        let queue = queue(Queue::options().at_least_once(), &[7]);
        let dying = spawn(&queue, |queue| {
            let had = Peer::new(1).get(queue);
            queue.0.disconnected(ConnectionId(1));
            had
        });
        let living = spawn(&queue, |queue| Peer::new(2).consume(queue));
        queue.0.drain(&mut Wait::new(None));
        assert_eq!(living.join().unwrap(), [7]);
        dying.join().unwrap().ok();
        assert_finished(&queue);
    });
}

#[test]
fn last_task_done_wakes_joiners() {
    for options in [Queue::options(), Queue::options().at_least_once()] {
        model(move || {
            let queue = queue(options.clone(), &[7]);
            let joining = [1, 2].map(|id| {
                spawn(&queue, move |queue| queue.0.join(&mut Wait::of(&mut Peer::new(id), None)))
            });
            let mut peer = Peer::new(3);
            assert_eq!(peer.get(&queue), Ok(7));
            peer.done(&queue).unwrap();
            for joining in joining {
                assert_eq!(joining.join().unwrap(), Ok(()));
            }
        });
    }
}
