//! `tap`: programs do the same through it, and it tells what passed.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use basemanager::tap::{Exchanges, Frames, Relay, RelayHandle};

use crate::support::programs::Rng;
use crate::support::wire::{Wire, framed, request, text};
use crate::support::{
    PATIENCE, Peer, Process, Python, TempDir, assert_mentions, python_client, pythons, say,
    snippet, until,
};
use crate::{KEY, Served, basemanager, run};

/// The key of the example programs.
const EXAMPLES: &str = "producer";

struct Tap {
    process: Process,
    address: String,
}

impl Tap {
    fn new(manager: &str, args: &[&str]) -> Self {
        Self::at("127.0.0.1:0", manager, args)
    }

    fn at(listen: &str, manager: &str, args: &[&str]) -> Self {
        let args = [&["tap", listen, manager], args].concat();
        let mut process = Process::start("tap", &mut basemanager(&args));
        let address = process.address();
        Self { process, address }
    }

    /// Ends it, and returns its lines.
    #[track_caller]
    fn end(mut self) -> Vec<String> {
        self.process.signal("INT");
        self.process.end(PATIENCE).well().stdout
    }
}

/// Fails unless one of the lines contains all of these parts.
#[track_caller]
fn assert_line(lines: &[String], parts: &[&str]) {
    let found = lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(found, "{parts:?} is in no line:\n{}", lines.join("\n"));
}

/// Waits until this many calls of the queue wait.
fn until_waiting(served: &Served, count: usize) {
    let waiting = format!("\"waiting\": {count},");
    until(&waiting, PATIENCE, || served.ok(&["stat", "task_queue", "--json"]).contains(&waiting));
}

/// A manager of CPython's that serves all of `SyncManager`.
fn sync_manager(python: &Python, key: &str) -> (Process, String) {
    // A proxy that comes back to the manager through the tap names the tap's address. So the manager connects to itself,
    // with its process's own key.
    let code = "import multiprocessing
from multiprocessing.managers import SyncManager
multiprocessing.current_process().authkey = sys.argv[2].encode()
s = SyncManager(('127.0.0.1', 0), sys.argv[2].encode()).get_server()
print('listening on 127.0.0.1:%d' % s.address[1], flush=True)
s.serve_forever()
";
    let mut manager = python_client(python, code, "", key);
    let address = manager.address();
    (manager, address)
}

#[test]
fn seed_programs_run_through_the_tap() {
    for python in pythons() {
        for manager in [Peer::Python(python), Peer::Rust] {
            let (mut manager, address) = manager.serve("manager", &["127.0.0.1:0"]);
            let tap = Tap::new(&address, &[]);
            let mut consumer = Peer::Python(python).start("consumer", &[&tap.address]);
            let mut producer = Peer::Python(python).start("producer", &[&tap.address, "0.01"]);
            for _ in 0..20 {
                let put = producer.line();
                assert_eq!(put.strip_prefix("put "), Some(&*consumer.line()), "{python}");
            }
            Peer::Python(python).start("close", &[&tap.address]).end(PATIENCE).well();
            manager.end(PATIENCE).well();
            for (mut program, code) in [(producer, 0), (consumer, 0)] {
                let ended = program.end(PATIENCE).with(code);
                assert_mentions(&ended.stderr, &["the manager has ended"]);
            }
            let lines = tap.end();
            let digest = if python.version < [3, 12, 0] { "md5" } else { "sha256" };
            assert_line(&lines, &["#1 key proved both ways", digest]);
            assert_line(&lines, &["create('task_queue') ← id "]);
            assert_line(&lines, &["incref(task_queue) ← None", " ms"]);
            assert_line(&lines, &["accept_connection('MainProcess') ← None"]);
            assert_line(&lines, &["task_queue.put(", ") ← None", " ms"]);
            assert_line(&lines, &["task_queue.get() ← "]);
            assert_line(&lines, &["create('close')"]);
            let passed = lines.iter().filter(|line| line.contains("task_queue.put(")).count();
            assert!(passed >= 20, "{passed}");
        }
    }
}

#[test]
fn cpythons_own_tests_end_the_same_through_the_tap_and_behind_its_guard() {
    let check = |python: &Python| {
        let (_manager, address) = sync_manager(python, EXAMPLES);
        let mut direct = suite(python, &address);
        for args in [&[][..], &["--guard"]] {
            let tap = Tap::new(&address, args);
            let mut same = suite(python, &tap.address) == direct;
            if !same {
                // Some of these tests measure times, and can fail on a busy machine.
                direct = suite(python, &address);
                same = suite(python, &tap.address) == direct;
            }
            let lines = tap.end();
            let strange = [
                "speak",
                "cannot decode",
                "cannot be decoded",
                "not recorded",
                "not completed",
                "the guard",
            ];
            let is_strange = |line: &&String| strange.iter().any(|part| line.contains(part));
            let found: Vec<&String> = lines.iter().filter(is_strange).collect();
            assert!(same && found.is_empty(), "{python} {args:?}: {direct:?} {found:?}");
        }
        say(&format!("{python}: {} of CPython's own", direct.last().unwrap()));
    };
    thread::scope(|scope| {
        for python in pythons() {
            scope.spawn(move || check(python));
        }
    });
}

