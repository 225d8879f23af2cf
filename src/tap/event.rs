//! Events, each of which the tap prints as one line.

use std::fmt;
use std::time::Duration;

use super::frames::Foreign;
use super::handshake::Handshake;
use super::{Sender, UNDECODED};
use crate::wire::message::abridged;

/// One event to print: a call with its reply, a handshake, a remark.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// When it was complete, since the tap was started.
    pub time: Duration,
    /// The number of its connection.
    pub connection: u64,
    /// What it was.
    pub event: Event,
}

/// What an [`Exchange`] was.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A client has connected, from this address.
    Opened(String),
    /// A handshake has ended, this long after the connection was made.
    Handshake(Handshake, Duration),
    /// A request, with its reply.
    Call(Call),
    /// This side sent bytes that are not frames.
    Foreign(Sender, Foreign),
    /// This side sent a frame that could not be decoded; the reason.
    Unreadable(Sender, String),
    /// This many frames of one side were relayed but not recorded.
    Lost(Sender, u64),
    /// A remark by the relay.
    Note(String),
    /// Both sides have sent their last byte.
    Closed,
}

/// A request, with its reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The id of the object that is called; `None` for the manager itself.
    pub id: Option<String>,
    /// The typeid that the object was created for, if that was seen. Of a call to the manager itself, that of the
    /// object whose id is its argument (`incref`, `decref`).
    pub typeid: Option<String>,
    /// The same object as lines name it: its typeid, and the other arguments of its `create` if they are short texts or
    /// numbers, such as `queue('a')`.
    pub object: Option<String>,
    /// The method; empty if the request was not recorded, `?` if it could not be decoded.
    pub method: String,
    /// The arguments, as Python would print them between the parentheses of the call.
    pub args: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The time between request and reply.
    pub took: Duration,
}

/// What came of a [`Call`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// There is no reply yet.
    Waiting,
    /// There will be no reply: this side has closed the connection.
    Unanswered(Sender),
    /// There will be no reply: the relay was stopped.
    Stopped,
    /// The method returned this.
    Returned(String),
    /// The method returned an object that stays in the manager.
    Proxy(String),
    /// The method raised this.
    Raised(String),
    /// The manager could not make the call, and returned this traceback.
    Traceback(String),
    /// The method returned something that cannot be sent.
    Unserializable(String),
    /// The reply could not be decoded; the reason.
    Unreadable(String),
}

/// What one frame means.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Meaning {
    /// A challenge with this message, which the other side is to hash.
    Challenge(Vec<u8>),
    /// The response to a challenge.
    Response {
        /// How it was made.
        digest: String,
        /// The message of the challenge.
        challenge: Vec<u8>,
    },
    /// Whether the response is accepted.
    Verdict(bool),
    /// The handshake expected this, and the frame is something else.
    Unexpected(&'static str),
    /// A reply in place of the rest of the handshake, such as the reason why the manager refuses the client.
    Refusal(Outcome),
    /// A request. It has no outcome yet.
    Request(Call),
    /// The reply to a request. Without a request, or if that was not seen, the method is empty.
    Reply(Call),
    /// The message could not be decoded; the reason.
    Unreadable(String),
    /// Bytes that are not frames. `None` after the first piece from the same side.
    Foreign(Option<Foreign>),
    /// The connection was made or closed, or something about it.
    Other,
}

impl Call {
    pub(crate) fn empty() -> Self {
        Self {
            id: None,
            typeid: None,
            object: None,
            method: String::new(),
            args: String::new(),
            outcome: Outcome::Waiting,
            took: Duration::ZERO,
        }
    }

    /// Whether it only counts references or opens a connection, so that most readers do not need it.
    #[must_use]
    pub fn is_housekeeping(&self) -> bool {
        const NAMES: [&str; 5] = ["incref", "decref", "dummy", "accept_connection", "get_methods"];
        self.id.is_none() && NAMES.contains(&self.method.as_str())
    }

