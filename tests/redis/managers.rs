//! Several managers on one Redis.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use basemanager::{Client, Manager, Queue, QueueOptions, Value};

use crate::server::Redis;
use crate::support::wire::Wire;
use crate::support::{
    PATIENCE, Process, blocked, example, own_address, python_client, pythons, until,
};
use crate::{KEY, Shared, raised};

/// Managers that share one queue.
fn managers<const N: usize>(redis: &Redis, options: &QueueOptions) -> [Shared; N] {
    [(); N].map(|()| Shared::redis(&redis.queue("jobs", options.clone())))
}

#[test]
fn item_put_through_one_manager_comes_out_of_another() {
    let redis = Redis::start();
    let [one, other] = managers(&redis, &Queue::options());
    let waiting = other.queue();
    let waiter = blocked(move || waiting.get().unwrap());
    one.queue().put("first").unwrap();
    assert_eq!(waiter.join().unwrap(), "first".into());
    one.queue().put(2).unwrap();
    assert_eq!((one.queue().len().unwrap(), other.queue().len().unwrap()), (1, 1));
    assert_eq!(other.queue().get().unwrap(), 2.into());
    assert_eq!(one.queue().try_get().unwrap(), None);
}

#[test]
fn join_and_bounds_span_managers() {
    let redis = Redis::start();
    let [one, other] = managers(&redis, &Queue::options().maxsize(1));
    one.queue().put(1).unwrap();
    assert!(other.queue().try_put(2).unwrap_err().is_full());
    let (joining, putting) = (one.queue(), other.queue());
    let putter = blocked(move || putting.put(2).unwrap());
    assert_eq!(one.queue().get().unwrap(), 1.into());
    putter.join().unwrap();
    let joiner = blocked(move || joining.join().unwrap());
    other.queue().get().unwrap();
    other.queue().task_done().unwrap();
    other.queue().task_done().unwrap();
    joiner.join().unwrap();
}

#[test]
fn put_that_finds_no_room_asks_few_times() {
    let redis = Redis::start();
    let [one] = managers(&redis, &Queue::options().maxsize(2000));
    let queue = one.queue();
    let fill = || {
        let left = 2000 - queue.len().unwrap();
        assert_eq!(queue.put_many(vec![0; left]).unwrap(), left);
    };
    fill();
    let putting = one.queue();
    let waiter = blocked(move || putting.put(1).unwrap());
    // The waiting put learns of much room, and needs little of it.
    while queue.get_many(1000, Some(Duration::ZERO)).unwrap().len() == 1000 {}
    waiter.join().unwrap();
    fill();
    let scripts = || -> u64 {
        let script =
            "return tonumber(redis.call('INFO','commandstats'):match('evalsha:calls=(%d+)'))";
        let reply = redis.command(&format!("EVAL \"{script}\" 0")).unwrap();
        reply.trim_start_matches(':').parse().unwrap()
    };
    let before = scripts();
    assert!(queue.try_put(1).unwrap_err().is_full());
    let count = scripts() - before;
    assert!(count < 50, "{count}");
}

#[test]
fn shutdown_ends_one_manager_and_others_go_on() {
    let redis = Redis::start();
    let [one, other] = managers(&redis, &Queue::options());
    let waiting = one.queue();
    let waiter = blocked(move || waiting.get().unwrap_err());
    one.queue().shutdown(false).unwrap();
    assert!(waiter.join().unwrap().is_shut_down());
    assert!(one.queue().put(1).unwrap_err().is_shut_down());
    other.queue().put_many(1..=3).unwrap();
    // What is there can be taken.
    assert_eq!(one.queue().get().unwrap(), 1.into());
    one.queue().shutdown(true).unwrap();
    assert_eq!(other.queue().len().unwrap(), 0);
    other.queue().put(4).unwrap();
    assert!(one.queue().get().unwrap_err().is_shut_down());
    assert_eq!(other.queue().get().unwrap(), 4.into());
}

#[test]
fn immediate_shutdown_leaves_what_consumers_have() {
    let redis = Redis::start();
    let [one, other] = managers(&redis, &Queue::options().at_least_once());
    one.queue().put_many(1..=3).unwrap();
    let mut consumer = other.consumer();
    consumer.get().unwrap();
    one.queue().shutdown(true).unwrap();
    drop(consumer);
    let mut consumer = other.consumer();
    assert_eq!(consumer.get().unwrap(), 1.into());
    consumer.task_done().unwrap();
    one.queue().join().unwrap();
}

