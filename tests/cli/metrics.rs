//! The metrics page, read by Prometheus' own parser.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::support::{PATIENCE, python_client, with_packages};
use crate::{KEY, Served, basemanager, run};

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn page_is_read_by_a_prometheus_parser() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let served = Served::new(&["--metrics", &free, "--queue", "jobs,at-least-once"]);
    served.ok(&["put", "jobs", "1", "2", "3"]);
    served.ok(&["get", "jobs", "-n", "2"]);
    served.ok(&["call", "queue(\"odd \\\"name\\\"\")", "put", "1"]);
    let mut wrong = served.command(&["stat"]);
    wrong.env("MANAGER_AUTHKEY", "wrong");
    run(wrong, b"").failed(4);
    let page = get(&free, "/metrics");
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("text/plain; version=0.0.4"),
        "{page}"
    );
    assert!(get(&free, "/").starts_with("HTTP/1.1 404"));
    for python in with_packages(&["prometheus-client"]) {
        let code = format!(
            "import urllib.request
from prometheus_client.parser import text_string_to_metric_families
page = urllib.request.urlopen('http://{free}/metrics').read().decode()
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
