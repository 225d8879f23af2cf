//! A peer on a Unix socket, so that no run uses up the ports; and the pieces of an input.

// Not every target uses all of it.
#![allow(dead_code)]

#[path = "../support/wire.rs"]
pub(crate) mod wire;

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use wire::Wire;

pub(crate) const KEY: &str = "producer";

/// A peer that takes longer than this hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) type Peer = Wire<UnixStream>;

pub(crate) fn connect(path: &str) -> Peer {
    peer(UnixStream::connect(path).expect("a manager listens"))
}

pub(crate) fn peer(stream: UnixStream) -> Peer {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
    Wire::over(stream)
}

/// The first frame, if the peer speaks first; not for long, for it may wait as well.
pub(crate) fn read_if_any(peer: &Peer) -> Vec<u8> {
    let mut stream = peer.stream();
    stream.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout can be set");
    let mut first = [0; 63];
    let got = stream.read(&mut first).unwrap_or(0);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    first.get(4..got).unwrap_or_default().to_vec()
}

/// Sends no more; returns the rest of what the peer sends.
pub(crate) fn rest(peer: Peer) -> Vec<u8> {
    let mut stream = peer.into_stream();
    let _ = stream.shutdown(Shutdown::Write);
    let mut rest = Vec::new();
    wire::unless_it_hangs(stream.read_to_end(&mut rest));
    rest
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
