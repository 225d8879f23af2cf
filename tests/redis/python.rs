//! Unmodified Python clients of managers that share a Redis.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use basemanager::{Client, Manager, Queue, RedisQueue, ServerHandle};

use crate::KEY;
use crate::managers::manager_at;
use crate::server::{Redis, free_address};
use crate::support::{PATIENCE, Process, Python, newest_python, python_client, pythons, until};

fn serve(queue: &RedisQueue) -> ServerHandle {
    let manager = Manager::new(KEY).share("jobs", queue).share("other", Queue::new());
    manager.bind("127.0.0.1:0").unwrap().start().unwrap()
}

fn client(python: &Python, code: &str, handle: &ServerHandle) -> Process {
    python_client(python, code, &handle.address().to_string(), KEY)
}

#[test]
fn python_object_put_through_one_manager_comes_out_of_another() {
    const PUT: &str = "
import collections, decimal, fractions
jobs = connect('jobs').jobs()
jobs.put({'a': [1, 2.5, None], 'b': ('x', b'y')})
jobs.put(fractions.Fraction(1, 3))
jobs.put([decimal.Decimal('1.50'), collections.OrderedDict(k=2 ** 100)])
jobs.put('x' * 100000)
print('put')
";
    const GET: &str = "
jobs = connect('jobs').jobs()
for _ in range(3): print(jobs.get(timeout=30)); jobs.task_done()
print(len(jobs.get())); jobs.task_done()
jobs.join()
show(jobs.get, False); show(jobs.task_done); print(jobs.qsize(), jobs.empty(), jobs.full())
";
    let redis = Redis::start();
    let make = || redis.queue("jobs", Queue::options());
    let (one, other) = (serve(&make()), serve(&make()));
    for python in pythons() {
        let mut getting = client(python, GET, &other);
        client(python, PUT, &one).end(PATIENCE).well();
        let got = getting.end(PATIENCE).well().stdout;
        assert_eq!(got[..2], ["{'a': [1, 2.5, None], 'b': ('x', b'y')}", "1/3"], "{python}");
        assert!(got[2].starts_with("[Decimal('1.50'), OrderedDict("), "{python}: {got:?}");
        let errors = [
            "100000",
            "_queue Empty ()",
            "builtins ValueError ('task_done() called too many times',)",
            "0 True False",
        ];
        assert_eq!(got[3..], errors, "{python}");
    }
}

#[test]
fn item_with_proxy_raises_type_error() {
    let redis = Redis::start();
    let queue = redis.queue("jobs", Queue::options());
    let handle = serve(&queue);
    let Some(python) = newest_python() else { return };
    let code = "m = connect('jobs', 'other')
jobs = m.jobs()
show(jobs.put, ['a', m.other()])
show(jobs.put, 'about multiprocessing.managers')
";
    let lines = client(python, code, &handle).end(PATIENCE).well().stdout;
    assert!(lines[0].starts_with("builtins TypeError"), "{lines:?}");
    assert!(lines[0].contains("cannot contain a proxy"), "{lines:?}");
    assert_eq!(lines[1], "None");
    assert_eq!(queue.stats().unwrap().items, 1);
}

#[test]
fn killed_client_that_waits_takes_no_item() {
    let redis = Redis::start();
    let queue = redis.queue("jobs", Queue::options());
    let handle = serve(&queue);
    let jobs = Client::connect(handle.address(), KEY).unwrap().queue("jobs").unwrap();
    let waiting = || queue.stats().unwrap().waiting_getters;
    for python in pythons() {
        let code = "connect('jobs').jobs().get()";
        let mut clients = [(); 3].map(|()| client(python, code, &handle));
        until("they wait", PATIENCE, || waiting() == 3);
        clients.iter_mut().for_each(Process::kill);
        jobs.put(1).unwrap();
        assert_eq!(jobs.get().unwrap(), 1.into(), "{python}");
        until("the manager knows that they are gone", PATIENCE, || waiting() == 0);
        assert_eq!(queue.stats().unwrap().items, 0, "{python}");
    }
}

#[test]
fn item_of_killed_client_goes_to_the_next() {
    let redis = Redis::start();
    let queue = redis.queue("jobs", Queue::options().at_least_once());
    let handle = serve(&queue);
    let jobs = Client::connect(handle.address(), KEY).unwrap().queue("jobs").unwrap();
    for python in pythons() {
        jobs.put("job").unwrap();
        let code = "jobs = connect('jobs').jobs()
print(jobs.get(), flush=True)
import time; time.sleep(600)
";
        let mut first = client(python, code, &handle);
        assert_eq!(first.line(), "job");
        let code = "jobs = connect('jobs').jobs(); print(jobs.get()); jobs.task_done()";
        let mut next = client(python, code, &handle);
        until("it waits", PATIENCE, || queue.stats().unwrap().waiting_getters == 1);
        first.kill();
        assert_eq!(next.end(PATIENCE).well().stdout, ["job"], "{python}");
    }
    jobs.join().unwrap();
}

#[test]
fn python_sees_connection_error_while_redis_is_down() {
    let mut redis = Redis::start();
    let handle = serve(&redis.queue("jobs", Queue::options()));
    let Some(python) = newest_python() else { return };
    let mut client = client(python, "jobs = connect('jobs').jobs(); obey()", &handle);
    assert_eq!(client.ask("jobs.put(1)"), "None");
    redis.kill();
    let line = client.ask("jobs.get()");
    assert!(line.starts_with("builtins ConnectionError ('Redis is unavailable"), "{line}");
    redis.restart();
    until("it is back", PATIENCE, || client.ask("jobs.qsize()") == "1");
    assert_eq!(client.ask("jobs.get()"), "1");
}

const GUIDE: &str = include_str!("../../src/guide/redis.md");

#[test]
fn consumer_of_the_guide_survives_outages_and_restarts() {
    let (_, code) = GUIDE.split_once("```python\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    let address = free_address();
    let (host, port) = address.rsplit_once(':').unwrap();
    let code = code
        .replace("\"managers.example\", 5000", &format!("{host:?}, {port}"))
        .replace("b\"secret\"", &format!("b{KEY:?}"));
    let mut redis = Redis::start();
    let mut manager = manager_at(&address, &redis);
    manager.address();
    for python in pythons() {
        let mut consumer = python_client(python, &code, &address, KEY);
        let mut put = |items: RangeInclusive<i64>| {
            for item in items.clone() {
                until("it is put", PATIENCE, || {
                    let jobs =
                        Client::connect(&*address, KEY).and_then(|client| client.queue("jobs"));
                    jobs.and_then(|jobs| jobs.put(item)).is_ok()
                });
            }
            // One that was done, and not acknowledged, may come again.
            let mut left: BTreeSet<_> = items.map(|item| format!("done: {item}")).collect();
            while !left.is_empty() {
                left.remove(&consumer.line());
            }
        };
        put(1..=3);
        redis.restart();
        put(4..=6);
        manager.kill();
        manager = manager_at(&address, &redis);
        manager.address();
        put(7..=9);
    }
}
