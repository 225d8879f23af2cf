//! Troubleshooting: Python's own errors, provoked by `tests/scripts/troubleshooting.py` with each Python, are the
//! headings of the page.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use basemanager::{Client, Manager};

use super::{Page, shell};
use crate::support::{
    PATIENCE, Process, Python, TempDir, blocked, newest_python, own_address, pythons, snippet,
    until, until_asleep,
};

const SCRIPT: &str = "troubleshooting.py";

/// The entries of the page: heading, and what follows it on one line.
struct Entries(Vec<(String, String)>);

impl Entries {
    fn read() -> Self {
        let page = fs::read_to_string("src/guide/troubleshooting.md").unwrap();
        let entries = page.split("\n### ").skip(1).map(|entry| {
            let (heading, body) = entry.split_once('\n').unwrap();
            let body = body.split("\n## ").next().unwrap();
            let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
            (heading.trim_matches('`').to_owned(), body)
        });
        Self(entries.collect())
    }

    /// The entry whose heading begins like this.
    #[track_caller]
    fn entry(&self, heading: &str) -> &(String, String) {
        let mut found = self.0.iter().filter(|entry| entry.0.starts_with(heading));
        let entry = found.next().unwrap_or_else(|| panic!("no entry {heading}"));
        assert!(found.next().is_none(), "two entries {heading}");
        entry
    }

    /// The text that an entry gives under this label, such as `` `basemanager` ``.
    fn labelled(&self, heading: &str, label: &str) -> Option<&str> {
        let (_, rest) = self.entry(heading).1.split_once(&format!("- {label}: `"))?;
        rest.split('`').next()
    }

    /// Asserts that the text stands in the entry: under its label if it has one, else as its heading.
    #[track_caller]
    fn check(&self, heading: &str, labels: &[&str], found: &str) {
        let labelled = labels.iter().find_map(|label| self.labelled(heading, label));
        let expected = labelled.unwrap_or(&self.entry(heading).0);
        assert!(matches(expected, found), "{labels:?}\nthe page: {expected}\nfound:    {found}");
    }

    /// The same for the last error of a client of this manager or, if `ours` is `None`, of a script without one.
    #[track_caller]
    fn check_python(&self, heading: &str, python: &Python, ours: Option<bool>, found: &str) {
        let mut labels = Vec::new();
        if ours == Some(true) {
            labels.push("This manager");
        }
        if python.version >= [3, 14, 0] {
            labels.push("Python 3.14");
        }
        self.check(heading, &labels, found);
    }
}

/// Whether a text is this one, in which `…` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let is_id = |id: &&str| id.len() >= 12 && id.bytes().all(|c| c.is_ascii_hexdigit());
    let id =
        text.strip_prefix("KeyError: '").and_then(|text| text.strip_suffix('\'')).filter(is_id);
    let text = id.map_or(text.to_owned(), |id| text.replace(id, "7f5e28940840"));
    let parts: Vec<&str> = pattern.split('…').collect();
    let [first, .., last] = parts[..] else { return text == pattern };
    let Some(mut rest) = text.strip_prefix(first).and_then(|text| text.strip_suffix(last)) else {
        return false;
    };
    parts[1..parts.len() - 1].iter().all(|part| {
        let found = rest.split_once(part);
        rest = found.map_or(rest, |(_, rest)| rest);
        found.is_some()
    })
}

#[test]
fn ellipsis_matches_any_text() {
    for (pattern, text, expected) in [
        ("Can't pickle … at 0x…: not", "Can't pickle f at 0x7f: not", true),
        ("Can't pickle … at 0x…: not", "Can't pickle f at: not", false),
        ("in use", "in use", true),
        ("in use", "in use; ", false),
        ("KeyError: '7f5e28940840'", "KeyError: '7f00aabbccdd'", true),
        ("KeyError: '7f5e28940840'", "KeyError: 'task_queue'", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern}: {text}");
    }
}

/// A manager: this one, or that of a `Python`.
struct Served {
    process: Process,
    address: String,
    ours: bool,
}

impl Served {
    fn start(ours: bool, python: &Python, address: &str) -> Self {
        let mut process = if ours {
            let serve = format!("exec basemanager serve {address} --sync-types");
            Process::start("serve", shell(&serve).env("MANAGER_AUTHKEY", "producer"))
        } else {
            snippet(python, SCRIPT, &["serve", address])
        };
        let address = process.address();
        Self { process, address, ours }
    }

    /// Each kind of manager.
    fn both(python: &Python) -> [Self; 2] {
        [false, true].map(|ours| Self::start(ours, python, &own_address()))
    }

