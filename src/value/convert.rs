//! From Rust types to values and back.
//!
//! Into a value nothing is lost, so that is [`From`]. Out of one a type may not match or a number
//! not fit: that is [`TryFrom`], and an [`Error::Conversion`] that says what was there.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use super::{Pickle, Value};
use crate::error::{Error, Result};

macro_rules! into_value {
    ($($from:ty, $value:pat => $into:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $into
            }
        }
    )*};
}

into_value! {
    (), () => Self::None;
    bool, truth => Self::Bool(truth);
    i8, int => Self::Int(int.into());
    i16, int => Self::Int(int.into());
    i32, int => Self::Int(int.into());
    i64, int => Self::Int(int.into());
    isize, int => Self::Int(int as i128);
    u8, int => Self::Int(int.into());
    u16, int => Self::Int(int.into());
    u32, int => Self::Int(int.into());
    u64, int => Self::Int(int.into());
    usize, int => Self::Int(int as i128);
    i128, int => Self::Int(int);
    u128, int => match i128::try_from(int) {
        Ok(int) => Self::Int(int),
        Err(_) => Self::Opaque(Pickle::of_long(&[&int.to_le_bytes()[..], &[0]].concat())),
    };
    f32, float => Self::Float(float.into());
    f64, float => Self::Float(float);
    &str, text => Self::Str(text.into());
    String, text => Self::Str(text);
    &[u8], bytes => Self::Bytes(bytes.into());
    Vec<u8>, bytes => Self::Bytes(bytes);
    Vec<Value>, items => Self::List(items);
    Pickle, pickle => Self::Opaque(pickle);
}

