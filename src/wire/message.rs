//! What a frame means: a request `(id, method, args, kwargs)`, or a reply `(kind, result)`. The guide lists them all
//! (`guide::wire`).
//!
//! Each is one pickle in one frame. CPython: `multiprocessing.managers`, `dispatch` and `Server`.

use crate::error::{Error, Result};
use crate::exception::Exception;
use crate::limits::{Budget, Limits};
use crate::pickle::Pickle;
pub(crate) use crate::pickle::proxy::{PickledProxy, Token, abridged, names};
use crate::pickle::{Index, Kind, Span, Writer};
use crate::value::Value;
use crate::wire::frame::{self, Frame};

/// An item of at least this size is sent from where it is stored, not copied into its reply.
const OUT_OF_LINE: usize = 16 * 1024;

/// The most arguments of a call, by place and by name together.
const MAX_ARGS: usize = 1024;

/// A request, taken apart: each argument is a pickle of its own. A connection reuses it for each request.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// The object's id; empty in a request to the manager itself.
    pub(crate) ident: String,
    pub(crate) method: String,
    pub(crate) args: Vec<Pickle>,
    pub(crate) kwargs: Vec<(String, Pickle)>,
    /// Whether the arguments may name shared objects: nearly none do.
    pub(crate) names_objects: bool,
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
}

impl Request {
    /// Takes apart the request in a frame.
    pub(crate) fn read(
        &mut self,
        index: &mut Index,
        frame: Frame<'_>,
        limits: &Limits,
    ) -> Result<()> {
        let Frame { bytes, backing } = frame;
        let refused = |what: &str| Error::protocol(what);
        let budget = Budget::new(bytes.len(), limits);
        let root = index.message(bytes, limits)?;
        let Some(&[ident, method, args, kwargs]) = index.elements(root, Kind::Sequence) else {
            return Err(refused("request must be a 4-tuple (id, method, args, kwargs)"));
        };
        let many = "args must be a tuple, and kwargs a dict, of at most 1024 arguments together";
        let args = index.elements(args, Kind::Sequence);
        let kwargs = index.elements(kwargs, Kind::Mapping);
        let (args, kwargs) = args.zip(kwargs).ok_or_else(|| refused(many))?;
        if args.len() + kwargs.len() / 2 > MAX_ARGS {
            return Err(refused(many));
        }
        let text = |of| index.text(bytes, of, &budget, limits);
        let pickle = |of: &Span| index.extract(bytes, backing, *of, &budget, limits);
        self.clear();
        self.ident.push_str(&text(ident).unwrap_or_default());
        self.method.push_str(&text(method).map_err(|_| refused("method name must be a str"))?);
        for arg in args {
            self.args.push(pickle(arg)?);
        }
        for pair in kwargs.chunks_exact(2) {
            let [name, value] = pair else { continue };
            let name = text(*name).map_err(|_| refused("keyword names must be str"))?;
            budget.spend(name.len())?;
            self.kwargs.push((name.into_owned(), pickle(value)?));
        }
        self.names_objects = index.names_managers();
        (self.budget, self.limits) = (budget, *limits);
        Ok(())
    }