    fn restart(&mut self, python: &Python) {
        *self = Self::start(self.ours, python, &self.address);
    }

    /// A command of the program as a client with this key; returns its error, with the address of the page.
    fn error(&self, command: &str, key: &str) -> String {
        let run = format!("exec basemanager {command}");
        let mut run = shell(&run);
        run.env("BASEMANAGER_ADDRESS", &self.address).env("MANAGER_AUTHKEY", key);
        let stderr = Process::start(command, &mut run).end(PATIENCE).stderr;
        let text = stderr.trim_end().strip_prefix("basemanager: ").unwrap_or(&stderr);
        text.replace(&self.address, "127.0.0.1:5000")
    }
}

/// What a script wrote: its output, and the last error in its traceback.
fn run(python: &Python, args: &[&str], input: &str) -> (Vec<String>, String, String) {
    let mut script = snippet(python, SCRIPT, args);
    script.tell(input);
    let ended = script.end(PATIENCE);
    let is_error = |line: &&str| {
        let name = line.split(": ").next().unwrap_or_default();
        ["Error", "error", "BadStatusLine"].iter().any(|end| name.ends_with(end))
            && !name.contains(' ')
    };
    let last = ended.stderr.lines().rfind(is_error).unwrap_or_default();
    (ended.stdout, last.to_owned(), ended.stderr)
}

/// Calls `test` with each `Python`, at the same time.
fn with_each_python(test: impl Fn(&Python) + Sync) {
    thread::scope(|scope| {
        for python in pythons() {
            scope.spawn(|| test(python));
        }
    });
}

#[test]
fn errors_without_a_manager() {
    let entries = Entries::read();
    with_each_python(|python| {
        for (script, heading) in [
            ("text_key", "TypeError: string"),
            ("start_lambda", "_pickle.PicklingError"),
            ("pipe", "ValueError: Family AF_PIPE"),
            ("not_connected", "AssertionError"),
            ("freed_manager", "FileNotFoundError"),
            ("ipv6", "socket.gaierror"),
        ] {
            let (_, error, _) = run(python, &[script, "127.0.0.1:1"], "");
            entries.check_python(heading, python, None, &error);
        }
        let (output, ..) = run(python, &["empty_key"], "");
        assert_eq!(output, ["connected"], "{python}");
        let (output, error, _) = run(python, &["exposed"], "");
        assert_eq!(output, ["0 False"], "{python}: {error}");

        let (_, error, stderr) = run(python, &["no_guard"], "");
        let (heading, _) = entries.entry("RuntimeError");
        let stderr = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(stderr.contains(heading.trim_end_matches(" …")), "{python}: {stderr}");
        assert_eq!(error, "EOFError", "{python}");

        let (output, error, _) = run(python, &["start_lambda_by_default"], "");
        if python.version >= [3, 14, 0] {
            entries.check_python("_pickle.PicklingError", python, None, &error);
        } else {
            assert_eq!(output, ["started"], "{python}: {error}");
        }
    });
}

#[test]
fn errors_of_python_clients() {
    let entries = Entries::read();
    let mut page = Page::open("troubleshooting.md");
    page.diagram();
    page.next("python");
    let (set_key, assign) = (page.next("python"), page.next("python"));
    with_each_python(|python| {
        for mut served in Served::both(python) {
            let (ours, address) = (served.ours, served.address.clone());
            let run = |script, input| run(python, &[script, &address], input);
            for (script, heading) in [
                ("port_in_use", "OSError: [Errno 98]"),
                ("wrong_key", "multiprocessing.context.AuthenticationError"),
                ("nested_proxy", "multiprocessing.context.AuthenticationError"),
                ("browser", "http.client.BadStatusLine"),
                ("not_registered_here", "AttributeError: 'BaseManager'"),
                ("not_registered_there", "KeyError: 'jobs'"),
                ("not_exposed", "KeyError: '_qsize'"),
                ("no_attribute", "AttributeError: 'AutoProxy[task_queue]'"),
                ("subscript", "TypeError: 'AutoProxy[task_queue]'"),
                ("freed", "KeyError: '7f5e28940840'"),
            ] {
                let (_, error, _) = run(script, "");
                entries.check_python(heading, python, Some(ours), &error);
            }
            let (_, error, stderr) = run("start_port_in_use", "");
            assert!(stderr.contains(&entries.entry("OSError: [Errno 98]").0), "{stderr}");
            assert_eq!(error, "EOFError");

            // The first error, which CPython's manager raises before that of the heading.
            let (.., stderr) = run("not_exposed", "");
            let class = if ours { "'task_queue'" } else { "<class 'queue.Queue'>" };
            let first =
                format!("AttributeError: method '_qsize' of {class} object is not in exposed={{");
            assert!(stderr.contains(&first), "{stderr}");
            assert!(entries.entry("KeyError: '_qsize'").1.contains(&first), "{first}");

            // Only CPython's manager unpickles the item.
            let (output, error, _) = run("put_class", "");
            entries.check_python("AttributeError: Can't get", python, Some(ours), &error);
            assert_eq!(output.len(), usize::from(ours), "{output:?}");

            let (output, error, _) = run("auto_proxy", "");
            if !ours && python.version < [3, 9, 7] {
                entries.check_python("TypeError: AutoProxy()", python, Some(ours), &error);
            } else {
                assert_eq!(output, ["stored"], "{python}: {error}");
            }

            assert_eq!(run("nested_proxy_with_key", &set_key).0, ["connected"]);
            let changed = ["{'names': []}", "{'names': ['ann']}"];
            assert_eq!(run("nested_change", &assign).0, changed);

            served.process.signal("TERM");
            let log = served.process.end(PATIENCE).stderr;
            for heading in ["multiprocessing.context.AuthenticationError", "http.client"] {
                let line = entries.labelled(heading, "This manager's log").unwrap();
                let shown = log.lines().any(|text| matches(&format!("{line}…"), text));
                assert_eq!(shown, ours, "{line}: {log}");
            }
        }
    });
}

