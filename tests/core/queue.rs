//! The behaviour of a queue: the same tests run on a `Queue` of this process and on a `QueueProxy`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::blocked;
use basemanager::object::Return;
use basemanager::{
    Client, Error, Exception, Manager, Queue, QueueProxy, Result, ServerHandle, Value,
};

/// Longer than any operation here takes.
const LONG: Duration = Duration::from_secs(30);
/// How much longer a wait may take on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// The methods that both queues have.
trait Fifo: Clone + Send + 'static {
    fn put(&self, item: impl Into<Value>) -> Result<()>;
    fn try_put(&self, item: impl Into<Value>) -> Result<()>;
    fn put_timeout(&self, item: impl Into<Value>, timeout: Duration) -> Result<()>;
    fn get(&self) -> Result<Value>;
    fn try_get(&self) -> Result<Option<Value>>;
    fn get_timeout(&self, timeout: Duration) -> Result<Option<Value>>;
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn is_full(&self) -> bool;
    fn task_done(&self) -> Result<()>;
    fn join(&self);
    fn shutdown(&self, immediate: bool);
}

/// `$own` converts the result of a method of `$queue` to the trait's type.
macro_rules! fifo {
    ($queue:ty, $own:expr) => {
        impl Fifo for $queue {
            fn put(&self, item: impl Into<Value>) -> Result<()> {
                self.put(item)
            }
            fn try_put(&self, item: impl Into<Value>) -> Result<()> {
                self.try_put(item).map_err(Into::into)
            }
            fn put_timeout(&self, item: impl Into<Value>, timeout: Duration) -> Result<()> {
                self.put_timeout(item, timeout).map_err(Into::into)
            }
            fn get(&self) -> Result<Value> {
                self.get()
            }
            fn try_get(&self) -> Result<Option<Value>> {
                self.try_get()
            }
            fn get_timeout(&self, timeout: Duration) -> Result<Option<Value>> {
                self.get_timeout(timeout)
            }
            fn len(&self) -> usize {
                $own(self.len())
            }
            fn is_empty(&self) -> bool {
                $own(self.is_empty())
            }
            fn is_full(&self) -> bool {
                $own(self.is_full())
            }
            fn task_done(&self) -> Result<()> {
                self.task_done()
            }
            fn join(&self) {
                $own(self.join());
            }
            fn shutdown(&self, immediate: bool) {
                $own(self.shutdown(immediate));
            }
        }
    };
}

fifo!(Queue, std::convert::identity);
fifo!(QueueProxy, Result::unwrap);

/// A new queue behind a proxy, in a manager that all tests share.
fn remote(maxsize: usize) -> QueueProxy {
    static MANAGER: OnceLock<(ServerHandle, Client)> = OnceLock::new();
    let (_, client) = MANAGER.get_or_init(|| {
        let manager = Manager::new("queue").register("Queue", |call| {
            let ([maxsize], []) = call.args(["maxsize"], [])?;
            let maxsize = maxsize.to()?;
            Ok::<_, Exception>(Queue::bounded(maxsize))
        });
        let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
        let client = Client::connect(handle.address(), "queue").unwrap();
        (handle, client)
    });
    client.create("Queue", (maxsize,)).unwrap().into()
}

macro_rules! of_both {
    ($($test:ident),* $(,)?) => {
        mod in_process {
            $(#[test]
            fn $test() {
                super::$test(basemanager::Queue::bounded);
            })*
        }
        mod through_a_proxy {
            $(#[test]
            fn $test() {
                super::$test(super::remote);
            })*
        }
    };
}

