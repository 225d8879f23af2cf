//! Addresses, and the sockets behind them: TCP everywhere, Unix sockets where there are any.

mod address;
mod bound;
mod listener;
#[cfg(unix)]
mod stale;
mod stream;

use std::time::{Duration, Instant};

pub use address::Address;
pub use bound::BoundListener;
pub(crate) use listener::{Listener, PeerAddress};
pub(crate) use stream::{Stream, Timed};

/// The end of a time that begins now; times without end last a year.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(Duration::from_secs(60 * 60 * 24 * 365))
}
