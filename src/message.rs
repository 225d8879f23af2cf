//! Floor 3: what a frame means.
//!
//! ```text
//!  request   (None, function, args, kwargs)        to the manager itself, first on a connection
//!            (object id, method, args, kwargs)     to an object, after accept_connection
//!  reply     ('#RETURN', value)
//!            ('#PROXY', (exposed methods, Token))  the result stays in the manager
//!            ('#ERROR', exception)                 the method raised
//!            ('#TRACEBACK', text)                  the manager could not make the call
//!            ('#UNSERIALIZABLE', text)             the result cannot be sent
//! ```
//! Each is one pickle in one frame. CPython: `multiprocessing.managers`, `dispatch` and `Server`.

mod proxy;

use std::sync::Arc;

use crate::error::{Error, Exception, Result};
use crate::frame::{self, Frame};
use crate::limits::Limits;
use crate::pickle::{Range, Scan, Shape, Writer};
use crate::value::{Pickle, Value};
pub(crate) use proxy::{PickledProxy, Token, abridged, names};

/// An item of so many bytes is not copied into its reply.
const APART: usize = 16 * 1024;

/// A message that has been scanned: where to read its parts from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) scan: &'a Scan,
    pub(crate) bytes: &'a [u8],
    /// Where that is the end of memory of its own, all of it.
    whole: Option<&'a Arc<Vec<u8>>>,
    pub(crate) limits: &'a Limits,
}

impl<'a> Message<'a> {
    pub(crate) fn value(self, part: Range) -> Result<Value> {
        self.scan.decode(self.bytes, part, self.limits)
    }

    pub(crate) fn pickle(self, part: Range) -> Result<Pickle> {
        match self.whole.and_then(|whole| self.scan.share(self.bytes, whole, part)) {
            Some(shared) => Ok(shared),
            None => self.scan.cut(self.bytes, part, self.limits),
        }
    }

    /// A part as a value; what has no tree within the limits stays unopened.
    pub(crate) fn kept(self, part: Range) -> Result<Value> {
        self.value(part).or_else(|_| self.pickle(part).map(Value::Opaque))
    }

    /// Whether it may name shared objects: nearly none does.
    pub(crate) fn names_objects(self) -> bool {
        self.scan.names_managers()
    }

    fn text(self, part: Range) -> Option<&'a str> {
        self.scan.text(self.bytes, part)
    }
}

/// A request, its arguments unopened.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The object's id; the manager's own functions have none.
    pub(crate) ident: Option<&'a str>,
    pub(crate) method: &'a str,
    pub(crate) message: Message<'a>,
    pub(crate) args: &'a [Range],
    /// Names and values in turn.
    pub(crate) kwargs: &'a [Range],
}

impl<'a> Request<'a> {
    /// Reads a request from a message; `scan` keeps what is found.
    pub(crate) fn parse(scan: &'a mut Scan, frame: Frame<'a>, limits: &'a Limits) -> Result<Self> {
        let Frame { bytes, whole } = frame;
        let refused = |what: &str| Error::Protocol(what.to_owned());
        let root = scan.message(bytes, limits)?;
        let parts = scan.children(bytes, root, Shape::Sequence);
        let Some(&[ident, method, args, kwargs]) = parts else {
            return Err(refused("a request is no tuple of four"));
        };
        let parts = [(args, Shape::Sequence), (kwargs, Shape::Mapping)];
        if scan.left_out
            && parts.iter().any(|(of, shape)| scan.children(bytes, *of, *shape).is_none())
        {
            // Hardly a call has so many arguments.
            scan.message_with_all_parts(bytes, limits)?;
        }
        let scan = &*scan;
        let message = Message { scan, bytes, whole, limits };
        let method = message.text(method);
        let args = scan.children(bytes, args, Shape::Sequence);
        let kwargs = scan.children(bytes, kwargs, Shape::Mapping);
        let request = Self {
            ident: message.text(ident),
            method: method.ok_or_else(|| refused("a method's name is no text"))?,
            message,
            args: args.ok_or_else(|| refused("arguments are no tuple"))?,
            kwargs: kwargs.ok_or_else(|| refused("keyword arguments are no dict"))?,
        };
        let named = request.keywords().count() == request.kwargs.len() / 2;
        if named { Ok(request) } else { Err(refused("a keyword is no text")) }
    }

