//! The page that builds a manager in four lessons, and the lessons.

use std::fs;
use std::net::Shutdown;

use basemanager::{Limits, Pickle};

use super::tapped;
use super::{Page, shell};
use crate::support::Peer::{self, Rust};
use crate::support::programs::{self, Rng};
use crate::support::wire::Wire;
use crate::support::{PATIENCE, Process, Python, pythons_from, snippet, until};

const KEY: &str = "producer";

/// `("task_queue", "get", (), {})`.
const GET: &[u8] = b"\x80\x04(\x8c\ntask_queue\x8c\x03get)}t.";

/// The interpreters that the lessons serve.
fn served_pythons() -> impl Iterator<Item = &'static Python> {
    pythons_from([3, 12, 0])
}

fn source(lesson: u32) -> String {
    format!("examples/lesson{lesson}.rs")
}

/// Starts an example with its command in the page, at this address instead of the default.
fn start(command: &str, python: &Python, address: &str) -> Process {
    let command = command.trim_end();
    if let Some(program) = command.strip_prefix("cargo run --example ") {
        return Rust.start(program, &[address]);
    }
    let program = command.strip_prefix("python3 examples/python/").unwrap();
    Peer::Python(python).start(program.strip_suffix(".py").unwrap(), &[address])
}

/// Starts the program with a command in the page.
fn run(command: &str) -> Process {
    let command = command.trim_end().strip_prefix("MANAGER_AUTHKEY=producer ").unwrap();
    let mut shell = shell(&format!("exec {command}"));
    Process::start(command, shell.env("MANAGER_AUTHKEY", KEY))
}

#[test]
fn page_shows_what_the_lessons_do() {
    served_pythons().for_each(check_page);
}

fn check_page(python: &Python) {
    let mut page = Page::open("build_one.md");
    let (address, _) = tapped::replace_addresses(&mut page);
    page.diagram();
    let code = page.next("python");

    page.quote(&source(1));
    page.quote(&source(1));
    let mut lesson = start(&page.next("sh"), python, &address);
    let refused = tapped::start(python, &code).end(PATIENCE).with(1);
    let lines = lesson.lines(2);
    page.excerpt(lines.iter().map(String::as_str));
    page.excerpt(refused.stderr.lines());
    tapped::start(python, &code).end(PATIENCE).with(1);
    assert_eq!(lesson.line(), lines[1], "the response to the same challenge");
    lesson.kill();

    page.quote(&source(2));
    let mut lesson = start(&page.next("sh"), python, &address);
    let ended = tapped::start(python, &code).end(PATIENCE).with(1);
    assert!(ended.stderr.ends_with("\nEOFError\n"), "{ended:?}");
    // Python 3.14 pickles in protocol 5.
    let lines = lesson.lines(2).join("\n").replacen(r"\x80\x05", r"\x80\x04", 1);
    page.excerpt(lines.lines());
    lesson.kill();

    for _ in 0..3 {
        page.quote(&source(3));
    }
    page.diagram();
    let mut lesson = start("cargo run --example lesson3", python, &address);
    lesson.address();
    let ended = tapped::start(python, &code).end(PATIENCE).with(1);
    page.excerpt(ended.stdout.iter().map(String::as_str));
    page.excerpt(ended.stderr.lines());
    lesson.kill();

    page.quote(&source(4));
    let programs = page.next("sh");
    let programs: Vec<&str> = programs.lines().collect();
    let [lesson, consumer, producer, close] = programs[..] else { panic!("{programs:?}") };
    let mut lesson = start(lesson, python, &address);
    lesson.address();
    let mut consumer = start(consumer, python, &address);
    let mut producer = start(producer, python, &address);
    assert_eq!(producer.line(), format!("put {}", consumer.line()));
    start(close, python, &address).end(PATIENCE).well();
    for mut ended in [lesson, consumer, producer] {
        ended.end(PATIENCE).well();
    }
    exercise(page, python, &address);
}