#[test]
fn requeued_item_goes_to_another_manager_if_nobody_waits_here() {
    let redis = Redis::start();
    let [one, other] = managers(&redis, &Queue::options().at_least_once());
    one.queue().put(1).unwrap();
    let mut dying = one.consumer();
    assert_eq!(dying.get().unwrap(), 1.into());
    let mut waiting = other.consumer();
    let waiter = blocked(move || {
        let item = waiting.get().unwrap();
        waiting.task_done().unwrap();
        item
    });
    drop(dying);
    assert_eq!(waiter.join().unwrap(), 1.into());
    one.queue().join().unwrap();
    // The first manager knows that it has lost the item.
    assert_eq!((one.queue().len().unwrap(), one.consumer().try_get().unwrap()), (0, None));
}

#[test]
fn get_that_gave_up_keeps_no_item() {
    let redis = Redis::start();
    let [one, other] = managers(&redis, &Queue::options());
    for item in 1..=5 {
        // The manager may still be reading for this call when the item comes.
        assert_eq!(one.queue().get_timeout(Duration::from_millis(10)).unwrap(), None);
        one.queue().put(item).unwrap();
        // Without a lease, it would be taken over after 30 s.
        let got = other.queue().get_timeout(Duration::from_secs(25)).unwrap();
        assert_eq!(got, Some(item.into()));
    }
    assert_eq!(other.queue().len().unwrap(), 0);
}

#[test]
fn manager_in_order_releases_what_its_consumers_had() {
    let redis = Redis::start();
    let [one, other] = managers(&redis, &Queue::options().at_least_once());
    one.queue().put(1).unwrap();
    let mut consumer = one.consumer();
    assert_eq!(consumer.get().unwrap(), 1.into());
    let mut waiting = other.consumer();
    let waiter = blocked(move || waiting.get().unwrap());
    drop(one);
    assert_eq!(waiter.join().unwrap(), 1.into());
    assert!(consumer.task_done().is_err());
}

#[test]
fn draining_manager_waits_for_its_own_consumers() {
    let redis = Redis::start();
    let options = Queue::options().at_least_once();
    let manager = Manager::new(KEY).share("queue", redis.queue("jobs", options.clone()));
    let handle = manager.drain_timeout(PATIENCE).bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), KEY).unwrap();
    let [other] = managers(&redis, &options);
    other.queue().put_many(1..=2).unwrap();
    let (mut consumer, mut idle) =
        (client.queue("queue").unwrap().consumer(), client.queue("queue").unwrap().consumer());
    assert_eq!(consumer.get().unwrap(), 1.into());
    let ending = blocked(move || {
        handle.shutdown();
        handle.join().unwrap();
    });
    assert!(idle.get().unwrap_err().is_shut_down());
    assert!(!ending.is_finished(), "a consumer has an item");
    consumer.task_done().unwrap();
    assert!(consumer.get().unwrap_err().is_shut_down());
    ending.join().unwrap();
    // The other manager goes on.
    other.queue().put(3).unwrap();
    assert_eq!(other.consumer().get_many(9, None).unwrap(), [2.into(), 3.into()]);
}

#[test]
fn drain_ends_when_leases_expire() {
    let redis = Redis::start();
    let jobs = redis.queue("jobs", Queue::options().lease(Duration::from_secs(1)));
    // Without the end of the lease, the drain would outlast the test's patience.
    let manager = Manager::new(KEY).share("queue", jobs).drain_timeout(10 * PATIENCE);
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), KEY).unwrap();
    let queue = client.queue("queue").unwrap();
    queue.put(1).unwrap();
    let mut consumer = queue.consumer();
    consumer.get().unwrap();
    handle.shutdown();
    until("it ends", PATIENCE, || handle.join_timeout(Duration::ZERO));
}

#[test]
fn items_of_killed_manager_are_taken_over() {
    let redis = Redis::start();
    let mut first = manager(&redis);
    let client = Client::connect(first.address(), KEY).unwrap();
    let jobs = client.queue("jobs").unwrap();
    jobs.put_many(1..=3).unwrap();
    let mut consumer = jobs.consumer();
    assert_eq!(consumer.get_many(2, None).unwrap(), [1.into(), 2.into()]);
    first.kill();
    let mut other = manager(&redis);
    let client = Client::connect(other.address(), KEY).unwrap();
    let mut consumer = client.queue("jobs").unwrap().consumer();
    let mut items: Vec<i64> = Vec::new();
    while items.len() < 3 {
        items.push(consumer.get().unwrap().to().unwrap());
        consumer.task_done().unwrap();
    }
    items.sort_unstable();
    assert_eq!(items, [1, 2, 3]);
    client.queue("jobs").unwrap().join().unwrap();
}

