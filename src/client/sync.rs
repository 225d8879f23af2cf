//! Typed proxies of Python's containers. Those of locks and the like are in `locks.rs`.
//!
//! Every method returns the errors of [`Proxy::call`], and the exceptions that Python raises. A plain
//! `register("get_dict", lambda: d)` of Python exposes public methods only; a method here that needs another one,
//! such as `__len__`, returns an error that names it.
#![allow(clippy::missing_errors_doc, reason = "stated once, above")]

mod locks;

use std::iter;

use super::Proxy;
use crate::error::{Error, Result};
use crate::sync::array::Typecode;
use crate::value::{FromValue, Value};
pub use locks::{BarrierProxy, ConditionGuard, ConditionProxy, EventProxy, LockGuard, LockProxy};

/// The code that is the same for every typed proxy. `sized` adds `len`, `cleared` adds `clear`, and `indexed` adds
/// `get` and `set` by index.
macro_rules! typed {
    ($proxy:ident $(, $part:ident)*) => {
        impl From<Proxy> for $proxy {
            fn from(proxy: Proxy) -> Self {
                Self(proxy)
            }
        }

        impl $proxy {
            /// The untyped proxy, for the methods that have no Rust method here.
            #[must_use]
            pub fn proxy(&self) -> &Proxy {
                &self.0
            }
        }

        $(typed!(@$part $proxy);)*
    };
    (@sized $proxy:ident) => {
        impl $proxy {
            /// The number of items, by `__len__`.
            pub fn len(&self) -> Result<usize> {
                call(&self.0, "__len__", &[])?.to()
            }

            /// Whether it is empty, by `__len__`.
            pub fn is_empty(&self) -> Result<bool> {
                Ok(self.len()? == 0)
            }
        }
    };
    (@cleared $proxy:ident) => {
        impl $proxy {
            /// Removes all items.
            pub fn clear(&self) -> Result<()> {
                call(&self.0, "clear", &[]).map(drop)
            }
        }
    };
    (@indexed $proxy:ident) => {
        impl $proxy {
            /// A copy of the item at an index, by `__getitem__`; `None` beyond the ends. Negative indexes count from
            /// the end: -1 is the last item.
            pub fn get(&self, index: i64) -> Result<Option<Value>> {
                found(call(&self.0, "__getitem__", &[index.into()]), "IndexError")
            }

            /// [`get`](Self::get) as a Rust type; [`Error::Conversion`] if the item is of another type.
            pub fn get_as<T: FromValue>(&self, index: i64) -> Result<Option<T>> {
                self.get(index)?.map(Value::to).transpose()
            }

            /// Replaces the item at an index, by `__setitem__`. `IndexError` beyond the ends; of an array,
            /// `OverflowError` or `TypeError` if the item does not fit.
            pub fn set(&self, index: i64, item: impl Into<Value>) -> Result<()> {
                call(&self.0, "__setitem__", &[index.into(), item.into()]).map(drop)
            }
        }
    };
}
use typed;

/// Calls a method that does not wait.
fn call(proxy: &Proxy, method: &str, args: &[Value]) -> Result<Value> {
    proxy.call(method, args).map_err(|error| not_exposed(error, method))
}

/// Explains what to do if the manager does not expose a method.
fn not_exposed(error: Error, method: &str) -> Error {
    match error {
        Error::Remote { traceback } if traceback.contains("is not in exposed=") => Error::Remote {
            traceback: format!(
                "the manager does not expose '{method}': register the object there with a proxytype that has this \
             method, such as DictProxy, or with exposed=[..., '{method}']"
            ),
        },
        error => error,
    }
}

/// `None` for this built-in exception.
fn found(result: Result<Value>, exception: &str) -> Result<Option<Value>> {
    match result {
        Err(Error::Exception(raised)) if raised.is("builtins", exception) => Ok(None),
        result => result.map(Some),
    }
}

/// What `next` returns, up to `None` or an error.
fn until_error(
    mut next: impl FnMut() -> Result<Option<Value>>,
) -> impl Iterator<Item = Result<Value>> {
    let mut ended = false;
    iter::from_fn(move || {
        let item = if ended { None } else { next().transpose() };
        ended = !matches!(item, Some(Ok(_)));
        item
    })
}

/// A `dict` in a manager. A clone is the same dict.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Dict, DictProxy};
/// # let server = Manager::new("key").register("dict", Dict::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let ages: DictProxy = client.create("dict", ())?.into();
/// ages.insert("Guido", 69)?;
/// assert_eq!(ages.get_as::<u8>("Guido")?, Some(69));
/// for name in ages.iter() {
///     println!("{}", name?);
/// }
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DictProxy(Proxy);

typed!(DictProxy, sized, cleared);

/// The default with which a missing key is told from one whose value is `None`.
const MISSING: &str = "basemanager: the key is missing";