    /// Drops the arguments, which may be large.
    pub(crate) fn clear(&mut self) {
        self.ident.clear();
        self.method.clear();
        self.args.clear();
        self.kwargs.clear();
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
        kwargs: &[(String, Value)],
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
    /// The exposed methods of a result that stays in the manager.
    Proxy(Vec<String>, Token),
    /// The method raised this.
    Error(Exception),
    /// The manager could not make the call.
    Traceback(String),
    /// The result cannot be sent.
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
            // Python prints a line of dashes directly after the text.
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

    /// Appends `#RETURN` with an item that stays unopened. A large item is left out, to save a copy, and the place in
    /// `out` where it belongs is returned.
    pub(crate) fn append_item(out: &mut Vec<u8>, item: &Pickle) -> Result<Option<usize>> {
        if item.len() < OUT_OF_LINE {
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
    /// A result that cannot be decoded within the limits stays an opaque pickle: nothing is lost.
    pub(crate) fn parse(index: &mut Index, frame: Frame<'_>, limits: &Limits) -> Result<Self> {
        let Frame { bytes, backing } = frame;
        let root = index.message(bytes, limits)?;
        let Some(&[kind, result]) = index.elements(root, Kind::Sequence) else {
            return Err(Error::protocol("a reply must be a pair (kind, result)"));
        };
        let budget = Budget::new(bytes.len(), limits);
        let kind = index.text(bytes, kind, &budget, limits).unwrap_or_default();
        let result = index.extract(bytes, backing, result, &budget, limits)?;
        let result = result.decode_within(&budget, limits).unwrap_or(Value::Opaque(result));
        if kind == "#RETURN" {
            return Ok(Self::Return(result));
        }
        match (&*kind, result) {
            ("#TRACEBACK", Value::Str(text)) => Ok(Self::Traceback(text)),
            ("#UNSERIALIZABLE", Value::Str(text)) => Ok(Self::Unserializable(text)),
            ("#ERROR", Value::Opaque(pickle)) => Ok(Self::Error(exception(pickle, limits))),
            ("#PROXY", Value::Tuple(parts)) => Self::proxy(parts, limits)
                .ok_or_else(|| Error::protocol("a proxy reply without a token")),
            (kind, value) => {
                let what = value.type_name();
                Err(Error::protocol(format!("an unknown reply {kind:?}, with {what}")))
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
/// first name in the pickle that looks like one, and its arguments are the joined texts in it and the pickle itself.
fn exception(pickle: Pickle, limits: &Limits) -> Exception {
    let is_class = |name: &str| name.trim_start_matches('_').starts_with(char::is_uppercase);
    if let Some(called) = pickle.as_instance(limits).filter(|instance| instance.called) {
        // A function that is given a class, such as copyreg's, rebuilds an instance of that.
        let rebuilds = match called.args.first() {
            Some(Value::Opaque(first)) => !is_class(&called.name) && first.as_global().is_some(),
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

/// Appends a frame with a pickled tuple of `count` parts, all but `omitted` bytes of them. Returns by how many
/// bytes the tuple was moved after it was written: see [`frame::append`].
fn append(
    out: &mut Vec<u8>,
    omitted: usize,
    count: usize,
    parts: impl FnOnce(&mut Writer),
) -> Result<usize> {
    let (at, mut result) = (out.len(), Ok(()));
    let moved = frame::append(out, omitted, |out| {
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
    fn keywords_may_be_references_to_one_another() {
        let read = |keywords: u32| {
            // Each refers to the one before.
            let mut bytes = b"\x80\x04(N\x8c\x01f)}(\x8c\x01a\x94N".to_vec();
            for number in 0..keywords {
                bytes.push(b'j');
                bytes.extend(number.to_le_bytes());
                bytes.extend(b"\x94N");
            }
            bytes.extend(b"ut.");
            let mut request = Request::default();
            let limits = Limits::default();
            request.read(&mut Index::default(), bytes.as_slice().into(), &limits)?;
            Ok(request.kwargs.iter().filter(|(name, _)| *name == "a").count())
        };
        assert_eq!(read(1023).unwrap(), 1024);
        let refused: Error = read(1024).unwrap_err();
        assert!(refused.to_string().contains("at most 1024 arguments"), "{refused}");
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn item_of_2_gib_is_spliced_behind_the_long_header() {
        for (length, header) in [(OUT_OF_LINE, 4), (0x7fff_ff00, 4), (0x8000_0000, 12)] {
            // Zeroed memory that is never touched is never committed.
            let item = Pickle::from_vec(vec![0; length], 0);
            let mut out = b"before".to_vec();
            let place = Reply::append_item(&mut out, &item).unwrap().unwrap();
            assert_eq!(out[6 + header..place], *b"\x80\x04\x8c\x07#RETURN");
            assert_eq!(out[place..], *b"\x86.");
        }
    }
}
