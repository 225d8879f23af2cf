//! What makes two values the same key of a dict, or the same member of a set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Pickle, Value, numpy, path};
use crate::limits::Limits;
use crate::pickle::{Instance, Node};

/// A value in a form in which equal ones are the same bytes, as Python's `==` and `hash()` have it:
///
/// ```text
///  None               0
///  int, bool, float   1 and the number, if it fits an i64: 1, 1.0 and True are one key
///  float              2 and its bits;  so has an int beyond that equals a float
///  int                3, length, bytes
///  str  bytes         4, 5, length, bytes
///  tuple  list        6, 10, count, the items
///  set                7, count, the members in order of their bytes
///  dict               11, count, the keys, each with its value, in order of their bytes
///  nan                9 and a number of its own, for it equals nothing
///  class, function    12, its module and name
///  instance           13, its class, the arguments, state and items that it is made from; of an
///                     OrderedDict also its keys in order
///  path of pathlib    14 for POSIX, 15 for Windows, its text
///  other              8, length, the bytes of its pickle
/// ```
/// A pickle's own bytes depend on which of the objects in it are the same object, and not only equal. So an
/// instance is opened; only one that is large is told apart by its pickle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(Arc<[u8]>);

impl Key {
    /// The key of any value, hashable or not.
    pub(crate) fn of(value: &Value) -> Self {
        let mut out = Vec::new();
        write(value, &mut out);
        Self(out.into())
    }
}

/// A value that many are compared with: its key is made once.
#[cfg(feature = "objects")]
pub(crate) struct Needle<'a> {
    value: &'a Value,
    key: std::cell::OnceCell<Key>,
}

#[cfg(feature = "objects")]
impl<'a> Needle<'a> {
    pub(crate) fn new(value: &'a Value) -> Self {
        Self { value, key: std::cell::OnceCell::new() }
    }

    /// Python's `==`.
    pub(crate) fn equals(&self, other: &Value) -> bool {
        match (self.value, other) {
            (Value::Opaque(a), Value::Opaque(b)) => {
                a == b || *self.key.get_or_init(|| Key::of(self.value)) == Key::of(other)
            }
            _ => self.value == other,
        }
    }
}

/// An opaque object of more bytes than this stays unopened.
const LARGE: usize = 1 << 12;
/// The bytes that may become of an opaque object beyond 16 times its size: what is referred to many times
/// is compared as often.
const EXPANSION: usize = 1 << 12;

/// An opaque object, by what it is made from.
fn write_opaque(pickle: &Pickle, out: &mut Vec<u8>) {
    if let Some(number) = numpy::number(pickle) {
        return write(&number, out);
    }
    let limits = Limits::default().expansion(EXPANSION);
    match (pickle.len() <= LARGE).then(|| pickle.node(&limits)).flatten() {
        Some(Node::Instance(instance)) => write_instance(&instance, out),
        Some(Node::Global(names)) => write_names(12, &names.0, &names.1, out),
        _ => write_bytes(8, pickle.ops(), out),
    }
}

fn write_instance(instance: &Instance, out: &mut Vec<u8>) {
    let Instance { module, name, args, called, state, items } = instance;
    if let Some(path) = path::of(instance) {
        return write_bytes(if path.is_posix { 14 } else { 15 }, path.text.as_bytes(), out);
    }
    write_names(13, module, name, out);
    out.push(u8::from(*called));
    write_count(args.len(), out);
    for part in args {
        write(part, out);
    }
    for part in [state, items] {
        out.push(u8::from(part.is_some()));
        if let Some(part) = part {
            write(part, out);
        }
    }
    if (module.as_str(), name.as_str()) == ("collections", "OrderedDict")
        && let Some(Value::Dict(pairs)) = items
    {
        for (key, _) in pairs {
            write(key, out);
        }
    }
}

fn write_names(kind: u8, module: &str, name: &str, out: &mut Vec<u8>) {
    write_bytes(kind, module.as_bytes(), out);
    write_bytes(kind, name.as_bytes(), out);
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::None => out.push(0),
        Value::Bool(_) | Value::Int(_) => write_int(value.as_i64().unwrap_or_default(), out),
        Value::Float(float) => write_float(*float, out),
        Value::BigInt(int) => match f64::try_from(value.clone()) {
            Ok(float) if Value::Float(float) == *value => write_float(float, out),
            _ => write_bytes(3, int.to_le_bytes(), out),
        },
        Value::Str(text) => write_bytes(4, text.as_bytes(), out),
        Value::Bytes(bytes) | Value::ByteArray(bytes) => write_bytes(5, bytes, out),
        Value::Opaque(pickle) => write_opaque(pickle, out),
        Value::Tuple(items) | Value::List(items) => {
            out.push(if matches!(value, Value::Tuple(_)) { 6 } else { 10 });
            write_count(items.len(), out);
            for item in items {
                write(item, out);
            }
        }
        Value::Set(items) | Value::FrozenSet(items) => {
            write_sorted(7, items, write, out);
        }
        Value::Dict(pairs) => {
            let pair = |(key, value): &(Value, Value), out: &mut Vec<u8>| {
                write(key, out);
                write(value, out);
            };
            write_sorted(11, pairs, pair, out);
        }
    }
}

