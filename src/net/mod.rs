//! Addresses, and the sockets behind them: TCP everywhere, Unix sockets where there are any.

mod address;
mod listener;
mod stream;
#[cfg(unix)]
mod unix;

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

pub use address::Address;
pub use listener::BoundListener;
pub(crate) use listener::{Listener, PeerAddress};
pub(crate) use stream::{Stream, Timed};

/// The end of a timeout that starts now; at most a year from now.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(Duration::from_secs(60 * 60 * 24 * 365))
}

/// The time until a deadline, as a timeout of a socket, which cannot be zero.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}
