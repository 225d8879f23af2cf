//! The parts of a payload, and the texts that stand for them.

use crate::pickle::Span;
use crate::value::{Value, beginning};

/// So many bytes, what they are, and a text, which may be empty. The first part of a frame is its header.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) len: usize,
    pub(super) code: &'static str,
    pub(super) text: String,
}

/// Divides a payload, from its beginning to its end.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) bytes: &'a [u8],
    /// The length of the payload, of which `bytes` may be the beginning.
    pub(super) size: usize,
    at: usize,
    done: Vec<Part>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(bytes: &'a [u8], size: usize) -> Self {
        Self { bytes, size, at: 0, done: Vec::new() }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.bytes.len() < self.size
    }

    /// The bytes up to `end`, if there are any.
    pub(super) fn up_to(&mut self, end: usize, code: &'static str, text: String) {
        if let Some(len @ 1..) = end.min(self.bytes.len()).checked_sub(self.at) {
            self.done.push(Part { len, code, text });
            self.at += len;
        }
    }

    /// An object of a pickle. The bytes before it are operations.
    pub(super) fn add(&mut self, object: Span, code: &'static str, text: String) {
        self.up_to(object.0 as usize, "ops", String::new());
        self.up_to(object.1 as usize, code, text);
    }

    /// All that is left.
    pub(super) fn rest(&mut self, code: &'static str, text: String) {
        self.up_to(usize::MAX, code, text);
    }

    /// What a pickle begins with.
    pub(super) fn pickle(&mut self) {
        if let [0x80, protocol, rest @ ..] = self.bytes {
            self.up_to(2, "proto", format!("protocol {protocol}"));
            if let Some((size, _)) = rest.strip_prefix(&[0x95]).and_then(<[u8]>::split_first_chunk)
            {
                self.up_to(11, "frame", format!("{} bytes", u64::from_le_bytes(*size)));
            }
        }
    }

    /// The name of a hash function in braces, at the beginning of a challenge or response.
    pub(super) fn digest(&mut self, message: &[u8]) -> Option<String> {
        let end = message.iter().take(20).position(|byte| *byte == b'}')?;
        let name = message.strip_prefix(b"{")?.get(..end - 1)?.escape_ascii().to_string();
        self.up_to(self.at + end + 1, "digest", name.clone());
        Some(name)
    }

    pub(super) fn finish(mut self) -> Vec<Part> {
        self.rest("unknown", String::new());
        self.done
    }
}

/// Where the object of a request ends, and its method or the kind of a reply, in a payload that is cut. `None` if it is
/// not written as picklers write it.
pub(super) fn opening(bytes: &[u8], is_request: bool) -> Option<(usize, usize)> {
    let [0x80, _, rest @ ..] = bytes else { return None };
    let mut rest = if rest.first() == Some(&0x95) { rest.get(9..)? } else { rest };
    if is_request {
        rest = rest.strip_prefix(b"(")?;
        rest = rest.strip_prefix(b"N").or_else(|| after_text(rest))?;
    }
    Some((bytes.len() - rest.len(), bytes.len() - after_text(rest)?.len()))
}

/// What follows a string and its memo entry.
fn after_text(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = match bytes {
        [0x8c, length, rest @ ..] => (usize::from(*length), rest),
        [b'X', a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return None,
    };
    let rest = rest.get(length..)?;
    Some(match rest {
        [0x94, rest @ ..] | [b'q', _, rest @ ..] | [b'r', _, _, _, _, rest @ ..] => rest,
        _ => rest,
    })
}

/// A value as Python prints it, shortened.
pub(super) fn show(value: Option<&Value>, max: usize) -> String {
    match value {
        Some(value) => shorten(&beginning(max + 1, |out| write!(out, "{value}")), max),
        None => "?".into(),
    }
}

/// At most `max` characters on one line, the last of which says that there were more.
pub(super) fn shorten(text: &str, max: usize) -> String {
    let (end, dots) = text.char_indices().nth(max).map_or((text.len(), ""), |(end, _)| (end, "…"));
    text.get(..end).unwrap_or_default().replace(char::is_control, " ") + dots
}

/// A name without quotes, whose unprintable characters are escaped.
pub(super) fn plain(text: &str) -> String {
    let quoted = Value::from(shorten(text, 400)).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

/// The first bytes, as text.
pub(super) fn start_of(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    line.get(..40).unwrap_or(line).escape_ascii().to_string()
}