fn write_sorted<T>(kind: u8, parts: &[T], write: impl Fn(&T, &mut Vec<u8>), out: &mut Vec<u8>) {
    if let [only] = parts {
        // Nothing to sort: it need not be copied, at each level again.
        out.push(kind);
        write_count(1, out);
        return write(only, out);
    }
    let form = |part| {
        let mut form = Vec::new();
        write(part, &mut form);
        form
    };
    let mut forms: Vec<_> = parts.iter().map(form).collect();
    forms.sort_unstable();
    forms.dedup();
    out.push(kind);
    write_count(forms.len(), out);
    for form in forms {
        out.extend(form);
    }
}

fn write_int(int: i64, out: &mut Vec<u8>) {
    out.push(1);
    out.extend(int.to_le_bytes());
}

#[allow(clippy::cast_possible_truncation)] // The int is compared with the float.
fn write_float(float: f64, out: &mut Vec<u8>) {
    static NANS: AtomicU64 = AtomicU64::new(0);
    let int = float as i64;
    if Value::Int(int) == Value::Float(float) {
        write_int(int, out);
    } else if float.is_nan() {
        out.push(9);
        out.extend(NANS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    } else {
        out.push(2);
        out.extend(float.to_le_bytes());
    }
}

fn write_bytes(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    write_count(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn write_count(count: usize, out: &mut Vec<u8>) {
    out.extend((count as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Pickle;

    fn key(value: impl Into<Value>) -> Key {
        Key::of(&value.into())
    }

    fn frozen<const N: usize>(items: [Value; N]) -> Value {
        Value::FrozenSet(items.into())
    }

    #[test]
    fn equal_values_are_one_key() {
        assert_eq!(key(1), key(1.0));
        assert_eq!(key(1), key(true));
        assert_eq!(key(0), key(-0.0));
        assert_eq!(key(i64::MIN), key(-9_223_372_036_854_775_808.0));
        assert_eq!(key(1_u64 << 63), key(9_223_372_036_854_775_808.0));
        assert_eq!(key(1_i128 << 100), key(2_f64.powi(100)));
        assert_eq!(key((1, "a")), key((true, "a")));
        let (ab, ba) = (frozen([1.into(), 2.into()]), frozen([2.into(), 1.0.into()]));
        assert_eq!(key(ab.clone()), key(ba.clone()));
        assert_eq!(key(ab), key(Value::Set(Vec::try_from(ba).unwrap())));
        let dict = |pairs: [(i64, f64); 2]| {
            Value::Dict(pairs.map(|(key, value)| (key.into(), value.into())).into())
        };
        assert_eq!(key(dict([(1, 2.0), (3, 4.0)])), key(dict([(3, 4.0), (1, 2.0)])));
        assert_eq!(key(b"a"), key(Value::ByteArray(vec![b'a'])));
        assert_eq!(key(Pickle::new(b"x", 0)), key(Pickle::new(b"x", 1)));
    }

    #[test]
    fn other_values_are_not() {
        let keys = [
            key(()),
            key(0),
            key(1),
            key(1.5),
            key(f64::INFINITY),
            key(f64::NAN),
            key(f64::NAN),
            key(i64::MAX),
            key(9_223_372_036_854_775_808.0),
            key((1_u64 << 63) + 1),
            key((1_i128 << 100) + 1),
            key("1"),
            key(b"1"),
            key(""),
            key(Value::Tuple(vec![])),
            key((1,)),
            key(("a", "b")),
            key(("ab", "")),
            key(((1,), 2)),
            key(((1, 2),)),
            key(frozen([])),
            key(frozen([1.into()])),
            key(Pickle::new(b"1", 0)),
            key(Value::List(vec![])),
            key([1]),
            key([[1]]),
            key(Value::Dict(vec![])),
            key(Value::Dict(vec![(1.into(), 1.into())])),
            key(Value::Dict(vec![(1.into(), 2.into())])),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(at));
        }
    }
}