/// The tests of CPython's managers that fail, and how many there are.
fn suite(python: &Python, address: &str) -> Vec<String> {
    let mut suite = snippet(python, "cpython_suite.py", &[address, EXAMPLES]);
    suite.end(Duration::from_secs(180)).well().stdout
}

#[test]
fn guard_keeps_a_client_with_the_key_from_running_code() {
    let dir = TempDir::new();
    for python in pythons() {
        let (_manager, address) = sync_manager(python, KEY);
        let tap = Tap::new(&address, &["--guard", "--allow", "decimal.Decimal"]);
        let code = "
import decimal, os
class Hostile:
    def __init__(self, marker): self.marker = marker
    def __reduce__(self): return os.mkdir, (self.marker,)
l = connect('list').list()
show(l.append, Hostile(sys.argv[3]))
show(l.append, decimal.Decimal('1.5'))
show(l.append, 7)
show(l._callmethod, '__len__')
from multiprocessing.managers import dispatch
m = connect()
connection = m._Client(m._address, authkey=m._authkey)
show(lambda: dispatch(connection, None, 'create', ('AsyncResult', 'a text'))[1])
";
        let ran = |address: &str, marker: &str| {
            let marker = dir.path(&format!("{marker}-{}", python.version[1]));
            let code = code.replace("sys.argv[3]", &format!("{marker:?}"));
            let ended = python_client(python, &code, address, KEY).end(PATIENCE).well();
            (ended.stdout, fs::exists(marker).unwrap())
        };
        let (said, ran_code) = ran(&address, "direct");
        assert_eq!((said[3].as_str(), ran_code), ("3", true), "{python}");
        // A client has made the manager expose all methods of a text: `format` reads its memory.
        assert_mentions(&said[4], &["'format'"]);
        let (said, ran_code) = ran(&tap.address, "guarded");
        assert_mentions(&said[0], &["RemoteError", "mkdir", "not allowed"]);
        let plain = ["None", "None", "2"].map(str::to_owned);
        assert_eq!((&said[1..4], ran_code), (&plain[..], false));
        assert_mentions(&said[4], &["RemoteError", "may not create AsyncResult"]);
        let lines = tap.end();
        // To its end, whatever the width of other lines.
        assert_line(&lines, &["the guard refused a request", "mkdir", "listed with --allow"]);
        assert_line(&lines, &["append(", "← failed", "mkdir"]);
    }
}

#[test]
fn each_side_that_rejects_is_named() {
    for python in pythons() {
        let (_manager, address) = sync_manager(python, KEY);
        let tap = Tap::new(&address, &[]);
        let code = "show(connect)\n";
        let refused = python_client(python, code, &tap.address, "another").end(PATIENCE).well();
        assert_mentions(&refused.stdout[0], &["AuthenticationError"]);
        assert_line(&tap.end(), &["key rejected by the manager"]);
    }
    // A manager that welcomes any client, and does not know the key.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut wire = Wire::new(listener.accept().unwrap().0);
        wire.frame(&[&b"#CHALLENGE#{sha256}"[..], &[7; 40]].concat());
        wire.read();
        wire.frame(b"#WELCOME#");
        wire.read();
        wire.frame(&[&b"{sha256}"[..], &[7; 32]].concat());
        wire.read();
    });
    let tap = Tap::new(&address, &[]);
    run(basemanager(&["peek", "task_queue", "--address", &tap.address]), b"").failed(4);
    assert_line(&tap.end(), &["key rejected by the client"]);
}

#[test]
fn blocked_call_is_marked_while_it_waits_and_afterwards() {
    let served = Served::new(&[]);
    let mut tap = Tap::new(&served.address, &["--calls"]);
    let mut getter =
        Process::start("get", &mut basemanager(&["get", "task_queue", "--address", &tap.address]));
    let line = loop {
        let line = tap.process.line();
        if line.contains("waiting") {
            break line;
        }
    };
    assert_mentions(&line, &["task_queue.get", "… waiting", "so far"]);
    served.ok(&["put", "task_queue", "7"]);
    getter.end(PATIENCE).well();
    assert_line(&tap.end(), &["task_queue.get", "← 7", "waited", " s"]);
}

