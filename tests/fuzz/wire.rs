//! A peer that says what it likes, over a Unix socket: no run of it uses up the ports.

// Not every target uses all of it.
#![allow(dead_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub(crate) const KEY: &str = "producer";

/// Whoever takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct Wire(UnixStream);

impl Wire {
    pub(crate) fn connect(path: &str) -> Self {
        Self::new(UnixStream::connect(path).expect("somebody listens"))
    }

    pub(crate) fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self(stream)
    }

    /// Sends bytes as they are. The peer may be gone.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.0.write_all(bytes) {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "the peer hangs");
        }
    }

    pub(crate) fn frame(&mut self, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        self.send(&[&length, payload].concat());
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) fn read(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        self.fill(&mut payload)?;
        Some(payload)
    }

    /// The first frame, if the peer speaks first; not for long, for it may wait as well.
    pub(crate) fn read_if_any(&mut self) -> Vec<u8> {
        self.0.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout can be set");
        let mut first = [0; 63];
        let got = self.0.read(&mut first).unwrap_or(0);
        self.0.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        first.get(4..got).unwrap_or_default().to_vec()
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Option<()> {
        self.0.read_exact(buffer).map_err(ended).ok()
    }

    /// Says no more, and gives what the peer still has to say.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        let _ = self.0.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).map_err(ended);
        rest
    }

    /// Proves the key to whoever accepted, and lets them prove it.
    pub(crate) fn prove(&mut self) {
        self.answer();
        self.challenge();
    }

    /// The same, as the one who accepted. `None` if the peer goes.
    pub(crate) fn welcome(&mut self) -> Option<()> {
        self.challenge()?;
        self.answer()
    }

    fn answer(&mut self) -> Option<()> {
        let challenge = self.read()?;
        let message = challenge.strip_prefix(b"#CHALLENGE#").expect("a challenge");
        let mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("any key");
        self.frame(&[b"{sha256}", &mac.chain_update(message).finalize().into_bytes()[..]].concat());
        assert_eq!(self.read()?, b"#WELCOME#");
        Some(())
    }

    fn challenge(&mut self) -> Option<()> {
        self.frame(&[&b"#CHALLENGE#{sha256}"[..], &[7; 40]].concat());
        self.read()?;
        self.frame(b"#WELCOME#");
        Some(())
    }
}

/// A stream may end in any way, but in time.
fn ended(error: std::io::Error) {
    assert_ne!(error.kind(), ErrorKind::WouldBlock, "the peer hangs");
}

/// Cuts an input into pieces.
pub(crate) struct Pieces<'a>(pub(crate) &'a [u8]);

impl<'a> Pieces<'a> {
    pub(crate) fn number(&mut self) -> Option<usize> {
        self.take(1).first().map(|byte| usize::from(*byte))
    }

    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (piece, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        piece
    }

    /// A piece, after its length.
    pub(crate) fn piece(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        Some(self.take(length))
    }
}
