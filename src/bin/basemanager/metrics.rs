//! The metrics page, in Prometheus' text format.

use std::fmt::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use basemanager::Value;
use tiny_http::{Header, Response, Server};

use crate::failure::Failure;
use crate::snapshot::{State, entry};

/// Serves the page at this address, on a thread of its own.
pub(crate) fn serve(address: &str, state: Arc<State>) -> Result<(), Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot serve metrics at {address}: {error}"))
    };
    let listener = TcpListener::bind(address).map_err(|error| cannot(&error))?;
    let server = Server::from_listener(listener, None).map_err(|error| cannot(&error))?;
    let run = move || {
        for request in server.incoming_requests() {
            let page = if request.url() == "/metrics" {
                Response::from_string(page(&state.to_value()))
            } else {
                Response::from_string("see /metrics\n").with_status_code(404)
            };
            let kind = b"text/plain; version=0.0.4; charset=utf-8";
            let page = Header::from_bytes(&b"Content-Type"[..], &kind[..])
                .map(|header| page.with_header(header));
            // A client that left needs no answer.
            let _ = page.map(|page| request.respond(page));
        }
    };
    thread::Builder::new().name("metrics".to_owned()).spawn(run)?;
    Ok(())
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