of_both!(
    smoke,
    first_in_first_out,
    every_type_of_value_passes_unchanged,
    bounded_queue_is_full_at_maxsize,
    unbounded_queue_is_never_full,
    clone_is_same_queue,
    try_get_and_try_put_do_not_wait,
    get_timeout_on_empty_queue_waits_timeout,
    put_timeout_on_full_queue_waits_timeout,
    timeout_of_duration_max_waits,
    put_wakes_blocked_get,
    get_wakes_blocked_put,
    each_put_wakes_one_getter,
    each_get_wakes_one_putter,
    get_timeout_returns_when_item_arrives,
    put_timeout_returns_when_room_is_made,
    task_done_too_often_raises_value_error,
    join_on_new_queue_returns,
    join_waits_for_last_task_done,
    shutdown_keeps_items,
    shutdown_immediate_drops_items,
    shutdown_wakes_getters,
    shutdown_wakes_putters,
    shutdown_does_not_wake_joiner,
    shutdown_immediate_wakes_joiner,
    shutdown_twice_is_allowed,
    stress_one_to_one,
    stress_unbounded,
    mpmc,
    stress_timeouts,
    fairness_no_consumer_starves,
    drop_with_items,
);

/// Joins threads, which must all end soon.
#[track_caller]
fn all<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    let deadline = Instant::now() + LONG;
    while !threads.iter().all(JoinHandle::is_finished) {
        assert!(Instant::now() < deadline, "a thread is stuck");
        thread::sleep(Duration::from_millis(1));
    }
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn int(value: Value) -> i64 {
    value.to().unwrap()
}

fn get_all<Q: Fifo>(queue: &Q) -> Vec<i64> {
    std::iter::from_fn(|| queue.try_get().unwrap()).map(int).collect()
}

fn smoke<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(1);
    queue.put(7).unwrap();
    assert_eq!(queue.get().unwrap(), 7.into());
    queue.try_put(8).unwrap();
    assert_eq!(queue.try_get().unwrap(), Some(8.into()));
    queue.put_timeout(9, LONG).unwrap();
    assert_eq!(queue.get_timeout(LONG).unwrap(), Some(9.into()));
    assert_eq!(queue.try_get().unwrap(), None);
}

fn first_in_first_out<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(0);
    for round in 0..3 {
        (0..100).for_each(|i| queue.put(round * 100 + i).unwrap());
        let got: Vec<i64> = (0..100).map(|_| int(queue.get().unwrap())).collect();
        assert!(got.into_iter().eq(round * 100..(round + 1) * 100));
    }
}

fn every_type_of_value_passes_unchanged<Q: Fifo>(make: fn(usize) -> Q) {
    let items = [
        Value::None,
        true.into(),
        i64::MIN.into(),
        u64::MAX.into(),
        1.5.into(),
        "".into(),
        "grüße \u{1f980}".into(),
        vec![0_u8; 1 << 20].into(),
        Value::ByteArray(vec![1, 2]),
        Value::List(vec![1.into(), Value::List(vec![])]),
        Value::Tuple(vec!["a".into(), Value::None]),
        Value::Dict(vec![("key".into(), 1.into()), (2.into(), Value::None)]),
        Value::Set(vec![1.into(), 2.into()]),
        Value::FrozenSet(vec![]),
    ];
    let queue = make(0);
    for item in &items {
        queue.put(item.clone()).unwrap();
    }
    for item in items {
        let got = queue.get().unwrap();
        assert_eq!(got.type_name(), item.type_name());
        assert_eq!(got, item);
    }
}

fn bounded_queue_is_full_at_maxsize<Q: Fifo>(make: fn(usize) -> Q) {
    for maxsize in 1..4 {
        let queue = make(maxsize);
        for len in 0..maxsize {
            assert_eq!((queue.len(), queue.is_empty(), queue.is_full()), (len, len == 0, false));
            queue.try_put(len).unwrap();
        }
        assert_eq!((queue.len(), queue.is_empty(), queue.is_full()), (maxsize, false, true));
        assert!(queue.try_put(0).unwrap_err().is_full());
        assert_eq!(queue.len(), maxsize);
        queue.get().unwrap();
        assert!(!queue.is_full());
        queue.try_put(0).unwrap();
        assert!(queue.is_full());
    }
}

