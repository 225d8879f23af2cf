//! One connection to a manager: requests, then their replies.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{Shared, returned};
use crate::error::{Error, Result};
use crate::net::{self, Address, Stream, Timed};
use crate::pickle::Index;
use crate::value::{IntoArgs, Value};
use crate::wire::frame::FrameReader;
use crate::wire::handshake;
use crate::wire::message::{Reply, Request};

/// The capacity of the request buffer that is kept after a call.
const KEEP: usize = 64 * 1024;

/// A connection with a reply this recent is assumed to be open. The check costs three system calls, which matters only to
/// calls in quick succession.
const FRESH: Duration = Duration::from_micros(100);

/// A function of the manager, and its arguments.
type Function<'a> = (&'a str, &'a [Value]);

#[derive(Debug)]
pub(super) struct Connection {
    client: Arc<Shared>,
    stream: Stream,
    reader: FrameReader,
    index: Index,
    /// Requests that have not been sent.
    out: Vec<u8>,
    /// The number of requests without a reply.
    pending: usize,
    /// Whether the socket has timeouts, which a call without a deadline must remove.
    timed: bool,
    last_reply: Instant,
}

impl Connection {
    /// Connects, and calls a function that must return. Retries while nothing answers, as often as
    /// [`ClientBuilder::reconnect`](super::ClientBuilder::reconnect) says.
    pub(super) fn open(client: &Arc<Shared>, first: Option<Function<'_>>) -> Result<Self> {
        let mut left = client.settings.reconnects;
        loop {
            match Self::try_open(client, first) {
                Err(error) if left > 0 && error.is_unanswered() => {
                    left -= 1;
                    thread::sleep(client.settings.reconnect_pause);
                }
                result => return result,
            }
        }
    }

    /// [`Connection::open`] without retries.
    pub(super) fn try_open(client: &Arc<Shared>, first: Option<Function<'_>>) -> Result<Self> {
        let settings = &client.settings;
        let deadline = net::deadline(settings.connect_timeout);
        let mut connection = Self {
            client: client.clone(),
            stream: Stream::connect(&settings.address, settings.connect_timeout)?,
            reader: FrameReader::new(),
            index: Index::default(),
            out: Vec::new(),
            pending: 0,
            timed: true,
            last_reply: Instant::now(),
        };
        match connection.prepare(deadline, first) {
            Ok(()) => Ok(connection),
            Err(error) => Err(connect_error(&settings.address, error)),
        }
    }

    fn prepare(&mut self, deadline: Instant, first: Option<Function<'_>>) -> Result<()> {
        let client = self.client.clone();
        let settings = &client.settings;
        let greeted = deadline.min(net::deadline(settings.greeting_timeout));
        match self.reader.fill(&mut Timed(&self.stream, Some(greeted))) {
            Err(Error::TimedOut) => {
                let waited = settings.greeting_timeout.min(settings.connect_timeout);
                let why = format!("but sent nothing for {waited:?}; a manager speaks first");
                return Err(no_answer(&settings.address, &why));
            }
            // At the end of the stream the handshake fails.
            greeting => drop(greeting?),
        }
        let stream = &mut Timed(&self.stream, Some(deadline));
        handshake::connect(&mut self.reader, stream, settings.authkey.as_bytes())?;
        let Some((function, args)) = first else { return Ok(()) };
        returned(self.call(None, function, args, settings.reply_timeout())?).map(drop)
    }

    /// Calls a method of an object, or without an id a function of the manager. The reply must come within `timeout`.
    /// After an error of the connection, it is closed.
    pub(super) fn call(
        &mut self,
        id: Option<&str>,
        method: &str,
        args: impl IntoArgs,
        timeout: Option<Duration>,
    ) -> Result<Reply> {
        let deadline = timeout.map(net::deadline);
        let bytes = self.append(id, method, args)?;
        self.send(bytes, deadline)?;
        self.receive(deadline)
    }

    /// Appends a request, for [`send`](Self::send), and returns its size.
    pub(super) fn append(
        &mut self,
        id: Option<&str>,
        method: &str,
        args: impl IntoArgs,
    ) -> Result<usize> {
        let before = self.out.len();
        args.with_args(|args, kwargs| Request::append(&mut self.out, id, method, args, kwargs))?;
        self.pending += 1;
        Ok(self.out.len() - before)
    }

    /// Sends the first `bytes` of the requests.
    pub(super) fn send(&mut self, bytes: usize, deadline: Option<Instant>) -> Result<()> {
        if self.timed && deadline.is_none() {
            self.stream.set_timeouts(None, None).map_err(Error::connection)?;
        }
        self.timed = deadline.is_some();
        let requests = self.out.get(..bytes).unwrap_or_default();
        let sent = Timed(&self.stream, deadline).write_all(requests);
        self.out.drain(..bytes);
        self.out.shrink_to(KEEP);
        sent.map_err(|error| self.close(Error::connection(error)))
    }

    /// Reads the reply to the oldest pending request.
    pub(super) fn receive(&mut self, deadline: Option<Instant>) -> Result<Reply> {
        let limits = &self.client.settings.limits;
        let mut source = Timed(&self.stream, deadline);
        let frame = self.reader.read(&mut source, limits.frame_size);
        let reply = frame.and_then(|frame| Reply::parse(&mut self.index, frame, limits));
        self.index.trim();
        let reply = reply.map_err(|error| self.close(error))?;
        self.pending -= 1;
        self.last_reply = Instant::now();
        self.client.unresponsive.store(false, Ordering::Relaxed);
        Ok(reply)
    }

    /// Closes the connection after an error: it may be out of step.
    fn close(&self, error: Error) -> Error {
        self.stream.shutdown(Shutdown::Both);
        error
    }

    /// Whether each request has its reply, so that the next call gets its own. Not so after an error.
    pub(super) fn is_in_step(&self) -> bool {
        self.pending == 0
    }

    /// Whether the manager has neither closed the connection nor sent anything unexpected, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        if self.last_reply.elapsed() < FRESH {
            return true;
        }
        let silent = || -> io::Result<bool> {
            self.stream.set_nonblocking(true)?;
            let read = (&self.stream).read(&mut [0]);
            self.stream.set_nonblocking(false)?;
            Ok(read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock))
        };
        silent().unwrap_or(false)
    }
}

/// An error before the first call of the user, as an error of connecting.
fn connect_error(address: &Address, error: Error) -> Error {
    match error {
        Error::Disconnected => {
            Error::io(format!("connect to {address}"))(ErrorKind::ConnectionReset.into())
        }
        Error::TimedOut => no_answer(address, "but did not answer in time"),
        error @ (Error::Protocol { .. } | Error::Limit { .. }) => {
            Error::Foreign { reason: format!("the peer speaks another protocol: {error}") }
        }
        error => error,
    }
}

fn no_answer(address: &Address, why: &str) -> Error {
    let cause = io::Error::new(ErrorKind::TimedOut, format!("it accepted the connection, {why}"));
    Error::io(format!("connect to {address}"))(cause)
}
