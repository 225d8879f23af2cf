//! Requests and replies as Python would print them.

use std::fmt;

use super::Outcome;
use crate::error::{Error, Result as CrateResult};
use crate::limits::Limits;
use crate::pickle::Index;
use crate::pickle::machine::{Builder, Machine, Op, Parts, Span, Stack};
use crate::pickle::opcode::{self, Opcode, Operand};
use crate::value::{Value, beginning};
use crate::wire::message::{self, Token, abridged};

/// The most characters of a text. A longer one ends with `…`.
const TEXT: usize = 4000;
/// The most characters of the arguments in an object's name.
const OBJECT: usize = 40;
/// The most bytes of a name or an id that is taken from a message which cannot be read as a whole.
const NAME: usize = 1000;
/// The bytes of a large value that are shown.
const BEGINNING: usize = 24;

/// A request, to be shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Request {
    /// The object's id; `None` in a request to the manager itself.
    pub(crate) id: Option<String>,
    pub(crate) method: String,
    /// The arguments, as between the parentheses of a call.
    pub(crate) args: String,
    /// The first argument, if that is a text: a typeid, or an id.
    pub(crate) first: Option<String>,
    /// The name of the object that a `create` makes: its typeid, and the other arguments if they are short.
    pub(crate) created: Option<String>,
}

/// A reply, to be shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) outcome: Outcome,
    /// The first of two values, if that is a text: the id that `create` returns.
    pub(crate) created: Option<String>,
    /// The typeid and id of a new proxy.
    pub(crate) proxy: Option<(String, String)>,
}

/// What a message may take to be shown.
fn limits() -> Limits {
    Limits::default().expansion(1 << 20).depth(100)
}

/// The request in a payload of this length, of which these bytes are known. An error is the reason why it is none.
pub(crate) fn request(bytes: &[u8], length: u64) -> Result<Request, String> {
    let (mut index, mut read) = (Index::default(), message::Request::default());
    match read.read(&mut index, bytes.into(), &limits()) {
        Ok(()) => {}
        Err(_) if length > bytes.len() as u64 => return large_request(bytes, length),
        Err(error) => return Err(why(&error)),
    }
    // Together, the arguments take no more memory and time than one value may.
    let count = read.args.len() + read.kwargs.len();
    let limits = limits().expansion((1 << 20) / count.max(1));
    let values: Vec<Value> =
        read.args.iter().map(|pickle| pickle.clone().into_value(&limits)).collect();
    let keywords = read.kwargs.iter().map(|(name, pickle)| {
        let value = pickle.clone().into_value(&limits);
        (Some(name.as_str()), value)
    });
    let args: Vec<_> = values.iter().cloned().map(|value| (None, value)).chain(keywords).collect();
    let is_name = |text: &&str| text.len() <= NAME;
    let first = values.first().and_then(Value::as_str).filter(is_name).map(str::to_owned);
    let created = first.as_ref().filter(|_| read.method == "create");
    let created = created.map(|typeid| object_name(typeid, args.get(1..).unwrap_or_default()));
    let args = short(|out| write_args(out, &args));
    let id = Some(read.ident).filter(|ident| !ident.is_empty());
    Ok(Request { id, method: read.method, args, first, created })
}

/// How lines name the object that a `create` makes. A list of elements would be no name: it changes.
fn object_name(typeid: &str, args: &[(Option<&str>, Value)]) -> String {
    let is_scalar = |(_, value): &(_, Value)| {
        matches!(
            value,
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_)
        )
    };
    match beginning(OBJECT + 1, |out| write_args(out, args)) {
        text if text.is_empty() || text.chars().count() > OBJECT => typeid.to_owned(),
        text if args.iter().all(is_scalar) => format!("{typeid}({text})"),
        _ => typeid.to_owned(),
    }
}

fn write_args(out: &mut dyn fmt::Write, args: &[(Option<&str>, Value)]) -> fmt::Result {
    for (at, (name, value)) in args.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        match name {
            Some(name) => write!(out, "{comma}{name}={}", Shown(value))?,
            None => write!(out, "{comma}{}", Shown(value))?,
        }
    }
    Ok(())
}

/// A value as Python would print it, or the size of one that was not decoded.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Value::Opaque(pickle) = self.0 else { return self.0.fmt(f) };
        match beginning(TEXT + 1, |out| write!(out, "{pickle}")) {
            text if text.starts_with("<opaque pickle, ") => {
                write!(f, "<undecoded pickle, {} bytes; see -vv>", pickle.len())
            }
            text => f.write_str(&text),
        }
    }
}

/// Why a message cannot be decoded, without the prefixes of errors.
pub(crate) fn why(error: &Error) -> String {
    const OLD: &str = "protocols 2 to 5 are read";
    let reason = match error {
        Error::Protocol { reason } => reason.clone(),
        error => error.reason(),
    };
    let Some(pickle) = reason.strip_prefix("malformed pickle: ") else { return reason };
    match pickle.split_once(" is refused: ") {
        Some((name, OLD)) => format!(
            "it uses pickle opcode {name} (protocol 0 or 1); the tap decodes protocols 2 to 5"
        ),
        Some((name, refusal)) => format!("it uses pickle opcode {name}; {refusal}"),
        None => format!("{pickle} (malformed pickle)"),
    }
}