fn unbounded_queue_is_never_full<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(0);
    for i in 0..1000 {
        queue.try_put(i).unwrap();
    }
    assert_eq!((queue.len(), queue.is_full()), (1000, false));
}

fn clone_is_same_queue<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(1);
    let other = queue.clone();
    queue.put("here").unwrap();
    assert!(other.is_full());
    drop(queue);
    assert_eq!(other.get().unwrap(), "here".into());
}

fn try_get_and_try_put_do_not_wait<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(1);
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(queue.try_get().unwrap(), None);
        assert_eq!(queue.get_timeout(Duration::ZERO).unwrap(), None);
    }
    queue.put(1).unwrap();
    for _ in 0..10 {
        assert!(queue.try_put(2).unwrap_err().is_full());
        assert!(queue.put_timeout(2, Duration::ZERO).unwrap_err().is_full());
    }
    assert!(begun.elapsed() < SLACK);
}

fn get_timeout_on_empty_queue_waits_timeout<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(0);
    let begun = Instant::now();
    assert_eq!(queue.get_timeout(Duration::from_millis(100)).unwrap(), None);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(100) && waited < SLACK, "{waited:?}");
    queue.put(1).unwrap();
    assert_eq!(queue.get_timeout(Duration::from_millis(100)).unwrap(), Some(1.into()));
}

fn put_timeout_on_full_queue_waits_timeout<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(1);
    queue.put(1).unwrap();
    let begun = Instant::now();
    assert!(queue.put_timeout(2, Duration::from_millis(100)).unwrap_err().is_full());
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(100) && waited < SLACK, "{waited:?}");
    assert_eq!(get_all(&queue), [1]);
}

fn timeout_of_duration_max_waits<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(1);
    queue.put_timeout(1, Duration::MAX).unwrap();
    assert_eq!(queue.get_timeout(Duration::MAX).unwrap(), Some(1.into()));
    let getter = blocked({
        let queue = queue.clone();
        move || queue.get_timeout(Duration::MAX).unwrap()
    });
    queue.put(2).unwrap();
    assert_eq!(all(vec![getter]), [Some(2.into())]);
}

fn put_wakes_blocked_get<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(0);
    let getter = blocked({
        let queue = queue.clone();
        move || queue.get().unwrap()
    });
    queue.put("at last").unwrap();
    assert_eq!(all(vec![getter]), ["at last".into()]);
    assert!(queue.is_empty());
}

fn get_wakes_blocked_put<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(1);
    queue.put(1).unwrap();
    let putter = blocked({
        let queue = queue.clone();
        move || queue.put(2).unwrap()
    });
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.get().unwrap(), 1.into());
    all(vec![putter]);
    assert_eq!(get_all(&queue), [2]);
}

fn each_put_wakes_one_getter<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(0);
    let getter = |_| {
        let queue = queue.clone();
        blocked(move || int(queue.get().unwrap()))
    };
    let getters: Vec<_> = (0..6).map(getter).collect();
    (0..6).for_each(|i| queue.put(i).unwrap());
    let mut got = all(getters);
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4, 5]);
    assert!(queue.is_empty());
}

fn each_get_wakes_one_putter<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(1);
    queue.put(0).unwrap();
    let putter = |i: i64| {
        let queue = queue.clone();
        blocked(move || queue.put(i).unwrap())
    };
    let putters: Vec<_> = (1..7).map(putter).collect();
    let mut got: Vec<i64> = (0..7).map(|_| int(queue.get().unwrap())).collect();
    all(putters);
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4, 5, 6]);
}

fn get_timeout_returns_when_item_arrives<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(0);
    let begun = Instant::now();
    let getter = blocked({
        let queue = queue.clone();
        move || queue.get_timeout(LONG).unwrap()
    });
    queue.put(1).unwrap();
    assert_eq!(getter.join().unwrap(), Some(1.into()));
    assert!(begun.elapsed() < LONG);
}