#[test]
fn consumer_that_dies_is_noticed_through_the_tap() {
    let served = Served::new(&[]);
    let tap = Tap::new(&served.address, &[]);
    let mut getter =
        Process::start("get", &mut basemanager(&["get", "task_queue", "--address", &tap.address]));
    until_waiting(&served, 1);
    getter.kill();
    until_waiting(&served, 0);
    served.ok(&["put", "task_queue", "7"]);
    assert_eq!(served.ok(&["get", "task_queue"]), "7\n");
    assert_line(&tap.end(), &["task_queue.get", "EOFError: the client disconnected", "waited"]);
}

#[test]
fn calls_alone_and_json_are_for_those_who_want_less() {
    let served = Served::new(&[]);
    let dir = TempDir::new();
    let file = dir.path("session");
    let tap = Tap::new(&served.address, &["--calls", "--save", &file]);
    for python in pythons() {
        let code = "q = connect('task_queue').task_queue()\nq.put([1, 'a'])\nq.get()\n";
        python_client(python, code, &tap.address, KEY).end(PATIENCE).well();
    }
    let lines = tap.end();
    assert_line(&lines, &["task_queue.put([1, 'a']) ← None"]);
    assert_line(&lines, &["task_queue.get() ← [1, 'a']"]);
    for hidden in ["incref", "decref", "dummy", "accept_connection", "key proved"] {
        assert!(!lines.iter().any(|line| line.contains(hidden)), "{hidden}: {lines:?}");
    }
    let json = run(basemanager(&["tap", "--replay", &file, "--json"]), b"").ok();
    let events: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_put = |event: &&serde_json::Value| event["method"] == "put";
    let put = events.iter().find(is_put).unwrap();
    assert_eq!(put["typeid"], "task_queue");
    assert_eq!(put["args"], "[1, 'a']");
    assert_eq!((&put["outcome"], &put["text"]), (&"return".into(), &"None".into()));
    assert!(events.iter().any(|event| event["event"] == "handshake" && event["proved"] == true));
    assert!(events.iter().any(|event| event["event"] == "closed"));
    // The help names every field.
    let help = run(basemanager(&["tap", "--help"]), b"").ok();
    let (_, help) = help.split_once("--json prints").unwrap();
    for field in events.iter().flat_map(|event| event.as_object().unwrap().keys()) {
        assert!(help.contains(field), "{field}: {help}");
    }
}

#[test]
fn recording_is_private_and_replays_the_same_lines() {
    let served = Served::new(&[]);
    let dir = TempDir::new();
    let file = dir.path("session");
    let tap = Tap::new(&served.address, &["--save", &file]);
    let at = ["--address", &tap.address];
    run(basemanager(&[&["put", "task_queue", "\"it's\""][..], &at].concat()), b"").ok();
    run(basemanager(&[&["get", "task_queue"][..], &at].concat()), b"").ok();
    let mut tap = tap;
    tap.process.signal("TERM");
    let ended = tap.process.end(PATIENCE).well();
    assert_mentions(&ended.stderr, &[&file, "all items unencrypted", "mode is 0600"]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let replayed = run(basemanager(&["tap", "--replay", &file]), b"").ok();
    // A call that waits is looked for now and then.
    let answered = |line: &&str| !line.contains("… waiting");
    let live: Vec<&str> = ended.stdout.iter().map(String::as_str).filter(answered).collect();
    assert_eq!(replayed.lines().filter(answered).collect::<Vec<_>>(), live);

    let explained = run(basemanager(&["tap", "--replay", &file, "-v"]), b"").ok();
    assert_mentions(
        &explained,
        &[
            "manager → client",
            "HMAC",
            "verdict #WELCOME#",
            "\"it's\"",
            "#RETURN: ",
            "request to the",
        ],
    );
    let listed = run(basemanager(&["tap", "--replay", &file, "-vv"]), b"").ok();
    assert_mentions(&listed, &["SHORT_BINUNICODE \"it's\"", "│ │ ", "makes one tuple", "STOP"]);

    let page = dir.path("page.html");
    let write_page =
        |file: &str| run(basemanager(&["tap", "--replay", file, "--html", &page]), b"");
    write_page(&file).ok();
    assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&page).unwrap().contains("task_queue"));
    assert_mentions(
        &write_page(&file).failed(2),
        &["cannot create", "exists", "are not overwritten"],
    );

    let length = fs::metadata(&file).unwrap().len();
    fs::File::options().write(true).open(&file).unwrap().set_len(length - 1).unwrap();
    let truncated = run(basemanager(&["tap", "--replay", &file]), b"");
    assert_eq!(
        (truncated.status, truncated.stderr.contains("last, incomplete frame was skipped")),
        (0, true)
    );

    let again = ["tap", "127.0.0.1:0", &served.address, "--save", &file];
    assert_mentions(
        &run(basemanager(&again), b"").failed(2),
        &["cannot create", "choose another name"],
    );
    fs::write(&file, "something else").unwrap();
    assert_mentions(
        &run(basemanager(&["tap", "--replay", &file]), b"").failed(2),
        &["cannot read", &file, "not a recording of `basemanager tap --save`"],
    );
}

