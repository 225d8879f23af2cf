//! `work`: a command for each item.

use std::fs;
use std::time::{Duration, Instant};

use crate::Served;
use crate::support::{PATIENCE, TempDir, until};

#[test]
fn each_item_goes_to_a_command_once() {
    let served = Served::new(&["--queue", "jobs,at-least-once"]);
    let dir = TempDir::new();
    let lines: String = (0..200).map(|number| format!("{number}\n")).collect();
    served.run_with(&["put", "jobs"], lines.as_bytes()).ok();
    let script = format!("cat > {}/$(mktemp -u XXXXXXXXXXXX)", dir.path(""));
    let work = served.start(&["work", "jobs", "-j", "4", "--", "sh", "-c", &script]);
    let done = || fs::read_dir(dir.path("")).unwrap().count();
    until("each item is done", PATIENCE, || {
        done() == 200 && served.ok(&["stat", "--json"]).contains("\"done\": 200")
    });
    let mut seen: Vec<u32> = fs::read_dir(dir.path(""))
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap().trim().parse().unwrap())
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
    stop(work);
}

fn stop(mut work: crate::support::Process) {
    work.signal("TERM");
    work.end(PATIENCE).well();
}

#[test]
fn failed_command_returns_its_item_until_it_is_dead() {
    let served = Served::new(&["--queue", "jobs,at-least-once,deliveries=3,dead=failed"]);
    served.ok(&["put", "jobs", "bad"]);
    let work = served.start(&["work", "jobs", "--", "sh", "-c", "exit 3"]);
    assert_eq!(served.ok(&["get", "failed"]), "\"bad\"\n");
    let stat = served.ok(&["stat", "jobs", "--json"]);
    assert!(stat.contains("\"gets\": 3") && stat.contains("\"dead\": 1"), "{stat}");
    stop(work);
}

#[test]
fn killed_command_returns_its_item() {
    let served = Served::new(&["--queue", "jobs,at-least-once,deliveries=2,dead=failed"]);
    served.ok(&["put", "jobs", "1"]);
    let work = served.start(&["work", "jobs", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(served.ok(&["get", "failed"]), "1\n");
    stop(work);
}

#[test]
fn slow_command_is_killed_when_its_lease_ends() {
    let served = Served::new(&["--queue", "jobs,at-least-once,lease=1s,deliveries=1,dead=failed"]);
    let dir = TempDir::new();
    served.ok(&["put", "jobs", "1"]);
    let started = Instant::now();
    // The sleep is a child of the shell's.
    let script = format!("sleep 60; echo ran > {}", dir.path("late"));
    let mut work = served.start(&["work", "jobs", "--", "sh", "-c", &script]);
    assert_eq!(served.ok(&["get", "failed", "--timeout", "20s"]), "1\n");
    assert!(started.elapsed() < Duration::from_secs(20));
    // It goes on with the next item.
    served.ok(&["put", "jobs", "2"]);
    assert_eq!(served.ok(&["get", "failed", "--timeout", "20s"]), "2\n");
    work.signal("TERM");
    let ended = work.end(PATIENCE).well();
    assert!(ended.stderr.contains("the lease ended"), "{ended:?}");
    assert!(!fs::exists(dir.path("late")).unwrap());
}

#[test]
fn sigterm_lets_the_running_command_finish() {
    let served = Served::new(&["--queue", "jobs,at-least-once"]);
    let dir = TempDir::new();
    served.ok(&["put", "jobs", "1", "2"]);
    let (begun, go) = (dir.path("begun"), dir.path("go"));
    let script = format!("touch {begun}; while [ ! -e {go} ]; do sleep 0.05; done");
    let mut work = served.start(&["work", "jobs", "--", "sh", "-c", &script]);
    until("the command runs", PATIENCE, || fs::exists(&begun).unwrap());
    work.signal("TERM");
    fs::write(go, "").unwrap();
    work.end(PATIENCE).well();
    let stat = served.ok(&["stat", "jobs", "--json"]);
    assert!(stat.contains("\"done\": 1") && stat.contains("\"items\": 1"), "{stat}");
}

#[test]
fn consumer_that_is_killed_loses_nothing() {
    let served = Served::new(&["--queue", "jobs,at-least-once"]);
    served.ok(&["put", "jobs", "1"]);
    let mut work = served.start(&["work", "jobs", "--", "sleep", "30"]);
    until("it works", PATIENCE, || served.ok(&["stat", "--json"]).contains("\"unacked\": 1"));
    work.kill();
    assert_eq!(served.ok(&["get", "jobs", "--timeout", "20s"]), "1\n");
}

#[test]
fn plain_queue_needs_consent() {
    let served = Served::new(&[]);
    let refused = served.run(&["work", "task_queue", "--", "true"]).failed(2);
    assert!(refused.contains("--at-most-once") && refused.contains("at-least-once"), "{refused}");
    served.ok(&["put", "task_queue", "1"]);
    let work = served.start(&["work", "task_queue", "--at-most-once", "--", "true"]);
    until("it is taken", PATIENCE, || served.ok(&["call", "task_queue", "qsize"]) == "0\n");
    stop(work);
}

#[test]
fn missing_command_is_an_error_and_keeps_the_item() {
    let served = Served::new(&["--queue", "jobs,at-least-once"]);
    served.ok(&["put", "jobs", "1"]);
    let missing = served.run(&["work", "jobs", "--", "/no/such/command"]).failed(2);
    assert!(missing.contains("cannot run /no/such/command"), "{missing}");
    assert_eq!(served.ok(&["get", "jobs"]), "1\n");
}

#[test]
fn work_ends_with_the_manager() {
    let served = Served::new(&["--queue", "jobs,at-least-once", "--drain", "20s"]);
    served.ok(&["put", "jobs", "1", "2"]);
    let mut work = served.start(&["work", "jobs", "--raw", "--", "cat"]);
    assert_eq!(work.line(), "1");
    assert_eq!(work.line(), "2");
    served.ok(&["close"]);
    work.end(PATIENCE).well();
}
