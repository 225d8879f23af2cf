//! The metrics page, in Prometheus' text format.
//!
//! A small HTTP server: each connection has a thread, and carries one request. Deadlines and a limit of connections
//! keep clients that send or read nothing from blocking the page for others.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use basemanager::Value;

use crate::failure::Failure;
use crate::snapshot::{State, entry};

/// How long a client may take to send its request, and to read the response.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest request, in bytes.
const REQUEST: usize = 8192;
/// The most connections at once. Others are closed.
const CONNECTIONS: usize = 16;
/// After an error of `accept`, such as too many open files: so long until the next attempt.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves the page at this address, on threads of its own; returns the address with the port that was chosen.
pub(crate) fn serve(address: &str, state: Arc<State>) -> Result<SocketAddr, Failure> {
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot serve metrics at {address}: {why}"))
    };
    let (host, _) = address
        .rsplit_once(':')
        .ok_or_else(|| cannot(&"expected host:port, or :port for all interfaces"))?;
    let all = if host.is_empty() { "0.0.0.0" } else { "" };
    let listener = TcpListener::bind(format!("{all}{address}")).map_err(|error| cannot(&error))?;
    let bound = listener.local_addr()?;
    thread::Builder::new().name("metrics".to_owned()).spawn(move || accept(&listener, &state))?;
    Ok(bound)
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    // Each connection holds a clone.
    let permits = Arc::new(());
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(PAUSE);
            continue;
        };
        if Arc::strong_count(&permits) > CONNECTIONS {
            continue;
        }
        let (permit, state) = (permits.clone(), state.clone());
        let run = move || {
            // A client that left needs no response.
            let _ = respond(stream, &state);
            drop(permit);
        };
        // Without a thread, the connection is closed.
        let _ = thread::Builder::new().name("metrics client".to_owned()).spawn(run);
    }
}

/// Answers one request.
fn respond(mut stream: TcpStream, state: &State) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    let complete = loop {
        if request.windows(4).any(|end| end == b"\r\n\r\n") {
            break true;
        }
        let length = read(&mut stream, &mut buffer, deadline)?;
        if length == 0 || request.len() + length > REQUEST {
            break false;
        }
        request.extend_from_slice(buffer.get(..length).unwrap_or_default());
    };
    let response = if complete {
        response(&request, || page(&state.to_value()))
    } else {
        message("400 Bad Request", "the request is not complete, or too long\n", true)
    };
    let deadline = Instant::now() + TIMEOUT;
    let mut unsent = response.as_bytes();
    while !unsent.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        let sent = stream.write(unsent)?;
        unsent = unsent.get(sent..).unwrap_or_default();
    }
    // Closing a socket with unread data resets the connection, and the client could lose the response.
    stream.shutdown(Shutdown::Write)?;
    while read(&mut stream, &mut buffer, deadline)? > 0 {}
    Ok(())
}

fn read(stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
    stream.set_read_timeout(Some(left(deadline)?))?;
    stream.read(buffer)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn response(request: &[u8], page: impl FnOnce() -> String) -> String {
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts[..] else {
        return message("400 Bad Request", "expected METHOD TARGET VERSION\n", true);
    };
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        _ if !version.starts_with("HTTP/1.") => {
            message("505 HTTP Version Not Supported", "expected HTTP/1.1\n", true)
        }
        ("GET" | "HEAD", "/metrics") => message("200 OK", &page(), method == "GET"),
        ("GET" | "HEAD", _) => message("404 Not Found", "see /metrics\n", method == "GET"),
        _ => message("405 Method Not Allowed", "expected GET or HEAD\n", true),
    }
}

/// A response; that to HEAD has no body.
fn message(status: &str, body: &str, has_body: bool) -> String {
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let length = body.len();
    let body = if has_body { body } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n{allow}\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// Metrics of a queue: name, type, help, and the key in the snapshot.
const QUEUE: [(&str, &str, &str, &str); 10] = [
    ("items", "gauge", "Items that can be taken.", "items"),
    ("bytes", "gauge", "Size of all items in bytes.", "bytes"),
    ("unacked", "gauge", "Items taken and not acknowledged.", "unacked"),
    ("waiting", "gauge", "Consumers that wait for an item.", "waiting"),
    ("oldest_seconds", "gauge", "Age of the oldest item, to about a second.", "oldest"),
    ("puts_total", "counter", "Items put.", "puts"),
    ("gets_total", "counter", "Items taken, each as often as it was delivered.", "gets"),
    ("done_total", "counter", "Successful calls of task_done.", "done"),
    (
        "redelivered_total",
        "counter",
        "Deliveries that were not the first of their item.",
        "redelivered",
    ),
    ("dead_total", "counter", "Items moved to the dead letters.", "dead"),
];

/// Metrics of the manager.
const MANAGER: [(&str, &str, &str, &str); 5] = [
    ("connections", "gauge", "Open connections.", "connections"),
    ("rejected_handshakes_total", "counter", "Connections that did not prove the key.", "rejected"),
    ("objects", "gauge", "Objects that clients refer to.", "objects"),
    ("resident_memory_bytes", "gauge", "Resident memory.", "memory"),
    ("uptime_seconds", "gauge", "Time since the start.", "uptime"),
];

fn page(snapshot: &Value) -> String {
    let mut page = String::new();
    for (name, kind, help, key) in MANAGER {
        if let Some(number) = entry(snapshot, key).and_then(number) {
            head(&mut page, &format!("basemanager_{name}"), kind, help);
            let _ = writeln!(page, "basemanager_{name} {number}");
        }
    }
    let Some(Value::Dict(queues)) = entry(snapshot, "queues") else { return page };
    for (name, kind, help, key) in QUEUE {
        head(&mut page, &format!("basemanager_queue_{name}"), kind, help);
        for (queue, stats) in queues {
            let queue = escape(queue.as_str().unwrap_or_default());
            if let Some(number) = entry(stats, key).and_then(number) {
                let _ = writeln!(page, "basemanager_queue_{name}{{queue=\"{queue}\"}} {number}");
            }
        }
    }
    page
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn number(value: &Value) -> Option<String> {
    matches!(value, Value::Int(_) | Value::Float(_)).then(|| value.to_string())
}

/// A label's text.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
