//! Both sides prove that they hold the authkey, and neither sends it. The guide draws the frames, and tells what they
//! prove (`guide::handshake`).
//!
//! The manager challenges the client first ([`accept`]), and the client answers first ([`connect`]). The message that is
//! authenticated is everything after `#CHALLENGE#`, including the name of the digest, so that an answer made with one
//! digest is not valid for another. Python up to 3.11 speaks an older dialect: see `legacy_mac`.
//!
//! CPython: `deliver_challenge` and `answer_challenge` in `multiprocessing.connection`.

use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::{Error, Result};
use crate::wire::frame::{FrameReader, Source, write_frame};

const CHALLENGE: &[u8] = b"#CHALLENGE#";
const WELCOME: &[u8] = b"#WELCOME#";
const FAILURE: &[u8] = b"#FAILURE#";
const SHA256: &[u8] = b"{sha256}";

/// A message or an answer of this length is in the dialect of Python up to 3.11.
const LEGACY_MESSAGE: usize = 20;
const LEGACY_ANSWER: usize = 16;

/// The largest frame that is accepted before the peer is authenticated.
const FRAME: usize = 256;

/// The most bytes of another protocol that an error shows.
const SHOWN: usize = 40;

type Nonce = [u8; 40];

/// The secret that a manager and its clients share.
///
/// `Debug` does not show it, and there is no `==`, whose duration would depend on the key.
#[derive(Clone)]
pub struct Authkey(Vec<u8>);

impl Authkey {
    /// This process's own key: 32 random bytes, the same at every call
    /// (`multiprocessing.current_process().authkey`).
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system has no random bytes.
    pub fn process() -> Result<Self> {
        static KEY: OnceLock<[u8; 32]> = OnceLock::new();
        if let Some(key) = KEY.get() {
            return Ok(Self(key.to_vec()));
        }
        let fresh = random()?;
        Ok(Self(KEY.get_or_init(|| fresh).to_vec()))
    }

    /// The key in an environment variable, so that it appears neither in the source nor in the list of processes.
    ///
    /// ```no_run
    /// use basemanager::{Authkey, Client};
    /// let client = Client::connect("127.0.0.1:5000", Authkey::from_env("TASKS_AUTHKEY")?)?;
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if the variable is not set, or is empty.
    pub fn from_env(name: &str) -> Result<Self> {
        match std::env::var_os(name) {
            Some(key) if !key.is_empty() => Ok(Self(key.into_encoded_bytes())),
            _ => Err(Error::invalid(format!(
                "authkey: the environment variable {name} is not set, or empty; set it to the manager's key"
            ))),
        }
    }

    /// The key itself, for a child process.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Authkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authkey(..)")
    }
}

impl<T: AsRef<[u8]>> From<T> for Authkey {
    fn from(key: T) -> Self {
        Self(key.as_ref().to_vec())
    }
}

/// The manager's side: the client proves the key first. `md5` accepts HMAC-MD5, if this build supports that.
pub(crate) fn accept<S: Source + Write>(
    reader: &mut FrameReader,
    stream: &mut S,
    authkey: &[u8],
    md5: bool,
) -> Result<()> {
    let nonce = random()?;
    let proved = challenge(reader, stream, authkey, &nonce, md5);
    let done = proved.and_then(|()| answer(reader, stream, authkey, Some(&nonce)));
    done.map_err(|error| name_protocol(error, reader.received()))
}

/// The client's side: it proves the key first.
pub(crate) fn connect<S: Source + Write>(
    reader: &mut FrameReader,
    stream: &mut S,
    authkey: &[u8],
) -> Result<()> {
    let nonce = random()?;
    let proved = answer(reader, stream, authkey, None);
    let done = proved.and_then(|()| challenge(reader, stream, authkey, &nonce, true));
    done.map_err(|error| name_protocol(error, reader.received()))
}

/// Names the protocol of a peer that does not speak this one, and shows the first bytes that it sent.
fn name_protocol(error: Error, received: &[u8]) -> Error {
    if !matches!(error, Error::Protocol { .. } | Error::Limit { .. }) {
        return error;
    }
    let name = match received {
        // A handshake or an alert, of any version.
        [0x15 | 0x16, 3, ..] => "TLS",
        _ if received.starts_with(b"SSH-") => "SSH",
        // The first line of a request ends with the version, that of a response begins with it.
        _ if received.windows(5).any(|part| part == b"HTTP/") => "HTTP",
        _ => "another protocol",
    };
    let began = received.get(..SHOWN).unwrap_or(received).escape_ascii();
    Error::Foreign { reason: format!("the peer speaks {name}; it sent \"{began}\": {error}") }
}

/// Unpredictable bytes, from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| Error::io("draw random bytes")(e.into()))?;
    Ok(bytes)
}