fn put_timeout_returns_when_room_is_made<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(1);
    queue.put(1).unwrap();
    let begun = Instant::now();
    let putter = blocked({
        let queue = queue.clone();
        move || queue.put_timeout(2, LONG)
    });
    queue.get().unwrap();
    putter.join().unwrap().unwrap();
    assert!(begun.elapsed() < LONG);
}

fn task_done_too_often_raises_value_error<Q: Fifo>(make: fn(usize) -> Q) {
    let refused = |queue: &Q| match queue.task_done() {
        Err(Error::Exception(exception)) => {
            assert!(exception.is("builtins", "ValueError"), "{exception}");
            assert!(exception.to_string().contains("too many times"), "{exception}");
        }
        other => panic!("{other:?}"),
    };
    let queue = make(0);
    refused(&queue);
    queue.put(1).unwrap();
    queue.get().unwrap();
    queue.task_done().unwrap();
    refused(&queue);
    queue.join();
}

fn join_on_new_queue_returns<Q: Fifo>(make: fn(usize) -> Q) {
    make(0).join();
}

fn join_waits_for_last_task_done<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(0);
    for i in 0..3 {
        queue.put(i).unwrap();
    }
    let joiner = |_| {
        let queue = queue.clone();
        blocked(move || queue.join())
    };
    let joiners: Vec<_> = (0..2).map(joiner).collect();
    for i in 0..3 {
        // An item that was taken is not done.
        queue.get().unwrap();
        assert!(!joiners.iter().any(JoinHandle::is_finished), "released after {i} tasks");
        queue.task_done().unwrap();
    }
    all(joiners);
    queue.join();
    queue.put(4).unwrap();
    let joiner = joiner(0);
    queue.task_done().unwrap();
    all(vec![joiner]);
}

/// Asserts that every operation raises `ShutDown`.
fn assert_shut_down<Q: Fifo>(queue: &Q) {
    let begun = Instant::now();
    let errors = [
        queue.get().map(drop),
        queue.try_get().map(drop),
        queue.get_timeout(LONG).map(drop),
        queue.put(1),
        queue.try_put(1),
        queue.put_timeout(1, LONG),
    ];
    for error in errors {
        let error = error.unwrap_err();
        assert!(error.is_shut_down() && !error.is_empty() && !error.is_full(), "{error}");
    }
    assert!(begun.elapsed() < SLACK);
}

fn shutdown_keeps_items<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(2);
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    queue.shutdown(false);
    // `ShutDown` takes precedence over `Full`.
    assert!(queue.try_put(3).unwrap_err().is_shut_down());
    assert_eq!(queue.len(), 2);
    assert_eq!(queue.get().unwrap(), 1.into());
    assert_eq!(queue.get_timeout(LONG).unwrap(), Some(2.into()));
    assert_shut_down(&queue);
    queue.task_done().unwrap();
    queue.task_done().unwrap();
    queue.join();
}

fn shutdown_immediate_drops_items<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(0);
    for i in 0..3 {
        queue.put(i).unwrap();
    }
    queue.get().unwrap();
    queue.shutdown(true);
    assert!(queue.is_empty());
    assert_shut_down(&queue);
    // The item that was taken is not done yet.
    queue.task_done().unwrap();
    assert!(queue.task_done().is_err());
    queue.join();
}

fn shutdown_wakes_getters<Q: Fifo>(make: fn(usize) -> Q) {
    for immediate in [false, true] {
        let queue = make(0);
        let getter = |_| {
            let queue = queue.clone();
            blocked(move || queue.get().unwrap_err())
        };
        let getters: Vec<_> = (0..3).map(getter).collect();
        queue.shutdown(immediate);
        assert!(all(getters).iter().all(Error::is_shut_down));
    }
}

