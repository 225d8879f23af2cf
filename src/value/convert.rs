//! From Rust types to values and back.
//!
//! ```text
//!  Rust -> Value   From         always possible, nothing is lost
//!  Value -> Rust   FromValue    fails if the type differs or a number does not fit
//! ```
//! Lists need a hook in both directions, because `Vec<u8>` is `bytes` while every other `Vec<T>` is a `list`, and
//! two generic impls would overlap: [`IntoValue::list`] and [`FromValue::list_from_value`], which `u8` overrides.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use super::{IntoArgs, Pickle, Value};
use crate::error::{Error, Result};

/// A Rust type that a [`Value`] can be converted to, with [`Value::to`] or [`Pickle::to`].
///
/// Implemented for integers, floats, `bool`, `char`, `String`, `()`, `Value`, `Option`, `Vec`, tuples of up to 12, and
/// the maps and sets of `std`. Implement it for a type of your own:
///
/// ```
/// use basemanager::value::FromValue;
/// use basemanager::{Result, Value};
///
/// struct Task {
///     id: u64,
///     words: Vec<String>,
/// }
///
/// impl FromValue for Task {
///     fn from_value(value: Value) -> Result<Self> {
///         let (id, words) = value.to()?;
///         Ok(Self { id, words })
///     }
/// }
///
/// let tasks: Vec<Task> = Value::from([(7, ["a", "b"])]).to()?;
/// assert_eq!((tasks[0].id, tasks[0].words.len()), (7, 2));
/// # Ok::<(), basemanager::Error>(())
/// ```
pub trait FromValue: Sized {
    /// Converts a value.
    ///
    /// # Errors
    /// [`Error::Conversion`] if the value is of another type, or does not fit.
    fn from_value(value: Value) -> Result<Self>;

    /// Converts a `list`, `tuple`, `set` or `frozenset`. Only `u8` overrides it, to take `bytes`.
    ///
    /// # Errors
    /// As [`FromValue::from_value`].
    #[doc(hidden)]
    fn list_from_value(value: Value) -> Result<Vec<Self>> {
        items(value, "list")?.into_iter().map(Value::to).collect()
    }
}

/// A Rust type that converts into a [`Value`], also as an item of a `Vec`, slice or array, and as the result of a
/// [method](crate::object::Return).
///
/// For a type of your own, implement `From` for `Value`, and add an empty impl of this trait.
///
/// ```
/// use basemanager::Value;
/// use basemanager::value::IntoValue;
///
/// #[derive(Clone)]
/// struct Task(u64);
///
/// impl From<Task> for Value {
///     fn from(task: Task) -> Self {
///         task.0.into()
///     }
/// }
/// impl IntoValue for Task {}
///
/// assert_eq!(Value::from(vec![Task(1), Task(2)]).to_string(), "[1, 2]");
/// ```
pub trait IntoValue: Into<Value> {
    /// A `list` of these items. Only `u8` overrides it, to make `bytes`.
    #[doc(hidden)]
    #[must_use]
    fn list(items: Vec<Self>) -> Value {
        items.into_iter().collect()
    }
}

