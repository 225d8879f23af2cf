//! What the guard refuses, `CPython` carries out; what `CPython` sends, the guard passes.

mod hostile;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use basemanager::tap::Guard;

use crate::support::{Process, Python, TempDir, pythons, say};
use crate::{KEY, basemanager};

use hostile::Does::{Connects, Finds, Nothing, Runs, RunsUpTo};
use hostile::{all, hostile, text};

/// Where nobody listens.
const OWN: &str = "127.0.0.1:1";

fn script(python: &Python, args: &[&str]) -> Process {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/guard.py");
    let mut command = Command::new(&python.path);
    command.arg(path).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
    Process::start(&format!("guard.py ({python})"), &mut command)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |index| u8::from_str_radix(&text[index..index + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// A request with this pickle's object as its argument, unless it is a pickle of protocol 0 or 1.
fn put(pickle: &[u8]) -> Vec<u8> {
    match pickle {
        [0x80, protocol, ops @ .., b'.'] => {
            all(&[&[0x80, *protocol], b"(N", &text("put"), b"(", ops, b"t}t."])
        }
        pickle => pickle.to_vec(),
    }
}

#[test]
fn hidden_names_are_carried_out_by_cpython_and_refused() {
    let directory = TempDir::new();
    let marker = directory.path("marker");
    let guard = Guard::new().address(OWN).unwrap();
    let mut wrong = Vec::new();
    for python in pythons() {
        let mut process = script(python, &["run"]);
        for (name, does, pickle) in hostile(&marker) {
            let pickle = put(&pickle);
            let said = process.ask(&format!("{} {marker}", hex(&pickle)));
            let shown = match does {
                Runs => said.starts_with("ran"),
                RunsUpTo(minor) => said.starts_with("ran") || python.version[1] > minor,
                Finds(found) => said.contains(&format!("{found:?}")),
                Connects(port) => said.contains(&format!("connect ('127.0.0.1', {port})")),
                Nothing => !said.starts_with("ran"),
            };
            if !shown {
                wrong.push(format!("{python}: {name}: {does:?} expected, but {said}"));
            }
            if guard.check(&pickle).is_ok() {
                wrong.push(format!("{name} passes: {}", pickle.escape_ascii()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hostile_requests_run_code_in_a_bare_manager_only() {
    let check = |python: &Python| {
        let directory = TempDir::new();
        let mut manager = script(python, &["serve", KEY]);
        let address = manager.address();
        // Nothing is refused for its address alone.
        let args = ["tap", "127.0.0.1:0", &address, "--guard", "--known-as", OWN];
        let mut tap = Process::start("tap", &mut basemanager(&args));
        let mut direct = script(python, &["send", &address, KEY]);
        let mut guarded = script(python, &["send", &tap.address(), KEY]);
        for index in 0..hostile("").len() {
            // A manager keeps the types of proxies that it has made: each case has names of its own.
            let marker = directory.path(&format!("marker-{index}"));
            let (name, does, pickle) = hostile(&marker).swap_remove(index);
            let line = hex(&put(&pickle));
            assert_eq!(guarded.ask(&line), "#TRACEBACK #RETURN", "{python}: {name}");
            assert!(!fs::exists(&marker).unwrap(), "{python}: {name} ran behind the guard");
            let runs = match does {
                Runs => true,
                RunsUpTo(minor) => python.version[1] <= minor,
                _ => false,
            };
            if runs {
                direct.ask(&line);
                assert!(fs::exists(&marker).unwrap(), "{python}: {name} did not run");
            }
        }
    };
    thread::scope(|scope| pythons().iter().for_each(|python| drop(scope.spawn(|| check(python)))));
}

#[test]
fn pattern_does_not_reach_other_modules() {
    let directory = TempDir::new();
    let marker = directory.path("marker");
    let guard = ["shutil.*", "commands.*", "string.capwords"]
        .iter()
        .fold(Guard::new(), |guard, pattern| guard.allow(pattern).unwrap());
    let args = all(&[&text(&marker), b"\x85R."]);
    let command = all(&[&text(&format!("mkdir {marker}")), b"\x85R."]);
    let upper = |name: &str| all(&[b"cstring\ncapwords\n", &text(name), b"X\x01\0\0\0-\x86R"]);
    for (name, pickle) in [
        ("dotted name", all(&[b"\x80\x04cshutil\nos.mkdir\n", &args])),
        // A name of Python 2, which is another module's in Python 3.
        ("name of Python 2", all(&[b"\x80\x02ccommands\ngetoutput\n", &command])),
        // A name that an allowed function has made: `Os` in a module that does not exist, or any other.
        ("made name", all(&[b"\x80\x04", &text("os"), &upper("mkdir"), b"\x93", &args])),
    ] {
        assert!(guard.check(&pickle).is_err(), "{name} passes");
        for python in pythons() {
            let said = script(python, &["run"]).ask(&format!("{} {marker}", hex(&pickle)));
            if name == "made name" {
                assert!(said.contains("os.Mkdir"), "{python}: {name}: {said}");
            } else {
                assert!(said.starts_with("ran"), "{python}: {name}: {said}");
            }
        }
    }
    let module = put(b"\x80\x04cshutil\nos\n.");
    assert!(guard.check(&module).is_err());
    assert_eq!(guard.check(&put(b"\x80\x04cshutil\nwhich\n.")), Ok(()));
}

#[test]
fn everything_that_proxies_pickle_passes() {
    let path = "/tmp/listener-x";
    let guard = Guard::new().address(OWN).unwrap().address(path).unwrap();
    let foreign = Guard::new().address("127.0.0.1:2").unwrap();
    for python in pythons() {
        let mut forms = script(python, &["forms", OWN, path]);
        let mut judge = script(python, &["judge", OWN, path]);
        let mut count = 0;
        loop {
            let line = forms.line();
            let Some((name, code)) = line.rsplit_once(' ') else { break };
            let pickle = unhex(code);
            let request = put(&pickle);
            assert_eq!(
                guard.check(&request),
                Ok(()),
                "{python}: {name}: {}",
                pickle.escape_ascii()
            );
            if name.contains("Proxy") || name.contains("token") {
                assert!(foreign.check(&request).is_err(), "{name}");
            }
            assert_eq!(judge.ask(code), "+", "{python}: {name}");
            count += 1;
        }
        assert!(count > 300, "{python}: {count} forms");
    }
}

/// What the tests of `CPython` send that needs more than a manager: functions and classes of their own, and exceptions.
const OF_THEIR_OWN: [&str; 4] =
    ["test._test_multiprocessing.", "builtins.ValueError ", "builtins.int ", "time.sleep "];

#[test]
fn requests_of_cpython_tests_pass() {
    // They mostly sleep.
    thread::scope(|scope| {
        for python in pythons() {
            scope.spawn(|| requests_pass(python));
        }
    });
}

fn requests_pass(python: &Python) {
    let directory = TempDir::new();
    let log = directory.path("traffic");
    let ended = script(python, &["traffic", &log]).end(Duration::from_secs(600));
    if ended.stdout.iter().any(|line| line == "no tests") {
        return say(&format!("skipped: {python} has no tests"));
    }
    let log = fs::read_to_string(&log).unwrap();
    let field = |name: &'static str| log.lines().filter_map(move |line| line.strip_prefix(name));
    let guard = field("address ").try_fold(Guard::new(), Guard::address).unwrap();
    let (mut passed, mut own) = (0, BTreeSet::new());
    for code in field("request ") {
        match guard.check(&unhex(code)) {
            Ok(()) => passed += 1,
            Err(reason) => drop(own.insert(reason)),
        }
    }
    say(&format!("{python}: {passed} requests pass, and {} names are refused", own.len()));
    let is_own = |reason: &String| OF_THEIR_OWN.iter().any(|own| reason.starts_with(own));
    assert!(own.iter().all(is_own), "{python}: {own:?}");
    assert!(passed > 1000, "{python}: {passed} requests");
}
