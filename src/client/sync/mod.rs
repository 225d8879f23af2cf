//! The proxies of what `sync` shares, a file each: typed calls, and no more. `event.rs`
//! is the shortest; `typed!` writes what is the same for each.

/// What typed proxies have in common: each comes from an untyped one and gives it back. `sized` ones
/// have a length, `cleared` ones can be emptied, `indexed` ones have places.
macro_rules! typed {
    ($proxy:ident $(, $part:ident)*) => {
        impl From<Proxy> for $proxy {
            fn from(proxy: Proxy) -> Self {
                Self(proxy)
            }
        }

        impl $proxy {
            /// The untyped proxy, for the methods that have no other name in Rust.
            #[must_use]
            pub fn proxy(&self) -> &Proxy {
                &self.0
            }
        }

        $(typed!(@$part $proxy);)*
    };
    (@sized $proxy:ident) => {
        impl $proxy {
            /// How many it holds.
            ///
            /// # Errors
            /// Whatever [`Proxy::call`] may give.
            pub fn len(&self) -> Result<usize> {
                self.0.call("__len__", ())?.to()
            }

            /// Whether it holds none.
            ///
            /// # Errors
            /// Whatever [`Proxy::call`] may give.
            pub fn is_empty(&self) -> Result<bool> {
                Ok(self.len()? == 0)
            }
        }
    };
    (@cleared $proxy:ident) => {
        impl $proxy {
            /// Takes everything out.
            ///
            /// # Errors
            /// Whatever [`Proxy::call`] may give.
            pub fn clear(&self) -> Result<()> {
                self.0.call("clear", ()).map(drop)
            }
        }
    };
    (@indexed $proxy:ident) => {
        impl $proxy {
            /// The item at a place, which counts from 0, or from the end: -1 is the last; `None` beyond
            /// the ends.
            ///
            /// # Errors
            /// Whatever [`Proxy::call`] may give.
            pub fn get(&self, index: i64) -> Result<Option<Value>> {
                super::found(self.0.call("__getitem__", (index,)), "IndexError")
            }

            /// The item at a place as a Rust type; `None` beyond the ends.
            ///
            /// # Errors
            /// [`Error::Conversion`](crate::Error::Conversion) if the item is not of that type; else as `get`.
            pub fn get_as<T>(&self, index: i64) -> Result<Option<T>>
            where
                T: crate::value::FromValue,
            {
                self.get(index)?.map(Value::to).transpose()
            }

            /// Replaces the item at a place.
            ///
            /// # Errors
            /// `IndexError` beyond the ends; of an array, `OverflowError` or `TypeError` if the item
            /// does not fit; and whatever [`Proxy::call`] may give.
            pub fn set(&self, index: i64, item: impl Into<Value>) -> Result<()> {
                self.0.call("__setitem__", (index, item)).map(drop)
            }
        }
    };
}

pub(crate) mod array;
pub(crate) mod barrier;
pub(crate) mod condition;
pub(crate) mod dict;
pub(crate) mod event;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod namespace;
pub(crate) mod set;
pub(crate) mod value;

use crate::error::{Error, Result};
use crate::value::Value;

/// What this built-in exception says is not there.
fn found(result: Result<Value>, exception: &str) -> Result<Option<Value>> {
    match result {
        Err(Error::Exception(raised)) if raised.is("builtins", exception) => Ok(None),
        result => result.map(Some),
    }
}
