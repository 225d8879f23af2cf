//! Why a command failed: one line on stderr, and the exit status.

use std::error::Error as _;
use std::io;
use std::process::ExitCode;

use basemanager::Error;

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

    /// The same with a remark.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.message = format!("{}; {hint}", self.message);
        self
    }

    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("basemanager: {}", self.message.replace('\n', " | "));
        ExitCode::from(self.status)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            _ if error.is_disconnected() => CONNECTION,
            Error::Authentication { .. } => KEY,
            Error::Exception(_) | Error::Remote { .. } => EXCEPTION,
            Error::Invalid { .. } | Error::Conversion { .. } => USAGE,
            _ => CONNECTION,
        };
        let message = match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        Self { status, message }
    }
}

/// Of stdin, stdout and files; connections have errors of their own.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::usage(error.to_string())
    }
}
