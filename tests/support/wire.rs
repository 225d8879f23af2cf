//! A peer that knows the handshake and otherwise sends any bytes. The tests, the fuzz targets and the benchmark
//! share it.

// Each of them uses a part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use basemanager::{Limits, Pickle, Value};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A peer that is silent, or reads nothing, for longer than this hangs.
pub(crate) const HANGS: Duration = Duration::from_secs(30);

pub(crate) struct Wire<S = TcpStream>(S);

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(HANGS)).unwrap();
        stream.set_write_timeout(Some(HANGS)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Connects, and sends nothing.
    pub(crate) fn unauthenticated(address: &str) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    /// Connects, and proves the key: the next request goes to the manager itself.
    pub(crate) fn connect(address: &str, key: &str) -> Self {
        let mut wire = Self::unauthenticated(address);
        wire.prove(key).unwrap();
        wire
    }

    /// Connects, proves the key, and goes on to calls of objects.
    pub(crate) fn accepted(address: &str, key: &str) -> Self {
        let mut wire = Self::connect(address, key);
        wire.accept_connection();
        wire
    }

    /// Creates an object; returns its id.
    pub(crate) fn create(address: &str, key: &str, typeid: &str) -> String {
        let mut wire = Self::connect(address, key);
        wire.request(None, "create", &text(typeid));
        let (kind, created) = wire.reply().unwrap();
        let Value::Tuple(created) = created else { panic!("{kind}: {created}") };
        created.first().cloned().unwrap().to().unwrap()
    }
}

impl<S: Read + Write> Wire<S> {
    /// Any other stream. It should have timeouts of [`HANGS`].
    pub(crate) fn over(stream: S) -> Self {
        Self(stream)
    }

    pub(crate) fn stream(&self) -> &S {
        &self.0
    }

    pub(crate) fn into_stream(self) -> S {
        self.0
    }

    /// Sends bytes as they are; `false` if the peer is gone.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        unless_it_hangs(self.0.write_all(bytes)).is_some()
    }

    pub(crate) fn frame(&mut self, payload: &[u8]) {
        self.send(&framed(payload));
    }

    /// Sends a request: see [`request`].
    pub(crate) fn request(&mut self, id: Option<&str>, method: &str, args: &[u8]) {
        self.frame(&request(id, method, args));
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) fn read(&mut self) -> Option<Vec<u8>> {
        read_frame(&mut self.0)
    }

    /// The next reply: its kind and its value.
    pub(crate) fn reply(&mut self) -> Option<(String, Value)> {
        let limits = Limits::default();
        let reply = Pickle::from_bytes(&self.read()?, &limits).unwrap().decode(&limits).unwrap();
        Some(reply.to().unwrap())
    }

    /// The handshake of a client. `None` if the peer goes.
    pub(crate) fn prove(&mut self, key: &str) -> Option<()> {
        self.answer(key)?;
        self.challenge()
    }

    /// The handshake of a manager. `None` if the peer goes.
    pub(crate) fn welcome(&mut self, key: &str) -> Option<()> {
        self.challenge()?;
        self.answer(key)
    }

    pub(crate) fn accept_connection(&mut self) {
        self.request(None, "accept_connection", &text("wire"));
        assert_eq!(self.reply().unwrap().0, "#RETURN");
    }

    fn answer(&mut self, key: &str) -> Option<()> {
        let challenge = self.read()?;
        self.frame(&answer(&challenge, key));
        assert_eq!(self.read()?.escape_ascii().to_string(), "#WELCOME#");
        Some(())
    }

    fn challenge(&mut self) -> Option<()> {
        self.frame(&[&b"#CHALLENGE#{sha256}"[..], &[7; 40]].concat());
        self.read()?;
        self.frame(b"#WELCOME#");
        Some(())
    }
}

/// The answer to a challenge.
pub(crate) fn answer(challenge: &[u8], key: &str) -> Vec<u8> {
    let message = challenge.strip_prefix(b"#CHALLENGE#").unwrap();
    assert!(message.starts_with(b"{sha256}"), "the peer knows no HMAC-SHA256");
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    [b"{sha256}", &mac.chain_update(message).finalize().into_bytes()[..]].concat()
}

/// `(id, method, args, {})`, with the arguments as opcodes. Without an id it is for the manager itself.
pub(crate) fn request(id: Option<&str>, method: &str, args: &[u8]) -> Vec<u8> {
    let id = id.map_or(b"N".to_vec(), text);
    [b"\x80\x04(", &*id, &*text(method), b"(", args, b"t}t."].concat()
}

/// The opcode of a short text.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&[0x8c, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// A payload behind its length.
pub(crate) fn framed(payload: &[u8]) -> Vec<u8> {
    [&u32::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
}

/// The payload of the next frame; `None` at the end of the stream.
pub(crate) fn read_frame(mut stream: impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    unless_it_hangs(stream.read_exact(&mut length))?;
    let mut payload = vec![0; u32::from_be_bytes(length) as usize];
    unless_it_hangs(stream.read_exact(&mut payload))?;
    Some(payload)
}

/// A stream may end in any way, but must not time out.
pub(crate) fn unless_it_hangs<T>(result: io::Result<T>) -> Option<T> {
    let hangs =
        |error: &io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    assert!(!result.as_ref().is_err_and(hangs), "the peer hangs");
    result.ok()
}
