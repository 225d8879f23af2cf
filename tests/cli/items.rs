//! `put`, `get`, `peek` and `call`: items in and out.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{
    self, PATIENCE, Process, TempDir, newest_python, python_client, pythons, until,
};
use crate::{KEY, Served, run};

#[test]
fn items_are_json_else_text() {
    let served = Served::new(&[]);
    let items = ["7", "-1.5", "null", "true", "\"7\"", "hello world", "[1, {\"b\": 2, \"a\": []}]"];
    served.ok(&[&["put", "task_queue"], &items[..]].concat());
    let out = served.ok(&["get", "task_queue", "-n", "7"]);
    let expected =
        ["7", "-1.5", "null", "true", "\"7\"", "\"hello world\"", "[1, {\"b\": 2, \"a\": []}]"];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn hundred_thousand_lines_come_out_in_order() {
    let served = Served::new(&[]);
    let lines: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    served.run_with(&["put", "task_queue"], lines.as_bytes()).ok();
    assert_eq!(served.ok(&["get", "task_queue", "-n", "100000"]), lines);
}

#[test]
fn raw_and_null_items_keep_their_bytes() {
    let served = Served::new(&[]);
    let bytes: Vec<u8> = (0..=255).collect();
    served.run_with(&["put", "task_queue", "--raw"], &bytes).ok();
    assert_eq!(served.run(&["get", "task_queue", "--raw"]).stdout, bytes);
    served.run_with(&["put", "task_queue", "--null"], b"two\nlines\0[1]\0").ok();
    assert_eq!(served.ok(&["get", "task_queue", "-n", "2"]), "\"two\\nlines\"\n[1]\n");
    let bad = served.run_with(&["put", "task_queue"], b"good\n\xff\nafter\n").failed(2);
    assert!(bad.contains("item 2 of stdin is not UTF-8") && bad.contains("--raw"), "{bad}");
    assert_eq!(served.ok(&["get", "task_queue"]), "\"good\"\n", "items before it were put");
}

#[test]
fn items_of_python_print_as_json_or_repr() {
    let served = Served::new(&[]);
    let Some(python) = newest_python() else { return };
    let code = "import datetime
queue = connect('task_queue').task_queue()
for item in [(1, 'a'), b'x', {1: 2}, {3}, datetime.date(2020, 1, 2), 1e999, 'line\\nend']:
    queue.put(item)
";
    python_client(python, code, &served.address, KEY).end(PATIENCE).well();
    let peeked = served.ok(&["peek", "task_queue", "-n", "99"]);
    let out = served.ok(&["get", "task_queue", "-n", "7"]);
    assert_eq!(peeked, out, "peek shows the same, and takes nothing");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..4], ["[1, \"a\"]", "b'x'", "{1: 2}", "{3}"]);
    assert!(lines[4].starts_with("datetime.date("), "{}", lines[4]);
    assert_eq!(lines[5..], ["inf", "\"line\\nend\""]);
}

#[test]
fn saved_pickle_is_the_item_unchanged() {
    let served = Served::new(&[]);
    let dir = TempDir::new();
    for python in pythons() {
        let code = "import fractions
connect('task_queue').task_queue().put({'half': fractions.Fraction(1, 2)})
";
        python_client(python, code, &served.address, KEY).end(PATIENCE).well();
        let file = dir.path("item.pickle");
        served.ok(&["get", "task_queue", "--pickle", &file]);
        let code = format!("import pickle\nprint(pickle.load(open({file:?}, 'rb'))['half'] * 2)\n");
        let ended = python_client(python, &code, &served.address, KEY).end(PATIENCE).well();
        assert_eq!(ended.stdout, ["1"], "{python}");
    }
}

#[test]
fn item_that_cannot_be_written_goes_back() {
    let served = Served::new(&["--queue", "plain", "--queue", "safe,at-least-once"]);
    for queue in ["plain", "safe"] {
        served.ok(&["put", queue, "1", "2", "3"]);
        // The reader is gone before the first item is written.
        let mut get = served.command(&["get", queue, "-n", "3"]);
        let mut child = get.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert!(child.wait().unwrap().success(), "a closed pipe ends get quietly");
        let mut left: Vec<String> =
            served.ok(&["get", queue, "-n", "3"]).lines().map(str::to_owned).collect();
        left.sort();
        assert_eq!(left, ["1", "2", "3"], "{queue}");
    }
    // A full disk is an error, and loses nothing either.
    if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
        served.ok(&["put", "safe", "4"]);
        let mut get = served.command(&["get", "safe"]);
        let output = get.stdout(Stdio::from(full)).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(served.ok(&["get", "safe"]), "4\n");
    }
}

