//! `work`: a command for each item.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Process, TempDir, say, until};
use crate::{Served, basemanager};

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

fn stop(mut work: Process) {
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
    assert!(ended.stderr.contains("was killed before the lease of its item expires"), "{ended:?}");
    assert!(!fs::exists(dir.path("late")).unwrap());
}

/// The command ends while `work` is stopped, until the lease has expired and another consumer has the item.
fn outlives_its_lease(end: &str) {
    let served = Served::new(&["--queue", "jobs,at-least-once,lease=2s"]);
    let dir = TempDir::new();
    served.ok(&["put", "jobs", "1"]);
    let (begun, go) = (dir.path("begun"), dir.path("go"));
    let script = format!(
        "if [ -e {go} ]; then exit 0; fi; touch {begun}; while [ ! -e {go} ]; do sleep 0.02; done; {end}"
    );
    let mut work = served.start(&["work", "jobs", "--", "sh", "-c", &script]);
    until("the command runs", PATIENCE, || fs::exists(&begun).unwrap());
    work.signal("STOP");
    fs::write(go, "").unwrap();
    assert_eq!(served.ok(&["get", "jobs", "--timeout", "20s"]), "1\n");
    work.signal("CONT");
    served.ok(&["put", "jobs", "2"]);
    until("the next item is done", PATIENCE, || {
        served.ok(&["stat", "--json"]).contains("\"done\": 2")
    });
    work.signal("TERM");
    let ended = work.end(PATIENCE).well();
    assert!(ended.stderr.contains("too late"), "{ended:?}");
}

#[test]
fn task_done_after_the_lease_is_reported() {
    outlives_its_lease("exit 0");
}

#[test]
fn nack_after_the_lease_is_reported() {
    outlives_its_lease("exit 1");
}

#[test]
fn descendant_that_holds_stdin_does_not_hold_the_item() {
    let served = Served::new(&["--queue", "jobs,at-least-once"]);
    let dir = TempDir::new();
    // More than a pipe holds.
    served.run_with(&["put", "jobs"], &vec![b'x'; 1 << 20]).ok();
    let pid = dir.path("pid");
    let script = format!("exec 3<&0; sleep 300 <&3 >&- 2>&- & echo $! > {pid}");
    let work = served.start(&["work", "jobs", "--", "sh", "-c", &script]);
    until("the item is done", PATIENCE, || served.ok(&["stat", "--json"]).contains("\"done\": 1"));
    stop(work);
    let pid = fs::read_to_string(pid).unwrap();
    assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success());
}

#[test]
fn first_signal_lets_the_running_command_finish() {
    // A closed terminal can cause more than one, in any order.
    for signals in [["TERM", "HUP"], ["INT", "HUP"], ["HUP", "TERM"]] {
        if signals[0] == "HUP" && ignores_hangup() {
            say("SIGHUP is ignored here, as under nohup");
            continue;
        }
        let served = Served::new(&["--queue", "jobs,at-least-once"]);
        let dir = TempDir::new();
        served.ok(&["put", "jobs", "1", "2"]);
        let (begun, go) = (dir.path("begun"), dir.path("go"));
        let script = format!("touch {begun}; while [ ! -e {go} ]; do sleep 0.05; done");
        let mut work = served.start(&["work", "jobs", "--", "sh", "-c", &script]);
        until("the command runs", PATIENCE, || fs::exists(&begun).unwrap());
        for signal in signals {
            work.signal(signal);
        }
        fs::write(go, "").unwrap();
        work.end(PATIENCE).well();
        let stat = served.ok(&["stat", "jobs", "--json"]);
        assert!(stat.contains("\"done\": 1") && stat.contains("\"items\": 1"), "{stat}");
    }
}

/// Whether this process, and so what it starts, ignores SIGHUP.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 != 0))
}

