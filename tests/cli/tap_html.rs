//! The page of a recording, in a real browser: see `tests/scripts/tap_page.py`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use basemanager::tap::{Frame, Kind, Relay, Sender, html};
use basemanager::{Pickle, Value};

use crate::support::wire::{request, text};
use crate::support::{PATIENCE, TempDir, newest_python, python_client, say, snippet};
use crate::{KEY, Served};

const BROWSER: &str = "chromium";

#[test]
fn page_is_usable_at_every_width() {
    let Some(python) = newest_python() else { return };
    let browser = Command::new(BROWSER).arg("--version").stdin(Stdio::null()).output();
    if !browser.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no {BROWSER}");
        return say(&format!("skipped: no {BROWSER}"));
    }
    let directory = TempDir::new();
    let exchange = exchange_with_python();
    let put = exchange.iter().find(|frame| holds(frame, b"resize")).unwrap().connection;
    let one: Vec<_> = exchange.iter().filter(|frame| frame.connection == put).cloned().collect();
    for (name, frames) in [
        ("empty", vec![]),
        ("one", one),
        ("python", exchange),
        ("many", many_connections()),
        ("hostile", hostile()),
    ] {
        fs::write(directory.path(&format!("{name}.html")), html::page(&frames)).unwrap();
    }
    let args = [BROWSER, &directory.path("")];
    let ended = snippet(python, "tap_page.py", &args).end(Duration::from_secs(300));
    // To be looked at.
    if let Some(kept) = std::env::var_os("BASEMANAGER_SCREENSHOTS") {
        keep(&directory.path(""), Path::new(&kept));
    }
    assert_eq!(ended.well().stdout.last().unwrap(), "ok");
}