#[test]
fn manager_that_was_stopped_delivers_nothing_that_others_did() {
    let redis = Redis::start();
    let (mut slow, mut other) = (manager(&redis), manager(&redis));
    let connect = |process: &mut Process| Client::connect(process.address(), KEY).unwrap();
    let (client, other_client) = (connect(&mut slow), connect(&mut other));
    let mut waiting = client.queue("jobs").unwrap().consumer();
    let waiter = blocked(move || {
        let item = waiting.get().unwrap();
        waiting.task_done().unwrap();
        item
    });
    // Redis gives it the item, or the other manager.
    slow.signal("STOP");
    let jobs = other_client.queue("jobs").unwrap();
    jobs.put("first").unwrap();
    let mut consumer = jobs.consumer();
    assert_eq!(consumer.get().unwrap(), "first".into());
    consumer.task_done().unwrap();
    jobs.join().unwrap();
    slow.signal("CONT");
    jobs.put("second").unwrap();
    assert_eq!(waiter.join().unwrap(), "second".into());
    jobs.join().unwrap();
}

/// The example, whose items are taken over after 5 s.
pub(crate) fn manager(redis: &Redis) -> Process {
    manager_at("127.0.0.1:0", redis)
}

pub(crate) fn manager_at(address: &str, redis: &Redis) -> Process {
    let mut command = Command::new(example("redis_manager"));
    command.args([address, &redis.url(), "5"]).env("MANAGER_AUTHKEY", KEY);
    Process::start("redis_manager", &mut command)
}

#[test]
fn live_manager_keeps_what_its_clients_have() {
    let redis = Redis::start();
    let [one, other] = managers(&redis, &Queue::options().at_least_once());
    one.queue().put(1).unwrap();
    let mut slow = one.consumer();
    assert_eq!(slow.get().unwrap(), 1.into());
    // Without a lease, items are taken over when they were idle for 30 s, and refreshed three times in that time.
    let idle = || -> u64 {
        let script = "return redis.call('XPENDING',KEYS[1],'managers','-','+',1)[1][3]";
        let reply = redis.command(&format!("EVAL \"{script}\" 1 basemanager:{{jobs}}:items"));
        reply.unwrap().trim_start_matches(':').parse().unwrap()
    };
    let mut longest = 0;
    until("it is refreshed", PATIENCE, || {
        let now = idle();
        longest = longest.max(now);
        now < longest
    });
    assert_eq!(other.consumer().try_get().unwrap(), None);
    slow.task_done().unwrap();
    other.queue().join().unwrap();
}

#[test]
fn task_done_of_item_that_was_taken_over_raises_value_error() {
    let redis = Redis::start();
    let [one] = managers(&redis, &Queue::options().at_least_once());
    one.queue().put(1).unwrap();
    let mut slow = one.consumer();
    assert_eq!(slow.get().unwrap(), 1.into());
    // Another manager took it over, because this one was held up.
    redis.command("XAUTOCLAIM basemanager:{jobs}:items managers unacknowledged 0 0-0").unwrap();
    let text = raised(slow.task_done().unwrap_err());
    assert_eq!(
        text,
        "ValueError: task_done() called too late: the item was delivered again, or deleted"
    );
    assert_eq!(one.queue().len().unwrap(), 0, "the other manager has it");
}

