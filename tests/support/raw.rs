//! A client that says what it likes: right up to the handshake, then any bytes.

// Not every test file uses all of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::TcpStream;

use basemanager::{Limits, Pickle, Value};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::support::PATIENCE;

/// The answer to a challenge.
pub(crate) fn answer(challenge: &[u8], authkey: &str) -> Vec<u8> {
    let message = challenge.strip_prefix(b"#CHALLENGE#").unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(authkey.as_bytes()).unwrap();
    let mac = mac.chain_update(message).finalize().into_bytes();
    [b"{sha256}", &mac[..]].concat()
}

pub(crate) struct Raw(TcpStream);

impl Raw {
    /// Connects, and says nothing.
    pub(crate) fn stranger(address: &str) -> Self {
        let raw = Self(TcpStream::connect(address).unwrap());
        raw.0.set_read_timeout(Some(PATIENCE)).unwrap();
        raw.0.set_nodelay(true).unwrap();
        raw
    }

    /// Connects, and proves the key.
    pub(crate) fn connect(address: &str, authkey: &str) -> Self {
        let mut raw = Self::stranger(address);
        let challenge = raw.read().unwrap();
        raw.frame(&answer(&challenge, authkey));
        assert_eq!(raw.read().unwrap(), b"#WELCOME#");
        raw.frame(&[&b"#CHALLENGE#{sha256}"[..], &[7; 40]].concat());
        raw.read().unwrap();
        raw.frame(b"#WELCOME#");
        raw
    }

    /// The same, and goes on to calls of objects.
    pub(crate) fn accepted(address: &str, authkey: &str) -> Self {
        let mut raw = Self::connect(address, authkey);
        raw.frame(b"\x80\x04(N\x8c\x11accept_connection\x8c\x04evil\x85}t.");
        assert_eq!(raw.reply().unwrap().0, "#RETURN");
        raw
    }

    /// The id of what a manager has under a typeid, with one reference to it.
    pub(crate) fn create(address: &str, authkey: &str, typeid: &str) -> String {
        let mut raw = Self::connect(address, authkey);
        let length = u8::try_from(typeid.len()).unwrap();
        let request =
            [&b"\x80\x04(N\x8c\x06create\x8c"[..], &[length], typeid.as_bytes(), b"\x85}t."];
        raw.frame(&request.concat());
        let (kind, made) = raw.reply().unwrap();
        let Value::Tuple(made) = made else { panic!("{kind}: {made}") };
        made.first().cloned().unwrap().to().unwrap()
    }

    /// The socket itself, for whoever reads and writes by themselves.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.0
    }

    /// Sends bytes as they are; `false` if the peer is gone.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    pub(crate) fn frame(&mut self, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.send(&[&length, payload].concat());
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) fn read(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some(payload)
    }

    /// The next reply's kind, and what comes with it.
    pub(crate) fn reply(&mut self) -> Option<(String, Value)> {
        let limits = Limits::default();
        let reply = Pickle::from_bytes(&self.read()?, &limits).unwrap().decode(&limits).unwrap();
        Some(reply.to().unwrap())
    }
}
