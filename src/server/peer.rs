//! The client's end of a connection: the bytes it sends, and whether it is still connected.
//!
//! A disconnect shows only at the end of the stream. So while a call waits, the manager reads what the client has
//! pipelined behind that call, and keeps it for later. A client that pipelines more than 1 MiB behind a blocked
//! call is disconnected, because its disconnect could no longer be noticed.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use super::buffers::Buffers;
use crate::error::Error;
use crate::limits::PIPELINED;
use crate::net::{PeerAddress, Stream};
use crate::object::call::ConnectionId;
use crate::wait::{WaitError, Wake, lock, pipeline_limit};
use crate::wire::frame::Source;

/// More capacity than this is not kept once the bytes are used.
const KEEP: usize = 64 * 1024;

/// An open connection, as the manager's other threads know it.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) stream: Stream,
    pub(super) address: PeerAddress,
    pub(super) buffers: Arc<Buffers>,
    /// Wakes the connection's thread while it is parked.
    pub(super) wake: Mutex<Option<Wake>>,
}

impl Connection {
    /// Wakes the connection's thread, if a call of it waits.
    pub(super) fn wake(&self) {
        let wake = lock(&self.wake).clone();
        if let Some(wake) = wake {
            wake();
        }
    }
}

/// Where a connection's requests come from.
pub(super) struct Peer {
    pub(super) connection: Arc<Connection>,
    /// Bytes that were read while a call waited.
    ahead: Vec<u8>,
    /// Why no further request is answered.
    pub(super) lost: Option<Error>,
}

impl Peer {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, ahead: Vec::new(), lost: None }
    }

    /// Reads what has arrived, to find out whether the client is still connected. Once it is not, it never is again.
    pub(super) fn is_connected(&mut self) -> Result<(), WaitError> {
        if self.lost.is_none() {
            self.lost = match self.read_ahead() {
                Ok(()) if self.ahead.len() > PIPELINED => Some(pipeline_limit()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                _ => Some(Error::Disconnected),
            };
        }
        match self.lost {
            None => Ok(()),
            Some(Error::Limit { .. }) => Err(WaitError::PipelineLimit),
            Some(_) => Err(WaitError::Disconnected),
        }
    }

    /// Reads until nothing more has arrived (`WouldBlock`), the stream has ended, or more than `PIPELINED` bytes
    /// are kept.
    fn read_ahead(&mut self) -> io::Result<()> {
        let stream = &self.connection.stream;
        let max = PIPELINED + 1 - self.ahead.len();
        stream.set_nonblocking(true)?;
        let result = { stream }.read_into(&mut self.ahead, max as u64);
        stream.set_nonblocking(false)?;
        result.map(drop)
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            return (&self.connection.stream).read(buffer);
        }
        let count = self.ahead.as_slice().read(buffer)?;
        self.ahead.drain(..count);
        if self.ahead.is_empty() {
            self.ahead.shrink_to(KEEP);
        }
        Ok(count)
    }
}

impl Source for Peer {
    fn buffer(&self, length: usize) -> Vec<u8> {
        self.connection.buffers.take(length)
    }

    fn ack_now(&self) {
        (&self.connection.stream).ack_now();
    }

    fn read_into(&mut self, buffer: &mut Vec<u8>, bytes: u64) -> io::Result<usize> {
        let count = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.ahead.len());
        buffer.extend(self.ahead.drain(..count));
        let rest = (&self.connection.stream).read_into(buffer, bytes - count as u64)?;
        Ok(count + rest)
    }
}
