//! What the page shows of a frame: its kind, a short label, and its parts.
//!
//! ```text
//!  00 00 00 2a  80 04  95 1f …  28  4e    8c 06 create 94  28  8c 05 tasks 94  74  7d     74 94 2e
//!  len          proto  frame    ops none  method           ops arg             ops nokwargs ops
//! ```
//! The codes of the parts are explained by `explain.js`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::event::frames;
use super::super::{Call, Exchanges, Foreign, Frame, Kind, Meaning, Outcome};
use super::parts::{Part, Parts, opening, plain, shorten, show, start_of};
use crate::limits::{Budget, Limits};
use crate::pickle::{Index, Kind as Elements, Pickle, Span};

/// The most characters of a label, and of the text of a part.
const LABEL: usize = 120;
const TEXT: usize = 400;

/// The most arguments that are parts of their own.
const MAX_ARGS: usize = 40;

/// What the page shows of a frame.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) kind: &'static str,
    /// Who is called: the beginning of the label, which is left out where there is little room.
    pub(super) target: String,
    pub(super) label: String,
    /// Whether it is no call of an object: a handshake, or reference counting.
    pub(super) is_aside: bool,
    pub(super) is_error: bool,
    pub(super) parts: Vec<Part>,
    /// The number of the row with the request that this replies to.
    pub(super) request: Option<usize>,
}

/// Reads frames in the order in which they passed.
#[derive(Debug, Default)]
pub(super) struct Reader {
    exchanges: Exchanges,
    index: Index,
    /// The rows of the requests on each connection that may have no reply yet, and their times.
    requests: BTreeMap<u64, VecDeque<(usize, Duration)>>,
}

impl Reader {
    /// Reads the frame of row `number`.
    pub(super) fn read(&mut self, number: usize, frame: &Frame) -> Row {
        let meaning = self.exchanges.read(frame).meaning;
        let from = frame.sender;
        let aside = |kind, label| Row { kind, label, is_aside: true, ..Row::default() };
        let error = |kind, label| Row { kind, label, is_error: true, ..Row::default() };
        match (&frame.kind, meaning) {
            (Kind::Opened(address), _) if address.is_empty() => aside("opened", "opened".into()),
            (Kind::Opened(address), _) => aside("opened", format!("opened by {}", plain(address))),
            (Kind::Closed, _) => aside("closed", format!("closed by the {from}")),
            (Kind::Note(text), _) => error("note", shorten(&plain(text), TEXT)),
            (Kind::Stopped, _) => aside("note", "the tap was stopped".into()),
            (Kind::Lost(count), _) => {
                error("note", format!("{} of the {from} not recorded", frames(*count)))
            }
            (Kind::Foreign(bytes), meaning) => {
                let (name, text) = match meaning {
                    Meaning::Foreign(Some(what @ Foreign::Text(..))) => {
                        ("text".to_owned(), what.to_string())
                    }
                    Meaning::Foreign(Some(what)) => (what.to_string(), what.to_string()),
                    _ => ("continued".to_owned(), String::new()),
                };
                let parts = vec![Part { len: bytes.len(), code: "foreign", text }];
                Row { parts, ..error("foreign", format!("{name}: {}", start_of(bytes))) }
            }
            (Kind::Payload { header, length, bytes }, meaning) => {
                let code = if *header == 12 { "len12" } else { "len" };
                let text = length.to_string();
                let length = usize::try_from(*length).unwrap_or(usize::MAX);
                let mut parts = Parts::new(bytes, length);
                let row = self.payload(number, frame, meaning, &mut parts);
                let length = Part { len: usize::from(*header), code, text };
                Row { parts: [vec![length], parts.finish()].concat(), ..row }
            }
        }
    }

    fn payload(
        &mut self,
        number: usize,
        frame: &Frame,
        meaning: Meaning,
        parts: &mut Parts<'_>,
    ) -> Row {
        let handshake = |label: &str| Row {
            kind: "handshake",
            label: label.into(),
            is_aside: true,
            ..Row::default()
        };
        let why = match meaning {
            Meaning::Challenge(message) => {
                parts.up_to(b"#CHALLENGE#".len(), "challenge", String::new());
                parts.digest(&message);
                parts.rest("nonce", String::new());
                return handshake("#CHALLENGE#");
            }
            Meaning::Response { digest, .. } => {
                parts.digest(parts.bytes);
                parts.rest("mac", String::new());
                return handshake(&format!("response, {}", shorten(&plain(&digest), 40)));
            }
            Meaning::Verdict(true) => {
                parts.rest("welcome", String::new());
                return handshake("#WELCOME#");
            }
            Meaning::Verdict(false) => {
                parts.rest("failure", String::new());
                return Row { is_aside: false, is_error: true, ..handshake("#FAILURE#") };
            }
            Meaning::Request(call) => {
                let rows = self.requests.entry(frame.connection).or_default();
                rows.push_back((number, frame.time));
                self.divide_request(parts, &call);
                return request(&call);
            }
            Meaning::Reply(Call { outcome: Outcome::Unreadable(why), .. })
            | Meaning::Unreadable(why) => why,
            Meaning::Refusal(outcome) => {
                let row = reply(&Call { outcome, ..Call::empty() });
                self.divide_reply(parts, row.kind);
                return Row { kind: "reply", ..row };
            }
            Meaning::Reply(call) => {
                let request = self.request_of(frame, &call);
                let row = reply(&call);
                self.divide_reply(parts, row.kind);
                return Row { kind: "reply", request, ..row };
            }
            Meaning::Unexpected(expected) => format!("expected {expected}"),
            _ => "?".into(),
        };
        parts.rest("unknown", why);
        let label = match parts.bytes {
            [] => "empty frame".to_owned(),
            bytes => format!("not understood: {}", start_of(bytes)),
        };
        Row { kind: "frame", label, is_error: true, ..Row::default() }
    }

