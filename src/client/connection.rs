//! One connection to a manager: a request, then its reply.

use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::{Connector, failure};
use crate::error::{Error, Result};
use crate::frame::{Frame, FrameReader};
use crate::handshake;
use crate::message::{Reply, Request};
use crate::pickle::Scan;
use crate::transport::{Stream, Timed, deadline};
use crate::value::Value;

/// A reply buffer larger than this is given back after the call.
const KEEP: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    reader: FrameReader,
    scan: Scan,
    out: Vec<u8>,
    /// Whether the socket has a timeout that the next call must lift.
    timed: bool,
}

impl Connection {
    /// Connects, for one call of the manager's own functions.
    pub(super) fn open(settings: &Connector) -> Result<Self> {
        Self::persist(settings, Self::try_open)
    }

    /// Connects, for calls of objects' methods.
    pub(super) fn accepted(settings: &Connector) -> Result<Self> {
        Self::persist(settings, |settings| {
            let mut connection = Self::try_open(settings)?;
            let name = thread::current().name().unwrap_or("rust").into();
            let wait = Some(settings.first_wait());
            let reply = connection.call(settings, None, "accept_connection", &[name], &[], wait);
            match reply.map_err(unsent(settings))? {
                Reply::Return(_) => Ok(connection),
                other => Err(failure(other)),
            }
        })
    }

    /// Again and again, if that is wished, while nobody is there.
    fn persist(settings: &Connector, connect: impl Fn(&Connector) -> Result<Self>) -> Result<Self> {
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

    /// Connects, if somebody listens there now.
    pub(super) fn try_open(settings: &Connector) -> Result<Self> {
        let until = deadline(settings.connect_timeout);
        let stream = Stream::connect(&settings.address, Some(settings.connect_timeout))?;
        let mut reader = FrameReader::new();
        greeting(settings, &mut reader, &stream, until)?;
        let key = settings.authkey.as_bytes();
        handshake::connect(&mut reader, &mut Timed(&stream, until), key)
            .map_err(unsent(settings))?;
        Ok(Self { stream, reader, scan: Scan::default(), out: Vec::new(), timed: true })
    }

    /// Sends a request and reads its reply, which may take as long as `wait`.
    ///
    /// After an error the connection may be out of step, and is of no more use.
    pub(super) fn call(
        &mut self,
        settings: &Connector,
        ident: Option<&str>,
        method: &str,
        args: &[Value],
        kwargs: &[(&str, Value)],
        wait: Option<Duration>,
    ) -> Result<Reply> {
        Request::append(&mut self.out, ident, method, args, kwargs)?;
        let Some(wait) = wait else {
            self.send(usize::MAX)?;
            return self.receive(settings);
        };
        self.timed = true;
        let mut timed = Timed(&self.stream, deadline(wait));
        write(&mut self.out, &mut timed)?;
        let frame = self.reader.read(&mut timed, settings.limits.frame_size)?;
        parse(&mut self.scan, frame, settings)
    }

    /// Adds a request to those that [`send`](Self::send) sends, and gives its size.
    pub(super) fn request(&mut self, ident: &str, method: &str, args: &[Value]) -> Result<usize> {
        let before = self.out.len();
        Request::append(&mut self.out, Some(ident), method, args, &[])?;
        Ok(self.out.len() - before)
    }

    /// Sends the first so many bytes of what was requested.
    pub(super) fn send(&mut self, bytes: usize) -> Result<()> {
        if std::mem::take(&mut self.timed) {
            self.stream.set_timeout(None)?;
        }
        let rest = self.out.split_off(bytes.min(self.out.len()));
        let sent = write(&mut self.out, &mut &self.stream);
        self.out.extend(rest);
        sent
    }

    /// The reply to the oldest request that has none yet, whenever it comes.
    pub(super) fn receive(&mut self, settings: &Connector) -> Result<Reply> {
        let frame = self.reader.read(&mut &self.stream, settings.limits.frame_size)?;
        parse(&mut self.scan, frame, settings)
    }

    /// Whether the manager has closed it, or sent what was not asked for.
    pub(super) fn is_open(&self) -> bool {
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
    settings: &Connector,
    reader: &mut FrameReader,
    stream: &Stream,
    until: Instant,
) -> Result<()> {
    let greeted = until.min(deadline(settings.greeting_timeout));
    match reader.fill(&mut Timed(stream, greeted)) {
        Ok(0) => Err(unsent(settings)(Error::Disconnected)),
        Ok(_) => Ok(()),
        Err(Error::TimedOut) => {
            let waited = settings.greeting_timeout.min(settings.connect_timeout);
            let why = format!(
                "it accepted the connection, but sent nothing for {waited:?}; a manager speaks first"
            );
            let cause = io::Error::new(ErrorKind::TimedOut, why);
            Err(Error::io(format!("connect to {}", settings.address))(cause))
        }
        Err(error) => Err(unsent(settings)(error)),
    }
}

/// Writes what was requested, once, whatever comes of it.
fn write(out: &mut Vec<u8>, sink: &mut impl Write) -> Result<()> {
    let written = sink.write_all(out);
    out.clear();
    out.shrink_to(KEEP);
    Ok(written?)
}

fn parse(scan: &mut Scan, frame: Frame<'_>, settings: &Connector) -> Result<Reply> {
    let reply = Reply::parse(scan, frame, &settings.limits);
    scan.trim();
    reply
}

/// Nothing that the user asked for was sent yet: that is told from a call that broke.
pub(super) fn unsent(settings: &Connector) -> impl FnOnce(Error) -> Error {
    let address = &settings.address;
    let connecting = move |cause| Error::io(format!("connect to {address}"))(cause);
    move |error| match error {
        Error::Disconnected => connecting(ErrorKind::ConnectionReset.into()),
        Error::TimedOut => {
            let why = "it accepted the connection, but did not answer in time";
            connecting(io::Error::new(ErrorKind::TimedOut, why))
        }
        // Another service listens there, of whatever kind.
        error @ (Error::Protocol(_) | Error::Limit(..)) => {
            Error::Authentication(format!("the peer speaks another protocol: {error}"))
        }
        error => error,
    }
}