#[test]
fn follow_prints_items_as_they_come_until_the_shutdown() {
    let served = Served::new(&["--drain", "10s"]);
    let mut follow = served.start(&["get", "task_queue", "--follow"]);
    served.ok(&["put", "task_queue", "1", "2"]);
    assert_eq!(follow.lines(2), ["1", "2"]);
    let mut put = served.start(&["put", "task_queue"]);
    for line in ["3", "4"] {
        put.tell(line);
        // A line is not held back to wait for others.
        assert_eq!(follow.line(), line);
    }
    put.end(PATIENCE).well();
    served.ok(&["close"]);
    follow.end(PATIENCE).well();
}

#[test]
fn progress_is_shown_on_a_terminal_only() {
    let served = Served::new(&[]);
    let Some(python) = newest_python() else { return };
    let code = format!(
        "import os, pty, sys
def run():
    shown = b''
    pid, fd = pty.fork()
    if pid == 0:
        os.environ['BASEMANAGER_ADDRESS'], os.environ['MANAGER_AUTHKEY'] = sys.argv[1], sys.argv[2]
        os.execvp('sh', ['sh', '-c', 'seq 5000 | {} put task_queue'])
    try:
        while chunk := os.read(fd, 1000):
            shown += chunk
    except OSError:
        pass
    return os.waitpid(pid, 0)[1], shown
print(run())
",
        env!("CARGO_BIN_EXE_basemanager")
    );
    let ended = python_client(python, &code, &served.address, KEY).end(PATIENCE).well();
    assert!(
        ended.stdout[0].starts_with("(0, ") && ended.stdout[0].contains("5000 items"),
        "{ended:?}"
    );
    let piped = served.run_with(&["put", "task_queue"], b"1\n");
    assert_eq!((piped.status, piped.stderr.as_str()), (0, ""));
}

#[test]
fn managers_of_cpython_are_served_too() {
    for python in pythons() {
        let code = "import queue
q = queue.Queue(3)
M.register('task_queue', lambda: q)
M.register('add', lambda a, b=0: a + b)
s = M(('127.0.0.1', 0), b'cli').get_server()
print('listening on 127.0.0.1:%d' % s.address[1], flush=True)
s.serve_forever()
";
        let mut manager = python_client(python, code, "", "");
        let address = manager.address();
        let at = |args: &[&str], input: &[u8]| {
            let mut command = crate::basemanager(args);
            command.env("BASEMANAGER_ADDRESS", &address);
            run(command, input)
        };
        at(&["put", "task_queue"], b"1\n\"two\"\n[3]\n").ok();
        let full = at(&["put", "task_queue", "--timeout", "0", "4"], b"").failed(1);
        assert!(full.contains("the queue is full"), "{full}");
        let stat = at(&["stat", "task_queue"], b"").ok();
        assert!(stat.contains("task_queue      3      -"), "{stat}");
        assert!(stat.contains("not a manager of `basemanager serve`"), "{stat}");
        assert!(at(&["stat"], b"").failed(2).contains("name a queue"));
        assert!(at(&["peek", "task_queue"], b"").failed(2).contains("no method 'peek'"));
        assert_eq!(at(&["get", "task_queue", "-n", "3"], b"").ok(), "1\n\"two\"\n[3]\n");
        assert_eq!(at(&["call", "task_queue", "qsize"], b"").ok(), "0\n");
        at(&["close"], b"").ok();
        until("the manager of CPython ends", PATIENCE, || {
            at(&["call", "task_queue", "qsize"], b"").status == 3
        });
    }
}