fn shutdown_wakes_putters<Q: Fifo>(make: fn(usize) -> Q) {
    for immediate in [false, true] {
        let queue = make(1);
        queue.put(0).unwrap();
        let putter = |i: i64| {
            let queue = queue.clone();
            blocked(move || queue.put(i).unwrap_err())
        };
        let putters: Vec<_> = (1..4).map(putter).collect();
        queue.shutdown(immediate);
        assert!(all(putters).iter().all(Error::is_shut_down));
        assert_eq!(queue.len(), usize::from(!immediate));
    }
}

fn shutdown_does_not_wake_joiner<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(0);
    queue.put(1).unwrap();
    queue.shutdown(false);
    let joiner = blocked({
        let queue = queue.clone();
        move || queue.join()
    });
    queue.get().unwrap();
    assert!(!joiner.is_finished());
    queue.task_done().unwrap();
    all(vec![joiner]);
}

fn shutdown_immediate_wakes_joiner<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(0);
    queue.put(1).unwrap();
    let joiner = blocked({
        let queue = queue.clone();
        move || queue.join()
    });
    queue.shutdown(true);
    all(vec![joiner]);
}

fn shutdown_twice_is_allowed<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(0);
    queue.put(1).unwrap();
    queue.shutdown(false);
    queue.shutdown(false);
    assert_eq!(queue.len(), 1);
    queue.shutdown(true);
    assert_shut_down(&queue);
}

/// One producer and one consumer: all items arrive in order.
fn one_to_one<Q: Fifo>(queue: &Q, count: i64) {
    let start = Arc::new(Barrier::new(2));
    let producer = thread::spawn({
        let (queue, start) = (queue.clone(), start.clone());
        move || {
            start.wait();
            (0..count).for_each(|i| queue.put(i).unwrap());
        }
    });
    start.wait();
    for i in 0..count {
        assert_eq!(queue.get().unwrap(), i.into());
    }
    producer.join().unwrap();
    assert!(queue.is_empty());
}

fn stress_one_to_one<Q: Fifo>(make: fn(usize) -> Q) {
    for maxsize in [1, 2, 100] {
        one_to_one(&make(maxsize), 1000);
    }
}

fn stress_unbounded<Q: Fifo>(make: fn(usize) -> Q) {
    one_to_one(&make(0), 2000);
}

/// Many producers and consumers: each item arrives once, and each consumer sees the items of one producer in
/// order.
fn mpmc<Q: Fifo>(make: fn(usize) -> Q) {
    const THREADS: i64 = 4;
    const COUNT: i64 = 300;
    for maxsize in [0, 1, 3] {
        let queue = make(maxsize);
        let start = Arc::new(Barrier::new(8));
        let consumers: Vec<_> = (0..THREADS)
            .map(|_| {
                let (queue, start) = (queue.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    let got: Vec<i64> = (0..COUNT).map(|_| int(queue.get().unwrap())).collect();
                    for _ in &got {
                        queue.task_done().unwrap();
                    }
                    got
                })
            })
            .collect();
        let producers: Vec<_> = (0..THREADS)
            .map(|t| {
                let (queue, start) = (queue.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    (0..COUNT).for_each(|i| queue.put(t * COUNT + i).unwrap());
                })
            })
            .collect();
        all(producers);
        queue.join();
        let mut seen = BTreeSet::new();
        for got in all(consumers) {
            for producer in 0..THREADS {
                let one = got.iter().filter(|item| **item / COUNT == producer);
                assert!(one.is_sorted(), "out of order");
            }
            seen.extend(got);
        }
        assert!(seen.into_iter().eq(0..THREADS * COUNT));
        assert!(queue.is_empty());
    }
}