#[test]
fn dead_letters_of_crashed_managers_are_counted() {
    let server = Redis::start();
    let redis = basemanager::Redis::new(&server.url()).unwrap();
    let dead = redis.queue("dead", Queue::options()).unwrap();
    let jobs = redis.queue("jobs", Queue::options()).unwrap().dead_letters(2, &dead).unwrap();
    let shared = Shared::new(&jobs, &dead);
    shared.queue().put("poison").unwrap();
    assert_eq!(shared.queue().len().unwrap(), 1);
    // Two managers that died with the item.
    let key = "basemanager:{jobs}:items";
    server.command(&format!("XREADGROUP GROUP managers unacknowledged STREAMS {key} >")).unwrap();
    server.command(&format!("XAUTOCLAIM {key} managers unacknowledged 0 0-0")).unwrap();
    server.age("jobs", Duration::from_secs(100));
    let mut consumer = shared.consumer();
    until("it is dead", PATIENCE, || {
        assert_eq!(consumer.try_get().unwrap(), None);
        shared.dead().len().unwrap() == 1
    });
    assert_eq!(shared.dead().get().unwrap(), "poison".into());
    shared.queue().join().unwrap();
    let stats = jobs.stats().unwrap();
    assert_eq!((stats.items, stats.unacknowledged, stats.dead), (0, 0, 1));
}

#[test]
fn many_items_are_taken_over_at_once() {
    let redis = Redis::start();
    let [one, other] = managers(&redis, &Queue::options().lease(Duration::from_secs(20)));
    one.queue().put_many(1..=100).unwrap();
    let mut gone = one.consumer();
    gone.get_many(100, None).unwrap();
    redis.age("jobs", Duration::from_secs(20));
    let mut consumer = other.consumer();
    assert_eq!(consumer.get().unwrap(), 1.into());
    assert_eq!(consumer.get_many(100, None).unwrap().len(), 99);
}

#[test]
fn item_that_came_back_goes_to_one_of_two_getters() {
    let redis = Redis::start();
    let [one, other] = managers(&redis, &Queue::options().at_least_once());
    for item in 0..3 {
        one.queue().put(item).unwrap();
        let mut dying = one.consumer();
        assert_eq!(dying.get().unwrap(), item.into());
        let got = Arc::new(AtomicUsize::new(0));
        let getters = [one.consumer(), other.consumer()].map(|mut consumer| {
            let got = got.clone();
            thread::spawn(move || {
                // Until one of them has it, and for a while longer.
                let mut idle = 0;
                while idle < 2 {
                    if consumer.get_timeout(Duration::from_secs(1)).unwrap().is_some() {
                        got.fetch_add(1, Ordering::Relaxed);
                        consumer.task_done().unwrap();
                    }
                    idle += got.load(Ordering::Relaxed).min(1);
                }
            })
        });
        drop(dying);
        for getter in getters {
            getter.join().unwrap();
        }
        assert_eq!(got.load(Ordering::Relaxed), 1);
    }
    one.queue().join().unwrap();
}

#[test]
fn batch_is_bounded_in_bytes() {
    let redis = Redis::start();
    let [one] = managers(&redis, &Queue::options());
    (0..8).for_each(|_| one.queue().put(vec![0_u8; 400_000]).unwrap());
    assert_eq!(one.queue().get_many(64, None).unwrap().len(), 3);
    let peeked: Vec<Value> = one.queue().proxy().call("peek", (64,)).unwrap().to().unwrap();
    assert_eq!(peeked.len(), 3);
    // One that waited takes what is there by then.
    let [other] = managers(&redis, &Queue::options());
    while !one.queue().get_many(64, Some(Duration::ZERO)).unwrap().is_empty() {}
    let waiting = other.queue();
    let waiter = blocked(move || waiting.get_many(64, None).unwrap());
    one.queue().put_many(1..=3).unwrap();
    let mut got = waiter.join().unwrap();
    while got.len() < 3 {
        got.extend(one.queue().get_many(64, None).unwrap());
    }
    assert_eq!(got, [1.into(), 2.into(), 3.into()]);
}

#[test]
fn reply_that_is_not_written_counts_no_delivery() {
    let server = Redis::start();
    let redis = basemanager::Redis::new(&server.url()).unwrap();
    let dead = redis.queue("dead", Queue::options()).unwrap();
    let jobs = redis.queue("jobs", Queue::options()).unwrap().dead_letters(1, &dead).unwrap();
    let shared = Shared::new(&jobs, &dead);
    let address = shared.address();
    for _ in 0..3 {
        let mut waiting = Wire::connect(&address, KEY);
        waiting.accept_connection();
        let id = shared.queue().proxy().id().to_owned();
        waiting.request(Some(&id), "get", b"");
        until("it waits", PATIENCE, || jobs.stats().unwrap().waiting_getters == 1);
        drop(waiting);
        shared.queue().put("item").unwrap();
        until("it is back", PATIENCE, || {
            let stats = jobs.stats().unwrap();
            (stats.items, stats.waiting_getters) == (1, 0)
        });
        assert_eq!(jobs.stats().unwrap().dead, 0);
        let mut consumer = shared.consumer();
        assert_eq!(consumer.get().unwrap(), "item".into());
        consumer.task_done().unwrap();
    }
}

