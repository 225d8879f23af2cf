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

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Exception, Result};
use crate::frame::{self, Frame};
use crate::limits::Limits;
use crate::pickle::{Instance, Range, Scan, Shape, Writer};
use crate::transport::Address;
use crate::value::{Pickle, Value};

/// An item of so many bytes is not copied into its reply.
const APART: usize = 16 * 1024;

/// The module of tokens and proxies.
const MANAGERS: &str = "multiprocessing.managers";

/// Names a shared object: its typeid, its manager's address and its id there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) typeid: String,
    pub(crate) address: Value,
    pub(crate) id: String,
}

impl Token {
    /// An address as Python has it: host and port, or a path.
    pub(crate) fn address(address: &Address) -> Value {
        match address.host_and_port() {
            Some((host, port)) => Value::from((host, i64::from(port))),
            None => Value::from(address.to_string()),
        }
    }

    fn write(&self, writer: &mut Writer) {
        writer.global(MANAGERS, "Token");
        writer.tuple(0, |_| ());
        writer.newobj();
        writer.tuple(3, |writer| {
            writer.str(&self.typeid);
            writer.value(&self.address);
            writer.str(&self.id);
        });
        writer.build();
    }

    /// The tokens in a pickle, wherever in it.
    pub(crate) fn all(pickle: &Pickle) -> Vec<Self> {
        pickle.instances_of(MANAGERS).into_iter().filter_map(Self::from_instance).collect()
    }

    /// Adds the tokens in a value.
    pub(crate) fn all_in(value: &Value, tokens: &mut Vec<Self>) {
        match value {
            Value::Opaque(pickle) => tokens.extend(Self::all(pickle)),
            Value::List(items)
            | Value::Tuple(items)
            | Value::Set(items)
            | Value::FrozenSet(items) => {
                for item in items {
                    Self::all_in(item, tokens);
                }
            }
            Value::Dict(items) => items.iter().for_each(|(key, value)| {
                Self::all_in(key, tokens);
                Self::all_in(value, tokens);
            }),
            _ => {}
        }
    }

    /// Whether it may be of the manager that is bound to this address: if not, its id is another's.
    ///
    /// An id that does not last comes from a random number, so no other manager has it. One that lasts
    /// is a typeid, and many have a `list`: for these the addresses must agree. A token bears the one
    /// that its client connected to, which need not be the one that was bound: a host's name may be
    /// anybody's, a manager bound to all addresses is at each of them, and a path may be relative. So
    /// nothing is refused but another port, another number for a host, another path. A manager behind
    /// a forwarded port does not know its lasting objects by that address; as data they need no hold.
    pub(crate) fn may_be_of(&self, manager: &Address) -> bool {
        if self.id != self.typeid {
            return true;
        }
        match (&self.address, manager, manager.host_and_port()) {
            (Value::Tuple(address), _, Some((bound, bound_port))) => {
                let [Value::Str(host), port] = address.as_slice() else { return false };
                let same_host = match (host.parse::<IpAddr>(), bound.parse::<IpAddr>()) {
                    (Ok(host), Ok(bound)) => {
                        bound.is_unspecified() || host.to_canonical() == bound.to_canonical()
                    }
                    _ => true,
                };
                same_host && port.as_i64() == Some(bound_port.into())
            }
            (Value::Str(path), Address::Unix(bound), _) => {
                bound.ends_with(path) || Path::new(path).ends_with(bound)
            }
            _ => false,
        }
    }

    /// The token in a pickle, if it is one.
    pub(crate) fn read(pickle: &Pickle, limits: &Limits) -> Option<Self> {
        Self::from_instance(pickle.instance(limits)?)
    }

    fn from_instance(instance: Instance) -> Option<Self> {
        if (instance.module.as_str(), instance.name.as_str()) != (MANAGERS, "Token") {
            return None;
        }
        let Some(Value::Tuple(state)) = instance.state else { return None };
        match <[Value; 3]>::try_from(state) {
            Ok([Value::Str(typeid), address, Value::Str(id)]) => Some(Self { typeid, address, id }),
            _ => None,
        }
    }
}

impl From<&Token> for Value {
    fn from(token: &Token) -> Self {
        let mut writer = Writer::default();
        token.write(&mut writer);
        Self::Opaque(writer.into_pickle())
    }
}

/// A proxy as Python pickles it: `RebuildProxy(class, token, 'pickle', keywords)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PickledProxy {
    /// A class of `multiprocessing.managers`, or of a module of the peer's own; for `AutoProxy`, the
    /// function that makes one.
    pub(crate) class: (String, String),
    pub(crate) token: Token,
    /// The methods, where the class does not tell.
    pub(crate) exposed: Option<Vec<String>>,
}

