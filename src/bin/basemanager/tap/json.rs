//! Exchanges as JSON, a line each, for programs.
//!
//! Each object has `time` (in seconds since 1970), `connection` (its number, from 1), and `event`:
//!
//! ```text
//!  event        further fields
//!  opened       address: the client's
//!  handshake    proved: whether both sides proved the key   text   seconds: since the connection was opened
//!  call         id: of the object; null for the manager     typeid, object: of the object; null if not recorded
//!               method   args: as Python prints them        outcome, text: see below    seconds: until the reply
//!  foreign      sender: client or manager                   text: the protocol, or what is wrong
//!  unreadable   sender                                      text: why the frame cannot be decoded
//!  lost         sender                                      frames: how many were relayed but not recorded
//!  note         text: a remark by the tap
//!  closed
//!
//!  outcome          text
//!  waiting          null. Printed for a call without a reply after 1 s; the same call is printed again with its reply
//!  return           the result, as Python prints it
//!  proxy            the result, an object that stays in the manager
//!  error            the exception that the method raised
//!  traceback        the traceback of a manager that could not make the call
//!  unserializable   the result that could not be pickled
//!  unreadable       why the reply cannot be decoded
//!  unanswered       the side that ended the connection: client, manager or tap
//! ```

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use basemanager::tap::{Event, Exchange, Outcome};
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
            add("object", json!(call.object));
            add("method", json!(call.method));
            add("args", json!(call.args));
            let (outcome, text) = match &call.outcome {
                Outcome::Waiting => ("waiting", Value::Null),
                Outcome::Unanswered(side) => ("unanswered", json!(side.to_string())),
                Outcome::Stopped => ("unanswered", json!("tap")),
                Outcome::Returned(text) => ("return", json!(text)),
                Outcome::Proxy(text) => ("proxy", json!(text)),
                Outcome::Raised(text) => ("error", json!(text)),
                Outcome::Traceback(text) => ("traceback", json!(text)),
                Outcome::Unserializable(text) => ("unserializable", json!(text)),
                Outcome::Unreadable(text) => ("unreadable", json!(text)),
                _ => ("other", Value::Null),
            };
            add("outcome", json!(outcome));
            add("text", text);
            add("seconds", json!(call.took.as_secs_f64()));
        }
        Event::Foreign(side, what) => {
            add("event", json!("foreign"));
            add("sender", json!(side.to_string()));
            add("text", json!(what.to_string()));
        }
        Event::Unreadable(side, why) => {
            add("event", json!("unreadable"));
            add("sender", json!(side.to_string()));
            add("text", json!(why));
        }
        Event::Lost(side, count) => {
            add("event", json!("lost"));
            add("sender", json!(side.to_string()));
            add("frames", json!(count));
        }
        Event::Note(text) => {
            add("event", json!("note"));
            add("text", json!(text));
        }
        Event::Closed => add("event", json!("closed")),
        _ => add("event", json!("other")),
    }
    let mut line = String::new();
    for char in Value::Object(object).to_string().chars() {
        // JSON allows U+0080 to U+009F, but a terminal obeys them.
        if char.is_control() {
            let _ = write!(line, "\\u{:04x}", u32::from(char));
        } else {
            line.push(char);
        }
    }
    writeln!(out, "{line}")
}
