//! What can go wrong, on this side of the wire and on the other.
//!
//! [`Error`] is what this crate's functions return. An exception that a method raised in the manager arrives as
//! [`Error::Exception`].

use std::borrow::Cow;
use std::fmt;
use std::io::{self, ErrorKind};

use crate::exception::Exception;
use crate::limits::Budget;

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
///
/// Before you repeat a call, ask [`Error::may_have_taken_effect`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation, such as listening or connecting.
    Io {
        /// What was attempted, such as `connect to 127.0.0.1:5000`.
        action: Cow<'static, str>,
        /// Why it failed.
        source: io::Error,
    },
    /// A client that was connected before can no longer connect. The call was not sent.
    Unreachable {
        /// Why connecting failed.
        source: io::Error,
    },
    /// The peer closed the connection, or it broke, during a call. The call may have taken effect.
    Disconnected,
    /// Reading or writing failed in another way than by a disconnection, during a call. The call may have taken
    /// effect.
    Connection {
        /// Why it failed.
        source: io::Error,
    },
    /// The peer did not answer in time. The client discards the connection; the call may still take effect.
    TimedOut,
    /// The peer holds another authkey.
    Authentication {
        /// Which side refused, and why.
        reason: String,
    },
    /// The peer is no manager, or no client of one: it speaks another protocol.
    Foreign {
        /// Which protocol, as far as it is known, and what the peer sent.
        reason: String,
    },
    /// The peer sent bytes that break the protocol. The connection is discarded.
    Protocol {
        /// What was wrong with them.
        reason: String,
    },
    /// A resource limit was exceeded: see [`Limits`](crate::Limits).
    Limit {
        /// The limited quantity, such as `frame size`.
        what: &'static str,
        /// The largest allowed amount.
        max: u64,
    },
    /// A method raised this exception in the manager.
    Exception(Exception),
    /// The manager could not carry out a request (Python's `RemoteError`).
    Remote {
        /// The manager's explanation, usually a Python traceback.
        traceback: String,
    },
    /// A value has another type than expected, or does not fit the Rust type.
    Conversion {
        /// What was expected, and what was found.
        reason: String,
    },
    /// An address, a name or a setting is invalid.
    Invalid {
        /// Which, and why.
        reason: String,
    },
}