impl PickledProxy {
    /// The proxy in a pickle, if it is one.
    pub(crate) fn read(pickle: &Pickle) -> Option<Self> {
        let limits = &Limits::default();
        let rebuild = pickle.instance(limits)?;
        if (rebuild.module.as_str(), rebuild.name.as_str()) != (MANAGERS, "RebuildProxy") {
            return None;
        }
        let [Value::Opaque(class), Value::Opaque(token), _, Value::Dict(keywords)] =
            <[Value; 4]>::try_from(rebuild.args).ok()?
        else {
            return None;
        };
        let mut keywords = keywords.into_iter();
        let exposed = keywords.find(|(name, _)| name.as_str() == Some("exposed"));
        Some(Self {
            class: class.global()?,
            token: Token::read(&token, limits)?,
            exposed: exposed.and_then(|(_, exposed)| names(exposed)),
        })
    }

    pub(crate) fn to_pickle(&self) -> Pickle {
        let mut writer = Writer::default();
        writer.global(MANAGERS, "RebuildProxy");
        writer.tuple(4, |writer| {
            writer.global(&self.class.0, &self.class.1);
            self.token.write(writer);
            writer.str("pickle");
            let exposed = self.exposed.iter().map(|exposed| ("exposed", exposed));
            let exposed: Vec<_> = exposed.collect();
            writer.dict(exposed.into_iter(), Writer::str, |writer, names| {
                writer.tuple(names.len(), |writer| names.iter().for_each(|name| writer.str(name)));
            });
        });
        writer.reduce();
        writer.into_pickle()
    }
}

impl fmt::Display for Pickle {
    /// For a proxy what Python's `repr()` says, for anything else the size only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(PickledProxy { class, token, .. }) = PickledProxy::read(self) else {
            return write!(f, "<opaque pickle, {} bytes>", self.len());
        };
        let Token { typeid, id, .. } = token;
        // An id that lasts is no number.
        let at = if u64::from_str_radix(&id, 16).is_ok() { "at 0x" } else { "at " };
        match class.1.as_str() {
            "AutoProxy" => write!(f, "<AutoProxy[{typeid}] object, typeid '{typeid}' {at}{id}>"),
            class => write!(f, "<{class} object, typeid '{typeid}' {at}{id}>"),
        }
    }
}

/// A message that has been scanned: where to read its parts from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) scan: &'a Scan,
    pub(crate) bytes: &'a [u8],
    /// The same, where it has memory of its own.
    whole: Option<&'a Arc<Vec<u8>>>,
    pub(crate) limits: &'a Limits,
}

impl<'a> Message<'a> {
    pub(crate) fn value(self, part: Range) -> Result<Value> {
        self.scan.decode(self.bytes, part, self.limits)
    }

    pub(crate) fn pickle(self, part: Range) -> Result<Pickle> {
        match self.whole.and_then(|whole| self.scan.share(whole, part)) {
            Some(shared) => Ok(shared),
            None => self.scan.cut(self.bytes, part, self.limits),
        }
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
        let root = scan.message(bytes, limits)?;
        let scan = &*scan;
        let message = Message { scan, bytes, whole, limits };
        let parts = scan.children(bytes, root, Shape::Sequence);
        let Some(&[ident, method, args, kwargs]) = parts else {
            return Err(Error::Protocol("a request is no tuple of four".to_owned()));
        };
        let method = message.text(method);
        let args = scan.children(bytes, args, Shape::Sequence);
        let kwargs = scan.children(bytes, kwargs, Shape::Mapping);
        Ok(Self {
            ident: message.text(ident),
            method: method
                .ok_or_else(|| Error::Protocol("a method's name is no text".to_owned()))?,
            message,
            args: args.ok_or_else(|| {
                Error::Protocol("arguments are no tuple of fewer than 256".to_owned())
            })?,
            kwargs: kwargs.ok_or_else(|| {
                Error::Protocol("keyword arguments are no dict of fewer than 128".to_owned())
            })?,
        })
    }

    /// The keyword arguments: name and value.
    pub(crate) fn keywords(&self) -> impl Iterator<Item = (Option<&'a str>, Range)> {
        let message = self.message;
        self.kwargs.chunks_exact(2).filter_map(move |pair| match *pair {
            [name, value] => Some((message.text(name), value)),
            _ => None,
        })
    }

