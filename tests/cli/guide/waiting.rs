//! The page on waiting.

use super::Page;
use super::reader::{Reader, untimed};
use super::tapped::{in_python, replace_addresses};
use crate::support::{PATIENCE, Process, Python, newest_python, pythons, say, until};

/// A consumer of the queue `tasks`, which prints the class of an error.
const WAITS: &str = "
tasks.qsize()
try:
    tasks.get()
except Exception as error:
    print(type(error).__name__)
";

/// A consumer that dies before the manager has read its request, and another consumer.
const DIES: &str = "
tasks._callmethod('qsize')
tasks._tls.connection.send((tasks._id, 'get', (), {}))
os._exit(0)
";

/// How often an experiment is repeated that a busy machine can spoil.
const ATTEMPTS: usize = 5;

/// An address in a program.
fn quoted(address: &str) -> String {
    in_python(address).replace('\'', "\"")
}

struct Waiting {
    address: String,
    tap_address: String,
    lost: String,
    python_manager: String,
    run_python_manager: String,
    run: String,
    one_lost: String,
    serve: String,
    none_lost: String,
    queue: String,
    tap: String,
    consumer: String,
    ended: String,
    put: String,
    answered: String,
}

impl Waiting {
    fn read() -> Self {
        let mut page = Page::open("waiting.md");
        let (address, tap_address) = replace_addresses(&mut page);
        let (lost, python_manager) = (page.next("python"), page.next("python"));
        let (run_python_manager, run, one_lost) =
            (page.next("sh"), page.next("sh"), page.next("text"));
        let (serve, none_lost) = (page.next("sh"), page.next("text"));
        page.diagram();
        let queue = page.next("python");
        page.diagram();
        let (tap, consumer) = (page.next("sh"), page.next("python"));
        let (ended, put, answered) = (page.next("text"), page.next("sh"), page.next("text"));
        page.end();
        Self {
            address,
            tap_address,
            lost,
            python_manager,
            run_python_manager,
            run,
            one_lost,
            serve,
            none_lost,
            queue,
            tap,
            consumer,
            ended,
            put,
            answered,
        }
    }

    fn reader(&self, python: &Python) -> Reader {
        let reader = Reader::new(python);
        reader.save("lost.py", &self.lost);
        reader.save("python_manager.py", &self.python_manager);
        reader
    }

    /// Starts a client of the manager: the beginning of the exercise's consumer, and this.
    fn client(&self, reader: &Reader, program: &str) -> Process {
        let (connect, _) = self.consumer.split_once("threading.Timer").unwrap();
        let connect = connect.replace(&quoted(&self.tap_address), &quoted(&self.address));
        reader.python(&format!("{connect}{program}"))
    }

    /// Runs `basemanager` with these arguments.
    #[track_caller]
    fn basemanager(&self, reader: &Reader, args: &str) -> String {
        let address = &self.address;
        let key = "export MANAGER_AUTHKEY=producer";
        reader.run(&format!("{key}\nbasemanager {args} --address {address}")).join("\n")
    }
}

/// Repeats an experiment until it succeeds.
#[track_caller]
fn soon(what: &str, mut succeeds: impl FnMut() -> bool) {
    let succeeded = (0..ATTEMPTS).any(|attempt| {
        let result = succeeds();
        if !result {
            say(&format!("{what}: not in attempt {}", attempt + 1));
        }
        result
    });
    assert!(succeeded, "{what}");
}

#[test]
fn killed_consumer_takes_an_item_of_pythons_manager_only() {
    for python in pythons() {
        let page = Waiting::read();
        let reader = page.reader(python);
        soon("an item is lost", || {
            let _manager = reader.serve(&page.run_python_manager);
            let printed = reader.run(&page.run).join("\n");
            say(&format!("{python}: {printed}"));
            printed == page.one_lost.trim_end()
        });
        soon("no item is lost", || {
            let _manager = reader.serve(&page.serve);
            reader.run(&page.run) == [page.none_lost.trim_end()]
        });
    }
}

/// Starts the manager of the page with these options, and ends it while a consumer waits; returns what `get()` raises.
#[track_caller]
fn raised_at_the_end(python: &Python, options: &str, signal: &str) -> String {
    let page = Waiting::read();
    let reader = page.reader(python);
    let manager = reader.serve(&format!("{} {options}", page.serve.trim_end()));
    let mut consumer = page.client(&reader, WAITS);
    until("the consumer waits", PATIENCE, || {
        page.basemanager(&reader, "stat task_queue --json").contains("\"waiting\": 1")
    });
    manager.signal(signal);
    consumer.end(PATIENCE).well().stdout.join("\n")
}

#[test]
fn waiting_get_raises_shutdown_or_eof_error_when_the_manager_ends() {
    for python in pythons() {
        let shut_down = if python.version >= [3, 13, 0] { "ShutDown" } else { "AttributeError" };
        assert_eq!(raised_at_the_end(python, "--drain 30s", "TERM"), shut_down, "{python}");
        for signal in ["TERM", "KILL"] {
            assert_eq!(raised_at_the_end(python, "", signal), "EOFError", "{python}: {signal}");
        }
    }
}

#[test]
fn get_that_does_not_wait_takes_the_item_of_a_dead_consumer() {
    let Some(python) = newest_python() else { return };
    let page = Waiting::read();
    let reader = page.reader(python);
    soon("the item is lost", || {
        let _manager = reader.serve(&page.serve);
        page.basemanager(&reader, "put task_queue a");
        page.client(&reader, DIES).end(PATIENCE).well();
        until("the call has ended", PATIENCE, || {
            page.basemanager(&reader, "stat task_queue --json").contains("\"gets\": 1")
        });
        page.basemanager(&reader, "stat task_queue --json").contains("\"items\": 0")
    });
}

#[test]
fn queue_of_the_page_waits() {
    for python in pythons() {
        let reader = Reader::new(python);
        let ended = reader.python(&Waiting::read().queue).end(PATIENCE).well();
        assert_eq!(ended.stdout, ["a"], "{python}");
    }
}

#[test]
fn tap_shows_the_calls_of_a_dead_consumer() {
    let Some(python) = newest_python() else { return };
    let page = Waiting::read();
    let reader = page.reader(python);
    // Returns the last two lines of the tap, the second of which comes after `then`.
    let last_lines = |then: &dyn Fn()| {
        let mut tap = reader.serve(&page.tap);
        reader.python(&page.consumer).end(PATIENCE).with(1);
        let is_last = |line: &String| line.contains("get() … waiting");
        let waiting = std::iter::repeat_with(|| tap.line()).take(11).find(is_last)?;
        then();
        Some([waiting, tap.line()])
    };
    let ends_as = |shown: &str, lines: Option<[String; 2]>| {
        let Some(lines) = lines else { return false };
        let (lines, shown) = (lines.iter().map(String::as_str), shown.lines());
        let lines = untimed(lines.skip(2 - shown.clone().count()));
        assert_eq!(lines, untimed(shown));
        true
    };
    soon("the call of the dead consumer ends", || {
        let _manager = reader.serve(&page.serve);
        ends_as(&page.ended, last_lines(&|| ()))
    });
    soon("the dead consumer gets the item", || {
        let _manager = reader.serve(&page.run_python_manager);
        let put = || drop(reader.run(&page.put));
        ends_as(&page.answered, last_lines(&put))
    });
}