fn exercise(mut page: Page, python: &Python, address: &str) {
    let (tap, code) = (page.next("sh"), page.next("python"));
    let start_tap = || {
        let mut process = run(&tap);
        process.address();
        process
    };
    // As it is, the lesson has no limit.
    let (mut lesson, mut relay) = (Rust.start("lesson4", &[address]), start_tap());
    lesson.address();
    tapped::start(python, &code).end(PATIENCE).well();
    lesson.kill();
    relay.kill();

    let serve = format!("MANAGER_AUTHKEY=producer basemanager serve {address}");
    let mut manager = run(&format!("{serve} --queue task_queue,maxsize=2"));
    manager.address();
    let mut relay = start_tap();
    let mut producer = tapped::start(python, &code);
    let without_times = |line: &str| {
        let line = line.split_once(' ').map_or(line, |(_, line)| line);
        line.rsplit_once("  ").map_or(line, |(line, _)| line).to_owned()
    };
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.ends_with("put('c') … waiting")) {
        lines.push(without_times(&relay.line()));
        // On a busy machine, a call may seem to wait before its reply comes.
        lines.retain(|line| !line.ends_with("… waiting") || line.contains("'c'"));
    }
    let shown: Vec<String> = page.next("text").lines().map(without_times).collect();
    assert!(lines.ends_with(&shown), "{lines:?}");
    assert_eq!(run(&page.next("sh")).end(PATIENCE).well().stdout, ["\"a\""]);
    producer.end(PATIENCE).well();
    page.end();
}

/// The queue of lesson 3 replies with a string that is also the method's name, by a reference to that.
#[test]
fn reply_holds_what_its_item_refers_to() {
    let request = b"\x80\x04\x95\x1d\0\0\0\0\0\0\0(\x8c\ntask_queue\x94\x8c\x03put\x94h\x01\x85\x94}\x94t\x94.";
    let code = "import pickle; print(pickle.dumps(('task_queue', 'put', ('put',), {}), 4).hex())";
    let hex: String = request.iter().map(|byte| format!("{byte:02x}")).collect();
    for python in served_pythons() {
        assert_eq!(tapped::start(python, code).end(PATIENCE).well().stdout, [&*hex]);
    }
    let (_lesson, address) = Rust.serve("lesson3", &["127.0.0.1:0"]);
    let mut wire = Wire::connect(&address, KEY);
    wire.frame(request);
    wire.read().unwrap();
    wire.frame(GET);
    let reply = [
        b"\x80\x05\x8d\x07\0\0\0\0\0\0\0#RETURN".as_slice(),
        b"(\x8c\ntask_queue\x94\x8c\x03put\x94",
        b"1",
        b"h\x01",
        b"\x86.",
    ];
    assert_eq!(wire.read().unwrap(), reply.concat());
}

#[test]
fn lesson4_passes_the_exercise_with_each_client() {
    let peers: Vec<Peer<'_>> =
        [Rust].into_iter().chain(served_pythons().map(Peer::Python)).collect();
    for producer in &peers {
        for consumer in &peers {
            let (mut manager, address) = Rust.serve("lesson4", &["127.0.0.1:0"]);
            // It waits first.
            let mut consumer = consumer.start("consumer", &[&address]);
            let mut running = producer.start("producer", &[&address, "0.01"]);
            for _ in 0..5 {
                assert_eq!(running.line(), format!("put {}", consumer.line()));
            }
            producer.start("close", &[&address]).end(PATIENCE).well();
            let ended = manager.end(PATIENCE).well();
            assert_eq!(ended.stderr, "");
            running.end(PATIENCE).well();
            consumer.end(PATIENCE).well();
        }
    }
}

#[test]
fn lesson4_passes_the_exercise_with_a_key_of_its_own() {
    let with_key = |key: &str, program: &str, address: &str| {
        let mut command = Rust.command(program);
        Process::start(program, command.arg(address).env("MANAGER_AUTHKEY", key))
    };
    let mut manager = with_key("another", "lesson4", "127.0.0.1:0");
    let address = manager.address();
    with_key("wrong", "close", &address).end(PATIENCE).with(1);
    with_key("another", "close", &address).end(PATIENCE).well();
    let ended = manager.end(PATIENCE).well();
    assert_eq!(ended.stderr, "error: the client has another key\n");
}

#[test]
fn lesson4_returns_every_object_as_it_was_put() {
    for python in served_pythons() {
        let (_manager, address) = Rust.serve("lesson4", &["127.0.0.1:0"]);
        snippet(python, "build_one.py", &[&address]).end(PATIENCE).well();
    }
}

