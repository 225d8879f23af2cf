//! Locks, semaphores, conditions, events and barriers, from both languages: who has what is counted, and
//! those who are killed leave nothing behind.
#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::support::{PATIENCE, Process, Python, newest_python, pythons, snippet, until};
use basemanager::object::{Call, Exposed, Return, SharedObject};
use basemanager::sync::{
    Barrier, BarrierProxy, BoundedSemaphore, Condition, ConditionProxy, Event, EventProxy, Lock,
    LockProxy, RLock, Semaphore,
};
use basemanager::{Client, Exception, Manager, Proxy, ServerHandle};

/// A number that nothing keeps two clients from writing at once.
#[derive(Default)]
struct Cell(AtomicI64);

impl SharedObject for Cell {
    fn exposed(&self) -> Exposed {
        ["get", "set"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        if call.method() == "get" {
            return Ok(self.0.load(Ordering::Relaxed).into());
        }
        let ([value], []) = call.args(["value"], [])?;
        self.0.store(value.to()?, Ordering::Relaxed);
        Ok(().into())
    }
}

/// One object of each type, shared under its typeid.
struct Shared {
    event: Event,
    lock: Lock,
    rlock: RLock,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    condition: Condition,
    barrier: Barrier,
    cell: Arc<Cell>,
    handle: ServerHandle,
}

impl Shared {
    fn start() -> Self {
        Self::of(Lock::new(), Semaphore::new(1))
    }

    fn of(lock: Lock, semaphore: Semaphore) -> Self {
        let (event, rlock, bounded) = (Event::new(), RLock::new(), BoundedSemaphore::new(3));
        let (condition, barrier, cell) =
            (Condition::new(), Barrier::new(2), Arc::<Cell>::default());
        macro_rules! same {
            ($object:expr) => {{
                let object = $object.clone();
                move |_: &mut Call<'_>| object.clone()
            }};
        }
        let condition_of = {
            let condition = condition.clone();
            move |call: &mut Call<'_>| {
                if !call.positional().is_empty() {
                    return Condition::from_call(call);
                }
                Ok(condition.clone())
            }
        };
        let handle = Manager::new("key")
            .register("Event", same!(event))
            .register("Lock", same!(lock))
            .register("RLock", same!(rlock))
            .register("Semaphore", same!(semaphore))
            .register("BoundedSemaphore", same!(bounded))
            .register("Condition", condition_of)
            .register("Barrier", same!(barrier))
            .register("Cell", same!(cell))
            .bind("127.0.0.1:0")
            .unwrap()
            .start()
            .unwrap();
        Self { event, lock, rlock, semaphore, bounded, condition, barrier, cell, handle }
    }

    fn client(&self) -> Client {
        Client::connect(self.handle.address(), "key").unwrap()
    }

    fn proxy<P: From<Proxy>>(&self, typeid: &str) -> P {
        self.client().create(typeid, ()).unwrap().into()
    }

    fn python(&self, python: &Python, what: &str, typeid: &str) -> Process {
        snippet(python, "sync_locks.py", &[&self.handle.address().to_string(), what, typeid])
    }

    /// A Python client that waits for this.
    fn waiting(&self, python: &Python, what: &str, typeid: &str) -> Process {
        let mut process = self.python(python, what, typeid);
        assert_eq!(process.line(), "waiting");
        let mut times = 0;
        until("it waits", PATIENCE, || {
            times = if process.is_asleep() { times + 1 } else { 0 };
            times == 10
        });
        process
    }

    /// How many wait to be notified, as the condition's `repr` tells.
    fn in_line(&self) -> usize {
        let repr = self.proxy::<ConditionProxy>("Condition").proxy().repr().unwrap();
        repr.strip_suffix(")>").unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }
}

const SOON: Option<Duration> = Some(Duration::ZERO);
const LONG: Option<Duration> = Some(PATIENCE);

#[test]
fn lock_admits_one_owner() {
    let shared = Shared::start();
    for typeid in ["Lock", "RLock", "Semaphore", "Condition"] {
        shared.cell.0.store(0, Ordering::Relaxed);
        let pythons: Vec<_> =
            newest_python().iter().map(|python| shared.python(python, "count", typeid)).collect();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let lock: LockProxy = shared.proxy(typeid);
                    let cell: Proxy = shared.proxy("Cell");
                    for _ in 0..50 {
                        let guard = lock.lock().unwrap();
                        let value: i64 = cell.call("get", ()).unwrap().to().unwrap();
                        cell.call("set", (value + 1,)).unwrap();
                        drop(guard);
                    }
                });
            }
        });
        let count = i64::try_from(8 + pythons.len()).unwrap() * 50;
        for mut python in pythons {
            python.end(PATIENCE).well();
        }
        assert_eq!(shared.cell.0.load(Ordering::Relaxed), count, "{typeid}");
    }
}