/// A peer that plays the manager: `serve` gets each connection.
fn play(serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

/// A page of the same name as the recording would replace it.
#[test]
fn files_are_created_before_the_relay_listens_and_after_its_errors() {
    let dir = TempDir::new();
    let (file, page) = (dir.path("session"), dir.path("missing/page"));
    for args in [
        &["127.0.0.1:0", "127.0.0.1:1", "--save", &file, "--html", &file][..],
        &["127.0.0.1:0", "127.0.0.1:1", "--html", &page],
        &["127.0.0.1:0", ":5000", "--save", &page],
        &["127.0.0.1:0", "nonsense", "--save", &page],
    ] {
        let said = run(basemanager(&[&["tap"], args].concat()), b"").failed(2);
        assert!(said.contains("cannot create") || said.contains("invalid address"), "{said}");
    }
}

#[test]
fn failed_housekeeping_is_shown_and_a_key_of_another_digest_explained() {
    let served = Served::new(&["--no-md5"]);
    let tap = Tap::new(&served.address, &["--calls"]);
    let mut wire = Wire::accepted(&tap.address, KEY);
    wire.request(None, "incref", &text("missing"));
    assert_eq!(wire.reply().unwrap().0, "#TRACEBACK");
    let old = pythons().iter().filter(|python| python.version < [3, 12, 0]);
    for python in old.clone() {
        python_client(python, "show(connect)\n", &tap.address, KEY).end(PATIENCE).well();
    }
    let lines = tap.end();
    assert_line(&lines, &["incref('missing') ← failed: KeyError"]);
    let md5 = lines.iter().filter(|line| line.contains("or the manager does not accept HMAC-MD5"));
    assert_eq!(md5.count(), old.count());
}

#[cfg(target_os = "linux")]
#[test]
fn relay_goes_on_without_a_stdout() {
    let served = Served::new(&[]);
    let dir = TempDir::new();
    let socket = dir.path("tap");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut tap = basemanager(&["tap", &socket, &served.address, "--json"]);
    let child = tap.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Killed(child);
    let mut stderr = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let mut line = || stderr.next().unwrap().unwrap();
    assert!(line().starts_with("listening on"));
    for _ in 0..2 {
        run(basemanager(&["put", "task_queue", "1", "--address", &socket]), b"").ok();
    }
    assert_mentions(&line(), &["No space left on device", "the relay goes on"]);
    std::process::Command::new("kill").args(["-INT", &child.0.id().to_string()]).status().unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(2));
}

#[test]
fn foreign_traffic_of_both_sides_is_named() {
    let served = Served::new(&[]);
    let tap = Tap::new(&served.address, &[]);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x80\x00\x00\x00",
        b"\x00\x00\x00\x20short",
        b"hello world",
    ] {
        let mut client = TcpStream::connect(&tap.address).unwrap();
        client.write_all(bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = client.read_to_end(&mut Vec::new());
    }
    let lines = tap.end();
    for line in [
        "the client speaks HTTP, not the manager protocol",
        "the client speaks TLS",
        "the client speaks SSH",
        "the client sent an invalid frame length, -2147483648",
        "the client sent a frame that ends after 5 of 32 bytes",
        "the client does not speak the manager protocol: it began with \"hell\", which would be a frame length of \
         1751477356 bytes",
    ] {
        assert_line(&lines, &[line]);
    }
    for (greeting, said) in [
        (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], "speaks SSH"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP"),
        (b"\xff\xff\xff\xf0", "sent an invalid frame length, -16"),
    ] {
        let manager = play(move |mut stream| stream.write_all(greeting).unwrap());
        let tap = Tap::new(&manager, &[]);
        let mut read = Vec::new();
        TcpStream::connect(&tap.address).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, greeting);
        assert_line(&tap.end(), &["the manager ", said]);
    }
}

/// Sends bytes in pieces of random sizes, and then the end of the stream.
fn send(mut stream: &TcpStream, bytes: &[u8], rng: &mut Rng) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = [1, 3, 100, 5000, 100_000][rng.below(5)].min(rest.len());
        stream.write_all(&rest[..size]).unwrap();
        rest = &rest[size..];
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Bytes that are hostile in one of several ways.
fn hostile(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.below(30) {
        let length = [0, 1, 40, 300, 70_000][rng.below(5)];
        let payload = match rng.below(4) {
            0 => crate::support::programs::program(rng, 10),
            1 => [b"#CHALLENGE#", &rng.bytes(40)[..]].concat(),
            2 => request(Some("id"), "put", &rng.bytes(10)),
            _ => rng.bytes(length),
        };
        match rng.below(12) {
            0 => bytes.extend(rng.bytes(7)),
            1 => bytes.extend([0xff; 12]),
            2 => {
                bytes.extend([0xff; 4]);
                bytes.extend((payload.len() as u64).to_be_bytes());
                bytes.extend(payload);
            }
            _ => bytes.extend(framed(&payload)),
        }
    }
    bytes
}