/// A listener on an address that others listen on, too: the system distributes connections among them.
#[cfg(target_os = "linux")]
fn listen(address: std::net::SocketAddr) -> std::net::TcpListener {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(128).unwrap();
    socket.into()
}

#[cfg(target_os = "linux")]
const PRODUCER: &str = "
for number in range(20): connect('jobs').jobs().put(number)
";
#[cfg(target_os = "linux")]
const CONSUMER: &str = "
jobs = connect('jobs').jobs()
for _ in range(10): print(jobs.get(timeout=30)); jobs.task_done()
";

#[test]
#[cfg(target_os = "linux")]
fn managers_behind_one_address_serve_python_clients() {
    let redis = Redis::start();
    let first = listen(own_address().parse().unwrap());
    let address = first.local_addr().unwrap();
    let servers = [first, listen(address), listen(address)].map(|listener| {
        let manager =
            Manager::new(KEY).share("jobs", redis.queue("jobs", Queue::options().at_least_once()));
        manager.bind_listener(listener).unwrap().start().unwrap()
    });
    assert!(servers.iter().all(|server| server.address() == servers[0].address()));
    for python in pythons() {
        let start = |code| python_client(python, code, &address.to_string(), KEY);
        let mut consumers = [start(CONSUMER), start(CONSUMER)];
        start(PRODUCER).end(PATIENCE).well();
        let got = consumers.iter_mut().flat_map(|one| one.end(PATIENCE).well().stdout);
        let mut got: Vec<i64> = got.map(|line| line.parse().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, (0..20).collect::<Vec<_>>(), "{python}");
    }
}

#[test]
fn stats_have_items_of_all_managers_and_totals_of_one() {
    let server = Redis::start();
    let (one, other) = (
        server.queue("jobs", Queue::options().at_least_once()),
        server.queue("jobs", Queue::options().at_least_once()),
    );
    let shared = [&one, &other].map(Shared::redis);
    shared[0].queue().put_many(1..=3).unwrap();
    let mut consumer = shared[1].consumer();
    consumer.get_many(2, None).unwrap();
    consumer.task_done().unwrap();
    consumer.nack().unwrap();
    consumer.get().unwrap();
    let stats = one.stats().unwrap();
    assert_eq!((stats.items, stats.unacknowledged), (1, 1));
    assert_eq!((stats.puts, stats.gets, stats.done, stats.redelivered), (3, 0, 0, 0));
    let stats = other.stats().unwrap();
    assert_eq!((stats.items, stats.unacknowledged), (1, 1));
    assert_eq!((stats.puts, stats.gets, stats.done, stats.redelivered), (0, 3, 1, 1));
}

#[test]
fn foreign_entries_become_bytes() {
    let redis = Redis::start();
    let [one] = managers(&redis, &Queue::options());
    one.queue().put(1).unwrap();
    redis.command("XADD basemanager:{jobs}:items * text hello").unwrap();
    assert_eq!(one.queue().get().unwrap(), 1.into());
    assert_eq!(one.queue().get().unwrap(), Value::Bytes(b"hello".to_vec()));
    assert_eq!(one.queue().try_get().unwrap(), None);
}

#[test]
fn wrong_settings_are_refused() {
    let error = basemanager::Redis::new("http://127.0.0.1/").unwrap_err();
    assert!(error.to_string().contains("URL"), "{error}");
    let redis = basemanager::Redis::new("redis://127.0.0.1/").unwrap();
    let options = Queue::options;
    for (name, options, part) in [
        ("", options(), "empty"),
        ("a{b}", options(), "'{'"),
        ("jobs", options().max_bytes(1), "maxmemory"),
        ("jobs", options().dead_letters(2, &Queue::new()), "RedisQueue::dead_letters"),
    ] {
        let text = redis.queue(name, options).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }
    let jobs = redis.queue("jobs", options()).unwrap();
    let same = basemanager::Redis::new("redis://127.0.0.1/").unwrap();
    let same = same.queue("jobs", options()).unwrap();
    assert!(jobs.dead_letters(2, &same).is_err());
}
