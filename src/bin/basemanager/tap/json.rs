//! Exchanges as JSON, a line each, for programs.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use basemanager::tap::{Event, Exchange, Outcome, Sender};
use serde_json::{Map, Value, json};

pub(super) fn event(
    out: &mut impl Write,
    start: SystemTime,
    exchange: &Exchange,
) -> io::Result<()> {
    let time = start.duration_since(UNIX_EPOCH).unwrap_or_default() + exchange.time;
    let mut object = Map::new();
    object.insert("time".to_owned(), json!(time.as_secs_f64()));
    object.insert("connection".to_owned(), json!(exchange.connection));
    let mut add = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    match &exchange.event {
        Event::Opened(address) => {
            add("event", json!("opened"));
            add("address", json!(address));
        }
        Event::Handshake(end, took) => {
            add("event", json!("handshake"));
            add("proved", json!(matches!(end, basemanager::tap::Handshake::Proved(_))));
            add("text", json!(end.to_string()));
            add("seconds", json!(took.as_secs_f64()));
        }
        Event::Call(call) => {
            add("event", json!("call"));
            add("id", json!(call.id));
            add("typeid", json!(call.typeid));
            add("method", json!(call.method));
            add("args", json!(call.args));
            let (outcome, text) = match &call.outcome {
                Outcome::Waiting => ("waiting", None),
                Outcome::Unanswered(side) => ("unanswered", Some(name(*side))),
                Outcome::Returned(text) => ("return", Some(text.as_str())),
                Outcome::Proxy(text) => ("proxy", Some(text.as_str())),
                Outcome::Raised(text) => ("error", Some(text.as_str())),
                Outcome::Traceback(text) => ("traceback", Some(text.as_str())),
                Outcome::Unserializable(text) => ("unserializable", Some(text.as_str())),
                Outcome::Unreadable(text) => ("unreadable", Some(text.as_str())),
                _ => ("other", None),
            };
            add("outcome", json!(outcome));
            add("text", json!(text));
            add("seconds", json!(call.took.as_secs_f64()));
        }
        Event::Foreign(side, what) => {
            add("event", json!("foreign"));
            add("sender", json!(name(*side)));
            add("text", json!(what));
        }
        Event::Unreadable(side, why) => {
            add("event", json!("unreadable"));
            add("sender", json!(name(*side)));
            add("text", json!(why));
        }
        Event::Lost(side, count) => {
            add("event", json!("lost"));
            add("sender", json!(name(*side)));
            add("frames", json!(count));
        }
        Event::Note(text) => {
            add("event", json!("note"));
            add("text", json!(text));
        }
        Event::Closed => add("event", json!("closed")),
        _ => add("event", json!("other")),
    }
    writeln!(out, "{}", Value::Object(object))
}

fn name(side: Sender) -> &'static str {
    match side {
        Sender::Client => "client",
        Sender::Manager => "manager",
    }
}
