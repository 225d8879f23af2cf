//! Floor 0: what can go wrong, on this side of the wire and on the other.
//!
//! [`Error`] is what this crate's functions return. [`Exception`] is a Python exception as data: a
//! shared object's method raises one, the wire carries it, and a client finds it in
//! [`Error::Exception`].

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, ErrorKind};

use crate::value::Value;

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation; the text says which.
    Io(Cow<'static, str>, io::Error),
    /// Nobody answers at the manager's address, where somebody did before: the call was not sent.
    Unreachable(io::Error),
    /// The peer closed the connection, or it broke, with a call under way: see
    /// [`Error::may_have_taken_effect`].
    Disconnected,
    /// The peer did not answer within the time allowed. The connection is thrown away; the call may have
    /// taken effect, or may yet.
    TimedOut,
    /// The peer does not hold the same authkey, or speaks another protocol; the text says which.
    Authentication(String),
    /// The peer sent bytes that break the protocol. The connection is thrown away.
    Protocol(String),
    /// A limit was passed: its name, and the most it allows.
    Limit(&'static str, u64),
    /// A method raised this exception in the manager.
    Exception(Exception),
    /// The manager could not carry out a request; its text says why (Python's `RemoteError`).
    Remote(String),
    /// A value is not of the wanted type, or does not fit it.
    Conversion(String),
    /// An address, a name or a setting makes no sense.
    Invalid(String),
}

impl Error {
    /// Whether the manager is gone: a connection broke, it said that it ends, or nobody answers any more.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        match self {
            Self::Disconnected | Self::Unreachable(_) => true,
            _ => self.raised("builtins", "EOFError"),
        }
    }

    /// Whether the manager may have carried out the call that failed, or may yet: to repeat it could do it
    /// twice. Otherwise it was not sent, or the manager answered that it failed.
    #[must_use]
    pub fn may_have_taken_effect(&self) -> bool {
        match self {
            Self::Disconnected | Self::TimedOut | Self::Protocol(_) | Self::Limit(..) => true,
            Self::Io(doing, _) => doing == UNDER_WAY,
            _ => false,
        }
    }

    /// Whether the time allowed ran out.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Io(_, cause) | Self::Unreachable(cause) => cause.kind() == ErrorKind::TimedOut,
            _ => false,
        }
    }

    /// Whether nobody answered where a connection was to be made. A timeout with an explanation is that of a
    /// peer that accepted one, and did not go on: to wait for that again is in vain.
    pub(crate) fn is_unanswered(&self) -> bool {
        match self {
            Self::Io(_, cause) if cause.kind() == ErrorKind::TimedOut => cause.get_ref().is_none(),
            Self::Io(_, cause) => is_gone(cause.kind()),
            _ => self.is_timeout(),
        }
    }

    /// The same error, of a manager that was there before.
    pub(crate) fn unreachable(self) -> Self {
        match self {
            Self::Io(_, cause) if is_gone(cause.kind()) || cause.kind() == ErrorKind::TimedOut => {
                Self::Unreachable(cause)
            }
            other => other,
        }
    }

    /// Whether a queue had nothing to give (`queue.Empty`).
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

    /// Whether a barrier was broken, so that its parties did not meet (`threading.BrokenBarrierError`).
    #[must_use]
    pub fn is_broken_barrier(&self) -> bool {
        self.raised("threading", "BrokenBarrierError")
    }

    fn raised(&self, module: &str, name: &str) -> bool {
        matches!(self, Self::Exception(exception) if exception.is(module, name))
    }

    /// Why a connection ended, with the cause, for the log.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Authentication(why) => why.clone(),
            Self::Io(_, cause) => format!("{self}: {cause}"),
            other => other.to_string(),
        }
    }

    /// Names the operation that an [`io::Error`] interrupted.
    pub(crate) fn io(doing: impl Into<Cow<'static, str>>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Io(doing, error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(doing, _) => write!(f, "cannot {doing}"),
            Self::Unreachable(_) => f.write_str("the manager has gone"),
            Self::Disconnected => f.write_str("the peer closed the connection"),
            Self::TimedOut => f.write_str("the peer did not answer in time"),
            Self::Authentication(why) => write!(f, "authentication failed: {why}"),
            Self::Protocol(why) => write!(f, "protocol error: {why}"),
            Self::Limit(what, most) => write!(f, "{what} exceeds the limit of {most}"),
            Self::Exception(exception) => write!(f, "the manager raised {exception}"),
            Self::Remote(text) => write!(f, "the manager failed: {}", text.trim_end()),
            Self::Conversion(why) => f.write_str(why),
            Self::Invalid(why) => write!(f, "invalid {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) | Self::Unreachable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    /// Sorts what a socket reports into "gone", "too late" and the rest.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            kind if is_gone(kind) || is_given_up(&error) => Self::Disconnected,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::TimedOut,
            _ => Self::Io(Cow::Borrowed(UNDER_WAY), error),
        }
    }
}

impl From<Infallible> for Error {
    /// What cannot fail goes with what can: [`Value`] itself as a part of what a value is converted to.
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What an operation was about that failed when a call may have been sent.
const UNDER_WAY: &str = "use the connection";

/// Whether an operation on a socket fails like this when nobody is at its other end.
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
    )
}

/// Whether the kernel has given the connection up, because the peer acknowledges nothing any more (`ETIMEDOUT`).
/// On Unix a read or write that exceeds the socket's own timeout fails with `EAGAIN` instead.
fn is_given_up(error: &io::Error) -> bool {
    cfg!(unix) && error.kind() == ErrorKind::TimedOut && error.raw_os_error().is_some()
}

