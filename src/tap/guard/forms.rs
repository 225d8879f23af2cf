//! The calls that a request may contain, each in the form in which `CPython` pickles it.

use super::reader::{Reader, describe};
use super::refused;
use super::slot::{Dict, Slot};
use crate::error::Result;
use crate::pickle::machine::Span;

/// A class or function that the guard knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Name {
    RebuildProxy,
    AutoProxy,
    ProxyType,
    Token,
    /// `set` and `frozenset`.
    Set,
    Bytes,
    ByteArray,
    Slice,
    Range,
    Encode,
}

/// The proxy types of Python 3.8 to 3.14.
const PROXY_TYPES: [&str; 12] = [
    "AcquirerProxy",
    "ArrayProxy",
    "BarrierProxy",
    "ConditionProxy",
    "DictProxy",
    "EventProxy",
    "IteratorProxy",
    "ListProxy",
    "NamespaceProxy",
    "PoolProxy",
    "SetProxy",
    "ValueProxy",
];

impl Name {
    /// What a name means; `is_old` under the protocols whose names are those of Python 2.
    pub(super) fn of(module: &[u8], name: &[u8], is_old: bool) -> Option<Self> {
        match (module, name) {
            (b"multiprocessing.managers", b"RebuildProxy") => Some(Self::RebuildProxy),
            (b"multiprocessing.managers", b"AutoProxy") => Some(Self::AutoProxy),
            (b"multiprocessing.managers", b"Token") => Some(Self::Token),
            (b"multiprocessing.managers", name) => {
                PROXY_TYPES.iter().any(|known| known.as_bytes() == name).then_some(Self::ProxyType)
            }
            (b"_codecs", b"encode") => Some(Self::Encode),
            (b"__builtin__", b"xrange") if is_old => Some(Self::Range),
            (b"__builtin__", name) if is_old => Self::builtin(name),
            (b"builtins", name) => Self::builtin(name),
            _ => None,
        }
    }

    fn builtin(name: &[u8]) -> Option<Self> {
        match name {
            b"set" | b"frozenset" => Some(Self::Set),
            b"bytes" => Some(Self::Bytes),
            b"bytearray" => Some(Self::ByteArray),
            b"slice" => Some(Self::Slice),
            b"range" => Some(Self::Range),
            _ => None,
        }
    }

    /// For a reason.
    pub(super) fn shown(self) -> &'static str {
        match self {
            Self::RebuildProxy => "RebuildProxy",
            Self::AutoProxy => "AutoProxy",
            Self::ProxyType => "a proxy type",
            Self::Token => "Token",
            Self::Set => "set or frozenset",
            Self::Bytes => "bytes",
            Self::ByteArray => "bytearray",
            Self::Slice => "slice",
            Self::Range => "range",
            Self::Encode => "_codecs.encode",
        }
    }
}

/// `REDUCE`: calls an object with a tuple of arguments.
pub(super) fn call(reader: &mut Reader<'_>, callable: Slot, args: Slot) -> Result<Slot> {
    let name = match callable {
        Slot::Allowed => return instance(args),
        Slot::Global(name) => name,
        _ => {
            return Err(refused(
                "the pickle calls an object that is not an allowed class or function",
            ));
        }
    };
    if name == Name::RebuildProxy {
        return rebuild_proxy(reader, args);
    }
    let is_int = |slot: &Slot| matches!(slot, Slot::Int(_));
    let is_codec = |codec, name: &[u8]| reader.text(codec) == name;
    let fits = match (name, reader.tuple(args)) {
        (Name::Set, Some([Slot::List]))
        | (Name::Bytes | Name::ByteArray, Some([]))
        | (Name::ByteArray, Some([Slot::Bytes(_)])) => true,
        (Name::ByteArray, Some([Slot::Str(_), Slot::Str(codec)])) => is_codec(*codec, b"latin-1"),
        (Name::Encode, Some([Slot::Str(_), Slot::Str(codec)])) => is_codec(*codec, b"latin1"),
        (Name::Slice, Some(args @ [_, _, _])) => {
            args.iter().all(|arg| is_int(arg) || *arg == Slot::None)
        }
        (Name::Range, Some(args @ [_, _, _])) => args.iter().all(is_int),
        _ => false,
    };
    match name {
        // Older protocols write a bytearray as a call with such bytes, whose content does not matter.
        Name::Bytes | Name::Encode if fits => return Ok(Slot::Bytes(Span(0, 0))),
        _ if fits => return Ok(Slot::Data),
        _ => {}
    }
    let name = name.shown();
    Err(refused(format!("{name} is called in a form that plain data does not need")))
}