impl DictProxy {
    /// A copy of the value of a key; `None` if the key is missing. `TypeError` if it is not hashable.
    pub fn get(&self, key: impl Into<Value>) -> Result<Option<Value>> {
        let value = call(&self.0, "get", &[key.into(), MISSING.into()])?;
        Ok((value.as_str() != Some(MISSING)).then_some(value))
    }

    /// [`get`](Self::get) as a Rust type; [`Error::Conversion`] if the value is of another type.
    pub fn get_as<T: FromValue>(&self, key: impl Into<Value>) -> Result<Option<T>> {
        self.get(key)?.map(Value::to).transpose()
    }

    /// Sets the value of a key. `TypeError` if the key is not hashable.
    pub fn insert(&self, key: impl Into<Value>, value: impl Into<Value>) -> Result<()> {
        if self.0.exposes("__setitem__") {
            return call(&self.0, "__setitem__", &[key.into(), value.into()]).map(drop);
        }
        call(&self.0, "update", &[[(key, value)].into()]).map(drop)
    }

    /// Removes a key; returns its value, or `None` if the key is missing. `TypeError` if it is not hashable.
    #[doc(alias = "pop")]
    pub fn remove(&self, key: impl Into<Value>) -> Result<Option<Value>> {
        found(call(&self.0, "pop", &[key.into()]), "KeyError")
    }

    /// Whether a key is in the dict. `TypeError` if it is not hashable.
    pub fn contains(&self, key: impl Into<Value>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// A copy of the keys and values, in order of insertion, in one call.
    pub fn items(&self) -> Result<Vec<(Value, Value)>> {
        match call(&self.0, "copy", &[])? {
            Value::Dict(items) => Ok(items),
            other => Err(Error::conversion(format!("expected dict, got {}", other.type_name()))),
        }
    }

    /// Iterates over the keys in the manager, by `__iter__`: one call for each. Ends after an error, such as the
    /// `RuntimeError` of a dict that changes its size meanwhile.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value>> {
        let mut iterator = None;
        until_error(move || {
            let keys = match &mut iterator {
                Some(keys) => keys,
                none => {
                    let keys = self.0.call_proxy("__iter__", ());
                    none.insert(keys.map_err(|error| not_exposed(error, "__iter__"))?)
                }
            };
            found(call(keys, "__next__", &[]), "StopIteration")
        })
    }
}

/// A `list` in a manager. A clone is the same list.
///
/// A proxy that is stored in the list comes back as a value; [`Client::proxy_of`](crate::Client::proxy_of) makes a
/// proxy of it.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{List, ListProxy};
/// # let server = Manager::new("key").register("list", List::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let words: ListProxy = client.create("list", ())?.into();
/// words.extend(["a", "b", "c"])?;
/// assert_eq!(words.get_as::<String>(-1)?, Some("c".to_owned()));
/// for word in words.iter() {
///     println!("{}", word?);
/// }
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ListProxy(Proxy);

typed!(ListProxy, sized, cleared, indexed);

impl ListProxy {
    /// Adds an item at the end.
    #[doc(alias = "append")]
    pub fn push(&self, item: impl Into<Value>) -> Result<()> {
        call(&self.0, "append", &[item.into()]).map(drop)
    }

    /// Adds items at the end, in one call.
    pub fn extend<T: Into<Value>>(&self, items: impl IntoIterator<Item = T>) -> Result<()> {
        call(&self.0, "extend", &[items.into_iter().collect()]).map(drop)
    }

    /// Inserts an item before the one at an index; at the nearer end beyond the ends.
    pub fn insert(&self, index: i64, item: impl Into<Value>) -> Result<()> {
        call(&self.0, "insert", &[index.into(), item.into()]).map(drop)
    }

    /// Removes and returns the last item; `None` if the list is empty.
    pub fn pop(&self) -> Result<Option<Value>> {
        found(call(&self.0, "pop", &[]), "IndexError")
    }

    /// Removes and returns the item at an index; `None` beyond the ends.
    pub fn remove(&self, index: i64) -> Result<Option<Value>> {
        found(call(&self.0, "pop", &[index.into()]), "IndexError")
    }

    /// Whether an item is in the list.
    pub fn contains(&self, item: impl Into<Value>) -> Result<bool> {
        Ok(found(call(&self.0, "index", &[item.into()]), "ValueError")?.is_some())
    }

    /// Sorts the items, stably. `TypeError` if two of them have no order.
    pub fn sort(&self) -> Result<()> {
        call(&self.0, "sort", &[]).map(drop)
    }

    /// A copy of all items, in one call.
    #[doc(alias = "copy")]
    pub fn to_vec(&self) -> Result<Vec<Value>> {
        call(&self.0, "copy", &[])?.to()
    }

    /// Iterates over the items by [`get`](Self::get), one call for each, as a Python `ListProxy`. Ends after an
    /// error.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value>> {
        let mut indexes = 0..;
        until_error(move || indexes.next().map_or(Ok(None), |index| self.get(index)))
    }
}