fn keep(from: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

fn holds(frame: &Frame, part: &[u8]) -> bool {
    matches!(&frame.kind, Kind::Payload { bytes, .. } if bytes.windows(part.len()).any(|bytes| bytes == part))
}

/// What passes between a Python program and a manager.
fn exchange_with_python() -> Vec<Frame> {
    const CODE: &str = r#"
m = connect("task_queue")
q = m.task_queue()
q.put(7)
q.put({"job": 1, "name": "resize", "sizes": [(640, 480), (1920, 1080)]}, block=True)
print(q.get(), q.qsize(), q.get())
show(q.get, timeout=0.4)
q.put(b"x" * 200_000)
q.put("<b>é</b>")
print(len(q.get()))
show(q._callmethod, "no_such_method")
"#;
    let manager = Served::new(&[]);
    let (relay, frames) = Relay::bind("127.0.0.1:0", manager.address.as_str()).unwrap();
    let (address, handle) = (relay.address().to_string(), relay.handle());
    let relay = thread::spawn(move || relay.run());
    let python = newest_python().unwrap();
    python_client(python, CODE, &address, KEY).end(PATIENCE).well();
    handle.stop();
    relay.join().unwrap();
    frames.collect()
}

/// Makes recordings by hand.
#[derive(Default)]
struct Script {
    frames: Vec<Frame>,
    now: Duration,
}

impl Script {
    fn add(&mut self, connection: u64, sender: Sender, kind: Kind) {
        self.now += Duration::from_micros(90);
        self.frames.push(Frame { time: self.now, connection, sender, kind });
    }

    fn payload(&mut self, connection: u64, sender: Sender, bytes: &[u8]) {
        let kind = Kind::Payload { header: 4, length: bytes.len() as u64, bytes: bytes.to_vec() };
        self.add(connection, sender, kind);
    }

    fn handshake(&mut self, connection: u64) {
        for (challenger, other) in
            [(Sender::Manager, Sender::Client), (Sender::Client, Sender::Manager)]
        {
            self.payload(connection, challenger, &[&b"#CHALLENGE#{sha256}"[..], &[9; 40]].concat());
            self.payload(connection, other, &[&b"{sha256}"[..], &[0x80; 32]].concat());
            self.payload(connection, challenger, b"#WELCOME#");
        }
    }

    fn reply(&mut self, connection: u64, kind: &str, value: impl Into<Value>) {
        let reply = Value::Tuple(vec![kind.into(), value.into()]);
        self.payload(connection, Sender::Manager, &Pickle::encode(&reply).unwrap().to_bytes());
    }
}

/// 10,000 frames on two hundred connections, all open at once; some calls wait for seconds.
fn many_connections() -> Vec<Frame> {
    const CONNECTIONS: u64 = 200;
    let mut script = Script::default();
    for connection in 1..=CONNECTIONS {
        let address = format!("10.0.{}.{}:40000", connection / 100, connection % 100);
        script.add(connection, Sender::Client, Kind::Opened(address));
        script.handshake(connection);
        script.payload(
            connection,
            Sender::Client,
            &request(None, "accept_connection", &text("main")),
        );
        script.reply(connection, "#RETURN", ());
    }
    for round in 0..10 {
        for connection in 1..=CONNECTIONS {
            let item = text(&format!("item {round} of {connection}"));
            script.payload(connection, Sender::Client, &request(Some("7f"), "put", &item));
            script.reply(connection, "#RETURN", ());
        }
        for connection in 1..=CONNECTIONS {
            script.payload(connection, Sender::Client, &request(Some("7f"), "get", b""));
        }
        script.now += Duration::from_millis(40 << round);
        for connection in 1..=CONNECTIONS {
            script.reply(connection, "#RETURN", format!("item {round} of {connection}"));
        }
    }
    for connection in 1..=CONNECTIONS {
        script.add(connection, Sender::Client, Kind::Closed);
    }
    assert_eq!(script.frames.len(), 10_000);
    script.frames
}

/// What a peer may send to get a script into the page.
fn hostile() -> Vec<Frame> {
    const EVIL: &str =
        "</script><script>window.stolen=1</script><img src=x onerror=window.stolen=1>";
    let (client, manager) = (Sender::Client, Sender::Manager);
    let mut script = Script::default();
    script.add(1, client, Kind::Opened(EVIL.into()));
    script.add(2, client, Kind::Foreign(EVIL.into()));
    script.add(3, client, Kind::Foreign(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()));
    script.payload(1, client, EVIL.as_bytes());
    script.payload(1, manager, format!("#CHALLENGE#{{{EVIL}}}").as_bytes());
    script.payload(1, client, format!("{{{EVIL}}}").as_bytes());
    script.handshake(1);
    script.payload(1, client, &request(Some(EVIL), EVIL, &text(EVIL)));
    script.reply(1, "#ERROR", EVIL);
    script.reply(1, "#RETURN", "\u{202e}txet\u{2028}\u{0}\u{1b}[2J");
    script.reply(1, EVIL, EVIL);
    script.reply(1, "#TRACEBACK", format!("{EVIL}\n"));
    // Broken, and of a length that no number of JavaScript holds.
    script.payload(1, manager, b"");
    script.payload(1, client, b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\xff.");
    script.add(
        1,
        client,
        Kind::Payload { header: 12, length: u64::MAX, bytes: b"\x80\x04(N".to_vec() },
    );
    let long =
        [&b"\x80\x05\x95\xff\xff\0\0\0\0\0\0N"[..], &text("put"), &vec![b'x'; 60_000]].concat();
    script.add(1, client, Kind::Payload { header: 4, length: 1 << 30, bytes: long });
    script.add(1, client, Kind::Lost(u64::MAX));
    script.add(1, client, Kind::Note(format!("refused {EVIL}")));
    // Replies without requests, and the same connection twice.
    script.reply(9, "#RETURN", ());
    script.add(9, manager, Kind::Closed);
    script.add(9, client, Kind::Closed);
    script.add(9, client, Kind::Opened(String::new()));
    script.frames
}
