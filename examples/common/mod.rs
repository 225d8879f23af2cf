//! What the examples agree on: the address, the key, and how a program ends.

// Not every example uses all of it.
#![allow(dead_code)]

use std::env;
use std::time::Duration;

use basemanager::Address;

/// The first argument: `host:port`, `[::1]:port`, `:port` to listen everywhere, `@name` for an abstract Unix socket,
/// or anything with a `/` for a Unix socket.
pub(crate) fn address() -> Address {
    Address::from(env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5000".to_owned()))
}

/// The second argument, a number of seconds; 2 when left out.
pub(crate) fn interval() -> Result<Duration, String> {
    let Some(text) = env::args().nth(2) else { return Ok(Duration::from_secs(2)) };
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| format!("SECONDS must be a number that is not negative, not {text:?}"))
}

/// The environment's `MANAGER_AUTHKEY`; `producer` when unset.
pub(crate) fn authkey() -> Vec<u8> {
    let key = env::var_os("MANAGER_AUTHKEY").unwrap_or_else(|| "producer".into());
    key.into_encoded_bytes()
}

/// A random product.
pub(crate) fn product() -> i64 {
    i64::from(getrandom::u32().unwrap_or_default() % 10 + 1)
}

/// An error and its cause, on one line.
pub(crate) fn explain(error: &basemanager::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