/// A Python exception as data: where its class is defined, its name, and its arguments.
///
/// ```
/// use basemanager::Exception;
/// let error = Exception::value_error("'timeout' must be a non-negative number");
/// assert_eq!(error.to_string(), "ValueError: 'timeout' must be a non-negative number");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// The module that defines the class, such as `builtins` or `queue`.
    pub module: Cow<'static, str>,
    /// The class's qualified name, such as `ValueError`.
    pub name: Cow<'static, str>,
    /// The exception's `args`. An exception whose `__reduce__` calls something else than its class is not rebuilt here:
    /// then these are the texts in its pickle, and the pickle ([`Value::Opaque`]).
    pub args: Vec<Value>,
}

impl Exception {
    /// An exception of any class. The client must be able to import it: Python looks it up when the
    /// reply arrives.
    pub fn new(
        module: impl Into<Cow<'static, str>>,
        name: impl Into<Cow<'static, str>>,
        args: Vec<Value>,
    ) -> Self {
        Self { module: module.into(), name: name.into(), args }
    }

    /// A built-in exception with one text argument.
    pub fn builtin(name: &'static str, text: impl Into<String>) -> Self {
        Self::new("builtins", name, vec![Value::Str(text.into())])
    }

    /// `ValueError`: an argument of the right type has no sense.
    pub fn value_error(text: impl Into<String>) -> Self {
        Self::builtin("ValueError", text)
    }

    /// `TypeError`: an argument is missing, unexpected or of the wrong type.
    pub fn type_error(text: impl Into<String>) -> Self {
        Self::builtin("TypeError", text)
    }

    /// `AttributeError`: there is no such method.
    pub fn attribute_error(text: impl Into<String>) -> Self {
        Self::builtin("AttributeError", text)
    }

    /// `RuntimeError`: the operation cannot be carried out.
    pub fn runtime_error(text: impl Into<String>) -> Self {
        Self::builtin("RuntimeError", text)
    }

    /// `queue.Empty`, pickled as `_queue.Empty`, the way CPython does.
    #[must_use]
    pub const fn empty() -> Self {
        Self { module: Cow::Borrowed("_queue"), name: Cow::Borrowed("Empty"), args: Vec::new() }
    }

    /// `queue.Full`.
    #[must_use]
    pub const fn full() -> Self {
        Self { module: Cow::Borrowed("queue"), name: Cow::Borrowed("Full"), args: Vec::new() }
    }

    /// `queue.ShutDown`, which Python has since 3.13.
    #[must_use]
    pub const fn shut_down() -> Self {
        Self { module: Cow::Borrowed("queue"), name: Cow::Borrowed("ShutDown"), args: Vec::new() }
    }

    fn is_os_error(&self) -> bool {
        self.module == "builtins" && OS_ERRORS.contains(&&*self.name)
    }

    /// Whether this is an exception of that class itself (subclasses are not known here).
    #[must_use]
    pub fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }
}

/// `OSError` and the built-in classes derived from it.
const OS_ERRORS: [&str; 16] = [
    "BlockingIOError",
    "BrokenPipeError",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "FileExistsError",
    "FileNotFoundError",
    "InterruptedError",
    "IsADirectoryError",
    "NotADirectoryError",
    "OSError",
    "PermissionError",
    "ProcessLookupError",
    "TimeoutError",
];

impl fmt::Display for Exception {
    /// As the last line of a Python traceback.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.module != "builtins" {
            write!(f, "{}.", self.module)?;
        }
        f.write_str(&self.name)?;
        match self.args.as_slice() {
            [] => Ok(()),
            [Value::Str(text), Value::Opaque(_)] => write!(f, ": {text}"),
            // These two have a `__str__` of their own.
            [key] if self.is("builtins", "KeyError") => write!(f, ": {key}"),
            [number, text, files @ ..] if self.is_os_error() => {
                write!(f, ": [Errno {number}] ")?;
                match text {
                    Value::Str(text) => f.write_str(text)?,
                    other => write!(f, "{other}")?,
                }
                match files {
                    [] | [Value::None] => Ok(()),
                    [file] | [file, _] => write!(f, ": {file}"),
                    [file, _, second, ..] => write!(f, ": {file} -> {second}"),
                }
            }
            [Value::Str(text)] => write!(f, ": {text}"),
            [value] => write!(f, ": {value}"),
            args => write!(f, ": {}", Value::Tuple(args.to_vec())),
        }
    }
}

impl std::error::Error for Exception {}

impl From<Exception> for Error {
    fn from(exception: Exception) -> Self {
        Self::Exception(exception)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_down_is_nobody_there() {
        for kind in [ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable] {
            let refused = || Error::io("connect")(kind.into());
            assert!(refused().is_unanswered(), "{kind}: it may come back");
            assert!(refused().unreachable().is_disconnected(), "{kind}");
            assert!(!refused().unreachable().may_have_taken_effect(), "{kind}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn timeout_of_the_kernel_is_a_disconnection() {
        let kernel = || io::Error::from_raw_os_error(110);
        assert_eq!(kernel().kind(), ErrorKind::TimedOut);
        assert!(matches!(Error::from(kernel()), Error::Disconnected));
        let connecting = Error::io("connect")(kernel()).unreachable();
        assert!(connecting.is_disconnected() && connecting.is_timeout(), "{connecting:?}");
        for ours in [ErrorKind::TimedOut, ErrorKind::WouldBlock] {
            assert!(matches!(Error::from(io::Error::from(ours)), Error::TimedOut), "{ours}");
        }
    }
}