    /// The keyword arguments: name and value.
    pub(crate) fn keywords(&self) -> impl Iterator<Item = (&'a str, Range)> {
        let message = self.message;
        self.kwargs.chunks_exact(2).filter_map(move |pair| match *pair {
            [name, value] => Some((message.text(name)?, value)),
            _ => None,
        })
    }

    /// Appends a request, in its frame.
    ///
    /// # Errors
    /// [`Error::Conversion`] if an argument cannot be pickled; then nothing is appended.
    pub(crate) fn append(
        out: &mut Vec<u8>,
        ident: Option<&str>,
        method: &str,
        args: &[Value],
        kwargs: &[(&str, Value)],
    ) -> Result<()> {
        append(out, 0, 4, |writer| {
            match ident {
                Some(ident) => writer.str(ident),
                None => writer.value(&Value::None),
            }
            writer.str(method);
            writer.tuple(args.len(), |writer| writer.values(args));
            writer.dict(
                kwargs.iter().map(|(name, value)| (name, value)),
                |writer, name| writer.str(name),
                Writer::value,
            );
        })
        .map(drop)
    }
}

/// A reply, as the manager sends it and a client receives it.
#[derive(Debug)]
pub(crate) enum Reply {
    Return(Value),
    Proxy(Vec<String>, Token),
    Error(Exception),
    Traceback(String),
    Unserializable(String),
}

impl Reply {
    /// Appends the reply, in its frame.
    ///
    /// # Errors
    /// [`Error::Conversion`] if it cannot be pickled; then nothing is appended.
    pub(crate) fn append(&self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Return(value) => tagged(out, "#RETURN", |writer| writer.value(value)),
            Self::Error(exception) => tagged(out, "#ERROR", |writer| writer.exception(exception)),
            // Python prints it between two lines of dashes.
            Self::Traceback(text) => tagged(out, "#TRACEBACK", |writer| {
                writer.str(&format!("{text}\n"));
            }),
            Self::Unserializable(text) => tagged(out, "#UNSERIALIZABLE", |writer| writer.str(text)),
            Self::Proxy(exposed, token) => tagged(out, "#PROXY", |writer| {
                writer.tuple(2, |writer| {
                    writer.tuple(exposed.len(), |writer| {
                        for name in exposed {
                            writer.str(name);
                        }
                    });
                    token.write(writer);
                });
            }),
        }
    }

    /// Appends `#RETURN` with an item that stays unopened. One that is large is left out, not to copy it:
    /// its place comes back.
    pub(crate) fn append_item(out: &mut Vec<u8>, item: &Pickle) -> Result<Option<usize>> {
        if item.len() < APART {
            return tagged(out, "#RETURN", |writer| writer.pickle(item)).map(|()| None);
        }
        let mut place = 0;
        let moved = append(out, item.len(), 2, |writer| {
            writer.str("#RETURN");
            place = writer.position();
        })?;
        Ok(Some(place + moved))
    }

    /// Appends `#RETURN` with a list of items that stay unopened.
    pub(crate) fn append_items<T>(
        out: &mut Vec<u8>,
        items: &[T],
        pickle: impl Fn(&T) -> &Pickle,
    ) -> Result<()> {
        tagged(out, "#RETURN", |writer| {
            writer.list(items, |writer, item| writer.pickle(pickle(item)));
        })
    }

    /// Reads a reply from a message.
    ///
    /// A result that has no tree within the limits stays an opaque node: nothing is lost.
    pub(crate) fn parse(scan: &mut Scan, frame: Frame<'_>, limits: &Limits) -> Result<Self> {
        let Frame { bytes, whole } = frame;
        let root = scan.message(bytes, limits)?;
        let message = Message { scan, bytes, whole, limits };
        let parts = message.scan.children(bytes, root, Shape::Sequence);
        let Some(&[kind, result]) = parts else {
            return Err(Error::Protocol("a reply is no pair".to_owned()));
        };
        let kind = message.text(kind).unwrap_or_default();
        if kind == "#RETURN" {
            return message.kept(result).map(Self::Return);
        }
        match (kind, message.kept(result)?) {
            ("#TRACEBACK", Value::Str(text)) => Ok(Self::Traceback(text)),
            ("#UNSERIALIZABLE", Value::Str(text)) => Ok(Self::Unserializable(text)),
            ("#ERROR", Value::Opaque(pickle)) => Ok(Self::Error(exception(pickle, limits))),
            ("#PROXY", Value::Tuple(parts)) => Self::proxy(parts, limits)
                .ok_or_else(|| Error::Protocol("a proxy reply without a token".to_owned())),
            (kind, value) => {
                let what = value.type_name();
                Err(Error::Protocol(format!("an unknown reply {kind:?}, with {what}")))
            }
        }
    }

    fn proxy(parts: Vec<Value>, limits: &Limits) -> Option<Self> {
        let [exposed, Value::Opaque(token)] = <[Value; 2]>::try_from(parts).ok()? else {
            return None;
        };
        Some(Self::Proxy(names(exposed)?, Token::read(&token, limits)?))
    }
}