impl Error {
    /// Whether the manager is gone: the connection broke, the manager is shutting down, or it is unreachable.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        match self {
            Self::Disconnected | Self::Unreachable { .. } => true,
            _ => self.raised("builtins", "EOFError"),
        }
    }

    /// Whether the manager may have carried out the failed call, or may still do so. Then repeating it could do
    /// it twice. Otherwise the call was not sent, or the manager answered that it failed.
    ///
    /// This includes Python's `ConnectionError`, which a queue in Redis raises if Redis is unavailable or does not answer the
    /// manager.
    #[must_use]
    pub fn may_have_taken_effect(&self) -> bool {
        matches!(
            self,
            Self::Disconnected
                | Self::Connection { .. }
                | Self::TimedOut
                | Self::Protocol { .. }
                | Self::Limit { .. }
        ) || self.raised("builtins", "ConnectionError")
    }

    /// Whether a timeout elapsed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Io { source, .. } | Self::Unreachable { source } => {
                source.kind() == ErrorKind::TimedOut
            }
            _ => false,
        }
    }

    /// Whether a queue was empty (`queue.Empty`).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raised("_queue", "Empty") || self.raised("queue", "Empty")
    }

    /// Whether a queue was full (`queue.Full`).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.raised("queue", "Full")
    }

    /// Whether a queue has been shut down (`queue.ShutDown`).
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.raised("queue", "ShutDown")
    }

    /// Whether a barrier is broken, so that its parties did not meet (`threading.BrokenBarrierError`).
    #[must_use]
    pub fn is_broken_barrier(&self) -> bool {
        self.raised("threading", "BrokenBarrierError")
    }

    fn raised(&self, module: &str, name: &str) -> bool {
        matches!(self, Self::Exception(exception) if exception.is(module, name))
    }

    /// [`Error::Conversion`].
    pub fn conversion(reason: impl Into<String>) -> Self {
        Self::Conversion { reason: reason.into() }
    }

    pub(crate) fn authentication(reason: impl Into<String>) -> Self {
        Self::Authentication { reason: reason.into() }
    }

    pub(crate) fn protocol(reason: impl Into<String>) -> Self {
        Self::Protocol { reason: reason.into() }
    }

    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }

    pub(crate) fn limit(what: &'static str, max: usize) -> Self {
        Self::Limit { what, max: max as u64 }
    }

    /// Names the operation that an [`io::Error`] interrupted.
    pub(crate) fn io(action: impl Into<Cow<'static, str>>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Classifies an [`io::Error`] of a connection's socket.
    pub(crate) fn connection(source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::WouldBlock => Self::TimedOut,
            // On Unix, a socket's own timeout is `EAGAIN`. `ETIMEDOUT` is the kernel's: the peer no longer
            // acknowledges anything.
            ErrorKind::TimedOut if cfg!(windows) || source.raw_os_error().is_none() => {
                Self::TimedOut
            }
            kind if is_gone(kind) => Self::Disconnected,
            _ => Self::Connection { source },
        }
    }

    /// Whether connecting failed because nothing answers at the address.
    pub(crate) fn is_unanswered(&self) -> bool {
        match self {
            // With an explanation it is the timeout of a peer that accepted the connection: waiting for it again
            // is in vain.
            Self::Io { source, .. } => is_gone(source.kind()) && source.get_ref().is_none(),
            _ => self.is_timeout(),
        }
    }

    /// The same error, for a manager that was connected before.
    pub(crate) fn unreachable(self) -> Self {
        match self {
            Self::Io { source, .. } if is_gone(source.kind()) => Self::Unreachable { source },
            other => other,
        }
    }

    /// The error with its cause, for the log.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Authentication { reason } | Self::Foreign { reason } => reason.clone(),
            Self::Io { source, .. } | Self::Connection { source } => format!("{self}: {source}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { action, .. } => write!(f, "cannot {action}"),
            Self::Unreachable { .. } => f.write_str("the manager is unreachable"),
            Self::Disconnected => f.write_str("the peer closed the connection"),
            Self::Connection { .. } => f.write_str("the connection failed"),
            Self::TimedOut => f.write_str("the peer did not answer in time"),
            Self::Authentication { reason } => write!(f, "authentication failed: {reason}"),
            Self::Protocol { reason } => write!(f, "protocol error: {reason}"),
            Self::Limit { what, max } => write!(f, "{what} exceeds the limit of {max}"),
            Self::Exception(exception) => write!(f, "the manager raised {exception}"),
            Self::Remote { traceback } => write!(f, "the manager failed: {}", traceback.trim_end()),
            Self::Foreign { reason } | Self::Conversion { reason } => f.write_str(reason),
            Self::Invalid { reason } => write!(f, "invalid {reason}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. }
            | Self::Unreachable { source }
            | Self::Connection { source } => Some(source),
            _ => None,
        }
    }
}

impl From<Exception> for Error {
    fn from(exception: Exception) -> Self {
        Self::Exception(exception)
    }
}

impl From<Error> for Exception {
    /// The exception that a client's call raises if the method fails with this error, so that `?` works in
    /// [`SharedObject::call`](crate::object::SharedObject::call): `TypeError` for [`Error::Conversion`], `ValueError` or
    /// `MemoryError` for a limit, and so on.
    fn from(error: Error) -> Self {
        let class = match error {
            Error::Exception(exception) => return exception,
            Error::Conversion { .. } => "TypeError",
            Error::Limit { what: Budget::NAME, .. } => "MemoryError",
            Error::Limit { .. } | Error::Invalid { .. } => "ValueError",
            Error::TimedOut => "TimeoutError",
            Error::Io { .. } | Error::Connection { .. } => "OSError",
            Error::Disconnected | Error::Unreachable { .. } => "EOFError",
            Error::Authentication { .. }
            | Error::Foreign { .. }
            | Error::Protocol { .. }
            | Error::Remote { .. } => "RuntimeError",
        };
        Self::builtin(class, error.to_string())
    }
}

/// Whether a socket operation fails like this when nothing is at the other end.
fn is_gone(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::NotFound
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_host_is_a_disconnection() {
        for kind in [ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable] {
            let refused = || Error::io("connect")(kind.into());
            assert!(refused().is_unanswered(), "{kind}: it may come back");
            assert!(refused().unreachable().is_disconnected(), "{kind}");
            assert!(!refused().unreachable().may_have_taken_effect(), "{kind}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn kernel_timeout_is_a_disconnection() {
        let kernel = || io::Error::from_raw_os_error(110);
        assert_eq!(kernel().kind(), ErrorKind::TimedOut);
        assert!(matches!(Error::connection(kernel()), Error::Disconnected));
        let connecting = Error::io("connect")(kernel()).unreachable();
        assert!(connecting.is_disconnected() && connecting.is_timeout(), "{connecting:?}");
        for ours in [ErrorKind::TimedOut, ErrorKind::WouldBlock] {
            assert!(matches!(Error::connection(io::Error::from(ours)), Error::TimedOut), "{ours}");
        }
    }
}