#[test]
fn old_clients_are_rejected_without_md5() {
    let Some(python) = pythons().iter().find(|python| python.version < [3, 12, 0]) else { return };
    let entries = Entries::read();
    let mut serve = shell(&format!(
        "MANAGER_AUTHKEY=producer exec basemanager serve {} --no-md5",
        own_address()
    ));
    let mut server = Process::start("serve", &mut serve);
    let (_, error, _) = run(python, &["only_connect", &server.address()], "");
    entries.check_python("multiprocessing.context", python, Some(true), &error);
    server.signal("TERM");
    let log = server.end(PATIENCE).stderr;
    let reason = ": HMAC-MD5 client (Python 3.11 or older)";
    assert!(log.contains(reason), "{log}");
    assert!(entries.entry("multiprocessing.context").1.contains(reason));
}

#[test]
fn errors_of_the_program() {
    let Some(python) = newest_python() else { return };
    let entries = Entries::read();
    let check = |heading, error: &str| entries.check(heading, &["`basemanager`"], error);
    let mut served = Served::start(true, python, &own_address());
    check("OSError: [Errno 98]", &served.error("serve", "producer"));
    check("multiprocessing.context.AuthenticationError", &served.error("stat", "another"));
    check("invalid authkey", &served.error("serve", ""));
    let heading = "frame size exceeds";
    let large = "put task_queue < \"$large\"";
    let (_, error, stderr) = run(python, &["too_large", &served.address], "");
    assert_eq!(error, "multiprocessing.managers.RemoteError: ");
    let (_, text) = stderr.split_once(&error).unwrap();
    entries.check(heading, &[], text.trim_matches(['-', '\n']));
    let directory = TempDir::new();
    let file = directory.path("large");
    fs::write(&file, "a".repeat((256 << 20) + 1)).unwrap();
    check(heading, &served.error(&large.replace("$large", &file), "producer"));
    served.process.kill();
    check("ConnectionRefusedError", &served.error("stat", "producer"));
    let (_, error, _) = run(python, &["only_connect", &served.address], "");
    entries.check_python("ConnectionRefusedError", python, None, &error);

    // A Python client connects to its own host.
    let local = Served::start(true, python, "127.0.0.1:0");
    assert_eq!(run(python, &["any_address", &local.address], "").0, ["connected"]);
    let heading = "invalid address";
    for address in ["0.0.0.0:5000", ":5000"] {
        let error = Client::connect(address, "producer").unwrap_err().to_string();
        entries.check(heading, &[], &error.replace("\":5000\"", "\"0.0.0.0:5000\""));
    }
    let error = Manager::new("").bind("127.0.0.1:0").unwrap_err();
    entries.check("invalid authkey", &[], &error.to_string());

    // Another service.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    served.address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
            let _ = client.read(&mut [0; 100]);
        }
    });
    let heading = "OSError: bad message length";
    let (_, error, _) = run(python, &["only_connect", &served.address], "");
    entries.check_python(heading, python, None, &error);
    check(heading, &served.error("stat", "producer"));
}