#[test]
fn lock_guard_after_untyped_acquire_is_another_owner() {
    let shared = Shared::start();
    let untyped: Proxy = shared.proxy("RLock");
    let lock = LockProxy::from(untyped.clone());
    // By a connection that serves any call, and owns the lock from now on.
    assert_eq!(untyped.call("acquire", ()).unwrap(), true.into());
    assert!(lock.try_lock().unwrap().is_none());
    assert!(shared.rlock.is_locked());
    untyped.call("release", ()).unwrap();
    assert!(lock.try_lock().unwrap().is_some());
    // Nor does a guard leave its connection, and what that owns, to the next.
    lock.lock().unwrap().forget();
    let next = lock.lock_timeout(PATIENCE).unwrap();
    assert!(next.is_some(), "the lock went with the connection that owned it");
    drop(next);
    assert!(!shared.rlock.is_locked());
    assert!(lock.release().is_err());
}

#[test]
fn semaphore_admits_three_owners() {
    let shared = Shared::start();
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let semaphore: LockProxy = shared.proxy("BoundedSemaphore");
                for _ in 0..50 {
                    let permit = semaphore.lock().unwrap();
                    let now = inside.fetch_add(1, Ordering::Relaxed) + 1;
                    most.fetch_max(now, Ordering::Relaxed);
                    inside.fetch_sub(1, Ordering::Relaxed);
                    permit.release().unwrap();
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    let semaphore: LockProxy = shared.proxy("BoundedSemaphore");
    assert!(semaphore.release().unwrap_err().to_string().contains("released too many times"));
    assert!(shared.bounded.release(1).is_err());
    // A permit that is used up, as for an item that will be made again.
    semaphore.lock().unwrap().forget();
    semaphore.release().unwrap();
}

#[test]
fn guard_releases_on_drop() {
    let shared = Shared::start();
    let lock: LockProxy = shared.proxy("RLock");
    let guard = lock.lock().unwrap();
    assert!(lock.is_locked().unwrap() && shared.rlock.is_locked());
    assert!(lock.try_lock().unwrap().is_none());
    assert!(lock.lock_timeout(Duration::from_millis(1)).unwrap().is_none());
    assert!(!shared.rlock.acquire(SOON));
    assert!(shared.rlock.release().is_err() && lock.release().is_err());
    drop(guard);
    // Threads of this process are owners as well.
    assert!(shared.rlock.acquire(SOON) && shared.rlock.acquire(SOON));
    let other = shared.rlock.clone();
    assert!(!thread::spawn(move || other.acquire(SOON)).join().unwrap());
    assert!(lock.try_lock().unwrap().is_none());
    shared.rlock.release().unwrap();
    shared.rlock.release().unwrap();
    assert!(lock.try_lock().unwrap().is_some());
    assert!(!lock.is_locked().unwrap());
}

#[test]
fn python_thread_owns_by_connection() {
    let shared = Shared::start();
    for python in pythons() {
        let ended = shared.python(python, "owner", "RLock").end(PATIENCE).well();
        assert_eq!(ended.stdout, ["cannot release un-acquired lock", "False"]);
        assert!(!shared.rlock.is_locked());
        let ended = shared.python(python, "made", "Lock").end(PATIENCE).well();
        assert_eq!(ended.stdout, ["False", "False", "True"]);
        assert!(!shared.lock.is_locked());
    }
}

#[test]
fn condition_notify_reaches_the_other_side() {
    let shared = Shared::start();
    let (sent, received) = (AtomicI64::new(0), AtomicI64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let condition: ConditionProxy = shared.proxy("Condition");
                for _ in 0..25 {
                    let mut guard = condition.lock().unwrap();
                    let news = || Ok(sent.load(Ordering::Relaxed) > 0);
                    assert!(guard.wait_for(None, news).unwrap());
                    sent.fetch_sub(1, Ordering::Relaxed);
                    received.fetch_add(1, Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                let condition: ConditionProxy = shared.proxy("Condition");
                for _ in 0..25 {
                    let mut guard = condition.lock().unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                    guard.notify(1).unwrap();
                }
            });
        }
    });
    assert_eq!((sent.into_inner(), received.into_inner()), (0, 100));
    let mut guard = shared.proxy::<ConditionProxy>("Condition").lock().unwrap();
    assert!(!guard.wait(SOON).unwrap());
    assert!(!guard.wait_for(Some(Duration::from_millis(1)), || Ok(false)).unwrap());
    assert!(shared.condition.notify_all().is_err() && shared.condition.wait(SOON).is_err());
}

