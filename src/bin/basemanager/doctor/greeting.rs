//! What a service says first, and what that shows of it.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::{TIMEOUT, unreachable};
use crate::failure::Failure;

/// How a manager's challenge begins, after the frame's length in 4 bytes.
const CHALLENGE: &[u8] = b"#CHALLENGE#";
const LENGTH: usize = 4;
/// The length of a challenge with which Python up to 3.11 begins. Later ones name the digest.
const MD5_CHALLENGE: &[u8] = &[0, 0, 0, 31];

/// The start of what the other side says.
#[derive(Default)]
pub(super) struct Start {
    pub(super) bytes: Vec<u8>,
    /// The time until the first byte.
    pub(super) took: Duration,
    pub(super) has_ended: bool,
}

impl Start {
    /// Reads enough to tell what it is, or until the end of the stream or a timeout.
    pub(super) fn read(socket: &mut Socket, silence: Duration) -> Result<Self, Failure> {
        let started = Instant::now();
        let mut start = Self::default();
        let mut buffer = [0; 256];
        while start.bytes.len() < LENGTH + CHALLENGE.len() {
            let timeout = if start.bytes.is_empty() { silence } else { TIMEOUT };
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.read(&mut buffer) {
                Ok(length @ 1..) => {
                    if start.bytes.is_empty() {
                        start.took = started.elapsed();
                    }
                    start.bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    break;
                }
                // The end of the stream; a reset is one too.
                Ok(0) | Err(_) => {
                    start.has_ended = true;
                    break;
                }
            }
        }
        Ok(start)
    }
}

/// What a greeting shows of its sender.
pub(super) fn dialect(start: &Start) -> Result<&'static str, Failure> {
    let greeting = start.bytes.as_slice();
    let (length, payload) = greeting.split_at_checked(LENGTH).unwrap_or((greeting, b""));
    if payload.starts_with(CHALLENGE) {
        return Ok(if length == MD5_CHALLENGE {
            "of a manager that proves the key with HMAC-MD5, as Python up to 3.11 does"
        } else {
            "of a manager that proves the key with SHA-256, as Python 3.12 and later do"
        });
    }
    if length.starts_with(&[0, 0, 0]) && !payload.is_empty() && CHALLENGE.starts_with(payload) {
        let length = greeting.len();
        let then = if start.has_ended { "closed the connection" } else { "was silent" };
        return Err(unreachable(format!(
            "a manager seems to be there, but it sent {length} bytes of its greeting and {then}"
        )));
    }
    let name = match greeting {
        [b'S', b'S', b'H', ..] => "an SSH server",
        [b'H', b'T', b'T', b'P', ..] => "a web server",
        [0x15 | 0x16, 3, ..] => "a TLS server",
        [b'2', b'2', b'0', ..] => "a mail or FTP server",
        _ => "another service",
    };
    let text = String::from_utf8_lossy(greeting.get(..40).unwrap_or(greeting));
    Err(unreachable(format!("this is not a manager but {name}: it begins with {text:?}")))
}
