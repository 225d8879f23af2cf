//! One connection to a manager: a request, then its reply.

use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::{ClientBuilder, failure};
use crate::error::{Error, Result};
use crate::net::{Stream, Timed, deadline};
use crate::pickle::Index;
use crate::value::Value;
use crate::wire::frame::{Frame, FrameReader};
use crate::wire::handshake;
use crate::wire::message::{Reply, Request};

/// A request buffer larger than this is freed after the call.
const KEEP: usize = 64 * 1024;

/// A connection that was used this recently is taken to be open: checking costs three system calls, which matters only to
/// calls in quick succession.
const FRESH: Duration = Duration::from_micros(100);

#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    reader: FrameReader,
    index: Index,
    out: Vec<u8>,
    /// Whether the socket has a timeout that the next call must lift.
    timed: bool,
    last_reply: Instant,
}

impl Connection {
    /// Connects, for one call of the manager's own functions.
    pub(super) fn open(settings: &ClientBuilder) -> Result<Self> {
        Self::retry(settings, Self::try_open)
    }

    /// Connects, for calls of objects' methods.
    pub(super) fn accepted(settings: &ClientBuilder) -> Result<Self> {
        Self::retry(settings, |settings| {
            let mut connection = Self::try_open(settings)?;
            let name = [thread::current().name().unwrap_or("rust").into()];
            let timeout = Some(settings.reply_timeout());
            let reply = connection.call(settings, None, "accept_connection", &name, &[], timeout);
            match reply.map_err(connect_error(settings))? {
                Reply::Return(_) => Ok(connection),
                other => Err(failure(other)),
            }
        })
    }

    /// Connects again while nothing answers, as often as [`ClientBuilder::reconnect`] says.
    fn retry(
        settings: &ClientBuilder,
        connect: impl Fn(&ClientBuilder) -> Result<Self>,
    ) -> Result<Self> {
        let mut left = settings.reconnects;
        loop {
            match connect(settings) {
                Err(error) if left > 0 && error.is_unanswered() => {
                    left -= 1;
                    thread::sleep(settings.reconnect_pause);
                }
                result => return result,
            }
        }
    }

    /// Connects, without retries.
    pub(super) fn try_open(settings: &ClientBuilder) -> Result<Self> {
        let deadline = deadline(settings.connect_timeout);
        let stream = Stream::connect(&settings.address, settings.connect_timeout)?;
        let mut reader = FrameReader::new();
        greeting(settings, &mut reader, &stream, deadline)?;
        let key = settings.authkey.as_bytes();
        handshake::connect(&mut reader, &mut Timed(&stream, deadline), key)
            .map_err(connect_error(settings))?;
        let (index, out, last_reply) = (Index::default(), Vec::new(), Instant::now());
        Ok(Self { stream, reader, index, out, timed: true, last_reply })
    }

    /// Sends a request and reads its reply, which may take as long as `timeout`.
    ///
    /// After an error the connection may be out of step, and must not be used again.
    pub(super) fn call(
        &mut self,
        settings: &ClientBuilder,
        ident: Option<&str>,
        method: &str,
        args: &[Value],
        kwargs: &[(String, Value)],
        timeout: Option<Duration>,
    ) -> Result<Reply> {
        Request::append(&mut self.out, ident, method, args, kwargs)?;
        let Some(timeout) = timeout else {
            self.send(usize::MAX)?;
            return self.receive(settings);
        };
        self.timed = true;
        let mut timed = Timed(&self.stream, deadline(timeout));
        write(&mut self.out, &mut timed)?;
        let frame = self.reader.read(&mut timed, settings.limits.frame_size)?;
        self.last_reply = Instant::now();
        parse(&mut self.index, frame, settings)
    }

    /// Appends a request, for [`send`](Self::send), and returns its size.
    pub(super) fn request(&mut self, ident: &str, method: &str, args: &[Value]) -> Result<usize> {
        let before = self.out.len();
        Request::append(&mut self.out, Some(ident), method, args, &[])?;
        Ok(self.out.len() - before)
    }

    /// Sends the first `bytes` of the appended requests.
    pub(super) fn send(&mut self, bytes: usize) -> Result<()> {
        if std::mem::take(&mut self.timed) {
            self.stream.set_timeouts(None, None).map_err(Error::connection)?;
        }
        let rest = self.out.split_off(bytes.min(self.out.len()));
        let sent = write(&mut self.out, &mut &self.stream);
        self.out.extend(rest);
        sent
    }

    /// The reply to the oldest request that has none yet, without a timeout.
    pub(super) fn receive(&mut self, settings: &ClientBuilder) -> Result<Reply> {
        let frame = self.reader.read(&mut &self.stream, settings.limits.frame_size)?;
        self.last_reply = Instant::now();
        parse(&mut self.index, frame, settings)
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
            Ok(matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock))
        };
        silent().unwrap_or(false)
    }
}

/// Waits for the first bytes of the manager, which speaks first.
fn greeting(
    settings: &ClientBuilder,
    reader: &mut FrameReader,
    stream: &Stream,
    connect_deadline: Instant,
) -> Result<()> {
    let greeted = connect_deadline.min(deadline(settings.greeting_timeout));
    match reader.fill(&mut Timed(stream, greeted)) {
        Ok(0) => Err(connect_error(settings)(Error::Disconnected)),
        Ok(_) => Ok(()),
        Err(Error::TimedOut) => {
            let waited = settings.greeting_timeout.min(settings.connect_timeout);
            let why = format!(
                "it accepted the connection, but sent nothing for {waited:?}; a manager speaks first"
            );
            let cause = io::Error::new(ErrorKind::TimedOut, why);
            Err(Error::io(format!("connect to {}", settings.address))(cause))
        }
        Err(error) => Err(connect_error(settings)(error)),
    }
}

/// Writes the requests, and empties the buffer even if that fails.
fn write(out: &mut Vec<u8>, sink: &mut impl Write) -> Result<()> {
    let written = sink.write_all(out);
    out.clear();
    out.shrink_to(KEEP);
    written.map_err(Error::connection)
}

fn parse(index: &mut Index, frame: Frame<'_>, settings: &ClientBuilder) -> Result<Reply> {
    let reply = Reply::parse(index, frame, &settings.limits);
    index.trim();
    reply
}

/// Turns an error of the first exchange, when no call was sent yet, into one of connecting.
pub(super) fn connect_error(settings: &ClientBuilder) -> impl FnOnce(Error) -> Error {
    let address = &settings.address;
    let connecting = move |cause| Error::io(format!("connect to {address}"))(cause);
    move |error| match error {
        Error::Disconnected => connecting(ErrorKind::ConnectionReset.into()),
        Error::TimedOut => {
            let why = "it accepted the connection, but did not answer in time";
            connecting(io::Error::new(ErrorKind::TimedOut, why))
        }
        error @ (Error::Protocol { .. } | Error::Limit { .. }) => {
            Error::authentication(format!("the peer speaks another protocol: {error}"))
        }
        error => error,
    }
}