#[test]
fn condition_notify_wakes_the_first_waiter() {
    let shared = Shared::start();
    let (woken, order) = mpsc::channel();
    thread::scope(|scope| {
        for number in 0..5 {
            let (shared, woken) = (&shared, woken.clone());
            scope.spawn(move || {
                let mut guard = shared.proxy::<ConditionProxy>("Condition").lock().unwrap();
                assert!(guard.wait(None).unwrap());
                woken.send(number).unwrap();
            });
            until("it is in line", PATIENCE, || shared.in_line() == number + 1);
        }
        for number in 0..3 {
            assert!(shared.condition.acquire(None));
            shared.condition.notify(1).unwrap();
            shared.condition.release().unwrap();
            assert_eq!(order.recv().unwrap(), number);
        }
        assert!(shared.condition.acquire(None));
        shared.condition.notify_all().unwrap();
        shared.condition.release().unwrap();
    });
    assert_eq!(order.try_iter().sum::<usize>(), 3 + 4);
}

#[test]
fn condition_wait_restores_every_level_of_rlock() {
    let shared = Shared::start();
    for python in pythons() {
        let mut waiter = shared.waiting(python, "condition", "Condition");
        until("it is in line", PATIENCE, || shared.in_line() == 1);
        assert!(shared.condition.acquire(LONG));
        shared.condition.notify_all().unwrap();
        shared.condition.release().unwrap();
        let ended = waiter.end(PATIENCE).well();
        assert_eq!(ended.stdout, ["True", "cannot release un-acquired lock"]);
    }
}

#[test]
fn barrier_releases_all_parties() {
    let shared = Shared::start();
    let barrier: BarrierProxy = shared.proxy("Barrier");
    let places = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..100 {
                    places.fetch_add(barrier.wait(LONG).unwrap(), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(places.into_inner(), 100);
    assert_eq!((barrier.parties().unwrap(), barrier.n_waiting().unwrap()), (2, 0));

    for end in [BarrierProxy::abort, BarrierProxy::reset] {
        barrier.reset().unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| barrier.wait(None));
            until("it waits", PATIENCE, || barrier.n_waiting().unwrap() == 1);
            end(&barrier).unwrap();
            assert!(waiter.join().unwrap().unwrap_err().is_broken_barrier());
        });
    }
    assert!(!barrier.is_broken().unwrap());
    assert!(barrier.wait(SOON).unwrap_err().is_broken_barrier());
    assert!(barrier.is_broken().unwrap() && shared.barrier.is_broken());
    assert!(barrier.wait(None).unwrap_err().is_broken_barrier());
    shared.barrier.reset();
    thread::scope(|scope| {
        scope.spawn(|| shared.barrier.wait(None).unwrap());
        barrier.wait(None).unwrap();
    });
}

#[test]
fn event_set_wakes_all_waiters() {
    let shared = Shared::start();
    let mut pythons: Vec<_> =
        pythons().iter().map(|python| shared.waiting(python, "wait", "Event")).collect();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(shared.proxy::<EventProxy>("Event").wait(None).unwrap()));
        }
        let event: EventProxy = shared.proxy("Event");
        assert!(!event.is_set().unwrap() && !event.wait(SOON).unwrap());
        event.set().unwrap();
    });
    for python in &mut pythons {
        assert_eq!(python.end(PATIENCE).well().stdout, ["True"]);
    }
    shared.proxy::<EventProxy>("Event").clear().unwrap();
    assert!(!shared.event.is_set());
}

#[test]
fn event_set_and_cleared_wakes_all_waiters() {
    let shared = Shared::start();
    let Some(python) = newest_python() else { return };
    let mut waiter = shared.waiting(python, "wait", "Event");
    shared.event.set();
    shared.event.clear();
    assert_eq!(waiter.end(PATIENCE).well().stdout, ["True"]);
}

#[test]
fn killed_owner_releases_its_locks() {
    let lock = Lock::new_released_on_disconnect();
    let shared = Shared::of(lock, Semaphore::new_released_on_disconnect(2));
    for python in pythons() {
        for typeid in ["Lock", "RLock", "Semaphore", "Condition"] {
            let mut owner = shared.python(python, "hold", typeid);
            assert_eq!(owner.line(), "held");
            let lock: LockProxy = shared.proxy(typeid);
            assert!(lock.try_lock().unwrap().is_none(), "{typeid}");
            thread::scope(|scope| {
                let waiter = scope.spawn(|| lock.lock().unwrap());
                owner.kill();
                drop(waiter.join().unwrap());
            });
            assert!(lock.try_lock().unwrap().is_some(), "{typeid}");
        }
    }
    assert!(shared.semaphore.acquire(SOON) && shared.semaphore.acquire(SOON));
    assert!(!shared.semaphore.acquire(SOON));
}