/// Waits that time out lose no item and no notification.
fn stress_timeouts<Q: Fifo>(make: fn(usize) -> Q) {
    const COUNT: i64 = 200;
    const BRIEF: Duration = Duration::from_micros(200);
    let queue = make(2);
    let left = Arc::new(AtomicI64::new(2 * COUNT));
    let consumer = |_| {
        let (queue, left) = (queue.clone(), left.clone());
        thread::spawn(move || {
            let mut got = Vec::new();
            while left.load(Ordering::SeqCst) > 0 {
                if let Some(item) = queue.get_timeout(BRIEF).unwrap() {
                    left.fetch_sub(1, Ordering::SeqCst);
                    got.push(int(item));
                }
            }
            got
        })
    };
    let producer = |t: i64| {
        let queue = queue.clone();
        thread::spawn(move || {
            for item in t * COUNT..(t + 1) * COUNT {
                while let Err(error) = queue.put_timeout(item, BRIEF) {
                    assert!(error.is_full(), "{error}");
                }
            }
        })
    };
    let consumers: Vec<_> = (0..3).map(consumer).collect();
    all((0..2).map(producer).collect());
    let mut got = all(consumers).concat();
    got.sort_unstable();
    assert!(got.into_iter().eq(0..2 * COUNT));
}

/// Every consumer gets items in the end: the queue does not promise equal shares.
fn fairness_no_consumer_starves<Q: Fifo>(make: fn(usize) -> Q) {
    let queue = make(1);
    let counts = Arc::new([const { AtomicUsize::new(0) }; 3]);
    let consumer = |nth: usize| {
        let (queue, counts) = (queue.clone(), counts.clone());
        blocked(move || {
            while queue.get().is_ok() {
                counts[nth].fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let consumers: Vec<_> = (0..3).map(consumer).collect();
    let deadline = Instant::now() + LONG;
    while counts.iter().any(|count| count.load(Ordering::SeqCst) < 25) {
        assert!(Instant::now() < deadline, "{counts:?}");
        queue.put(0).unwrap();
    }
    queue.shutdown(false);
    all(consumers);
}

/// A queue can be dropped with items in it while other queues are in use.
fn drop_with_items<Q: Fifo>(make: fn(usize) -> Q) {
    let last = make(1);
    for i in 0..50 {
        let queue = make(0);
        for _ in 0..i {
            queue.put(vec![0_u8; 10_000]).unwrap();
        }
        for _ in 0..i / 2 {
            queue.get().unwrap();
        }
    }
    last.put(1).unwrap();
    assert_eq!(get_all(&last), [1]);
}

#[test]
fn iterator_returns_items_and_ends_after_error() {
    let queue = remote(0);
    let reader = blocked({
        let queue = queue.clone();
        move || queue.iter().collect::<Vec<_>>()
    });
    for i in 0..3 {
        queue.put(i).unwrap();
    }
    queue.shutdown(false).unwrap();
    let got = all(vec![reader]).remove(0);
    let items: Vec<i64> = got.iter().flatten().cloned().map(int).collect();
    assert_eq!(items, [0, 1, 2]);
    assert_eq!(got.len(), 4);
    assert!(got[3].as_ref().unwrap_err().is_shut_down());

    let mut ended = (&queue).into_iter();
    assert!(ended.next().unwrap().is_err());
    assert!(ended.next().is_none());
}

#[test]
fn process_and_clients_share_queue() {
    let queue = Queue::bounded(1);
    let manager = Manager::new("queue").register("shared", {
        let queue = queue.clone();
        move |_| Return::from(&queue)
    });
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let proxy = Client::connect(handle.address(), "queue").unwrap().queue("shared").unwrap();

    let getter = blocked({
        let proxy = proxy.clone();
        move || proxy.get().unwrap()
    });
    queue.put("from here").unwrap();
    assert_eq!(all(vec![getter]), ["from here".into()]);

    proxy.put("from there").unwrap();
    let putter = blocked({
        let queue = queue.clone();
        move || queue.put("again").unwrap()
    });
    assert_eq!(proxy.get().unwrap(), "from there".into());
    all(vec![putter]);
    assert_eq!(proxy.get().unwrap(), "again".into());
    assert_eq!(format!("{queue:?}"), "Queue { len: 0, maxsize: 1 }");
}
