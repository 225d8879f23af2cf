//! The page on at-least-once delivery.

use super::Page;
use super::reader::{Reader, untimed};
use super::tapped::{in_python, replace_addresses};
use crate::support::{PATIENCE, Process, Python, newest_python, pythons, until};

/// A producer of an object that no consumer can unpickle, and of two other items.
const PRODUCER: &str = "
class Job:
    pass
jobs.put(Job())
jobs.put('bad')
jobs.put('good')
";

/// What a consumer does with an item.
const WORK: &str = "
def work(job):
    print(job, flush=True)
    if job == 'bad':
        raise ValueError(job)
";

/// The same; the first time, it takes longer than the lease.
const LATE: &str = "
times = []
def work(job):
    print(job, flush=True)
    times.append(job)
    while len(times) == 1 and jobs.qsize() == 0:
        pass
";

struct Delivery {
    address: String,
    tap_address: String,
    serve: String,
    consumer: String,
    consume: (String, String),
    forever: String,
    work: (String, String),
    dead_letters: String,
    pay: String,
    paid: (String, String),
    tap: String,
    calls: String,
}

impl Delivery {
    fn read() -> Self {
        let mut page = Page::open("delivery.md");
        let (address, tap_address) = replace_addresses(&mut page);
        let (serve, consumer) = (page.next("sh"), page.next("python"));
        let consume = (page.next("sh"), page.next("text"));
        page.diagram();
        let forever = page.next("python");
        let work = (page.next("sh"), page.next("text"));
        let (dead_letters, pay) = (page.next("sh"), page.next("python"));
        let paid = (page.next("sh"), page.next("text"));
        let (tap, calls) = (page.next("sh"), page.next("text"));
        page.end();
        Self {
            address,
            tap_address,
            serve,
            consumer,
            consume,
            forever,
            work,
            dead_letters,
            pay,
            paid,
            tap,
            calls,
        }
    }

    fn reader(&self, python: &Python) -> (Reader, Process) {
        let reader = Reader::new(python);
        reader.save("consumer.py", &self.consumer);
        reader.save("pay.py", &self.pay);
        let manager = reader.serve(&self.serve);
        (reader, manager)
    }

    /// A consumer with the loop of the page, as this version runs it.
    fn consumer(&self, reader: &Reader, python: &Python, work: &str) -> Process {
        let (connect, _) = self.consumer.split_once("job = ").unwrap();
        let shut_down =
            "    except queue.ShutDown:          # there will be no more items\n        break\n";
        assert!(self.forever.contains(shut_down));
        let removed = if has_shut_down(python) { "" } else { shut_down };
        let forever = self.forever.replacen(removed, "", 1);
        reader.python(&format!("{connect}{work}{forever}"))
    }

    /// Waits until the consumer waits for an item.
    fn until_waiting(&self, reader: &Reader) {
        let stat = || self.basemanager(reader, "stat jobs --json").join("\n");
        until("the consumer waits", PATIENCE, || stat().contains("\"waiting\": 1"));
    }

    /// Runs `basemanager` with these arguments.
    #[track_caller]
    fn basemanager(&self, reader: &Reader, args: &str) -> Vec<String> {
        let address = &self.address;
        reader.run(&format!(
            "export MANAGER_AUTHKEY=producer\nbasemanager {args} --address {address}"
        ))
    }

    /// Asserts that no item is queued or unacknowledged.
    #[track_caller]
    fn assert_done(&self, reader: &Reader) {
        let stats = self.basemanager(reader, "stat jobs --json").join("\n");
        assert!(stats.contains("\"items\": 0") && stats.contains("\"unacked\": 0"), "{stats}");
    }
}