#[test]
fn any_bytes_of_both_sides_pass_unchanged() {
    let (sent, received) = std::sync::mpsc::channel();
    let manager = play(move |stream| {
        let sent = sent.clone();
        thread::spawn(move || {
            let mut seed = [0; 8];
            (&stream).read_exact(&mut seed).unwrap();
            let mut rng = Rng::new(u64::from_be_bytes(seed));
            let (back, mut all) = (hostile(&mut rng), seed.to_vec());
            thread::scope(|scope| {
                scope.spawn(|| send(&stream, &back, &mut rng));
                (&stream).read_to_end(&mut all).unwrap();
            });
            sent.send((all, back)).unwrap();
        });
    });
    let tap = Tap::new(&manager, &["-vv"]);
    for seed in 0..60_u64 {
        let mut rng = Rng::new(seed + 1000);
        // Half of them look like a length.
        let first = if seed % 2 == 0 { seed << 32 } else { seed << 56 | 0x8000_0000 };
        let forth = [&first.to_be_bytes()[..], &hostile(&mut rng)].concat();
        let stream = TcpStream::connect(&tap.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut read = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| send(&stream, &forth, &mut rng));
            (&stream).read_to_end(&mut read).unwrap();
        });
        let (all, back) = received.recv_timeout(PATIENCE).unwrap();
        assert!(all == forth, "{seed}: {} of {} bytes", all.len(), forth.len());
        assert!(read == back, "{seed}: {} of {} bytes back", read.len(), back.len());
    }
    let lines = tap.end();
    assert!(lines.len() > 100);
    assert!(lines.iter().all(|line| !line.contains('\x1b')));
}

#[test]
fn hostile_clients_of_cpython_get_the_same_through_the_tap() {
    for python in pythons() {
        let (_manager, address) = sync_manager(python, KEY);
        let tap = Tap::new(&address, &[]);
        let run = |address: &str| {
            snippet(python, "hostile_client.py", &[address, KEY]).end(PATIENCE).well().stdout
        };
        // A manager that closes the connection with unread bytes resets it, which can discard its last reply.
        let mut same = [false; 31];
        until("each reply was once the same", 4 * PATIENCE, || {
            let (direct, tapped) = (run(&address), run(&tap.address));
            assert_eq!((direct.len(), tapped.len()), (same.len(), same.len()), "{python}");
            for ((direct, tapped), same) in direct.iter().zip(&tapped).zip(&mut same) {
                let begins = |all: &str, part: &str| all.starts_with(part.trim_end_matches('\''));
                let differs = !begins(tapped, direct) && !begins(direct, tapped);
                assert!(!differs, "{python}: {direct}\n{tapped}");
                *same |= direct == tapped;
            }
            same.iter().all(|same| *same)
        });
        let lines = tap.end();
        assert_line(&lines, &["the client speaks HTTP"]);
        assert_line(&lines, &["the client sent an invalid frame length, -2147483648"]);
        assert_line(&lines, &["nothing() ← failed"]);
        assert_line(&lines, &["key rejected by the manager"]);
    }
}

#[test]
fn hostile_clients_and_managers_leave_the_tap_working() {
    let served = Served::new(&[]);
    let tap = Tap::new(&served.address, &[]);
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut wire = Wire::unauthenticated(&tap.address);
        if seed % 2 == 0 {
            wire = Wire::accepted(&tap.address, KEY);
        }
        // The manager may close the connection at any time.
        wire.send(&hostile(&mut rng));
    }
    // What a terminal would obey.
    let mut wire = Wire::accepted(&tap.address, KEY);
    wire.request(Some("\x1b[2J"), "\x1b[31m", b"");
    wire.reply().unwrap();
    run(basemanager(&["put", "task_queue", "1", "--address", &tap.address]), b"").ok();
    let lines = tap.end();
    assert_line(&lines, &["task_queue.put_many([1]", "← 1"]);
    assert_line(&lines, &["\\u{1b}[31m"]);
    assert!(lines.iter().all(|line| !line.contains('\x1b')));
}

