//! How shared objects are named in messages: tokens, and the proxies that hold them.

use std::fmt;

use crate::limits::Limits;
use crate::net::Address;
use crate::pickle::Pickle;
use crate::pickle::{Instance, Writer, is_managers};
use crate::value::Value;

/// The most bytes that a proxy is taken to have: its class, its token and the names of its methods.
const LARGEST: usize = 64 << 10;

/// The module of tokens and proxies that are written here.
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
            None => Value::from(address.python_path()),
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
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
        pickle.tokens().into_iter().filter_map(Self::from_instance).collect()
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

    /// The token in a pickle, if it is one.
    pub(crate) fn read(pickle: &Pickle, limits: &Limits) -> Option<Self> {
        Self::from_instance(pickle.as_instance(limits)?)
    }

    fn from_instance(instance: Instance) -> Option<Self> {
        if !is_managers(instance.module.as_bytes()) || instance.name != "Token" {
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
        Self::read_within(pickle, &Limits::default())
    }

    fn read_within(pickle: &Pickle, limits: &Limits) -> Option<Self> {
        let rebuild = pickle.as_instance(limits)?;
        if !is_managers(rebuild.module.as_bytes()) || rebuild.name != "RebuildProxy" {
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
            class: class.as_global()?,
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
            writer.dict(exposed, Writer::str, |writer, names| {
                writer.tuple(names.len(), |writer| names.iter().for_each(|name| writer.str(name)));
            });
        });
        writer.reduce();
        writer.into_pickle()
    }
}

impl fmt::Display for Pickle {
    /// A proxy is shown as Python's `repr()` shows it. Another object is shown as the call that makes it, such as
    /// `datetime.date(2026, 1, 31)` or `jobs.Task(id=7)`, with the arguments and attributes that are pickled. One of
    /// more than 64 KiB is not opened: only its size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_small = self.len() <= LARGEST;
        // What is small may refer to much, again and again: a text needs little of it.
        let limits = Limits::default().expansion(LARGEST);
        let Some(proxy) = is_small.then(|| PickledProxy::read_within(self, &limits)).flatten()
        else {
            return match is_small.then(|| self.as_instance(&limits)).flatten() {
                Some(instance) => instance.fmt(f),
                None => write!(f, "<opaque pickle, {} bytes>", self.len()),
            };
        };
        let PickledProxy { class, token, .. } = proxy;
        let (typeid, id) = (&token.typeid, abridged(&token.id));
        match class.1.as_str() {
            "AutoProxy" => write!(f, "<AutoProxy[{typeid}] object, typeid '{typeid}' at 0x{id}>"),
            class => write!(f, "<{class} object, typeid '{typeid}' at 0x{id}>"),
        }
    }
}

/// An id as a text shows it: enough to recognise the object, too little to call it.
pub(crate) fn abridged(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// A tuple or list of method names.
pub(crate) fn names(value: Value) -> Option<Vec<String>> {
    value.to().ok()
}