/// The reply in a payload.
pub(crate) fn reply(bytes: &[u8], length: u64) -> Result<Reply, String> {
    let read = message::Reply::parse(&mut Index::default(), bytes.into(), &limits());
    let reply = match read {
        Ok(reply) => reply,
        Err(_) if length > bytes.len() as u64 => return large_reply(bytes, length),
        Err(error) => return Err(why(&error)),
    };
    let outcome = match &reply {
        message::Reply::Return(value) => {
            Outcome::Returned(short(|out| write!(out, "{}", Shown(value))))
        }
        message::Reply::Error(error) => Outcome::Raised(short(|out| write!(out, "{error}"))),
        message::Reply::Traceback(text) => {
            Outcome::Traceback(short(|out| out.write_str(text.trim_end())))
        }
        message::Reply::Unserializable(text) => {
            Outcome::Unserializable(short(|out| out.write_str(text)))
        }
        message::Reply::Proxy(_, Token { typeid, id, .. }) => {
            let id = abridged(id);
            Outcome::Proxy(short(|out| write!(out, "<proxy of {typeid}, id {id}…>")))
        }
    };
    let created = match &reply {
        message::Reply::Return(Value::Tuple(parts)) => match parts.as_slice() {
            [Value::Str(id), _] => Some(id.clone()),
            _ => None,
        },
        _ => None,
    };
    let proxy = match reply {
        message::Reply::Proxy(_, Token { typeid, id, .. }) => Some((typeid, id)),
        _ => None,
    };
    Ok(Reply { outcome, created, proxy })
}

/// What is written, up to a limit.
fn short(write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result) -> String {
    let mut text = beginning(TEXT + 1, write);
    if text.chars().nth(TEXT).is_some() {
        text.pop();
        text.push('…');
    }
    text
}

/// A request of which only the beginning is known.
fn large_request(bytes: &[u8], length: u64) -> Result<Request, String> {
    let (slots, end) = Peek::at(bytes);
    let (Some(id), Some(Some(method))) = (slots.get(1), slots.get(2)) else {
        return Err("it does not begin like a request".to_owned());
    };
    let args = large(bytes, end, length);
    Ok(Request { id: id.clone(), method: method.clone(), args, first: None, created: None })
}

fn large_reply(bytes: &[u8], length: u64) -> Result<Reply, String> {
    let (slots, end) = Peek::at(bytes);
    let Some(Some(kind)) = slots.first() else {
        return Err("it does not begin like a reply".to_owned());
    };
    let text = large(bytes, end, length);
    let outcome = match kind.as_str() {
        "#RETURN" => Outcome::Returned(text),
        "#ERROR" => Outcome::Raised(text),
        "#TRACEBACK" => Outcome::Traceback(text),
        "#UNSERIALIZABLE" => Outcome::Unserializable(text),
        kind => return Err(format!("an unknown kind of reply, {kind:?}")),
    };
    Ok(Reply { outcome, created: None, proxy: None })
}

/// Stands for a large value: its size and first bytes, from the operation on that is incomplete.
fn large(bytes: &[u8], end: u32, length: u64) -> String {
    let start = bytes.get(end as usize..).unwrap_or_default();
    let operand = start.first().map(|code| Opcode::of(*code).operand);
    let header = if let Some(Operand::Counted(size)) = operand { 1 + usize::from(size) } else { 0 };
    let start = start.get(header..).unwrap_or_default();
    let start = start.get(..BEGINNING).unwrap_or(start).escape_ascii();
    format!("<{}, {start}…>", size(length))
}

/// A number of bytes as a person reads it.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{}.{} KiB", bytes >> 10, (bytes % 1024) * 10 / 1024),
        _ => {
            let kib = bytes >> 10;
            format!("{}.{} MiB", kib >> 10, (kib % 1024) * 10 / 1024)
        }
    }
}

/// Finds the first texts of a pickle, complete or not.
struct Peek {
    end: u32,
}

impl Peek {
    /// The texts on the stack where the pickle breaks off, and that place.
    fn at(bytes: &[u8]) -> (Vec<Option<String>>, u32) {
        let (mut peek, mut stack) = (Self { end: 0 }, Stack::default());
        let _ = Machine::beginning(bytes, &limits()).run(&mut peek, &mut stack);
        (stack.slots, peek.end)
    }
}

impl Builder for Peek {
    type Slot = Option<String>;

    fn push(&mut self, op: Op<'_>, stack: &mut Vec<Self::Slot>) -> CrateResult<()> {
        self.end = op.end;
        let is_str =
            matches!(op.code, opcode::SHORT_BINUNICODE | opcode::BINUNICODE | opcode::BINUNICODE8);
        let is_name = is_str && op.operand.len() <= NAME;
        let text = is_name.then(|| str::from_utf8(op.operand).ok()).flatten();
        stack.push(text.map(str::to_owned));
        Ok(())
    }