#[test]
fn large_items_are_streamed_in_little_memory() {
    let served = Served::new(&[]);
    let tap = Tap::new(&served.address, &[]);
    for python in pythons() {
        let code = "q = connect('task_queue').task_queue()
item = b'x' * (64 << 20)
q.put(item); print(q.get() == item)
";
        let ended = python_client(python, code, &tap.address, KEY).end(PATIENCE).well();
        assert_eq!(ended.stdout, ["True"], "{python}");
    }
    let resident = tap.process.resident();
    assert!(resident < 40_000, "{resident} kB");
    let lines = tap.end();
    assert_line(&lines, &["task_queue.put(<64.0 MiB, xxxx"]);
    assert_line(&lines, &["task_queue.get() ← <64.0 MiB, xxxx"]);
}

/// A process that does not outlive the test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn slow_reader_does_not_stop_the_relay_and_learns_what_it_missed() {
    const CALLS: usize = 20_000;
    let served = Served::new(&[]);
    let socket = TempDir::new();
    let address = socket.path("tap");
    let child = basemanager(&["tap", &address, &served.address]).stdout(Stdio::piped()).spawn();
    let mut child = Killed(child.unwrap());
    // Its socket file exists before it listens.
    let (mut stdout, mut listening) =
        (BufReader::new(child.0.stdout.take().unwrap()), String::new());
    stdout.read_line(&mut listening).unwrap();
    let id = Wire::create(&served.address, KEY, "task_queue");
    let stream = std::os::unix::net::UnixStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut wire = Wire::over(stream);
    wire.prove(KEY).unwrap();
    wire.accept_connection();
    let started = Instant::now();
    let batch = framed(&request(Some(&id), "qsize", b"")).repeat(100);
    for _ in 0..CALLS / 100 {
        wire.send(&batch);
        for _ in 0..100 {
            assert_eq!(wire.reply().unwrap().0, "#RETURN");
        }
    }
    assert!(started.elapsed() < 3 * PATIENCE, "{:?}", started.elapsed());
    drop(wire);
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    std::process::Command::new("kill").args(["-INT", &child.0.id().to_string()]).status().unwrap();
    assert!(child.0.wait().unwrap().success());
    let text = reader.join().unwrap();
    let missed: usize = text
        .lines()
        .filter(|line| line.contains("frames of the client were relayed but not recorded"))
        .map(|line| line.split(' ').nth(2).unwrap().parse::<usize>().unwrap())
        .sum();
    let shown = text.lines().filter(|line| line.contains("qsize() ←")).count();
    assert!(missed > 0 && shown + missed <= CALLS, "{missed} missed, {shown} shown");
}

/// A relay that refuses each request with `forbidden` in it, and those over 1000 bytes.
fn checked(manager: &str) -> (String, RelayHandle, Frames) {
    let (relay, frames) = Relay::bind("127.0.0.1:0", manager).unwrap();
    let relay = relay.check(1000, |request| {
        let is_forbidden = request.windows(9).any(|part| part == b"forbidden");
        if is_forbidden { Err("it is forbidden".to_owned()) } else { Ok(()) }
    });
    let (address, handle) = (relay.address().to_string(), relay.handle());
    thread::spawn(move || relay.run());
    (address, handle, frames)
}

/// Stops it, and returns what passed.
fn stop(relay: &RelayHandle, frames: Frames) -> Vec<String> {
    relay.stop();
    let mut exchanges = Exchanges::new();
    let found = frames.flat_map(|frame| exchanges.read(&frame).exchanges);
    found.map(|exchange| exchange.to_string()).collect()
}

#[test]
fn refused_request_has_a_reply_in_its_turn_and_the_connection_goes_on() {
    let served = Served::new(&[]);
    let (address, handle, frames) = checked(&served.address);
    let id = Wire::create(&address, KEY, "task_queue");
    let mut wire = Wire::accepted(&address, KEY);
    let call = |method: &str, args: &[u8]| framed(&request(Some(&id), method, args));
    let forbidden = call("put", &text("forbidden"));
    let large = call("put", &[&b"B\xd0\x07\0\0"[..], &[b'x'; 2000]].concat());
    // Pipelined, behind a call that waits.
    let calls =
        [call("get", b""), forbidden.clone(), call("qsize", b""), large, call("qsize", b"")];
    wire.send(&calls.concat());
    served.ok(&["put", "task_queue", "7"]);
    let mut replies = || wire.reply().unwrap();
    assert_eq!(replies(), ("#RETURN".to_owned(), 7.into()));
    let (kind, reason) = replies();
    assert_eq!(kind, "#TRACEBACK");
    assert_mentions(reason.as_str().unwrap(), &["it is forbidden"]);
    assert_eq!(replies(), ("#RETURN".to_owned(), 0.into()));
    let (kind, reason) = replies();
    assert_eq!(kind, "#TRACEBACK");
    assert_mentions(reason.as_str().unwrap(), &["bytes; the guard accepts at most 1000"]);
    assert_eq!(replies(), ("#RETURN".to_owned(), 0.into()));
    for _ in 0..100 {
        wire.send(&forbidden);
        assert_eq!(wire.reply().unwrap().0, "#TRACEBACK");
    }
    let lines = stop(&handle, frames);
    assert_line(&lines, &["task_queue.get() ← 7"]);
    assert_line(&lines, &["put('forbidden') ← failed", "it is forbidden"]);
    assert_line(&lines, &["the guard refused a request: it is forbidden"]);
    assert_line(&lines, &["put(b'xxx", "← failed"]);
    assert_line(&lines, &["task_queue.qsize() ← 0"]);
}

