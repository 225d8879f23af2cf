//! The README. It uses port 5000, as no other test does.

use std::fs;
use std::process::Command;

use super::{Page, shell};
use crate::support::{PATIENCE, Process, pythons};

#[test]
fn commands_of_the_readme_work() {
    let mut readme = Page::open("README.md");
    // These two are what CI runs first and last.
    let begin = readme.next("sh");
    assert!(begin.contains("--example demo ") && begin.contains("cargo test --all-features "));
    let (first, python, second) = (readme.next("sh"), readme.next("python"), readme.next("sh"));
    // `restart::readme_consumer_survives_kills_and_restarts_of_the_manager` runs this loop.
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