    /// Appends a request, in its frame.
    pub(crate) fn append(
        out: &mut Vec<u8>,
        ident: Option<&str>,
        method: &str,
        args: &[Value],
        kwargs: &[(&str, Value)],
    ) {
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
        });
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
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
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
    pub(crate) fn append_item(out: &mut Vec<u8>, item: &Pickle) -> Option<usize> {
        if item.len() < APART {
            tagged(out, "#RETURN", |writer| writer.pickle(item));
            return None;
        }
        let mut place = 0;
        append(out, item.len(), 2, |writer| {
            writer.str("#RETURN");
            place = writer.position();
        });
        Some(place)
    }

    /// Appends `#RETURN` with a list of items that stay unopened.
    pub(crate) fn append_items<T>(out: &mut Vec<u8>, items: &[T], pickle: impl Fn(&T) -> &Pickle) {
        tagged(out, "#RETURN", |writer| {
            writer.list(items, |writer, item| writer.pickle(pickle(item)));
        });
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
            let value =
                message.value(result).or_else(|_| message.pickle(result).map(Value::Opaque));
            return value.map(Self::Return);
        }
        match (kind, message.value(result)?) {
            ("#TRACEBACK", Value::Str(text)) => Ok(Self::Traceback(text)),
            ("#UNSERIALIZABLE", Value::Str(text)) => Ok(Self::Unserializable(text)),
            ("#ERROR", Value::Opaque(pickle)) => Ok(match pickle.instance(limits) {
                Some(class) => Self::Error(Exception::new(class.module, class.name, class.args)),
                None => Self::Traceback("an exception that cannot be read here".to_owned()),
            }),
            ("#PROXY", Value::Tuple(parts)) => Self::proxy(parts, limits)
                .ok_or_else(|| Error::Protocol("a proxy reply without a token".to_owned())),
            (kind, value) => {
                let what = value.type_name();
                Err(Error::Protocol(format!("an unknown reply {kind:?} with a {what}")))
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

/// A tuple or list of method names.
pub(crate) fn names(value: Value) -> Option<Vec<String>> {
    let names = Vec::<Value>::try_from(value).ok()?;
    names.into_iter().map(|name| String::try_from(name).ok()).collect()
}

fn tagged(out: &mut Vec<u8>, kind: &str, result: impl FnOnce(&mut Writer)) {
    append(out, 0, 2, |writer| {
        writer.str(kind);
        result(writer);
    });
}

/// Appends a frame with a pickled tuple of `count` parts, `apart` bytes of which are left out.
fn append(out: &mut Vec<u8>, apart: usize, count: usize, parts: impl FnOnce(&mut Writer)) {
    frame::append(out, apart, |out| {
        let mut writer = Writer::append_to(std::mem::take(out));
        writer.tuple(count, parts);
        *out = writer.into_buffer();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_id_is_of_the_manager_that_may_be_at_its_address() {
        let tcp = |host: &str, port: i64| Value::from((host, port));
        let path = |path: &str| Value::from(path);
        let cases = [
            ("127.0.0.1:5000", tcp("127.0.0.1", 5000), true),
            ("127.0.0.1:5000", tcp("localhost", 5000), true),
            ("127.0.0.1:5000", tcp("127.0.0.1", 5001), false),
            ("127.0.0.1:5000", tcp("localhost", 5001), false),
            ("10.0.0.1:5000", tcp("10.0.0.2", 5000), false),
            ("10.0.0.1:5000", tcp("::ffff:10.0.0.1", 5000), true),
            ("localhost:5000", tcp("127.0.0.1", 5000), true),
            ("0.0.0.0:5000", tcp("10.0.0.2", 5000), true),
            ("[::]:5000", tcp("10.0.0.2", 5000), true),
            ("0.0.0.0:5000", tcp("10.0.0.2", 5001), false),
            ("127.0.0.1:5000", path("/run/tasks"), false),
            ("/run/tasks", path("/run/tasks"), true),
            ("/run/tasks", path("tasks"), true),
            ("run/tasks", path("/run/tasks"), true),
            ("/run/tasks", path("/run/other"), false),
            ("/run/tasks", tcp("localhost", 5000), false),
            ("/run/tasks", Value::None, false),
        ];
        for (bound, address, ours) in cases {
            let lasting =
                Token { typeid: "list".into(), address: address.clone(), id: "list".into() };
            assert_eq!(lasting.may_be_of(&bound.into()), ours, "{bound}, {address}");
            let token = Token { typeid: "list".into(), address, id: "f00d".into() };
            assert!(token.may_be_of(&bound.into()), "a random id is nobody else's");
        }
    }
}