#[test]
fn killed_owner_keeps_what_any_client_may_release() {
    let shared = Shared::start();
    let Some(python) = newest_python() else { return };
    for typeid in ["Lock", "Semaphore"] {
        let mut owner = shared.python(python, "hold", typeid);
        assert_eq!(owner.line(), "held");
        owner.kill();
        let lock: LockProxy = shared.proxy(typeid);
        assert!(lock.try_lock().unwrap().is_none());
        lock.release().unwrap();
        assert!(lock.try_lock().unwrap().is_some());
    }
}

#[test]
fn killed_waiter_acquires_nothing() {
    let shared = Shared::start();
    for python in pythons() {
        for typeid in ["Lock", "RLock", "Semaphore", "Condition"] {
            let lock: LockProxy = shared.proxy(typeid);
            let guard = lock.lock().unwrap();
            let mut dead = [(); 3].map(|()| shared.waiting(python, "acquire", typeid));
            dead.iter_mut().for_each(Process::kill);
            drop(guard);
            // Nobody else is left to pass it on.
            assert!(lock.lock_timeout(PATIENCE).unwrap().is_some(), "{typeid}");
        }
    }
}

#[test]
fn killed_waiter_passes_its_notification_on() {
    let shared = Shared::start();
    for python in pythons() {
        let mut dead = shared.waiting(python, "condition", "Condition");
        until("it is in line", PATIENCE, || shared.in_line() == 1);
        thread::scope(|scope| {
            let living = scope.spawn(|| {
                let mut guard = shared.proxy::<ConditionProxy>("Condition").lock().unwrap();
                guard.wait(None).unwrap()
            });
            until("it is in line", PATIENCE, || shared.in_line() == 2);
            dead.kill();
            assert!(shared.condition.acquire(LONG));
            shared.condition.notify(1).unwrap();
            shared.condition.release().unwrap();
            assert!(living.join().unwrap());
        });
        assert_eq!(shared.in_line(), 0);
    }
}

#[test]
fn killed_waiter_breaks_no_barrier() {
    let shared = Shared::start();
    for python in pythons() {
        let mut dead = shared.waiting(python, "wait", "Barrier");
        until("it waits", PATIENCE, || shared.barrier.n_waiting() == 1);
        dead.kill();
        until("it is gone", PATIENCE, || shared.barrier.n_waiting() == 0);
        assert!(!shared.barrier.is_broken());
        let mut living = shared.waiting(python, "wait", "Barrier");
        assert_eq!(shared.barrier.wait(LONG).unwrap(), 1);
        assert_eq!(living.end(PATIENCE).well().stdout, ["0"]);
    }
}

#[test]
fn shutdown_wakes_all_waiters() {
    let shared = Shared::start();
    let guards = ["Lock", "RLock", "Semaphore"].map(|typeid| {
        let lock: LockProxy = shared.proxy(typeid);
        (lock.lock().unwrap(), lock)
    });
    thread::scope(|scope| {
        let locks = guards.iter().map(|(_, lock)| scope.spawn(|| lock.lock().map(drop)));
        let locks: Vec<_> = locks.collect();
        let event: EventProxy = shared.proxy("Event");
        // It may not have come so far, and find no manager any more.
        let late = scope.spawn(move || event.wait(None).map(drop));
        let mut waiters = Vec::new();
        waiters.push(scope.spawn(|| shared.proxy::<BarrierProxy>("Barrier").wait(None).map(drop)));
        waiters
            .push(scope.spawn(|| {
                shared.proxy::<ConditionProxy>("Condition").lock()?.wait(None).map(drop)
            }));
        until("they wait", PATIENCE, || shared.in_line() == 1 && shared.barrier.n_waiting() == 1);
        shared.handle.shutdown();
        for waiter in waiters {
            assert!(waiter.join().unwrap().unwrap_err().is_disconnected());
        }
        late.join().unwrap().unwrap_err();
        for waiter in locks {
            // The end may close the connection of a lock's owner, and thereby release the lock, first.
            let _ = waiter.join().unwrap();
        }
    });
}

#[test]
fn lock_of_dropped_condition_is_released_with_its_owner() {
    let manager = basemanager::Manager::new("key").register_sync_types();
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let other = basemanager::Client::connect(handle.address(), "key").unwrap();
    let lock = other.create("RLock", ()).unwrap();

    let owner = basemanager::Client::connect(handle.address(), "key").unwrap();
    let condition = owner.create("Condition", (&lock,)).unwrap();
    assert_eq!(condition.call("acquire", ()).unwrap(), true.into());
    let other_has = |timeout: f64| lock.call("acquire", (true, timeout)).unwrap();
    assert_eq!(other_has(0.01), false.into());
    // The condition goes first, then the connection that acquired its lock.
    drop(condition);
    drop(owner);
    assert_eq!(other_has(10.0), true.into());
}
