//! The commands of the README's section on the program, as they stand there.

use std::path::Path;
use std::process::Command;

use crate::support::{PATIENCE, Process, pythons};

const README: &str = include_str!("../../README.md");

/// The code blocks of the section, with their languages.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let section = README.split("\n## The program\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section.split("```").skip(1).step_by(2).map(|block| block.split_once('\n').unwrap()).collect()
}

/// A shell that finds the program.
fn shell(command: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_basemanager"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let mut shell = Command::new("sh");
    shell.args(["-ec", command]).env("PATH", path).env_remove("BASEMANAGER_ADDRESS");
    shell
}

#[test]
fn commands_of_the_readme_work() {
    let [("sh", first), ("python", python), ("sh", second)] = blocks()[..] else {
        panic!("{:?}", blocks());
    };
    let [install, export, serve] = first.lines().collect::<Vec<_>>()[..] else { panic!("{first}") };
    assert_eq!(install, "cargo install basemanager --features cli");
    let mut server = Process::start(serve, &mut shell(&format!("{export}\nexec {serve}")));
    assert_eq!(server.line(), "listening on 127.0.0.1:5000");

    for interpreter in pythons() {
        let mut client = Command::new(&interpreter.path);
        let mut client = Process::start("Python", client.args(["-c", python]));
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
