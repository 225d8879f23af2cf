//! The page on waiting.

use super::Page;
use super::reader::{Reader, untimed};
use super::tapped::replace_addresses;
use crate::support::{PATIENCE, Python, newest_python, pythons, say};

/// How often an experiment is repeated that a busy machine can spoil.
const ATTEMPTS: usize = 5;

struct Waiting {
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
        replace_addresses(&mut page);
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
        let _manager = reader.serve(&page.serve);
        assert_eq!(reader.run(&page.run), [page.none_lost.trim_end()], "{python}");
    }
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