#[test]
fn errors_after_a_restart() {
    let entries = Entries::read();
    let broken = &entries.entry("BrokenPipeError").0;
    with_each_python(|python| {
        for mut served in Served::both(python) {
            let address = served.address.clone();
            let mut waiting = snippet(python, SCRIPT, &["wait_for_item", &address]);
            assert_eq!(waiting.line(), "ready");
            let mut client = snippet(python, SCRIPT, &["use", &address]);
            assert_eq!(client.line(), "0");
            let (ours, theirs) = (Client::connect(&address, "producer").unwrap(), "task_queue");
            let rust = ours.queue(theirs).unwrap();
            let taken = blocked(move || rust.get());
            until_asleep(&[&served.process, &waiting, &client], || true);
            served.process.kill();

            let ended = waiting.end(PATIENCE).stderr;
            entries.check("EOFError", &[], ended.lines().last().unwrap());
            let error = taken.join().unwrap().unwrap_err().to_string();
            entries.check("EOFError", &["`basemanager`"], &error);
            entries.check("EOFError", &[], &client.ask("tasks.qsize()"));
            assert_eq!(client.ask("tasks.qsize()"), *broken, "{python}");
            served.restart(python);
            assert_eq!(client.ask("tasks.qsize()"), *broken, "{python}");
            assert_eq!(client.ask("task_queue().qsize()"), *broken, "{python}: a new proxy");
            assert_eq!(client.ask("tasks._connect()"), "None");
            let reply = client.ask("tasks.qsize()");
            if served.ours {
                assert_eq!(reply, "0", "{python}");
            } else {
                entries.check_python("KeyError: '7f5e28940840'", python, None, &reply);
            }
            assert_eq!(client.ask("task_queue().qsize()"), "0", "{python}: a new proxy");
        }
    });
}

#[test]
fn interrupted_call_leaves_its_reply() {
    let entries = Entries::read();
    with_each_python(|python| {
        for served in Served::both(python) {
            let interrupt = || {
                let mut client = snippet(python, SCRIPT, &["interrupt", &served.address]);
                assert_eq!(client.line(), "0");
                until_asleep(&[&served.process, &client], || true);
                client.signal("INT");
                entries.check("KeyboardInterrupt", &[], &client.line());
                client
            };
            let tasks = Client::connect(&served.address, "producer").unwrap();
            let tasks = tasks.queue("task_queue").unwrap();
            let mut client = interrupt();
            tasks.put("item").unwrap();
            assert_eq!(client.ask("tasks.qsize()"), "item", "{python}");
            drop(client);

            // A new connection first: only CPython's manager still has the old call.
            let mut client = interrupt();
            assert_eq!(client.ask("tasks._connect()"), "None");
            tasks.put("item").unwrap();
            if served.ours {
                assert_eq!(client.ask("tasks.get(timeout=30)"), "item", "{python}");
            } else {
                until("the item is lost", PATIENCE, || client.ask("tasks.qsize()") == "0");
            }
        }
    });
}

#[test]
fn programs_of_the_page_run() {
    let mut page = Page::open("troubleshooting.md");
    page.diagram();
    let directory = TempDir::new();
    let file = directory.path("program.py");
    fs::write(&file, page.next("python")).unwrap();
    for python in pythons() {
        let mut command = Command::new(&python.path);
        let ended = Process::start("program", command.arg(&file)).end(PATIENCE).well();
        assert_eq!(ended.stdout, ["7"], "{python}");
    }
    // `errors_of_python_clients` runs these.
    page.next("python");
    page.next("python");

    // The exercise.
    let Some(python) = newest_python() else { return };
    let serve = page.next("sh").replace("basemanager serve", "exec basemanager serve");
    let start = |address: &str| {
        Process::start("serve", &mut shell(&serve.replace("127.0.0.1:5000", address)))
    };
    let mut server = start(&own_address());
    let address = server.address();
    page.replace_address("127.0.0.1:5000", &address);
    let program = page.next("python");
    let mut command = Command::new(&python.path);
    let mut client = Process::start("exercise", command.args(["-uc", &program]));
    let mut results = Vec::new();
    for _ in 0..4 {
        let step = client.line();
        if step.ends_with("end the manager") {
            server.signal("TERM");
            server.end(PATIENCE);
        } else if step.ends_with("start the manager again") {
            server = start(&address);
            assert_eq!(server.address(), address);
        }
        results.push(client.ask(""));
    }
    results.extend(client.end(PATIENCE).well().stdout);
    page.excerpt(results.iter().map(String::as_str));
    page.end();
}