    /// The object that is called, with a dot, such as `task_queue.`; nothing for the manager itself.
    #[must_use]
    pub fn target(&self) -> String {
        match (&self.id, &self.object) {
            (None, _) => String::new(),
            (_, Some(object)) => format!("{object}."),
            (Some(id), None) => format!("<id {}…>.", abridged(id)),
        }
    }

    /// The request, as Python would print it: `task_queue.put(7)`.
    #[must_use]
    pub fn request(&self) -> String {
        match &self.object {
            _ if self.method.is_empty() => "(no request)".to_owned(),
            _ if self.method == UNDECODED && self.id.is_none() => "(undecoded request)".to_owned(),
            // An id says less than the typeid.
            Some(object) if self.id.is_none() => format!("{}({object})", self.method),
            _ => format!("{}{}({})", self.target(), self.method, self.args),
        }
    }

    /// What came of it, for a line: as [`Outcome`] is displayed, but of `create` only the beginning of the id.
    #[must_use]
    pub fn reply(&self) -> String {
        if self.id.is_none()
            && self.method == "create"
            && let Outcome::Returned(text) = &self.outcome
            && let Some((id, _)) = text.strip_prefix("('").and_then(|text| text.split_once("', "))
        {
            return format!("id {}…", abridged(id));
        }
        self.outcome.to_string()
    }
}

impl Outcome {
    /// Whether the caller got no result of its call.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Waiting | Self::Returned(_) | Self::Proxy(_))
    }
}

impl fmt::Display for Outcome {
    /// As after the arrow of a line. A traceback is shown by its last line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("… waiting"),
            Self::Unanswered(side) => {
                write!(f, "no reply: the {side} closed the connection")
            }
            Self::Stopped => f.write_str("no reply: the tap was stopped"),
            Self::Returned(text) | Self::Proxy(text) => f.write_str(text),
            Self::Raised(text) => write!(f, "raised {text}"),
            Self::Traceback(text) => {
                let last = text.lines().rev().find(|line| !line.trim().is_empty());
                write!(f, "failed: {}", last.unwrap_or_default())
            }
            Self::Unserializable(text) => write!(f, "cannot be sent: {text}"),
            Self::Unreadable(why) => write!(f, "a reply that cannot be decoded: {why}"),
        }
    }
}

/// Text of a peer, in which characters are escaped that could change a terminal or the direction of the text.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                escaped.extend(char.escape_unicode());
            }
            _ if char.is_control() => escaped.extend(char.escape_default()),
            _ => escaped.push(char),
        }
    }
    escaped
}

/// A number of frames.
pub(crate) fn frames(count: u64) -> String {
    format!("{count} {}", if count == 1 { "frame" } else { "frames" })
}

impl fmt::Display for Exchange {
    /// One line, without time: `#3 task_queue.put(7) ← None`. Names and texts of the peers are shown as they are, with
    /// any control characters: see [`escape`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} ", self.connection)?;
        match &self.event {
            Event::Opened(address) => write!(f, "connected from {address}"),
            Event::Handshake(end, _) => end.fmt(f),
            Event::Call(call) if call.outcome == Outcome::Waiting => {
                write!(f, "{} {}", call.request(), call.outcome)
            }
            Event::Call(call) => write!(f, "{} ← {}", call.request(), call.reply()),
            Event::Foreign(side, Foreign::Protocol(name)) => {
                write!(f, "the {side} speaks {name}, not the manager protocol")
            }
            Event::Foreign(side, Foreign::Text(start, length)) => write!(
                f,
                "the {side} does not speak the manager protocol: it began with \"{start}\", which would be a frame \
                 length of {length} bytes"
            ),
            Event::Foreign(side, Foreign::Broken(what)) => write!(f, "the {side} sent {what}"),
            Event::Unreadable(side, why) => {
                let what = if *side == Sender::Client { "request" } else { "reply" };
                write!(f, "cannot decode the {side}'s {what}: {why}")
            }
            Event::Lost(side, count) => {
                write!(
                    f,
                    "{} of the {side} were relayed but not recorded: too many at a time",
                    frames(*count)
                )
            }
            Event::Note(text) => f.write_str(text),
            Event::Closed => f.write_str("closed"),
        }
    }
}