#[test]
fn callables_and_methods_are_called() {
    let served = Served::new(&["--sync-types"]);
    assert_eq!(served.ok(&["call", "task_queue", "qsize"]), "0\n");
    assert_eq!(served.ok(&["call", "task_queue", "put", "[1]", "timeout=5"]), "null\n");
    assert_eq!(served.ok(&["get", "task_queue"]), "[1]\n");
    assert_eq!(served.ok(&["call", "list([3, 1, 2])"]), "[3, 1, 2]\n");
    assert_eq!(served.ok(&["call", "list([3, 1, 2])", "__len__"]), "3\n");
    assert_eq!(served.ok(&["call", "queue(\"emails\")", "put", "7"]), "null\n");
    assert_eq!(served.ok(&["call", "--repr", "dict({\"a\": null})"]), "{'a': None}\n");
    let missing = served.run(&["call", "nothing"]).failed(5);
    assert!(missing.contains("no typeid 'nothing' is registered"), "{missing}");
    let unexposed = served.run(&["call", "task_queue", "pop"]).failed(5);
    assert!(unexposed.contains("'pop'"), "{unexposed}");
    assert!(served.run(&["call", "list(1"]).failed(2).contains("closing parenthesis"));
}

#[test]
fn get_with_timeout_ends_with_1() {
    let served = Served::new(&[]);
    assert!(served.run(&["get", "task_queue", "--timeout", "0"]).failed(1).contains("is empty"));
    let late = served.run(&["get", "task_queue", "--timeout", "50ms"]).failed(1);
    assert!(late.contains("no item came"), "{late}");
    assert!(served.run(&["peek", "task_queue"]).failed(1).contains("is empty"));
    let mut get: Process = served.start(&["get", "task_queue"]);
    support::until_asleep(&[&get], || true);
    served.ok(&["put", "task_queue", "9"]);
    assert_eq!(get.end(Duration::from_secs(10)).well().stdout, ["9"]);
}

#[test]
fn item_without_text_stays_in_the_queue() {
    let served = Served::new(&["--queue", "plain", "--queue", "safe,at-least-once"]);
    let Some(python) = newest_python() else { return };
    let code = "
for queue in connect('plain', 'safe').plain(), connect('plain', 'safe').safe():
    queue.put(1)
    queue.put([2 ** 200])
";
    python_client(python, code, &served.address, KEY).end(PATIENCE).well();
    for queue in ["plain", "safe"] {
        let ran = served.run(&["get", queue, "-n", "2"]);
        assert_eq!((ran.status, ran.stdout.as_slice()), (2, &b"1\n"[..]), "{ran:?}");
        assert!(ran.stderr.contains("--pickle"), "{ran:?}");
        assert_eq!(served.ok(&["call", queue, "qsize"]), "1\n");
    }
}

#[test]
fn saved_pickle_keeps_the_identity_of_parts() {
    let served = Served::new(&[]);
    let dir = TempDir::new();
    let Some(python) = newest_python() else { return };
    let code = "x = [1]
connect('task_queue').task_queue().put({'both': [x, x]})
";
    python_client(python, code, &served.address, KEY).end(PATIENCE).well();
    let file = dir.path("item.pickle");
    served.ok(&["get", "task_queue", "--pickle", &file]);
    let code = format!(
        "import pickle\nboth = pickle.load(open({file:?}, 'rb'))['both']\nprint(both[0] is both[1])\n"
    );
    let ended = python_client(python, &code, &served.address, KEY).end(PATIENCE).well();
    assert_eq!(ended.stdout, ["True"]);
}

#[test]
fn queue_made_by_name_is_reached_by_each_command() {
    let served = Served::new(&[]);
    let unknown = served.run(&["put", "emails", "hi"]).failed(2);
    assert!(unknown.contains("no queue \"emails\"") && unknown.contains("--queue"), "{unknown}");
    served.ok(&["call", "queue(\"emails\")", "qsize"]);
    served.ok(&["put", "emails", "hi"]);
    assert_eq!(served.ok(&["peek", "emails"]), "\"hi\"\n");
    assert_eq!(served.ok(&["get", "emails"]), "\"hi\"\n");
    let work = served.run(&["work", "emails", "--", "true"]).failed(2);
    assert!(work.contains("at-least-once"), "{work}");
}

#[test]
fn deep_json_is_refused() {
    let served = Served::new(&[]);
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    assert!(served.run(&["put", "task_queue", &deep]).failed(2).contains("127 deep"));
    let wide = "9".repeat(50);
    assert!(served.run(&["put", "task_queue", &wide]).failed(2).contains("128 bits"));
    assert_eq!(served.ok(&["call", "task_queue", "qsize"]), "0\n");
}
