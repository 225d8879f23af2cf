//! `serve`: queues, keys, signals and sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Process, TempDir, python_client, pythons, until, until_asleep};
use crate::{KEY, Served, basemanager, run};

#[test]
fn any_python_uses_the_queues() {
    let served = Served::new(&["--queue", "task_queue", "--queue", "jobs,maxsize=1"]);
    for python in pythons() {
        let code = "import queue
m = connect('task_queue', 'jobs', 'queue')
m.task_queue().put(7); print(m.task_queue().get())
m.queue('emails').put('hello'); print(m.queue('emails').get(), m.queue('jobs').maxsize if False else '')
m.jobs().put(1)
show(m.queue('jobs').put, 2, False)
print(m.queue('jobs').get())
m.queue('new one').put({'a': [1]}); print(m.queue('new one').get())
";
        let ended = python_client(python, code, &served.address, KEY).end(PATIENCE).well();
        let expected = ["7", "hello ", "queue Full ()", "1", "{'a': [1]}"];
        assert_eq!(ended.stdout, expected, "{python}");
    }
}

#[test]
fn queue_made_by_name_survives_a_restart() {
    let mut served = Served::new(&[]);
    let clients: Vec<_> = pythons()
        .iter()
        .map(|python| {
            let code = "q = connect('queue').queue('emails')
q.put(1); print(q.get(), flush=True)
import sys; sys.stdin.readline()
del q._tls.connection
q.put(2); print(q.get(), flush=True)
";
            let mut client = python_client(python, code, &served.address, KEY);
            assert_eq!(client.line(), "1");
            client
        })
        .collect();
    let address = served.address.clone();
    served.process.signal("TERM");
    served.process.end(PATIENCE).well();
    let _served = Served::at(&address, &[]);
    for mut client in clients {
        assert_eq!(client.ask(""), "2");
        client.end(PATIENCE).well();
    }
}

#[test]
fn clients_make_no_more_queues_than_allowed() {
    let served = Served::new(&["--max-queues", "3"]);
    for name in ["a", "b", "a"] {
        served.ok(&["call", &format!("queue(\"{name}\")"), "qsize"]);
    }
    let refused = served.run(&["call", "queue(\"c\")", "qsize"]).failed(5);
    assert!(refused.contains("--max-queues"), "{refused}");
    served.ok(&["call", "queue(\"task_queue\")", "qsize"]);
}

#[test]
fn queue_options_are_understood_or_refused() {
    let served = Served::new(&[
        "--queue",
        "jobs,at-least-once,lease=1h,deliveries=2,dead=failed,max-bytes=1K",
        "--queue",
        "failed",
    ]);
    let large = format!("\"{}\"", "x".repeat(2000));
    assert!(served.run(&["put", "jobs", &large]).failed(5).contains("ValueError"));
    served.ok(&["put", "jobs", "1"]);
    for (spec, why) in [
        ("", "needs a name"),
        ("a,size=3", "unknown option"),
        ("a,maxsize=x", "not a number"),
        ("a,deliveries=3", "needs dead=NAME"),
        ("a,deliveries=0,dead=b", "from 1 on"),
        ("a,lease=0", "more than 0"),
        ("a,lease=1,lease=2", "there twice"),
        ("a,dead=queue", "cannot be called"),
        ("a,lease=soon", "a time such as"),
        ("a,dead=a", "its own dead letters"),
        ("close", "cannot be called"),
    ] {
        let ran = run(basemanager(&["serve", "127.0.0.1:0", "--queue", spec]), b"");
        assert_eq!(ran.status, 2, "{spec}");
        assert!(ran.stderr.contains(why), "{spec}: {}", ran.stderr);
    }
    let circle = ["serve", "127.0.0.1:0", "--queue", "a,dead=b", "--queue", "b,dead=a"];
    assert!(run(basemanager(&circle), b"").failed(2).contains("dead letters of one another"));
}

