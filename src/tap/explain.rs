//! `-v`: a frame, explained.

use std::fmt::Write;

use super::event::{escape, frames};
use super::message::size;
use super::{Call, Frame, Kind, Meaning, Outcome, SHOWN, Sender};

/// The most bytes of another protocol that are shown.
const FOREIGN: usize = 64;

/// Explains a frame to a reader who is new to the protocol, in one or more lines. `meaning` is what
/// [`Exchanges::read`](super::Exchanges::read) returned for it. Text of the peers is [escaped](escape).
///
/// ```
/// use std::time::Duration;
/// use basemanager::tap::{Exchanges, Frame, Kind, Sender, explain};
/// let bytes = b"#CHALLENGE#{sha256}0123456789012345678901234567890123456789".to_vec();
/// let kind = Kind::Payload { header: 4, length: bytes.len() as u64, bytes };
/// let frame = Frame { time: Duration::ZERO, connection: 1, sender: Sender::Manager, kind };
/// let text = explain(&frame, &Exchanges::new().read(&frame).meaning);
/// assert!(text.starts_with("manager → client, 59 bytes, after the 4-byte length 0000003b"));
/// assert!(text.contains("HMAC"));
/// ```
#[must_use]
pub fn explain(frame: &Frame, meaning: &Meaning) -> String {
    let (from, to) = (frame.sender, frame.sender.other());
    let head = match &frame.kind {
        Kind::Payload { header, length, bytes } => {
            let mut text = format!("{from} → {to}, {length} bytes");
            let _ = match header {
                4 => write!(text, ", after the 4-byte length {length:08x}"),
                _ => write!(text, ", after the 12-byte length ffffffff {length:016x}"),
            };
            if *length > bytes.len() as u64 {
                let _ =
                    write!(text, " ({}, the first {} recorded)", size(*length), size(SHOWN as u64));
            }
            text
        }
        Kind::Opened(address) => format!("client connected from {address}"),
        Kind::Foreign(bytes) => {
            let what = match meaning {
                Meaning::Foreign(Some(what)) => what.to_string(),
                _ => "continued".to_owned(),
            };
            format!("{from} → {to}, not a frame: {what} ({} bytes recorded)", bytes.len())
        }
        Kind::Lost(count) => {
            format!(
                "{from} → {to}, {} relayed but not recorded: too many at a time",
                frames(*count)
            )
        }
        Kind::Note(note) => note.clone(),
        Kind::Stopped => "the tap was stopped".to_owned(),
        Kind::Closed => format!("the {from} shut down its sending side (EOF)"),
    };
    let mut text = escape(&head);
    let mut line = |line: String| {
        text.push('\n');
        text.push_str(&escape(&line));
    };
    match meaning {
        Meaning::Challenge(message) => challenge(frame.sender, message, &mut line),
        Meaning::Response { digest, challenge } => {
            let count = challenge.len();
            line(format!("response: the {from} proves the key without sending it"));
            line(match digest.as_str() {
                "md5" => {
                    format!(
                        "HMAC-MD5(authkey, the {count} bytes above), as Python 3.11 and older compute it"
                    )
                }
                digest => {
                    format!("{{{digest}}}, and HMAC-{digest}(authkey, the {count} bytes above)")
                }
            });
            line(format!("hashed:   {}", hex(challenge)));
            line(format!("response: {}", hex(frame.kind.bytes())));
        }
        Meaning::Verdict(true) => {
            line(format!("verdict #WELCOME#: the {to} has the same authkey"));
        }
        Meaning::Verdict(false) => {
            line(format!(
                "verdict #FAILURE#: the {from} does not accept the response; the {to} has a different authkey, or used \
                 another digest. The connection ends"
            ));
        }
        Meaning::Unexpected(expected) => {
            line(format!("expected {expected}, got {}", escaped(frame.kind.bytes())));
        }
        Meaning::Request(call) => request(call, &mut line),
        Meaning::Reply(call) => {
            line(format!("reply to {}, after {}", call.request(), duration(call.took)));
            outcome(&call.outcome, &mut line);
        }
        Meaning::Refusal(refusal) => {
            line("message in place of the rest of the handshake".to_owned());
            outcome(refusal, &mut line);
        }
        Meaning::Unreadable(why) => {
            line(format!("cannot decode this message: {why}"));
            line(escaped(frame.kind.bytes()));
        }
        Meaning::Foreign(_) => {
            line(escaped(frame.kind.bytes()));
        }
        Meaning::Other => {}
    }
    text
}