#[test]
fn second_signal_kills_the_running_commands() {
    let served = Served::new(&["--queue", "jobs,at-least-once"]);
    served.ok(&["put", "jobs", "1", "2"]);
    // Each has a child that holds stdout.
    let args = ["work", "jobs", "-j", "2", "--", "sh", "-c", "echo begun; sleep 300; exit"];
    let mut work = served.start(&args);
    assert_eq!(work.lines(2), ["begun", "begun"]);
    work.signal("TERM");
    thread::sleep(Duration::from_millis(100)); // two pending signals would be one
    work.signal("INT");
    let started = Instant::now();
    work.end(PATIENCE).with(130);
    assert!(started.elapsed() < Duration::from_secs(20), "a command holds stdout");
    assert_eq!(served.ok(&["get", "jobs", "-n", "2", "--timeout", "20s"]).lines().count(), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn nohup_is_respected() {
    let served = Served::new(&["--queue", "jobs,at-least-once"]);
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "trap '' HUP; exec \"$0\" work jobs -- cat",
            env!("CARGO_BIN_EXE_basemanager"),
        ])
        .env("MANAGER_AUTHKEY", crate::KEY)
        .env("BASEMANAGER_ADDRESS", &served.address);
    let mut work = Process::start("nohup work", &mut command);
    served.ok(&["put", "jobs", "1"]);
    assert_eq!(work.line(), "1");
    work.signal("HUP");
    thread::sleep(Duration::from_millis(100)); // were it handled, the next item would not be taken
    served.ok(&["put", "jobs", "2"]);
    assert_eq!(work.line(), "2");
    stop(work);
}

#[test]
fn failing_command_is_retried_after_growing_pauses() {
    let served = Served::new(&["--queue", "jobs,at-least-once,deliveries=4,dead=failed"]);
    served.ok(&["put", "jobs", "bad"]);
    let started = Instant::now();
    let work = served.start(&["work", "jobs", "--", "false"]);
    assert_eq!(served.ok(&["get", "failed", "--timeout", "20s"]), "\"bad\"\n");
    assert!(started.elapsed() >= Duration::from_millis(100 + 200 + 400 + 800));
    stop(work);
}

#[test]
fn failing_item_does_not_stop_the_other_workers() {
    let served = Served::new(&["--queue", "jobs,at-least-once"]);
    served.ok(&["put", "jobs", "0"]);
    let lines: String = (1..=20).map(|number| format!("{number}\n")).collect();
    served.run_with(&["put", "jobs"], lines.as_bytes()).ok();
    let work =
        served.start(&["work", "jobs", "-j", "2", "--", "sh", "-c", "read item; [ $item != 0 ]"]);
    until("the others are done", PATIENCE, || {
        served.ok(&["stat", "--json"]).contains("\"done\": 20")
    });
    stop(work);
    assert_eq!(served.ok(&["get", "jobs", "--timeout", "20s"]), "0\n");
}

#[test]
fn sigterm_ends_the_pause_after_a_failure() {
    let served = Served::new(&["--queue", "jobs,at-least-once"]);
    let dir = TempDir::new();
    served.ok(&["put", "jobs", "1"]);
    let runs = dir.path("runs");
    let script = format!("echo >> {runs}; false");
    let mut work = served.start(&["work", "jobs", "--", "sh", "-c", &script]);
    // The next pause is of 3.2 s.
    until("it failed 6 times", PATIENCE, || fs::read(&runs).is_ok_and(|lines| lines.len() >= 6));
    work.signal("TERM");
    let started = Instant::now();
    work.end(PATIENCE).well();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(served.ok(&["get", "jobs", "--timeout", "20s"]), "1\n");
}

#[test]
fn number_of_jobs_is_limited() {
    for jobs in ["0", "1025", "100000"] {
        let ran = crate::run(basemanager(&["work", "jobs", "-j", jobs, "--", "true"]), b"");
        assert!(ran.status == 2 && ran.stderr.contains("1..=1024"), "{ran:?}");
    }
    let served = Served::new(&["--queue", "jobs,at-least-once"]);
    let mut work = served.start(&["work", "jobs", "-j", "100", "--", "cat"]);
    served.ok(&["put", "jobs", "1"]);
    assert_eq!(work.line(), "1");
    stop(work);
}

#[test]
fn command_does_not_inherit_the_key() {
    let served = Served::new(&["--queue", "jobs,at-least-once"]);
    served.ok(&["put", "jobs", "1"]);
    let mut work =
        served.start(&["work", "jobs", "--", "sh", "-c", "echo ${MANAGER_AUTHKEY-no key}"]);
    assert_eq!(work.line(), "no key");
    stop(work);
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

#[test]
fn queue_that_was_made_by_name_has_workers() {
    let served = Served::new(&[]);
    assert_eq!(served.ok(&["call", "queue(\"named\")", "qsize"]), "0\n");
    served.ok(&["put", "named", "1"]);
    let mut work = served.start(&["work", "named", "--at-most-once", "--", "cat"]);
    assert_eq!(work.line(), "1");
    stop(work);
}
