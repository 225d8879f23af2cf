//! Three managers, whose processes are killed, consumers that vanish, and a Redis that is killed and restarted: every
//! numbered item is done, and none is delivered again once its `task_done` has returned.
//!
//! `cargo test` moves 10,000 items, and 100,000 if the variable `CI` is set.

use std::collections::HashSet;
use std::env;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use basemanager::{Client, Consumer, Error, QueueProxy};

use crate::managers::manager;
use crate::server::Redis;
use crate::support::{PATIENCE, Process, say, until};
use crate::{KEY, raised};

const PRODUCERS: usize = 4;
const CONSUMERS: usize = 6;
const BATCH: usize = 20;
/// How often a manager is killed, or Redis.
const KILLS: usize = 12;

/// An item: its number, and which attempt to put it this was. An attempt that failed may have put it.
type Item = (usize, usize);

struct Chaos {
    items: usize,
    /// Where the managers are now.
    addresses: Mutex<Vec<String>>,
    done: Mutex<HashSet<Item>>,
    /// The numbers of the items that consumers got.
    numbers: Mutex<HashSet<usize>>,
    next: AtomicUsize,
    ended: AtomicBool,
}

#[test]
fn no_item_is_lost() {
    let items = if env::var_os("CI").is_some() { 100_000 } else { 10_000 };
    let mut redis = Redis::start();
    let mut managers: Vec<Process> = (0..3).map(|_| manager(&redis)).collect();
    let chaos = Chaos {
        items,
        addresses: Mutex::new(managers.iter_mut().map(Process::address).collect()),
        done: Mutex::default(),
        numbers: Mutex::default(),
        next: AtomicUsize::new(0),
        ended: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        // If this thread fails, the others end, too.
        let _end = End(&chaos.ended);
        for number in 0..PRODUCERS {
            let chaos = &chaos;
            scope.spawn(move || chaos.produce(Random::new(number)));
        }
        for number in 0..CONSUMERS {
            let chaos = &chaos;
            scope.spawn(move || chaos.consume(Random::new(100 + number)));
        }
        let mut random = Random::new(1000);
        for kill in 1..=KILLS {
            let count = items * kill / (KILLS + 1);
            until("items come", 10 * PATIENCE, || chaos.count() >= count);
            if kill % 4 == 0 {
                redis.restart();
            } else {
                let number = random.below(managers.len());
                managers[number].kill();
                managers[number] = manager(&redis);
                let address = managers[number].address();
                lock(&chaos.addresses)[number] = address;
            }
        }
        until("all items come", 10 * PATIENCE, || chaos.count() == items);
        // Whatever was put twice is done twice.
        until("nothing is unfinished", 10 * PATIENCE, || {
            let mut random = Random::new(2000);
            chaos.connect(&mut random).and_then(|(queue, _)| queue.join()).is_ok()
        });
    });
    let done = lock(&chaos.done).len();
    say(&format!("{items} items; {done} calls of task_done returned"));
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Chaos {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn count(&self) -> usize {
        lock(&self.numbers).len()
    }

    fn connect(&self, random: &mut Random) -> Result<(QueueProxy, Consumer), Error> {
        let addresses = lock(&self.addresses).clone();
        let address = addresses[random.below(addresses.len())].as_str();
        let queue = Client::connect(address, KEY)?.queue("jobs")?;
        let consumer = queue.consumer();
        Ok((queue, consumer))
    }

    /// Puts batches of items until all were put.
    fn produce(&self, mut random: Random) {
        loop {
            let first = self.next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= self.items {
                return;
            }
            let mut left: Vec<usize> = (first..self.items.min(first + BATCH)).collect();
            for attempt in 0.. {
                let items = left.iter().map(|number| (*number, attempt));
                let put = self.connect(&mut random).and_then(|(queue, _)| queue.put_many(items));
                match put {
                    Ok(count) => drop(left.drain(..count)),
                    Err(error) => check(error),
                }
                if left.is_empty() || self.has_ended() {
                    break;
                }
            }
        }
    }

    /// Does items, and vanishes now and then.
    fn consume(&self, mut random: Random) {
        while !self.has_ended() {
            if let Err(error) =
                self.connect(&mut random).and_then(|(_, consumer)| self.work(consumer, &mut random))
            {
                check(error);
            }
        }
    }

    fn work(&self, mut consumer: Consumer, random: &mut Random) -> Result<(), Error> {
        while !self.has_ended() {
            let Some(item) = consumer.get_timeout(Duration::from_millis(200))? else { continue };
            let item: Item = item.to()?;
            assert!(!lock(&self.done).contains(&item), "{item:?} comes again after it was done");
            lock(&self.numbers).insert(item.0);
            if random.below(200) == 0 {
                return Ok(());
            }
            consumer.task_done()?;
            lock(&self.done).insert(item);
        }
        Ok(())
    }
}

/// Fails unless the error is one of a manager or a Redis that is gone, or of an item that was taken over meanwhile.
fn check(error: Error) {
    let is_gone = error.is_disconnected() || error.may_have_taken_effect();
    if !is_gone && !matches!(error, Error::Io { .. }) {
        let text = raised(error);
        let is_known = text.starts_with("ConnectionError") || text.contains("called too late");
        assert!(is_known, "{text}");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// Xorshift: the same numbers in each run.
struct Random(u64);

impl Random {
    fn new(seed: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ ((seed as u64 + 1) << 20))
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}
