//! The reference pages.

use std::process::Command;

use super::{Page, shell};
use crate::support::{PATIENCE, Process, example, own_address, pythons};

#[test]
fn pages_without_code() {
    Page::open("walk.md").end();
    Page::open("promises.md").end();
    Page::open("limits.md").end();
    Page::open("differences.md").end();
}

#[test]
fn commands_of_the_reference_pages() {
    let mut speed = Page::open("speed.md");
    assert!(speed.next("sh").contains("--example benchmark"));
    speed.end();
}

#[test]
fn manager_of_the_page_about_redis_starts_without_redis() {
    let mut page = Page::open("redis.md");
    let here = |command: String| command.replace(" :5000 ", " 127.0.0.1:0 ").replace(":9100", ":0");
    let first = page.next("sh");
    // The tests of queues in Redis run it.
    page.next("python");
    let commands = [first, page.next("sh")].map(here);
    // HAProxy's.
    page.diagram();
    page.end();
    for command in commands.iter().filter(|_| cfg!(feature = "redis")) {
        let command = command.replace("basemanager serve", "exec basemanager serve");
        Process::start("serve", shell(&command).env("MANAGER_AUTHKEY", "key")).address();
    }
}

#[test]
fn sync_manager_of_the_page_serves_every_python() {
    let mut page = Page::open("python.md");
    let commands = page.next("sh");
    page.end();
    let (serve, client) = commands.split_once('\n').unwrap();
    // Debug builds are tested.
    assert_eq!(serve, "cargo run --release --features sync --example sync_manager");
    // The comment is the output.
    let (client, output) = client.rsplit_once("   # ").unwrap();
    let mut server =
        Process::start("sync_manager", Command::new(example("sync_manager")).arg(own_address()));
    let address = server.address();
    let (host, port) = address.rsplit_once(':').unwrap();
    let client = client.replace("(\"127.0.0.1\", 5000)", &format!("(\"{host}\", {port})"));
    for python in pythons() {
        let command = client.replace("python3", "\"$PYTHON\"");
        let mut shell = Command::new("sh");
        let shell = shell.args(["-ec", &command]).env("PYTHON", &python.path);
        let ended = Process::start("client", shell).end(PATIENCE).well();
        assert_eq!(ended.stdout, [output.trim_end()], "{python}");
    }
}
