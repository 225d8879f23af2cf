//! The page on at-least-once delivery.

use super::Page;
use super::reader::{Reader, untimed};
use super::tapped::{in_python, replace_addresses};
use crate::support::{PATIENCE, Process, Python, newest_python, pythons};

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
        let has_shutdown = python.version >= [3, 13, 0];
        let shut_down = |line: &str| line.contains("queue.ShutDown") || line.contains("break");
        let lines = page.forever.lines().filter(|line| has_shutdown || !shut_down(line));
        let forever = lines.collect::<Vec<_>>().join("\n");
        assert_eq!(forever.lines().count(), if has_shutdown { 11 } else { 9 });
        let mut consumer = reader.python(&format!("{connect}{WORK}{forever}"));
        assert_eq!(consumer.lines(4), ["bad", "bad", "bad", "good"], "{python}");
        if has_shutdown {
            page.basemanager(&reader, "call jobs shutdown");
            consumer.end(PATIENCE).well();
            page.assert_done(&reader);
        }
        let failed = page.basemanager(&reader, "peek failed -n 3");
        assert_eq!(failed.len(), 2, "{failed:?}");
        assert_eq!(failed[1], "\"bad\"");
    }
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
    work.end(PATIENCE).well();
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
