//! The proxies of what `shared/objects` shares, a file each: typed calls, and no more.

pub(crate) mod barrier;
pub(crate) mod condition;
pub(crate) mod dict;
pub(crate) mod event;
pub(crate) mod lock;
pub(crate) mod set;

use std::time::Duration;

use crate::value::Value;

/// More than CPython can wait is refused there.
const LONGEST: Duration = Duration::from_secs(1 << 33);

/// A timeout as Python takes it.
fn seconds(timeout: Option<Duration>) -> Value {
    timeout.map(|timeout| timeout.min(LONGEST).as_secs_f64()).into()
}
