//! Production: the units, the names of metrics, the lines of the log, and the exercise.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use basemanager::{Client, QueueProxy};

use super::{Page, shell};
use crate::support::{PATIENCE, Process, TempDir, own_address, say, until};
use crate::{Served, basemanager, run};

/// The metrics page of a manager that was started with `--metrics`.
fn metrics(served: &mut Served) -> String {
    let line = served.process.line();
    let address = line.trim_start_matches("metrics at http://").trim_end_matches("/metrics");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn names_in_the_page_exist() {
    let text = fs::read_to_string("src/guide/production.md").unwrap();
    let mut served = Served::new(&["--metrics", "127.0.0.1:0"]);
    let page = metrics(&mut served);
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names: Vec<&str> = words.filter(|word| word.starts_with("basemanager_")).collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("\n# TYPE {name} ")), "{name}: {page}");
    }
    for command in ["serve", "stat", "watch", "work", "close"] {
        assert!(text.contains(&format!("`basemanager {command}")), "{command}");
        run(basemanager(&[command, "--help"]), b"").ok();
    }

    // A line of the log.
    let mut page = Page::open("production.md");
    page.diagram();
    page.next("sh");
    let lines = page.next("text");
    let shown = lines.lines().next().unwrap();
    let mut stat = served.command(&["stat"]);
    stat.env("MANAGER_AUTHKEY", "another");
    run(stat, b"").failed(4);
    served.process.signal("TERM");
    let log = served.process.end(PATIENCE).well().stderr;
    let (found, reason) = log.trim_end().split_once(": ").unwrap();
    assert!(found.starts_with("rejected 127."), "{log}");
    assert!(shown.starts_with("rejected 10.0.0.7:") && shown.ends_with(&format!(": {reason}")));
}

#[test]
fn units_with_the_settings_of_the_page_are_valid() {
    let mut page = Page::open("production.md");
    page.diagram();
    let install = page.next("sh");
    page.next("text");
    let (socket, service) = (page.next("ini"), page.next("ini"));
    let files: Vec<&str> = install.split_whitespace().filter(|word| word.contains('/')).collect();
    assert!(files[..2].iter().all(|file| Path::new(file).is_file()), "{files:?}");
    let directory = TempDir::new();
    let mut units = Vec::new();
    for (file, settings) in files.iter().zip([service, socket]) {
        let text = fs::read_to_string(file).unwrap();
        if file.ends_with("service") {
            assert!(text.contains("--key-file ${STATE_DIRECTORY}/key --drain 30s"), "{text}");
            assert!(text.contains("StateDirectory=basemanager\n"), "{text}");
            assert!(text.contains("TimeoutStopSec=45\n"), "{text}");
        }
        let text = text.replace("/usr/local/bin/basemanager", env!("CARGO_BIN_EXE_basemanager"));
        let unit = directory.path(Path::new(file).file_name().unwrap().to_str().unwrap());
        fs::write(&unit, format!("{text}{settings}")).unwrap();
        units.push(unit);
    }
    let Ok(output) = Command::new("systemd-analyze").arg("verify").args(&units).output() else {
        return say("skipped: no systemd-analyze");
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = errors.lines().filter(|line| line.contains("basemanager")).collect();
    assert!(ours.is_empty(), "{errors}");
}

/// This test starts the manager at the first connection, as systemd does.
#[test]
fn doctor_starts_the_manager_that_creates_the_key() {
    let mut page = Page::open("production.md");
    page.diagram();
    let install = page.next("sh");
    let doctor = install.lines().last().unwrap();
    let directory = TempDir::new();
    let key = directory.path("key");
    let doctor = doctor.replace("/var/lib/basemanager/key", &key);
    assert!(doctor.contains(&key), "{doctor}");

    let listener = TcpListener::bind(own_address()).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut doctor = Process::start("doctor", shell(&doctor).env("BASEMANAGER_ADDRESS", address));
    while !doctor.line().starts_with("connect ") {}
    let mut serve = Command::new(env!("CARGO_BIN_EXE_basemanager"));
    serve.args(["serve", "--listen-stdin", "--key-file", &key, "--quiet"]);
    serve.stdin(Stdio::from(OwnedFd::from(listener))).stdout(Stdio::null());
    let mut serve = serve.spawn().unwrap();
    let ended = doctor.end(PATIENCE);
    serve.kill().unwrap();
    serve.wait().unwrap();
    assert_eq!(ended.well().stdout.last().unwrap(), "all is well");
}

#[test]
fn exercise_of_the_page() {
    let mut page = Page::open("production.md");
    page.diagram();
    for language in ["sh", "text", "ini", "ini"] {
        page.next(language);
    }
    // CI measures this program.
    assert!(page.next("sh").starts_with("cargo build --profile small --example manager"));

    let address = own_address();
    let serve = page.next("sh").replace("127.0.0.1:5000", &address);
    let serve = serve.replace("basemanager serve", "exec basemanager serve");
    let mut server = Process::start("serve", &mut shell(&serve));
    let address = server.address();
    let client = |command: &str| {
        let command =
            command.replace("basemanager put task_queue 4", "basemanager put task_queue 4 2>&1");
        let mut command = shell(&command);
        Process::start("client", command.env("BASEMANAGER_ADDRESS", &address)).end(PATIENCE).well()
    };
    client(&page.next("sh"));
    server.signal("INT");
    // A thread of the manager handles the signal: wait until that has come to the last queue.
    let last = Client::connect(&address, "producer").unwrap().create("queue", ("z",)).unwrap();
    let last = QueueProxy::from(last);
    until("the queues refuse items", PATIENCE, || match last.put(0) {
        Ok(()) => last.try_get().is_err(),
        Err(error) => error.is_shut_down(),
    });
    drop(last);
    let shown = client(&page.next("sh")).stdout;
    page.excerpt(shown.iter().map(String::as_str));
    page.end();
    server.end(PATIENCE).well();
}