/// A `set` in a manager. A clone is the same set.
///
/// Python's own `SyncManager` shares sets since 3.14.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Set, SetProxy};
/// # let server = Manager::new("key").register("set", Set::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let seen: SetProxy = client.create("set", ())?.into();
/// seen.insert("a")?;
/// assert!(seen.contains("a")?);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SetProxy(Proxy);

typed!(SetProxy, sized, cleared);

impl SetProxy {
    /// Adds a member. `TypeError` if it is not hashable.
    #[doc(alias = "add")]
    pub fn insert(&self, member: impl Into<Value>) -> Result<()> {
        call(&self.0, "add", &[member.into()]).map(drop)
    }

    /// Removes a member, if it is in the set. `TypeError` if it is not hashable.
    #[doc(alias = "discard")]
    pub fn remove(&self, member: impl Into<Value>) -> Result<()> {
        call(&self.0, "discard", &[member.into()]).map(drop)
    }

    /// Whether a value is in the set. `TypeError` if it is not hashable.
    pub fn contains(&self, member: impl Into<Value>) -> Result<bool> {
        call(&self.0, "issuperset", &[[member.into()].into()])?.to()
    }

    /// A copy of the members, in one call.
    pub fn members(&self) -> Result<Vec<Value>> {
        call(&self.0, "copy", &[])?.to()
    }
}

/// An `Array` in a manager: numbers of one type. A clone is the same array.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Array, ArrayProxy};
/// # let server = Manager::new("key").register("Array", Array::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let array: ArrayProxy = client.create("Array", ("d", [0.0, 1.5]))?.into();
/// array.set(0, 7)?;
/// assert_eq!(array.get_as::<f64>(0)?, Some(7.0));
/// assert_eq!(array.to_vec()?, [7.0.into(), 1.5.into()]);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ArrayProxy(Proxy);

typed!(ArrayProxy, sized, indexed);

impl ArrayProxy {
    /// A copy of all items, in one call.
    pub fn to_vec(&self) -> Result<Vec<Value>> {
        let copy = self.0.value()?;
        let mismatch = || Error::conversion(format!("expected an array, got {}", copy.type_name()));
        Typecode::unpickle(&copy).map(|(_, items)| items).ok_or_else(mismatch)
    }
}

/// A `Value` in a manager: one value, to get and to set. A clone is the same value.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{SharedValue, ValueProxy};
/// # let server = Manager::new("key").register("Value", SharedValue::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let best: ValueProxy = client.create("Value", ("d", 0.5))?.into();
/// best.set(0.25)?;
/// assert_eq!(best.get_as::<f64>()?, 0.25);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ValueProxy(Proxy);

typed!(ValueProxy);

impl ValueProxy {
    /// A copy of the value.
    pub fn get(&self) -> Result<Value> {
        call(&self.0, "get", &[])
    }

    /// [`get`](Self::get) as a Rust type; [`Error::Conversion`] if the value is of another type.
    pub fn get_as<T: FromValue>(&self) -> Result<T> {
        self.get()?.to()
    }

    /// Replaces the value.
    pub fn set(&self, value: impl Into<Value>) -> Result<()> {
        call(&self.0, "set", &[value.into()]).map(drop)
    }
}

/// A `Namespace` in a manager: attributes. A clone is the same namespace.
///
/// ```
/// # use basemanager::{Client, Manager};
/// # use basemanager::sync::{Namespace, NamespaceProxy};
/// # use basemanager::value::Args;
/// # let server = Manager::new("key").register("Namespace", Namespace::from_call).bind("127.0.0.1:0")?;
/// # let handle = server.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// let settings: NamespaceProxy = client.create("Namespace", Args::new().kwarg("depth", 3))?.into();
/// settings.set("name", "x")?;
/// assert_eq!(settings.get_as::<u8>("depth")?, Some(3));
/// assert_eq!(settings.get("width")?, None);
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NamespaceProxy(Proxy);

typed!(NamespaceProxy);

impl NamespaceProxy {
    /// A copy of an attribute; `None` if there is none of this name.
    pub fn get(&self, name: &str) -> Result<Option<Value>> {
        found(call(&self.0, "__getattribute__", &[name.into()]), "AttributeError")
    }

    /// [`get`](Self::get) as a Rust type; [`Error::Conversion`] if the attribute is of another type.
    pub fn get_as<T: FromValue>(&self, name: &str) -> Result<Option<T>> {
        self.get(name)?.map(Value::to).transpose()
    }

    /// Sets an attribute.
    pub fn set(&self, name: &str, value: impl Into<Value>) -> Result<()> {
        call(&self.0, "__setattr__", &[name.into(), value.into()]).map(drop)
    }

    /// Removes an attribute; `false` if there was none of this name.
    pub fn remove(&self, name: &str) -> Result<bool> {
        Ok(found(call(&self.0, "__delattr__", &[name.into()]), "AttributeError")?.is_some())
    }
}