/// Sends a challenge, checks the answer, and sends the verdict.
fn challenge<S: Source + Write>(
    reader: &mut FrameReader,
    stream: &mut S,
    authkey: &[u8],
    nonce: &Nonce,
    md5: bool,
) -> Result<()> {
    let message = [SHA256, nonce].concat();
    write_frame(stream, &[CHALLENGE, &message].concat())?;
    let verdict = verify(authkey, &message, reader.read(stream, FRAME)?.bytes, md5);
    let sent = write_frame(stream, if verdict.is_ok() { WELCOME } else { FAILURE });
    // A peer that was refused may have closed the connection, but the reason for the refusal is the better error.
    verdict.and(sent)
}

/// Answers the peer's challenge, and reads the verdict. `sent` is this side's own nonce, if it has already sent one.
fn answer<S: Source + Write>(
    reader: &mut FrameReader,
    stream: &mut S,
    authkey: &[u8],
    sent: Option<&Nonce>,
) -> Result<()> {
    let frame = reader.read(stream, FRAME)?.bytes;
    let message = frame.strip_prefix(CHALLENGE).ok_or_else(|| unexpected("challenge", frame))?;
    // A peer without the key could otherwise get our own challenge answered, by sending it back.
    if sent.is_some_and(|nonce| message.ends_with(nonce)) {
        return Err(refused("the peer sent our own challenge back"));
    }
    let answer = respond(authkey, message)?;
    write_frame(stream, &answer)?;
    match reader.read(stream, FRAME)?.bytes {
        WELCOME => Ok(()),
        FAILURE => Err(refused("the peer rejected our authkey")),
        other => Err(unexpected("verdict", other)),
    }
}

fn respond(authkey: &[u8], message: &[u8]) -> Result<Vec<u8>> {
    if message.len() == LEGACY_MESSAGE {
        return Ok(legacy_mac(authkey, message, "manager")?.finalize().into_bytes().to_vec());
    }
    if message.len() < LEGACY_MESSAGE {
        return Err(unexpected("challenge", message));
    }
    strip_digest(message)?;
    let mac = mac::<Hmac<Sha256>>(authkey, message)?.finalize().into_bytes();
    Ok([SHA256, &mac].concat())
}

fn verify(authkey: &[u8], message: &[u8], answer: &[u8], md5: bool) -> Result<()> {
    let right = if answer.len() == LEGACY_ANSWER {
        if !md5 {
            return Err(refused(
                "HMAC-MD5 client (Python 3.11 or older), which this manager refuses",
            ));
        }
        legacy_mac(authkey, message, "client")?.verify_slice(answer).is_ok()
    } else {
        mac::<Hmac<Sha256>>(authkey, message)?.verify_slice(strip_digest(answer)?).is_ok()
    };
    if right { Ok(()) } else { Err(refused("the peer holds another authkey")) }
}

/// The bytes after `{sha256}`; another digest is an error that names it.
fn strip_digest(bytes: &[u8]) -> Result<&[u8]> {
    if let Some(rest) = bytes.strip_prefix(SHA256) {
        return Ok(rest);
    }
    let braced = bytes.strip_prefix(b"{").unwrap_or_default();
    let name = braced.iter().position(|&b| b == b'}').and_then(|end| braced.get(..end));
    Err(match name {
        Some(name) if name.iter().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(b)) => {
            let name = String::from_utf8_lossy(name);
            refused(format!("the peer uses the digest {name}; only sha256 is supported"))
        }
        _ => refused("the peer names no digest"),
    })
}

/// A MAC with the authkey.
pub(crate) fn mac<M: Mac + KeyInit>(authkey: &[u8], message: &[u8]) -> Result<M> {
    // HMAC takes a key of any length. The error exists for other kinds of MAC.
    let mac = M::new_from_slice(authkey).map_err(|_| Error::invalid("authkey"))?;
    Ok(mac.chain_update(message))
}

fn refused(why: impl Into<String>) -> Error {
    Error::authentication(why)
}

fn unexpected(wanted: &str, got: &[u8]) -> Error {
    Error::protocol(format!("expected a {wanted}, got \"{}\"", got.escape_ascii()))
}

/// The MAC of the older dialect: bare HMAC-MD5, recognized by its length. The message is 20 random bytes; that of a newer
/// peer, `{sha256}` and a nonce, is one long nonce to a client of this dialect.
///
/// The last parameter, the peer's side, is for the error of a build without this feature.
#[cfg(feature = "legacy-md5")]
fn legacy_mac(authkey: &[u8], message: &[u8], _: &str) -> Result<Hmac<md5::Md5>> {
    mac(authkey, message)
}

/// Always an error: this build does not support the dialect of Python up to 3.11.
#[cfg(not(feature = "legacy-md5"))]
fn legacy_mac(_: &[u8], _: &[u8], peer: &str) -> Result<Hmac<Sha256>> {
    let remedy = "build with feature legacy-md5";
    Err(refused(format!("HMAC-MD5 {peer} (Python 3.11 or older); {remedy}")))
}

#[cfg(test)]
mod tests;
