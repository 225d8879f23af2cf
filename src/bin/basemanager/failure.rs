//! Why a command failed: one line on stderr, and the exit status.

use std::error::Error as _;
use std::io::{self, Write};
use std::process::ExitCode;

use basemanager::Error;
use basemanager::tap::escape;

/// The queue was empty, or the time was up.
pub(crate) const UNMET: u8 = 1;
/// The command line, or a file that it names, is wrong.
pub(crate) const USAGE: u8 = 2;
/// No manager answers at the address, or the connection was lost.
pub(crate) const CONNECTION: u8 = 3;
/// The manager does not accept the key.
pub(crate) const KEY: u8 = 4;
/// The manager raised an exception.
pub(crate) const EXCEPTION: u8 = 5;

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: u8,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { status: USAGE, message: message.into() }
    }

    pub(crate) fn unmet(message: impl Into<String>) -> Self {
        Self { status: UNMET, message: message.into() }
    }

    /// Standard input or output failed.
    pub(crate) fn stream(name: &str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::usage(format!("{name}: {error}"))
    }

    /// The same with a remark.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.message = format!("{}; {hint}", self.message);
        self
    }

    pub(crate) fn report(&self) -> ExitCode {
        // Nothing can be done for a user who reads no errors.
        let _ = writeln!(io::stderr(), "basemanager: {}", one_line(&self.message));
        ExitCode::from(self.status)
    }
}

/// A text without line ends and terminal escapes.
pub(crate) fn one_line(text: &str) -> String {
    text.trim_end().split('\n').map(escape).collect::<Vec<_>>().join(" | ")
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            _ if error.is_disconnected() => CONNECTION,
            Error::Authentication { .. } => KEY,
            Error::Exception(_) | Error::Remote { .. } => EXCEPTION,
            Error::Invalid { .. } | Error::Conversion { .. } | Error::Limit { .. } => USAGE,
            _ => CONNECTION,
        };
        let message = match (&error, error.source()) {
            (Error::Remote { traceback }, _) => {
                format!("the manager failed: {}", last_line(traceback))
            }
            (_, Some(cause)) => format!("{error}: {cause}"),
            _ => error.to_string(),
        };
        let failure = Self { status, message };
        match &error {
            Error::Limit { .. } => failure.hint("put several smaller items instead"),
            _ if error.is_shut_down() => failure.hint("the queue accepts no more items"),
            _ => failure,
        }
    }
}

/// The line of a traceback that names the exception.
fn last_line(traceback: &str) -> &str {
    let mut lines = traceback.lines().map(str::trim);
    lines.rfind(|line| line.contains(|c: char| c != '-')).unwrap_or_default()
}

/// Whether the manager has no such typeid.
pub(crate) fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Remote { traceback } if last_line(traceback).starts_with("KeyError"))
}

/// Of files; connections have errors of their own.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::usage(error.to_string())
    }
}