    /// The row of the request that a call's reply belongs to. The requests before it have lost theirs.
    fn request_of(&mut self, frame: &Frame, call: &Call) -> Option<usize> {
        if call.method.is_empty() {
            return None;
        }
        let rows = self.requests.get_mut(&frame.connection)?;
        let asked = frame.time.saturating_sub(call.took);
        while rows.front().is_some_and(|(_, time)| *time < asked) {
            rows.pop_front();
        }
        rows.pop_front().map(|(row, _)| row)
    }

    fn divide_request(&mut self, parts: &mut Parts<'_>, call: &Call) -> Option<()> {
        let bytes = parts.bytes;
        let code = if call.id.is_some() { "id" } else { "none" };
        let id = match (&call.id, &call.typeid) {
            (None, _) => String::new(),
            (Some(id), None) => plain(id),
            (Some(id), Some(typeid)) => format!("{} of {}", plain(id), plain(typeid)),
        };
        parts.pickle();
        if parts.is_cut() {
            let (object_end, method_end) = opening(bytes, true)?;
            parts.up_to(object_end, code, id);
            parts.up_to(method_end, "method", plain(&call.method));
            parts.rest("cut", String::new());
            return None;
        }
        let root = self.index.message(bytes, &limits()).ok()?;
        let &[object, method, args, kwargs] = self.index.elements(root, Elements::Sequence)? else {
            return None;
        };
        let values = self.index.elements(args, Elements::Sequence)?;
        let pairs = self.index.elements(kwargs, Elements::Mapping)?;
        parts.add(object, code, id);
        parts.add(method, "method", plain(&call.method));
        for value in values.iter().take(MAX_ARGS) {
            parts.add(*value, "arg", self.show(bytes, *value));
        }
        if values.is_empty() {
            parts.add(args, "noargs", String::new());
        } else if values.len() > MAX_ARGS {
            parts.add(args, "arg", format!("… {} more", values.len() - MAX_ARGS));
        }
        for pair in pairs.chunks_exact(2).take(MAX_ARGS) {
            let [name, value] = pair else { continue };
            parts.add(*name, "name", self.show(bytes, *name));
            parts.add(*value, "kwarg", self.show(bytes, *value));
        }
        if pairs.is_empty() {
            parts.add(kwargs, "nokwargs", String::new());
        } else if pairs.len() > 2 * MAX_ARGS {
            parts.add(kwargs, "kwarg", format!("… {} more", pairs.len() / 2 - MAX_ARGS));
        }
        parts.rest("ops", String::new());
        Some(())
    }

    fn divide_reply(&mut self, parts: &mut Parts<'_>, code: &'static str) -> Option<()> {
        let bytes = parts.bytes;
        parts.pickle();
        if parts.is_cut() {
            parts.up_to(opening(bytes, false)?.1, code, String::new());
            parts.rest("cut", String::new());
            return None;
        }
        let root = self.index.message(bytes, &limits()).ok()?;
        let &[kind, value] = self.index.elements(root, Elements::Sequence)? else { return None };
        parts.add(kind, code, String::new());
        parts.add(value, "value", self.show(bytes, value));
        parts.rest("ops", String::new());
        Some(())
    }

    /// A part of a pickle, as Python prints it.
    fn show(&self, bytes: &[u8], of: Span) -> String {
        let (limits, budget) = (limits(), Budget::new(bytes.len(), &limits()));
        let value = self.index.extract(bytes, None, of, &budget, &limits);
        show(value.ok().map(|pickle: Pickle| pickle.into_value(&limits)).as_ref(), TEXT)
    }
}

fn request(call: &Call) -> Row {
    let target = if call.object.is_some() { plain(&call.target()) } else { String::new() };
    let args = match &call.object {
        // An id says less than the typeid.
        Some(object) if call.id.is_none() => plain(object),
        _ => call.args.clone(),
    };
    Row {
        kind: "request",
        target,
        label: shorten(&format!("{}({args})", plain(&call.method)), LABEL),
        is_aside: call.is_housekeeping(),
        ..Row::default()
    }
}

/// Its kind is the tag of the reply.
fn reply(call: &Call) -> Row {
    let (tag, text) = match &call.outcome {
        Outcome::Proxy(text) => ("#PROXY", text.clone()),
        Outcome::Raised(text) => ("#ERROR", text.clone()),
        Outcome::Unserializable(text) => ("#UNSERIALIZABLE", plain(text)),
        Outcome::Traceback(text) => {
            // The last line of a traceback says what is wrong.
            let lines = text.lines().map(|line| line.trim_matches(['-', ' ']));
            ("#TRACEBACK", plain(lines.rev().find(|line| !line.is_empty()).unwrap_or_default()))
        }
        _ => ("#RETURN", call.reply()),
    };
    let is_error = !matches!(tag, "#RETURN" | "#PROXY");
    let label = shorten(&format!("{tag} {text}"), LABEL);
    let is_aside = !is_error && call.is_housekeeping();
    Row { kind: tag, label, is_aside, is_error, ..Row::default() }
}

/// Small, for a page only shows the beginning of a value.
fn limits() -> Limits {
    Limits::default().expansion(1 << 20).depth(50)
}
