//! The proxies of what `shared/objects` shares, a file each: typed calls, and no more.

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

use std::time::Duration;

use crate::error::{Error, Result};
use crate::value::Value;

/// More than CPython can wait is refused there.
const LONGEST: Duration = Duration::from_secs(1 << 33);

/// A timeout as Python takes it.
fn seconds(timeout: Option<Duration>) -> Value {
    timeout.map(|timeout| timeout.min(LONGEST).as_secs_f64()).into()
}

/// What this built-in exception says is not there.
fn found(result: Result<Value>, exception: &str) -> Result<Option<Value>> {
    match result {
        Err(Error::Exception(raised)) if raised.is("builtins", exception) => Ok(None),
        result => result.map(Some),
    }
}