#[test]
fn checked_request_cannot_come_before_the_end_of_the_handshake() {
    // A manager that says nothing more, and so does not close the connection first.
    let silent = play(|mut stream| {
        stream.write_all(&framed(b"#CHALLENGE#{sha256}0123456789")).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (address, handle, frames) = checked(&silent);
    let mut wire = Wire::unauthenticated(&address);
    wire.read().unwrap();
    let handshake = [framed(b"a"), framed(b"b"), framed(b"c")].concat();
    wire.send(&[&handshake[..], &framed(b"forbidden")].concat());
    while wire.read().is_some() {}
    // Not even a part of a request is held.
    let mut wire = Wire::unauthenticated(&address);
    wire.send(&[&handshake[..], &500_u32.to_be_bytes(), b"part"].concat());
    while wire.read().is_some() {}
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 1, 1, 0]] {
        let mut wire = Wire::unauthenticated(&address);
        wire.send(bytes);
        while wire.read().is_some() {}
    }
    let lines = stop(&handle, frames);
    let early = lines.iter().filter(|line| line.contains("came before the end of the handshake"));
    assert_eq!(early.count(), 2, "{lines:?}");
    assert_line(&lines, &["the guard closed", "the client does not speak the manager protocol"]);
}

#[test]
fn call_of_python_client_does_not_stall() {
    let Some(python) = pythons().last() else { return };
    let (_manager, address) = Peer::Rust.serve("manager", &["127.0.0.1:0"]);
    let tap = Tap::new(&address, &[]);
    let ended = snippet(python, "latency.py", &[&tap.address]).end(PATIENCE).well();
    for line in &ended.stdout {
        let (what, median) = line.split_once(' ').unwrap();
        say(&format!("through the tap: {what}: {median} ms ({python})"));
        // Below one delayed acknowledgement.
        assert!(median.parse::<f64>().unwrap() < 30.0, "{line}");
    }
    tap.end();
}

#[test]
fn manager_that_is_gone_is_told() {
    let (dead, _guard) = crate::support::dead_address();
    let tap = Tap::new(&dead, &[]);
    run(basemanager(&["peek", "task_queue", "--address", &tap.address]), b"").failed(3);
    assert_line(&tap.end(), &["cannot connect to", "refused"]);
}

#[test]
fn unix_sockets_are_relayed_on_both_sides() {
    let dir = TempDir::new();
    let served = Served::at(&dir.path("manager"), &[]);
    let tap = Tap::at(&dir.path("tap"), &served.address, &[]);
    for python in pythons() {
        let code = "q = connect('task_queue').task_queue()\nq.put(1); print(q.get())\n";
        let ended = python_client(python, code, &tap.address, KEY).end(PATIENCE).well();
        assert_eq!(ended.stdout, ["1"], "{python}");
    }
    assert_line(&tap.end(), &["task_queue.get() ← 1"]);
    assert!(!fs::exists(dir.path("tap")).unwrap());
}

#[test]
fn terminal_has_colors_unless_they_are_not_wanted() {
    let Some(python) = pythons().last() else { return };
    let served = Served::new(&[]);
    let dir = TempDir::new();
    let file = dir.path("session");
    let tap = Tap::new(&served.address, &["--save", &file]);
    run(basemanager(&["get", "--timeout", "0", "task_queue", "--address", &tap.address]), b"");
    tap.end();
    let spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))";
    let shown = |no_color: &str| {
        let mut command = std::process::Command::new(&python.path);
        let program = env!("CARGO_BIN_EXE_basemanager");
        command.args(["-c", spawn, program, "tap", "--replay", &file]).env("NO_COLOR", no_color);
        Process::start("pty", &mut command).end(PATIENCE).well().stdout
    };
    assert_line(&shown(""), &["\x1b[2m", "dummy()", "\x1b[0m"]);
    let plain = shown("1");
    assert_line(&plain, &["dummy()"]);
    assert!(plain.iter().all(|line| !line.contains('\x1b')), "{plain:?}");
}