fn challenge(sender: Sender, message: &[u8], line: &mut impl FnMut(String)) {
    line(format!(
        "challenge: the {} must return the HMAC of these {} bytes, with the authkey as the HMAC key",
        sender.other(),
        message.len()
    ));
    match message.strip_prefix(b"{sha256}") {
        Some(random) => {
            line(format!("{{sha256}} names the digest; {} random bytes follow", random.len()));
        }
        None if message.len() == 20 => {
            line("20 random bytes: the handshake of Python 3.11 and older, HMAC-MD5".to_owned());
        }
        None => {}
    }
    line(hex(message));
}

fn request(call: &Call, line: &mut impl FnMut(String)) {
    let id = match &call.id {
        Some(id) => format!("'{id}'"),
        None => "None".to_owned(),
    };
    let to = match (&call.id, &call.typeid) {
        (None, _) => "to the manager itself".to_owned(),
        (_, Some(typeid)) => format!("to an object of typeid {typeid}"),
        _ => "to an object whose creation was not recorded".to_owned(),
    };
    line(format!("request {to}: {}", call.request()));
    line(format!("pickled tuple (id, method, args, kwargs): ({id}, '{}', …)", call.method));
    let purpose = match (&call.id, call.method.as_str()) {
        (Some(_), _) => return,
        (_, "dummy") => "does nothing; connect() checks the authkey with it",
        (_, "create") => {
            "calls the callable registered under this typeid, and keeps the returned object"
        }
        (_, "incref") => "increments the reference count: the client has one more proxy",
        (_, "decref") => "decrements the reference count; at 0 the manager deletes the object",
        (_, "accept_connection") => "from now on this connection serves method calls",
        (_, "get_methods") => "returns the names of an object's methods",
        (_, "shutdown") => "ends the manager",
        _ => return,
    };
    line(format!("{}: {purpose}", call.method));
}

fn outcome(outcome: &Outcome, line: &mut impl FnMut(String)) {
    let (tag, text) = match outcome {
        Outcome::Returned(text) => ("#RETURN", text),
        Outcome::Proxy(text) => ("#PROXY, the object stays in the manager", text),
        Outcome::Raised(text) => ("#ERROR, the method raised", text),
        Outcome::Traceback(text) => ("#TRACEBACK, the manager could not make the call", text),
        Outcome::Unserializable(text) => ("#UNSERIALIZABLE, the result cannot be sent", text),
        Outcome::Unreadable(why) => ("cannot decode this reply", why),
        Outcome::Waiting | Outcome::Unanswered(_) | Outcome::Stopped => return,
    };
    match text.lines().count() {
        0 | 1 => line(format!("{tag}: {text}")),
        _ => {
            line(format!("{tag}:"));
            text.lines().for_each(|text| line(format!("  {text}")));
        }
    }
}

/// A duration as a person reads it: `0.06 ms`, `2.50 s`, `3 min 20 s`.
#[must_use]
pub fn duration(time: std::time::Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..100_000 => format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10),
        100_000..60_000_000 => {
            format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000)
        }
        _ => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escaped(bytes: &[u8]) -> String {
    let shown = bytes.get(..FOREIGN).unwrap_or(bytes);
    let more = if shown.len() < bytes.len() { "…" } else { "" };
    format!("\"{}\"{more}", shown.escape_ascii())
}
