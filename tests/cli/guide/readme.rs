//! The README. It uses port 5000, as no other test does.

use std::fs;
use std::process::Command;

use super::tapped::{free_address, serve, start};
use super::{Page, shell};
use crate::support::{PATIENCE, Process, pythons};

/// Puts an object that no consumer can unpickle, and two other items.
const PRODUCER: &str = "
class Job:
    pass
for item in [Job(), 'bad', 'good']:
    tasks.put(item)
";

/// What the consumer does with an item.
const WORK: &str = "
import queue
def work(item):
    print(item, flush=True)
    if item == 'bad':
        raise ValueError(item)
";

#[test]
fn commands_of_the_readme_work() {
    let mut readme = Page::open("README.md");
    // These two are what CI runs first and last.
    let begin = readme.next("sh");
    assert!(begin.contains("--example demo ") && begin.contains("cargo test --all-features "));
    let (first, python, second) = (readme.next("sh"), readme.next("python"), readme.next("sh"));
    // `loop_handles_every_item` runs it.
    assert!(readme.next("python").starts_with("while True:"));
    readme.end();
    let [install, export, serve] = first.lines().collect::<Vec<_>>()[..] else { panic!("{first}") };
    assert_eq!(install, "cargo install basemanager --features cli");
    let mut server = Process::start(serve, &mut shell(&format!("{export}\nexec {serve}")));
    assert_eq!(server.line(), "listening on 127.0.0.1:5000");

    for interpreter in pythons() {
        let mut client = Command::new(&interpreter.path);
        let mut client = Process::start("Python", client.args(["-c", &python]));
        client.end(PATIENCE).well();
    }
    let lines: Vec<&str> = second.lines().collect();
    let [put, work, stat, tap] = lines[..] else { panic!("{second}") };
    let run = |command: &str| Process::start(command, &mut shell(&format!("{export}\n{command}")));
    run(put).end(PATIENCE).well();
    let mut worker = run(&format!("exec {work}"));
    let mut items = worker.lines(3 + pythons().len());
    items.sort();
    let mut expected = vec!["{\"to\": \"ann\"}".to_owned(); pythons().len()];
    expected.extend(["1", "2", "3"].map(str::to_owned));
    expected.sort();
    assert_eq!(items, expected);
    let table = run(stat).end(PATIENCE).well().stdout;
    assert!(table[1].starts_with("task_queue"), "{table:?}");
    let mut tap = run(&format!("exec {tap}"));
    assert!(tap.line().contains("listening on"), "the tap listens");
    tap.signal("TERM");
    tap.end(PATIENCE);
    worker.signal("TERM");
    worker.end(PATIENCE).well();
    server.signal("TERM");
    server.end(PATIENCE).well();
}

#[test]
fn loop_handles_every_item() {
    let mut readme = Page::open("README.md");
    let address = free_address();
    readme.replace_address("127.0.0.1:5000", &address);
    let [_, _, client, _, forever] =
        ["sh", "sh", "python", "sh", "python"].map(|language| readme.next(language));
    let (connect, _) = client.split_once("manager.task_queue()").unwrap();
    let connect = format!("{connect}tasks = manager.task_queue()\n");
    for python in pythons() {
        let _manager = serve(&format!(
            "export MANAGER_AUTHKEY=producer\n\
             basemanager serve {address} --queue task_queue,deliveries=2,dead=failed"
        ));
        let manage = |command: &str| {
            let command = format!("basemanager {command} --address {address}");
            let mut shell = shell(&command);
            let mut process = Process::start(&command, shell.env("MANAGER_AUTHKEY", "producer"));
            process.end(PATIENCE).well().stdout
        };
        start(python, &format!("{connect}{PRODUCER}")).end(PATIENCE).well();
        let mut consumer = start(python, &format!("{connect}{WORK}{forever}"));
        assert_eq!(consumer.lines(3), ["bad", "bad", "good"], "{python}");
        if python.version >= [3, 13, 0] {
            manage("call task_queue shutdown");
            consumer.end(PATIENCE).well();
        } else {
            consumer.kill();
        }
        let failed = manage("peek failed -n 3");
        assert_eq!((failed.len(), failed[1].as_str()), (2, "\"bad\""), "{python}: {failed:?}");
    }
}

/// A reader copies a block as it stands in the rendered page, where rustdoc's hidden lines are missing. rustdoc compiles
/// the blocks.
#[test]
fn rust_blocks_are_complete_programs() {
    let text = fs::read_to_string("README.md").unwrap();
    let blocks: Vec<&str> = text
        .split("\n```rust")
        .skip(1)
        .map(|block| block.split_once('\n').unwrap().1.split("\n```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let hidden = |line: &&str| line.trim_start() == "#" || line.trim_start().starts_with("# ");
        assert_eq!(block.lines().find(hidden), None, "{block}");
        assert!(block.contains("\nfn main() -> Result<(), basemanager::Error> {\n"), "{block}");
    }
    assert!(text.lines().count() <= 150);
}