#[test]
fn key_comes_from_a_private_file() {
    let dir = TempDir::new();
    let file = dir.path("key");
    let serve = ["serve", "127.0.0.1:0", "--key-file", &file];
    let mut server = Process::start("serve", basemanager(&serve).env_remove("MANAGER_AUTHKEY"));
    let address = server.address();
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(fs::read_to_string(&file).unwrap().trim_end().len() >= 32);
    let put = ["put", "task_queue", "1", "--address", &address, "--key-file", &file];
    run(basemanager(&put), b"").ok();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let open = run(basemanager(&put), b"").failed(2);
    assert!(open.contains("chmod 600"), "{open}");
    let put = ["put", "task_queue", "1", "--address", &address];
    run(basemanager(&put), b"").failed(4);
    let mut keyless = basemanager(&put);
    keyless.env_remove("MANAGER_AUTHKEY");
    let keyless = run(keyless, b"").failed(2);
    assert!(keyless.contains("MANAGER_AUTHKEY") && keyless.contains("--key-file"), "{keyless}");
}

#[test]
fn signal_ends_the_manager_in_order() {
    for signal in ["TERM", "INT"] {
        let mut served = Served::new(&["--drain", "20s"]);
        let mut waiting = served.start(&["get", "task_queue"]);
        until_asleep(&[&waiting], || true);
        served.process.signal(signal);
        served.process.end(PATIENCE).well();
        // It waited in an empty queue that is shut down.
        assert!(matches!(waiting.end(PATIENCE).code, Some(3 | 5)));
    }
}

#[test]
fn drain_lets_consumers_empty_the_queues() {
    let mut served = Served::new(&["--drain", "60s", "--queue", "task_queue,maxsize=2"]);
    served.ok(&["put", "task_queue", "1", "2"]);
    let mut blocked = served.start(&["put", "task_queue", "3"]);
    until_asleep(&[&blocked], || true);
    served.process.signal("TERM");
    // A full queue takes nothing more, and the blocked put says so.
    let refused = blocked.end(PATIENCE).with(5).stderr;
    assert!(refused.contains("ShutDown"), "{refused}");
    assert!(served.run(&["put", "task_queue", "4"]).failed(5).contains("ShutDown"));
    assert_eq!(served.ok(&["get", "task_queue", "--follow"]), "1\n2\n");
    served.process.end(PATIENCE).well();
}