impl Value {
    /// Converts to a Rust type.
    ///
    /// `True` is also 1, as in Python; a `NumPy` scalar is its plain number; an `int` is also a float. A `Vec`
    /// takes the members of a `list`, `tuple`, `set` or `frozenset`, and `Vec<u8>` also `bytes`.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use basemanager::Value;
    ///
    /// let value = Value::from(HashMap::from([("a", vec![Some(1), None])]));
    /// let back: HashMap<String, Vec<Option<u8>>> = value.to()?;
    /// assert_eq!(back["a"], [Some(1), None]);
    ///
    /// let error = Value::from(300).to::<u8>().unwrap_err();
    /// assert_eq!(error.to_string(), "int 300 does not fit u8");
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conversion`] if the value is of another type, or does not fit.
    pub fn to<T: FromValue>(self) -> Result<T> {
        T::from_value(self)
    }
}

macro_rules! into_value {
    ($($from:ty, $value:pat => $into:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $into
            }
        }

        impl IntoValue for $from {}
    )*};
}

into_value! {
    (), () => Self::None;
    bool, truth => Self::Bool(truth);
    f32, float => Self::Float(float.into());
    f64, float => Self::Float(float);
    char, char => Self::Str(char.into());
    &str, text => Self::Str(text.into());
    &String, text => Self::Str(text.clone());
    Cow<'_, str>, text => Self::Str(text.into_owned());
    String, text => Self::Str(text);
    Pickle, pickle => Self::Opaque(pickle);
}

/// An `int`.
fn int(int: i128) -> Value {
    Value::Int(int)
}

/// The number that an `int` or `bool` is, if it fits.
fn as_int(value: &Value) -> Option<i128> {
    match *value {
        Value::Int(int) => Some(int),
        Value::Bool(bool) => Some(bool.into()),
        _ => None,
    }
}

macro_rules! integer {
    ($int:ident { $($list:tt)* } { $($from_list:tt)* }) => {
        impl From<$int> for Value {
            #[allow(clippy::cast_lossless, reason = "usize has no lossless conversion")]
            fn from(number: $int) -> Self {
                int(number as i128)
            }
        }

        impl IntoValue for $int {
            $($list)*
        }

        impl FromValue for $int {
            fn from_value(value: Value) -> Result<Self> {
                let value = value.into_plain();
                let Some(int) = as_int(&value) else { return Err(mismatch("int", &value)) };
                let misfit = || format!("int {int} does not fit {}", stringify!($int));
                Self::try_from(int).map_err(|_| Error::conversion(misfit()))
            }

            $($from_list)*
        }
    };
    ($($int:ident)*) => {$( integer!($int {} {}); )*};
}

integer!(i8 i16 i32 i64 i128 isize u16 u32 u64 usize);
integer!(u8 {
    fn list(items: Vec<Self>) -> Value {
        Value::Bytes(items)
    }
} {
    fn list_from_value(value: Value) -> Result<Vec<Self>> {
        match value {
            Value::Bytes(bytes) | Value::ByteArray(bytes) => Ok(bytes),
            other => items(other, "bytes")?.into_iter().map(Value::to).collect(),
        }
    }
});

impl<T: IntoValue> From<Vec<T>> for Value {
    /// A `list`; of `Vec<u8>`, `bytes`.
    fn from(items: Vec<T>) -> Self {
        T::list(items)
    }
}

impl<T: IntoValue + Clone> From<&[T]> for Value {
    /// A `list`; of `&[u8]`, `bytes`.
    fn from(items: &[T]) -> Self {
        T::list(items.to_vec())
    }
}

impl<T: IntoValue, const N: usize> From<[T; N]> for Value {
    /// A `list`; of `[u8; N]`, `bytes`.
    fn from(items: [T; N]) -> Self {
        T::list(items.into())
    }
}

impl<T: IntoValue + Clone, const N: usize> From<&[T; N]> for Value {
    /// A `list`; of `&[u8; N]`, such as `b"…"`, `bytes`.
    fn from(items: &[T; N]) -> Self {
        T::list(items.to_vec())
    }
}

/// `collect` makes a `list`, also of `u8`.
impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// The value of a collection, from all its members. Each collection is also a list's item.
macro_rules! collections {
    ($($variant:ident from $collection:ident<$($part:ident),+ $(; $hasher:ident)?>;)*) => {$(
        impl<$($part: Into<Value>),+ $(, $hasher)?> From<$collection<$($part),+ $(, $hasher)?>> for Value {
            fn from(parts: $collection<$($part),+ $(, $hasher)?>) -> Self {
                Self::$variant(parts.into_iter().map(collections!(@$variant)).collect())
            }
        }

        impl<$($part: Into<Value>),+ $(, $hasher)?> IntoValue for $collection<$($part),+ $(, $hasher)?> {}
    )*};
    (@Set) => { Into::into };
    (@Dict) => { |(key, value)| (key.into(), value.into()) };
}

collections! {
    Set from BTreeSet<T>;
    Set from HashSet<T; S>;
    Dict from BTreeMap<K, V>;
    Dict from HashMap<K, V; S>;
}

impl IntoValue for Value {}
impl<T: Into<Value>> IntoValue for Option<T> {}
impl<T: IntoValue> IntoValue for Vec<T> {}
impl<T: IntoValue + Clone> IntoValue for &[T] {}
impl<T: IntoValue, const N: usize> IntoValue for [T; N] {}
impl<T: IntoValue + Clone, const N: usize> IntoValue for &[T; N] {}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self> {
        Ok(value)
    }
}

macro_rules! from_value {
    ($($into:ty, $expected:literal, $value:pat => $result:expr;)*) => {$(
        impl FromValue for $into {
            fn from_value(value: Value) -> Result<Self> {
                match value.into_plain() {
                    $value => Ok($result),
                    other => Err(mismatch($expected, &other)),
                }
            }
        }
    )*};
}

from_value! {
    (), "NoneType", Value::None => ();
    bool, "bool", Value::Bool(truth) => truth;
    String, "str", Value::Str(text) => text;
}

impl FromValue for char {
    /// From a `str` of one character.
    fn from_value(value: Value) -> Result<Self> {
        let text: String = value.to()?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(char), None) => Ok(char),
            _ => Err(Error::conversion("expected a str of one character")),
        }
    }
}

impl FromValue for f64 {
    /// From any number; an `int` becomes the nearest float, as with Python's `float()`.
    #[allow(clippy::cast_precision_loss)]
    fn from_value(value: Value) -> Result<Self> {
        match value.into_plain() {
            Value::Float(float) => Ok(float),
            other => match as_int(&other) {
                Some(int) => Ok(int as Self),
                None => Err(mismatch("float", &other)),
            },
        }
    }
}

impl FromValue for f32 {
    /// The nearest to what `f64` would be.
    #[allow(clippy::cast_possible_truncation)]
    fn from_value(value: Value) -> Result<Self> {
        Ok(value.to::<f64>()? as Self)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self> {
        if value.is_none() { Ok(None) } else { value.to().map(Some) }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Result<Self> {
        T::list_from_value(value)
    }
}

impl<T: FromValue + Ord> FromValue for BTreeSet<T> {
    fn from_value(value: Value) -> Result<Self> {
        set(value)
    }
}

impl<T: FromValue + Eq + Hash, S: BuildHasher + Default> FromValue for HashSet<T, S> {
    fn from_value(value: Value) -> Result<Self> {
        set(value)
    }
}

impl<K: FromValue + Ord, V: FromValue> FromValue for BTreeMap<K, V> {
    fn from_value(value: Value) -> Result<Self> {
        dict(value)
    }
}

impl<K: FromValue + Eq + Hash, V: FromValue, S: BuildHasher + Default> FromValue
    for HashMap<K, V, S>
{
    fn from_value(value: Value) -> Result<Self> {
        dict(value)
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        tuples!(@longest $($name)+);
        tuples!(@shorter $($name)+);
    };
    (@shorter $first:ident) => {};
    (@shorter $first:ident $($rest:ident)+) => {
        tuples!($($rest)+);
    };
    (@longest $($name:ident)+) => {
        impl<$($name: Into<Value>),+> From<($($name,)+)> for Value {
            #[allow(non_snake_case, reason = "each part is named like its type")]
            fn from(($($name,)+): ($($name,)+)) -> Self {
                Self::Tuple(vec![$($name.into()),+])
            }
        }

        impl<$($name: Into<Value>),+> IntoValue for ($($name,)+) {}

        impl<$($name: Into<Value>),+> IntoArgs for ($($name,)+) {
            #[allow(non_snake_case, reason = "each part is named like its type")]
            fn with_args<R>(self, call: impl FnOnce(&[Value], &[(String, Value)]) -> R) -> R {
                let ($($name,)+) = self;
                call(&[$($name.into()),+], &[])
            }
        }

        impl<$($name: FromValue),+> FromValue for ($($name,)+) {
            /// From a `tuple` or a `list` of this length.
            fn from_value(value: Value) -> Result<Self> {
                let mut items = match value {
                    Value::Tuple(items) | Value::List(items) => items.into_iter(),
                    other => return Err(mismatch("tuple", &other)),
                };
                let (expected, got) = ([$(stringify!($name)),+].len(), items.len());
                if got != expected {
                    return Err(Error::conversion(format!("expected {expected} items, got {got}")));
                }
                Ok(($(items.next().unwrap_or_default().to::<$name>()?,)+))
            }
        }
    };
}

tuples!(A B C D E F G H I J K L);

fn set<T: FromValue, S: FromIterator<T>>(value: Value) -> Result<S> {
    match value {
        Value::Set(items) | Value::FrozenSet(items) => items.into_iter().map(Value::to).collect(),
        other => Err(mismatch("set", &other)),
    }
}

fn dict<K: FromValue, V: FromValue, D: FromIterator<(K, V)>>(value: Value) -> Result<D> {
    match value {
        Value::Dict(pairs) => {
            pairs.into_iter().map(|(key, value)| Ok((key.to()?, value.to()?))).collect()
        }
        other => Err(mismatch("dict", &other)),
    }
}

/// The members of a `list`, `tuple`, `set` or `frozenset`.
fn items(value: Value, expected: &str) -> Result<Vec<Value>> {
    match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            Ok(items)
        }
        other => Err(mismatch(expected, &other)),
    }
}

fn mismatch(expected: &str, value: &Value) -> Error {
    Error::conversion(format!("expected {expected}, got {}", value.type_name()))
}