/// Lesson 4 keeps items that this crate refuses, as the page says.
#[test]
fn malformed_item_breaks_the_get_of_lesson4() {
    // A reference to an object that was never memoized.
    let put = b"\x80\x04(\x8c\ntask_queue\x8c\x03puth\x63\x85}t.";
    let (_manager, address) = Rust.serve("lesson4", &["127.0.0.1:0"]);
    let mut wire = Wire::connect(&address, KEY);
    wire.frame(put);
    assert_eq!(wire.reply().unwrap().0, "#RETURN");
    wire.frame(GET);
    let reply = wire.read().unwrap();
    assert!(Pickle::from_bytes(&reply, &Limits::default()).is_err());
    let (_manager, address) = Rust.serve("manager", &["127.0.0.1:0"]);
    let mut wire = Wire::accepted(&address, KEY);
    wire.frame(put);
    assert_eq!(wire.reply().unwrap().0, "#TRACEBACK");
}

#[test]
fn lessons_survive_unauthenticated_bytes() {
    for lesson in ["lesson1", "lesson2", "lesson3", "lesson4"] {
        let (mut manager, address) = Rust.serve(lesson, &["127.0.0.1:0"]);
        for greeting in [
            b"GET / HTTP/1.1\r\n\r\n".as_slice(),
            b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"\0\0\0\0",
            b"\0\0\0\x08{sha256}",
            b"\0\0\x01\0",
            b"",
        ] {
            let mut wire = Wire::unauthenticated(&address);
            wire.read().unwrap();
            wire.send(greeting);
            // It may have closed the connection already.
            let _ = wire.stream().shutdown(Shutdown::Write);
            while wire.read().is_some() {}
        }
        // A connection is closed before its error is printed.
        until("the connections' threads have ended", PATIENCE, || manager.threads() == 1);
        manager.kill();
        let stderr = manager.end(PATIENCE).stderr;
        let limit = "error: frame of 1195725856 bytes exceeds the limit of 256\n";
        assert!(stderr.contains(limit) && !stderr.contains("panicked"), "{lesson}: {stderr}");
    }
}

#[test]
fn lessons_survive_what_clients_send() {
    let (mut manager, address) = Rust.serve("lesson4", &["127.0.0.1:0"]);
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut wire = Wire::connect(&address, KEY);
        for _ in 0..20 {
            let mut pickle = match rng.below(3) {
                0 => programs::program(&mut rng, 4),
                1 => programs::request(&mut rng, Some("task_queue"), "put", &[]),
                _ => programs::request(&mut rng, None, "create", &["task_queue"]),
            };
            if rng.below(2) == 0 {
                pickle.truncate(rng.below(pickle.len() + 1));
            } else if let Some(code) = pickle.last_mut() {
                *code = u8::try_from(rng.below(256)).unwrap();
            }
            wire.frame(&pickle);
            wire.read().expect("a reply to each frame");
        }
        // Declares more than it has.
        wire.frame(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff");
        wire.read().expect("a reply");
    }
    Rust.start("close", &[&address]).end(PATIENCE).well();
    let ended = manager.end(PATIENCE).well();
    assert_eq!(ended.stderr, "");
}

/// What a lesson keeps from the one before is the same, and the last one is as long as the page says.
#[test]
fn lessons_differ_only_in_what_they_teach() {
    let sources = [1, 2, 3, 4].map(|lesson| fs::read_to_string(source(lesson)).unwrap());
    let changed = ["main", "serve", "call", "put", "get", "tasks", "items"];
    for pair in sources.windows(2) {
        let [before, after] = pair else { unreachable!() };
        let functions_before = functions(before);
        assert!(functions_before.len() >= 4, "{functions_before:?}");
        for (name, body) in functions_before {
            let kept = functions(after).into_iter().find(|(kept, _)| *kept == name);
            assert!(changed.contains(&name) || kept == Some((name, body)), "{name}");
        }
    }
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let lines = sources[3].lines().filter(is_code).count();
    assert!((180..=245).contains(&lines), "{lines} lines");
}

/// The functions of a source file: name and text.
fn functions(source: &str) -> Vec<(&str, &str)> {
    let indent = |at: usize| source[..at].rsplit('\n').next().unwrap_or_default();
    let starts = source.match_indices("fn ").map(|(at, _)| at);
    let function = |at: usize| {
        let end = source[at..].find(&format!("\n{}}}\n", indent(at))).unwrap();
        let text = &source[at..at + end];
        (text[3..].split(['(', '<']).next().unwrap(), text)
    };
    starts.filter(|at| indent(*at).trim().is_empty()).map(function).collect()
}