/// An exception, usually pickled as a call of its class. If its `__reduce__` calls something else, its class is the
/// first name in the pickle that looks like one, and its arguments are the texts in it and the pickle itself.
fn exception(pickle: Pickle, limits: &Limits) -> Exception {
    let is_class = |name: &str| name.trim_start_matches('_').starts_with(char::is_uppercase);
    if let Some(called) = pickle.instance(limits).filter(|instance| instance.called) {
        // A function that is given a class, such as copyreg's, rebuilds an instance of that.
        let rebuilds = match called.args.first() {
            Some(Value::Opaque(first)) => !is_class(&called.name) && first.global().is_some(),
            _ => false,
        };
        if !rebuilds {
            return Exception::new(called.module, called.name, called.args);
        }
    }
    let named = pickle.named(limits);
    let class = named.globals.iter().find(|(_, name)| is_class(name));
    let (module, name) = class.or(named.globals.first()).cloned().unwrap_or_default();
    let text = named.texts.join(", ");
    Exception::new(module, name, vec![text.into(), Value::Opaque(pickle)])
}

fn tagged(out: &mut Vec<u8>, kind: &str, result: impl FnOnce(&mut Writer)) -> Result<()> {
    append(out, 0, 2, |writer| {
        writer.str(kind);
        result(writer);
    })
    .map(drop)
}

/// Appends a frame with a pickled tuple of `count` parts, `apart` bytes of which are left out. Returns by how
/// many bytes they were moved afterwards.
fn append(
    out: &mut Vec<u8>,
    apart: usize,
    count: usize,
    parts: impl FnOnce(&mut Writer),
) -> Result<usize> {
    let (at, mut result) = (out.len(), Ok(()));
    let moved = frame::append(out, apart, |out| {
        let mut writer = Writer::append_to(std::mem::take(out));
        writer.tuple(count, parts);
        (*out, result) = writer.into_buffer();
    });
    result.inspect_err(|_| out.truncate(at)).map(|()| moved)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keywords_may_be_references_but_not_to_one_another_without_end() {
        let parse = |keywords: u32| {
            // Each refers to the one before.
            let mut bytes = b"\x80\x04(N\x8c\x01f)}(\x8c\x01a\x94N".to_vec();
            for number in 0..keywords {
                bytes.push(b'j');
                bytes.extend(number.to_le_bytes());
                bytes.extend(b"\x94N");
            }
            bytes.extend(b"ut.");
            let (mut scan, limits) = (Scan::default(), Limits::default());
            let request = Request::parse(&mut scan, bytes.as_slice().into(), &limits);
            request.map(|request| request.keywords().filter(|(name, _)| *name == "a").count())
        };
        assert_eq!(parse(500).unwrap(), 501);
        let refused = parse(10_000).unwrap_err();
        assert!(matches!(refused, Error::Limit("expansion", _)), "{refused:?}");
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn item_of_2_gib_is_spliced_behind_the_long_header() {
        for (length, header) in [(APART, 4), (0x7fff_ff00, 4), (0x8000_0000, 12)] {
            // Memory that nobody touches takes none.
            let item = Pickle::from_vec(vec![0; length], 0);
            let mut out = b"before".to_vec();
            let place = Reply::append_item(&mut out, &item).unwrap().unwrap();
            assert_eq!(out[6 + header..place], *b"\x80\x04\x8c\x07#RETURN");
            assert_eq!(out[place..], *b"\x86.");
        }
    }
}