#[test]
fn second_signal_ends_at_once() {
    let mut served = Served::new(&["--drain", "60s"]);
    served.ok(&["put", "task_queue", "1"]);
    served.process.signal("TERM");
    until("puts are refused", PATIENCE, || served.run(&["put", "task_queue", "2"]).status == 5);
    let started = Instant::now();
    served.process.signal("TERM");
    served.process.end(PATIENCE).with(128 + 15);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn sigusr1_refuses_puts_and_goes_on() {
    let served = Served::new(&[]);
    served.ok(&["put", "task_queue", "1"]);
    served.process.signal("USR1");
    until("puts are refused", PATIENCE, || {
        let put = served.run(&["put", "task_queue", "2"]);
        put.status == 5 && put.stderr.contains("ShutDown")
    });
    let out = served.ok(&["get", "task_queue", "--follow"]);
    assert!(out.starts_with("1\n"), "{out}");
    served.ok(&["close"]);
}

#[test]
fn clients_cannot_close_with_no_close() {
    let served = Served::new(&["--no-close"]);
    let refused = served.run(&["close"]).failed(5);
    assert!(refused.contains("may not shut this manager down"), "{refused}");
    served.ok(&["put", "task_queue", "1"]);
}

#[test]
fn unix_socket_has_the_mode_that_was_asked_for() {
    let dir = TempDir::new();
    let path = dir.path("socket");
    let mut served = Served::at(&path, &["--socket-mode", "660"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    served.ok(&["put", "task_queue", "1"]);
    served.ok(&["close"]);
    served.process.end(PATIENCE).well();
    assert!(!fs::exists(&path).unwrap());
}

#[test]
fn socket_activation_takes_standard_input() {
    use std::process::Stdio;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stdin = Stdio::from(std::os::fd::OwnedFd::from(listener));
    let mut child = basemanager(&["serve", "--listen-stdin", "-q"]).stdin(stdin).spawn().unwrap();
    let put = ["put", "task_queue", "1", "--address", &address];
    run(basemanager(&put), b"").ok();
    run(basemanager(&["close", "--address", &address]), b"").ok();
    assert!(child.wait().unwrap().success());
    let refused = run(basemanager(&["serve", "--listen-stdin"]), b"").failed(2);
    assert!(refused.contains("not a listening socket"), "{refused}");
}

#[test]
fn md5_can_be_refused() {
    let served = Served::new(&["--no-md5"]);
    for python in pythons() {
        let code = "show(lambda: connect('task_queue').task_queue().qsize())\n";
        let ended = python_client(python, code, &served.address, KEY).end(PATIENCE).well();
        let refused = ended.stdout[0].contains("AuthenticationError");
        assert_eq!(refused, python.version < [3, 12, 0], "{python}: {ended:?}");
    }
}

#[test]
fn port_in_use_is_named() {
    let served = Served::new(&[]);
    let ran = run(basemanager(&["serve", &served.address]), b"");
    assert!(ran.failed(2).contains("in use"));
}

#[test]
fn queues_made_after_the_signal_refuse_puts_too() {
    let served = Served::new(&["--drain", "60s"]);
    served.ok(&["put", "task_queue", "1"]);
    served.process.signal("TERM");
    until("puts are refused", PATIENCE, || served.run(&["put", "task_queue", "2"]).status == 5);
    let late = served.run(&["call", "queue(\"late\")", "put", "3"]).failed(5);
    assert!(late.contains("ShutDown"), "{late}");
    assert_eq!(served.ok(&["get", "task_queue"]), "1\n");
}

#[test]
fn names_of_queues_are_bounded_and_shown_escaped() {
    let served = Served::new(&[]);
    let long = format!("queue(\"{}\")", "x".repeat(256));
    assert!(served.run(&["call", &long, "qsize"]).failed(5).contains("1 to 255 bytes"));
    assert!(served.run(&["call", "queue(\"\")", "qsize"]).failed(5).contains("1 to 255 bytes"));
    served.ok(&["call", "queue(\"line\\n\\u001b[31m\")", "qsize"]);
    let table = served.ok(&["stat"]);
    assert!(!table.contains('\u{1b}') && table.contains("line | \\u{1b}[31m"), "{table}");
}

/// Python drops its proxies when it ends, after the restart.
#[test]
fn dropped_proxies_make_no_queues() {
    let mut served = Served::new(&[]);
    let Some(python) = crate::support::newest_python() else { return };
    let code = "q = connect('queue').queue('gone')
print(q.qsize(), flush=True)
sys.stdin.readline()
";
    let mut client = python_client(python, code, &served.address, KEY);
    client.line();
    let address = served.address.clone();
    served.process.signal("TERM");
    served.process.end(PATIENCE).well();
    let again = Served::at(&address, &[]);
    client.tell("");
    client.end(PATIENCE);
    assert!(!again.ok(&["stat"]).contains("gone"));
}

#[test]
fn address_of_the_environment_does_not_disturb_a_passed_socket() {
    use std::process::Stdio;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stdin = Stdio::from(std::os::fd::OwnedFd::from(listener));
    let mut serve = basemanager(&["serve", "--listen-stdin", "-q"]);
    serve.env("BASEMANAGER_ADDRESS", "127.0.0.1:1").stdin(stdin).stdout(Stdio::null());
    let mut child = serve.spawn().unwrap();
    run(basemanager(&["close", "--address", &address]), b"").ok();
    assert!(child.wait().unwrap().success());
}