fn has_shut_down(python: &Python) -> bool {
    python.version >= [3, 13, 0]
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn item_of_a_consumer_that_died_is_delivered_again() {
    for python in pythons() {
        let page = Delivery::read();
        let (reader, _manager) = page.reader(python);
        let (commands, shown) = &page.consume;
        assert_eq!(reader.run(commands), lines(shown), "{python}");
        page.assert_done(&reader);
    }
}

#[test]
fn thread_that_did_not_take_the_item_cannot_acknowledge_it() {
    let Some(python) = newest_python() else { return };
    let page = Delivery::read();
    let (reader, _manager) = page.reader(python);
    page.basemanager(&reader, "put jobs ann");
    let other_thread = "
    from concurrent.futures import ThreadPoolExecutor
    try:
        ThreadPoolExecutor().submit(jobs.task_done).result()
    except ValueError as error:
        print(error)
    ";
    let program = page.consumer.replace("jobs.task_done()\n", "");
    let program = format!("{program}if True:{other_thread}");
    let printed = reader.python(&program).end(PATIENCE).well().stdout;
    assert!(printed[1].contains("no item is unacknowledged here"), "{printed:?}");
}

#[test]
fn loop_of_the_page_handles_every_item() {
    for python in pythons() {
        let page = Delivery::read();
        let (reader, _manager) = page.reader(python);
        let (connect, _) = page.consumer.split_once("job = ").unwrap();
        reader.python(&format!("{connect}{PRODUCER}")).end(PATIENCE).well();
        let mut consumer = page.consumer(&reader, python, WORK);
        assert_eq!(consumer.lines(4), ["bad", "bad", "bad", "good"], "{python}");
        page.until_waiting(&reader);
        page.basemanager(&reader, "call jobs shutdown");
        if has_shut_down(python) {
            consumer.end(PATIENCE).well();
        } else {
            let error = consumer.end(PATIENCE).with(1).stderr;
            let last = error.lines().last().unwrap_or_default();
            assert!(last.starts_with("ValueError: nack() called too many times"), "{error}");
        }
        page.assert_done(&reader);
        let failed = page.basemanager(&reader, "peek failed -n 3");
        assert_eq!(failed.len(), 2, "{failed:?}");
        assert_eq!(failed[1], "\"bad\"");
    }
}

#[test]
fn loop_of_the_page_ends_with_the_manager() {
    for python in pythons() {
        for signal in ["TERM", "KILL"] {
            let page = Delivery::read();
            let (reader, manager) = page.reader(python);
            let mut consumer = page.consumer(&reader, python, WORK);
            page.until_waiting(&reader);
            manager.signal(signal);
            consumer.end(PATIENCE).well();
        }
    }
}

#[test]
fn loop_of_the_page_goes_on_after_an_expired_lease() {
    let Some(python) = newest_python() else { return };
    let mut page = Delivery::read();
    page.serve = page.serve.replace("lease=60s", "lease=3s");
    let (reader, _manager) = page.reader(python);
    page.basemanager(&reader, "put jobs ann");
    let mut consumer = page.consumer(&reader, python, LATE);
    let error = "task_done() called too late: the item's lease expired";
    assert_eq!(consumer.lines(3), ["ann", error, "ann"]);
    page.until_waiting(&reader);
    page.assert_done(&reader);
}

#[test]
fn work_moves_an_item_to_the_dead_letters_and_back() {
    let Some(python) = newest_python() else { return };
    let page = Delivery::read();
    let (reader, _manager) = page.reader(python);
    let (work, shown) = &page.work;
    let mut work = reader.start(work);
    assert_eq!(work.lines(3), lines(shown));
    // It waits for the last failure.
    page.basemanager(&reader, "get failed --timeout 25s");
    work.signal("INT");
    let failures = work.end(PATIENCE).well().stderr;
    assert_eq!(failures, "basemanager: sh: exit status: 1\n".repeat(3));
    let item = "{\"to\": \"eve\"}";
    page.basemanager(&reader, &format!("put failed '{item}'"));
    assert_eq!(reader.run(&page.dead_letters), [item, item]);
    page.assert_done(&reader);
}

#[test]
fn job_that_is_delivered_twice_is_paid_once() {
    for python in pythons() {
        let page = Delivery::read();
        let (reader, _manager) = page.reader(python);
        let (commands, shown) = &page.paid;
        assert_eq!(reader.run(commands), lines(shown), "{python}");
        page.assert_done(&reader);

        let quoted = |address: &str| in_python(address).replace('\'', "\"");
        let through_tap = page.pay.replace(&quoted(&page.address), &quoted(&page.tap_address));
        assert_ne!(through_tap, page.pay);
        reader.save("pay.py", &through_tap);
        let job = "'{\"id\": 2, \"to\": \"bob\", \"cents\": 700}'";
        page.basemanager(&reader, &format!("put jobs {job}"));
        let mut tap = reader.serve(&page.tap);
        // Without the `put` of the other job.
        let last = commands.lines().skip(2).collect::<Vec<_>>().join("\n");
        assert_eq!(reader.run(&last).last().unwrap(), "[('ann', 500), ('bob', 700)]", "{python}");
        let calls = tap.lines(5);
        let calls = untimed(calls.iter().map(String::as_str));
        assert_eq!(calls, untimed(page.calls.lines()), "{python}");

        let at_most_once = "job = jobs.get()\njobs.task_done()\nos._exit(1)\n";
        let at_most_once = page.pay.replace("job = jobs.get()\n", at_most_once);
        assert_ne!(at_most_once, page.pay);
        page.basemanager(&reader, &format!("put jobs {}", job.replace('2', "3")));
        reader.python(&at_most_once).end(PATIENCE).with(1);
        page.assert_done(&reader);
    }
}