/// `NEWOBJ`: calls `__new__` of a class.
pub(super) fn new_object(reader: &mut Reader<'_>, class: Slot, args: Slot) -> Result<Slot> {
    match (class, reader.tuple(args)) {
        (Slot::Allowed, _) => instance(args),
        (Slot::Global(Name::Token), Some([])) => Ok(reader.new_token()),
        (Slot::Global(name), _) => {
            let name = name.shown();
            Err(refused(format!("NEWOBJ of {name} is not allowed in this form")))
        }
        _ => Err(refused("NEWOBJ of an object that is no allowed class")),
    }
}

/// The result of a call that a pattern allows.
fn instance(args: Slot) -> Result<Slot> {
    match args {
        Slot::Tuple(..) | Slot::Names(..) | Slot::Data => Ok(Slot::Instance),
        _ => Err(refused("the arguments of a call are no tuple")),
    }
}

/// `RebuildProxy(type, token, 'pickle', keywords)`.
fn rebuild_proxy(reader: &mut Reader<'_>, args: Slot) -> Result<Slot> {
    let Some([class, Slot::Token(token), Slot::Str(serializer), keywords]) =
        reader.proxy_args(args)
    else {
        return Err(refused("RebuildProxy must be called with (type, token, 'pickle', keywords)"));
    };
    let (class, token, serializer, keywords) = (*class, *token, *serializer, *keywords);
    if !reader.is_built(token) {
        return Err(refused("the token of a proxy has no state"));
    }
    if reader.text(serializer) != b"pickle" {
        return Err(refused("the serializer of a proxy is not 'pickle'"));
    }
    let Some(dict) = reader.dict(keywords) else {
        return Err(refused("the keywords of a proxy are no dict"));
    };
    match (class, *dict) {
        (Slot::Global(Name::AutoProxy), Dict::Exposed)
        | (Slot::Global(Name::ProxyType) | Slot::Allowed, Dict::Empty) => {}
        (Slot::Global(Name::AutoProxy), _) => {
            return Err(refused(
                "the only keyword of AutoProxy must be 'exposed', a tuple of ASCII identifiers",
            ));
        }
        (Slot::Global(Name::ProxyType) | Slot::Allowed, _) => {
            return Err(refused("a proxy has keywords, or shares them with another"));
        }
        _ => return Err(refused("the first argument of RebuildProxy is no proxy type")),
    }
    *dict = Dict::Keywords;
    Ok(Slot::Data)
}

/// Checks the state of a token: `(typeid, address, id)`, with an address of this manager.
pub(super) fn check_token_state(reader: &Reader<'_>, state: Slot) -> Result<()> {
    let Some([Slot::Str(_), address, Slot::Str(_)]) = reader.tuple(state) else {
        return Err(refused("the state of a token is not (typeid, address, id)"));
    };
    let is_allowed = match (*address, reader.tuple(*address)) {
        (Slot::Str(path) | Slot::Bytes(path), _) => reader.guard.has_unix(reader.text(path)),
        (_, Some([Slot::Str(host), Slot::Int(port)])) => {
            reader.guard.has_tcp(reader.text(*host), *port)
        }
        _ => false,
    };
    if is_allowed {
        return Ok(());
    }
    let Some(address) = describe(reader, *address) else {
        return Err(refused("the token of a proxy contains no address of a manager"));
    };
    Err(refused(match reader.guard.places() {
        known if known.is_empty() => {
            format!("the proxy belongs to the manager at {address}; no proxies pass")
        }
        known => format!(
            "the proxy belongs to the manager at {address}; only proxies of this manager pass (known as {known}). If clients \
             reach this tap by that address, add --known-as"
        ),
    }))
}

/// Whether an object is a tuple of ASCII identifiers.
pub(super) fn are_names(reader: &Reader<'_>, names: &[Slot]) -> bool {
    let is_name = |name: &Slot| match name {
        Slot::Str(span) => match reader.text(*span) {
            [first, rest @ ..] if rest.len() < 100 => {
                (first.is_ascii_alphabetic() || *first == b'_')
                    && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            }
            _ => false,
        },
        _ => false,
    };
    names.iter().all(is_name)
}