    fn join(&mut self, op: Op<'_>, stack: &mut Vec<Self::Slot>, parts: Parts) -> CrateResult<()> {
        self.end = op.end;
        stack.truncate(parts.slot);
        stack.push(None);
        Ok(())
    }

    fn fill(&mut self, op: Op<'_>, stack: &mut Vec<Self::Slot>, parts: Parts) -> CrateResult<()> {
        self.end = op.end;
        stack.truncate(parts.slot + 1);
        Ok(())
    }

    fn put(&mut self, op: Op<'_>, _: &mut [Self::Slot], _: Option<usize>) -> CrateResult<()> {
        self.end = op.end;
        Ok(())
    }

    fn get(
        &mut self,
        op: Op<'_>,
        stack: &mut Vec<Self::Slot>,
        _: usize,
    ) -> CrateResult<Option<Span>> {
        self.end = op.end;
        stack.push(None);
        Ok(None)
    }

    fn discard(&mut self, op: Op<'_>, stack: &mut Vec<Self::Slot>, first: usize) {
        self.end = op.end;
        stack.truncate(first);
    }

    fn skip(&mut self, op: Op<'_>) {
        self.end = op.end;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tap::SHOWN;

    #[test]
    fn requests_are_calls() {
        let bytes = b"\x80\x04(\x8c\x02id\x8c\x03put(K\x07\x8c\x01at}\x8c\x05block\x88st.";
        let read = request(bytes, bytes.len() as u64).unwrap();
        assert_eq!(read.id.as_deref(), Some("id"));
        assert_eq!((read.method.as_str(), read.args.as_str()), ("put", "7, 'a', block=True"));
        let bytes = b"\x80\x04(N\x8c\x06create(\x8c\x05tasksK\x01t}t.";
        let read = request(bytes, bytes.len() as u64).unwrap();
        assert_eq!((read.id, read.first.as_deref()), (None, Some("tasks")));
        assert_eq!(read.created.as_deref(), Some("tasks(1)"));
        let bytes = b"\x80\x04(N\x8c\x06create(\x8c\x04list](K\x01et}t.";
        let read = request(bytes, bytes.len() as u64).unwrap();
        assert_eq!(read.created.as_deref(), Some("list"));
        assert!(request(b"\x80\x04K\x01.", 5).unwrap_err().contains("4-tuple"));
        let why = |bytes: &[u8]| request(bytes, bytes.len() as u64).unwrap_err();
        assert_eq!(
            why(b"\x80\x04(NVput\n)}t."),
            "it uses pickle opcode UNICODE (protocol 0 or 1); the tap decodes protocols 2 to 5"
        );
        let bytes = b"\x80\x04(\x8c\x02id\x8c\x03put(cos\nsystem\nt}t.";
        let args = request(bytes, bytes.len() as u64).unwrap().args;
        assert!(args.starts_with("<undecoded pickle, ") && args.ends_with("; see -vv>"), "{args}");
        assert_eq!(why(b"\x80\x04(N"), "it ends too early (malformed pickle)");
    }

    #[test]
    fn replies_are_values() {
        let bytes = b"\x80\x04\x8c\x07#RETURN\x8c\x01a](\x8c\x03get\x8c\x03pute\x86\x86.";
        let read = reply(bytes, bytes.len() as u64).unwrap();
        assert_eq!(read.outcome, Outcome::Returned("('a', ['get', 'put'])".to_owned()));
        assert_eq!(read.created.as_deref(), Some("a"));
        let bytes = b"\x80\x04\x8c\x06#ERROR\x8c\x06_queue\x8c\x05Empty\x93)R\x86.";
        let raised = Outcome::Raised("_queue.Empty".to_owned());
        assert_eq!(reply(bytes, bytes.len() as u64).unwrap().outcome, raised);
    }

    #[test]
    fn large_messages_are_shown_by_size_and_first_bytes() {
        let mut bytes = b"\x80\x04\x95\0\0\0\x01\0\0\0\0(\x8c\x02id\x8c\x03putB\0\0\0\x01".to_vec();
        bytes.resize(SHOWN, b'a');
        let read = request(&bytes, 0x100_0040).unwrap();
        assert_eq!((read.id.as_deref(), read.method.as_str()), (Some("id"), "put"));
        assert!(read.args.starts_with("<16.0 MiB, aaaa"), "{}", read.args);
        let mut bytes = b"\x80\x04\x8c\x07#RETURNB\0\0\0\x01".to_vec();
        bytes.resize(SHOWN, b'a');
        assert!(matches!(reply(&bytes, 1 << 20).unwrap().outcome, Outcome::Returned(_)));
    }

    #[test]
    fn long_texts_are_cut() {
        let mut bytes = b"\x80\x04\x8c\x07#RETURNX\x10\x27\0\0".to_vec();
        bytes.resize(bytes.len() + 10_000, b'a');
        bytes.extend(b"\x86.");
        let Outcome::Returned(text) = reply(&bytes, bytes.len() as u64).unwrap().outcome else {
            unreachable!("it is a #RETURN");
        };
        assert!(text.ends_with("a…") && text.chars().count() == TEXT + 1, "{}", text.len());
    }
}
