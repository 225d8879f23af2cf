//! The metrics page, read by Prometheus' own parser, and by clients that would block it.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Process, python_client, until, with_packages};
use crate::{KEY, Served, basemanager, run};

/// A manager with a metrics page, and the page's address.
fn serve(args: &[&str]) -> (Served, String) {
    let mut served = Served::new(&[&["--metrics", "127.0.0.1:0"], args].concat());
    let address = page_address(&mut served.process);
    (served, address)
}

/// The address in the second line of output.
fn page_address(server: &mut Process) -> String {
    let line = server.line();
    let address = line.strip_prefix("metrics at http://").unwrap_or_else(|| panic!("{line}"));
    address.strip_suffix("/metrics").unwrap().to_owned()
}

/// Sends a request, and leaves the connection open.
fn send(address: &str, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn read(mut stream: TcpStream) -> io::Result<String> {
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

fn ask(address: &str, request: &str) -> String {
    read(send(address, &format!("{request} HTTP/1.1\r\nHost: {address}\r\n\r\n"))).unwrap()
}

fn get(address: &str, path: &str) -> String {
    ask(address, &format!("GET {path}"))
}

/// Asserts that the page is there, without a wait for another client's timeout.
#[track_caller]
fn is_prompt(address: &str) {
    let started = Instant::now();
    assert!(get(address, "/metrics").contains("basemanager_queue_items"));
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
}

#[test]
fn page_is_read_by_a_prometheus_parser() {
    let (served, address) = serve(&["--queue", "jobs,at-least-once"]);
    served.ok(&["put", "jobs", "1", "2", "3"]);
    served.ok(&["get", "jobs", "-n", "2"]);
    served.ok(&["call", "queue(\"odd \\\"name\\\"\")", "put", "1"]);
    let mut wrong = served.command(&["stat"]);
    wrong.env("MANAGER_AUTHKEY", "wrong");
    run(wrong, b"").failed(4);
    let page = get(&address, "/metrics");
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("text/plain; version=0.0.4"),
        "{page}"
    );
    for python in with_packages(&["prometheus-client"]) {
        let code = format!(
            "import urllib.request
from prometheus_client.parser import text_string_to_metric_families
page = urllib.request.urlopen('http://{address}/metrics').read().decode()
found = {{}}
for family in text_string_to_metric_families(page):
    assert family.type in ('gauge', 'counter') and family.documentation, family
    for sample in family.samples:
        found[sample.name, sample.labels.get('queue')] = sample.value
for name, queue in [('items', 'jobs'), ('puts_total', 'jobs'), ('gets_total', 'jobs'), ('done_total', 'jobs'),
        ('items', 'odd \"name\"')]:
    print(name, int(found['basemanager_queue_' + name, queue]))
print(int(found['basemanager_rejected_handshakes_total', None]), found['basemanager_resident_memory_bytes', None] > 1e6)
print(sorted({{name for name, _ in found}}))
"
        );
        let ended = python_client(&python, &code, &served.address, KEY).end(PATIENCE).well();
        let expected =
            ["items 1", "puts_total 3", "gets_total 2", "done_total 2", "items 1", "1 True"];
        assert_eq!(ended.stdout[..6], expected, "{python}");
        for name in ["bytes", "unacked", "waiting", "redelivered_total", "dead_total"] {
            assert!(
                ended.stdout[6].contains(&format!("'basemanager_queue_{name}'")),
                "{name}: {ended:?}"
            );
        }
    }
}

#[test]
fn metrics_address_in_use_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = run(basemanager(&["serve", "127.0.0.1:0", "--metrics", &address]), b"").failed(2);
    assert!(failed.contains("cannot serve metrics"), "{failed}");
}

#[test]
fn metrics_address_without_host_is_all_interfaces() {
    let mut served = Served::new(&["--metrics", ":0"]);
    let address = page_address(&mut served.process);
    let port = address.strip_prefix("0.0.0.0:").unwrap();
    is_prompt(&format!("127.0.0.1:{port}"));
    let portless = run(basemanager(&["serve", "127.0.0.1:0", "--metrics", "6503"]), b"").failed(2);
    assert!(portless.contains("expected host:port"), "{portless}");
}

#[test]
fn request_is_answered_by_method_and_path() {
    let (_served, address) = serve(&[]);
    for (request, status) in [
        ("GET /metrics", "200 OK"),
        ("GET /metrics?x=1", "200 OK"),
        ("HEAD /metrics", "200 OK"),
        ("GET /", "404 Not Found"),
        ("HEAD /metricsx", "404 Not Found"),
        ("POST /metrics", "405 Method Not Allowed"),
        ("DELETE /", "405 Method Not Allowed"),
        ("GET", "400 Bad Request"),
        ("", "400 Bad Request"),
    ] {
        let response = ask(&address, request);
        assert!(response.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {response}");
        assert!(response.contains("\r\nConnection: close\r\n"), "{request}: {response}");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let length = head.split_once("\r\nContent-Length: ").unwrap().1.lines().next().unwrap();
        let length: usize = length.parse().unwrap();
        let sent = if request.starts_with("HEAD") { 0 } else { length };
        assert!(length > 0 && body.len() == sent, "{request}: {response}");
    }
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9000));
    assert!(read(send(&address, &long)).unwrap().starts_with("HTTP/1.1 400"));
    let expect = "GET /metrics HTTP/1.1\r\nExpect: 100-continue\r\n\r\n";
    assert!(read(send(&address, expect)).unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn client_that_sends_or_reads_nothing_blocks_no_other() {
    let (_served, address) = serve(&[]);
    let body = "POST /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\nabc";
    let _open = send(&address, body);
    is_prompt(&address);
    let _expects = send(&address, "POST /metrics HTTP/1.1\r\nExpect: 100-continue\r\n\r\n");
    is_prompt(&address);
    let _pipelined = send(&address, &"GET /metrics HTTP/1.1\r\n\r\n".repeat(2000));
    is_prompt(&address);
    let mut slow = send(&address, "GET /metrics HTTP/1.1\r\n");
    let started = Instant::now();
    // Each byte arrives in time, the request does not.
    while slow.write_all(b"x").is_ok() {
        assert!(started.elapsed() < Duration::from_secs(10), "the connection is still open");
        thread::sleep(Duration::from_millis(100));
    }
    is_prompt(&address);
}

#[test]
fn page_outlives_a_flood_of_connections() {
    let mut limited = Command::new("sh");
    let script = "ulimit -n 200; exec \"$0\" serve 127.0.0.1:0 --metrics 127.0.0.1:0";
    limited.args(["-c", script, env!("CARGO_BIN_EXE_basemanager")]).env("MANAGER_AUTHKEY", KEY);
    let mut server = Process::start("serve", &mut limited);
    let manager = server.address();
    let address = page_address(&mut server);
    let is_served = || {
        // The connection may be one too many still.
        let mut stream = TcpStream::connect(&address).unwrap();
        let asked = stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
        asked.and_then(|()| read(stream)).is_ok_and(|page| page.starts_with("HTTP/1.1 200"))
    };
    for flooded in [&address, &manager] {
        let silent: Vec<_> = (0..250).map(|_| TcpStream::connect(flooded).unwrap()).collect();
        if *flooded == manager {
            until("nearly all files are open", PATIENCE, || server.files() >= 190);
            // The page's server runs out of files as well.
            let _waits = send(&address, "GET /metrics HTTP/1.1\r\n\r\n");
            thread::sleep(Duration::from_millis(300));
        } else {
            assert!(server.files() < 100, "{}", server.files());
        }
        drop(silent);
        until("the page is served", PATIENCE, is_served);
    }
}