#[test]
fn rust_programs_run_through_the_tap() {
    for python in pythons() {
        let (mut manager, address) = Peer::Python(python).serve("manager", &["127.0.0.1:0"]);
        let tap = Tap::new(&address, &[]);
        let mut consumer = Peer::Rust.start("consumer", &[&tap.address]);
        let mut producer = Peer::Rust.start("producer", &[&tap.address, "0.01"]);
        for _ in 0..10 {
            assert_eq!(producer.line().strip_prefix("put "), Some(&*consumer.line()), "{python}");
        }
        Peer::Rust.start("close", &[&tap.address]).end(PATIENCE).well();
        manager.end(PATIENCE).well();
        for mut program in [producer, consumer] {
            assert_mentions(&program.end(PATIENCE).well().stderr, &["the manager has gone"]);
        }
        assert_line(&tap.end(), &["task_queue.put(", "← None"]);
    }
}

#[test]
fn threads_and_files_of_connections_go_with_them() {
    let served = Served::new(&[]);
    let tap = Tap::new(&served.address, &[]);
    // It accepts, so that all of its own threads run.
    drop(Wire::accepted(&tap.address, KEY));
    until("its own threads are left", PATIENCE, || tap.process.threads() == 3);
    let before = (3, tap.process.files());
    for _ in 0..3 {
        let wires: Vec<Wire> = (0..200).map(|_| Wire::accepted(&tap.address, KEY)).collect();
        assert!(tap.process.threads() >= before.0 + 400);
        drop(wires);
        until("all is as before", PATIENCE, || {
            (tap.process.threads(), tap.process.files()) == before
        });
    }
    // Connections that the manager closes.
    let wires: Vec<Wire> = (0..50).map(|_| Wire::accepted(&tap.address, KEY)).collect();
    drop(served);
    for mut wire in wires {
        assert_eq!(wire.read(), None);
    }
    until("all is as before", PATIENCE, || (tap.process.threads(), tap.process.files()) == before);
    tap.end();
}

#[test]
fn tap_ends_when_its_socket_file_is_gone() {
    let dir = TempDir::new();
    let tap = Tap::at(&dir.path("tap"), "127.0.0.1:1", &[]);
    fs::remove_file(dir.path("tap")).unwrap();
    tap.end();
}

#[test]
fn stopped_tap_blames_no_side_for_a_call_that_waits() {
    let served = Served::new(&[]);
    let dir = TempDir::new();
    let file = dir.path("session");
    let tap = Tap::new(&served.address, &["--save", &file]);
    let mut waiting =
        Process::start("get", &mut basemanager(&["get", "task_queue", "--address", &tap.address]));
    until_waiting(&served, 1);
    let mut silent = Wire::unauthenticated(&tap.address);
    silent.read().unwrap();
    let lines = tap.end();
    assert_eq!(waiting.end(PATIENCE).code, Some(3));
    let replayed = run(basemanager(&["tap", "--replay", &file]), b"").ok();
    let replayed: Vec<String> = replayed.lines().map(str::to_owned).collect();
    for lines in [lines, replayed] {
        assert_line(&lines, &["task_queue.get", "← no reply: the tap was stopped"]);
        assert_line(&lines, &["handshake not completed: the tap was stopped"]);
        assert!(!lines.iter().any(|line| line.contains("closed the connection")), "{lines:?}");
    }
    let json = run(basemanager(&["tap", "--replay", &file, "--json"]), b"").ok();
    assert_mentions(&json, &["\"outcome\":\"unanswered\"", "\"text\":\"tap\""]);
}

#[test]
fn wrong_use_is_refused() {
    for (args, part) in [
        (&["tap"][..], "required"),
        (&["tap", "127.0.0.1:0"], "MANAGER"),
        (&["tap", "a:1", "b:2", "--replay", "x"], "cannot be used"),
        (&["tap", "a:1", "b:2", "--allow", "x.y"], "--guard"),
        (&["tap", "127.0.0.1:0", "b:2", "--guard", "--allow", "*.y"], "*.y"),
        (&["tap", ":59871", "localhost:59871"], "the tap would connect to itself"),
        (&["tap", "127.0.0.1:0", ":7500"], "the host is missing: write 127.0.0.1:7500"),
        (&["tap", "127.0.0.1:0", "a:99999"], "port 99999 exceeds 65535"),
        (
            &["tap", "127.0.0.1:0", "a"],
            "expected host:port, a Unix socket path with a `/`, or @name",
        ),
        (
            &["tap", "127.0.0.1:0", "a:1", "--guard", "--known-as", "foo"],
            "\"foo\": expected host:port",
        ),
        (&["tap", "--nonsense"], "see `basemanager tap --help`"),
        (&["--nonsense"], "see `basemanager --help`"),
    ] {
        let ran = run(basemanager(args), b"");
        assert!(ran.status == 2 && ran.stderr.contains(part), "{args:?}: {ran:?}");
    }
}