impl<const N: usize> From<&[u8; N]> for Value {
    /// `bytes`, so that `b"…"` can be given as it is.
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    /// A `list`.
    fn from(items: [T; N]) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl<K: Into<Value>, V: Into<Value>> From<BTreeMap<K, V>> for Value {
    fn from(map: BTreeMap<K, V>) -> Self {
        dict(map)
    }
}

impl<K: Into<Value>, V: Into<Value>, S> From<HashMap<K, V, S>> for Value {
    fn from(map: HashMap<K, V, S>) -> Self {
        dict(map)
    }
}

/// A `list`, so that `collect` makes one.
impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

fn dict<K: Into<Value>, V: Into<Value>>(map: impl IntoIterator<Item = (K, V)>) -> Value {
    Value::Dict(map.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

macro_rules! tuple {
    ($($name:ident $at:tt),+) => {
        impl<$($name: Into<Value>),+> From<($($name,)+)> for Value {
            fn from(items: ($($name,)+)) -> Self {
                Self::Tuple(vec![$(items.$at.into()),+])
            }
        }

        impl<$($name: TryFrom<Value>),+> TryFrom<Value> for ($($name,)+)
        where
            $(Error: From<$name::Error>),+
        {
            type Error = Error;

            /// From a `tuple` or a `list` of this length.
            fn try_from(value: Value) -> Result<Self> {
                let mut items = match value {
                    Value::Tuple(items) | Value::List(items) => items.into_iter(),
                    other => return Err(mismatch("tuple", &other)),
                };
                let expected = [$($at),+].len();
                if items.len() != expected {
                    let got = items.len();
                    return Err(Error::Conversion(format!("expected {expected} items, got {got}")));
                }
                Ok(($($name::try_from(items.next().unwrap_or_default())?,)+))
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

macro_rules! try_from_value {
    ($($into:ty, $expected:literal, $($value:pat => $result:expr),+;)*) => {$(
        impl TryFrom<Value> for $into {
            type Error = Error;

            fn try_from(value: Value) -> Result<Self> {
                match value.into_plain() {
                    $($value => Ok($result),)+
                    other => Err(mismatch($expected, &other)),
                }
            }
        }
    )*};
}

try_from_value! {
    bool, "bool", Value::Bool(truth) => truth;
    String, "str", Value::Str(text) => text;
    Vec<u8>, "bytes", Value::Bytes(bytes) | Value::ByteArray(bytes) => bytes;
    Vec<Value>, "list",
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items)
            => items;
}

macro_rules! try_from_dict {
    ($map:ty, $($bounds:tt)*) => {
        impl<V: TryFrom<Value>, $($bounds)*> TryFrom<Value> for $map
        where
            Error: From<K::Error> + From<V::Error>,
        {
            type Error = Error;

            fn try_from(value: Value) -> Result<Self> {
                match value {
                    Value::Dict(items) => items
                        .into_iter()
                        .map(|(key, value)| Ok((key.try_into()?, value.try_into()?)))
                        .collect(),
                    other => Err(mismatch("dict", &other)),
                }
            }
        }
    };
}

try_from_dict!(BTreeMap<K, V>, K: TryFrom<Value> + Ord);
try_from_dict!(HashMap<K, V, S>, K: TryFrom<Value> + Eq + Hash, S: BuildHasher + Default);

macro_rules! try_from_int {
    ($($int:ident)*) => {$(
        impl TryFrom<Value> for $int {
            type Error = Error;

            /// `True` is 1 and `False` is 0, as in Python.
            fn try_from(value: Value) -> Result<Self> {
                let value = value.into_plain();
                let int = value.as_int().ok_or_else(|| mismatch("int", &value))?;
                let int = Self::try_from(int).ok();
                int.ok_or_else(|| misfit(&value, stringify!($int)))
            }
        }
    )*};
}

try_from_int!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);

impl TryFrom<Value> for f64 {
    type Error = Error;

    /// From any number; an `int` gives the nearest float, as Python's `float()` does.
    #[allow(clippy::cast_precision_loss)]
    fn try_from(value: Value) -> Result<Self> {
        let value = value.into_plain();
        match &value {
            Value::Float(float) => Ok(*float),
            other => other.as_int().map(|int| int as f64).ok_or_else(|| mismatch("float", other)),
        }
    }
}

fn mismatch(expected: &str, value: &Value) -> Error {
    Error::Conversion(format!("expected {expected}, got {}", value.type_name()))
}

fn misfit(int: &Value, into: &str) -> Error {
    let digits = int.to_string();
    Error::Conversion(format!("int {digits} does not fit {into}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn failure<T: TryFrom<Value, Error = Error>>(value: impl Into<Value>) -> String {
        match T::try_from(value.into()) {
            Ok(_) => "converted".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn integers_of_every_width_go_there_and_back() {
        macro_rules! check {
            ($($int:ident)*) => {$(
                for int in [$int::MIN, 0, 1, $int::MAX] {
                    assert_eq!($int::try_from(Value::from(int)).unwrap(), int);
                    assert_eq!(Value::from(int).to_string(), int.to_string());
                }
            )*};
        }
        check!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 usize);
        assert_eq!(u8::try_from(Value::from(true)).unwrap(), 1);
    }

    #[test]
    fn what_does_not_fit_is_shown() {
        assert_eq!(failure::<u8>(300), "int 300 does not fit u8");
        assert_eq!(failure::<u64>(-1), "int -1 does not fit u64");
        assert_eq!(failure::<i64>(1_u64 << 63), "int 9223372036854775808 does not fit i64");
        assert_eq!(failure::<i128>(1_u128 << 127), "expected int, got object");
        assert_eq!(failure::<u128>(-1), "int -1 does not fit u128");
    }

    #[test]
    fn another_type_is_named() {
        assert_eq!(failure::<i64>("1"), "expected int, got str");
        assert_eq!(failure::<i64>(1.0), "expected int, got float");
        assert_eq!(failure::<bool>(1), "expected bool, got int");
        assert_eq!(failure::<String>(b"x"), "expected str, got bytes");
        assert_eq!(failure::<f64>(()), "expected float, got NoneType");
        assert_eq!(failure::<Vec<u8>>("x"), "expected bytes, got str");
        assert_eq!(failure::<Vec<Value>>("x"), "expected list, got str");
    }

    #[test]
    #[allow(clippy::float_cmp)]
    fn floats_come_from_any_number() {
        let float = |value: Value| f64::try_from(value).unwrap();
        assert_eq!(float(0.5_f32.into()), 0.5);
        assert_eq!(float(7.into()), 7.0);
        assert_eq!(float(true.into()), 1.0);
        assert_eq!(float((1_i128 << 100).into()), 2_f64.powi(100));
        assert_eq!(float(u64::MAX.into()), 2_f64.powi(64));
    }

    #[test]
    fn tuples_and_dicts_come_back() {
        let task = (7, "seven".to_owned(), 0.5, Value::from([1]));
        let back: (u8, String, f64, Value) = Value::from(task.clone()).try_into().unwrap();
        assert_eq!(back, task);
        let ages = BTreeMap::from([("Ada".to_owned(), 36), ("Guido".to_owned(), 69)]);
        assert_eq!(BTreeMap::try_from(Value::from(ages.clone())).unwrap(), ages);
        let counts = HashMap::from([(1_i64, (true, 2_u8))]);
        assert_eq!(HashMap::try_from(Value::from(counts.clone())).unwrap(), counts);

        assert_eq!(<(i64, i64)>::try_from(Value::from([1, 2])).unwrap(), (1, 2));
        assert_eq!(failure::<(i64, i64)>([1, 2, 3]), "expected 2 items, got 3");
        assert_eq!(failure::<(i64,)>(()), "expected tuple, got NoneType");
        assert_eq!(failure::<(i64, u8)>((1, 300)), "int 300 does not fit u8");
        assert_eq!(failure::<HashMap<String, i64>>([1]), "expected dict, got list");
        assert_eq!(
            failure::<BTreeMap<i64, i64>>(BTreeMap::from([(1, "x")])),
            "expected int, got str"
        );
    }

    #[test]
    fn containers() {
        assert!(Value::from(()).is_none() && Value::from(None::<i32>).is_none());
        assert_eq!(Value::from(Some("x")).as_str(), Some("x"));
        assert_eq!(Value::from(b"ab").as_bytes(), Some(&b"ab"[..]));
        assert_eq!(Value::from((1, "a", 0.5, true)).to_string(), "(1, 'a', 0.5, True)");
        assert_eq!(Value::from((1,)).to_string(), "(1,)");
        assert_eq!(Value::from([1, 2]).to_string(), "[1, 2]");
        assert_eq!(
            Value::from(BTreeMap::from([("b", 1), ("a", 2)])).to_string(),
            "{'a': 2, 'b': 1}"
        );
        assert_eq!(Value::from(HashMap::from([("k", false)])).to_string(), "{'k': False}");
        assert_eq!(["a", "b"].iter().copied().collect::<Value>().to_string(), "['a', 'b']");
        let set = Value::FrozenSet(vec![1.into()]);
        assert_eq!(Vec::<Value>::try_from(set).unwrap(), [Value::from(1)]);
        assert_eq!(Vec::<u8>::try_from(Value::ByteArray(vec![1])).unwrap(), [1]);
        assert!(matches!(Value::from(Pickle::new(b"N", 0)), Value::Opaque(_)));
    }
}
