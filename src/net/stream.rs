//! Connected sockets.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[cfg(unix)]
use super::unix;
use super::{Address, deadline, remaining};
use crate::error::{Error, Result};
use crate::wire::frame::Source;

/// Waits until a read would return at once, at most for the socket's read timeout. On Windows a shutdown of the socket
/// does not wake a thread that is blocked in a read, but it ends a read that begins later.
#[cfg(windows)]
fn wait_readable(socket: &TcpStream) -> io::Result<()> {
    const INTERVAL: Duration = Duration::from_millis(200);
    let timeout = socket.read_timeout()?;
    let deadline = deadline(timeout.unwrap_or(Duration::MAX));
    let result = loop {
        match remaining(deadline) {
            Ok(left) => socket.set_read_timeout(Some(left.min(INTERVAL)))?,
            Err(error) => break Err(error),
        }
        // Data, the end, or another error: the read returns it.
        if !socket.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::TimedOut) {
            break Ok(());
        }
    };
    socket.set_read_timeout(timeout)?;
    result
}

/// A connected socket. `&Stream` reads and writes too, as std's sockets do.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Calls the same method on either kind of socket.
macro_rules! either {
    ($stream:expr, $socket:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($socket) => $call,
            #[cfg(unix)]
            Stream::Unix($socket) => $call,
        }
    };
}

impl Stream {
    /// Connects, trying each address that a host name stands for.
    pub(crate) fn connect(address: &Address, timeout: Duration) -> Result<Self> {
        let connected = match address {
            Address::Tcp(text) => {
                connect_tcp(&Address::targets(text)?, deadline(timeout)).map(Self::Tcp)
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                UnixStream::connect_addr(&unix::socket_address(path)?).map(Self::Unix)
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(ErrorKind::Unsupported.into()),
        };
        connected.map_err(Error::io(format!("connect to {address}")))
    }

    /// Wakes a listener that is blocked in `accept`, by connecting to it.
    pub(crate) fn knock(listener: &Address) -> Result<Self> {
        Self::connect(&listener.reachable(), Duration::from_secs(1))
    }

    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        either!(self, socket => socket.set_nonblocking(on))
    }

    /// Limits each read and each write; `None` is no limit.
    pub(crate) fn set_timeouts(
        &self,
        read: Option<Duration>,
        write: Option<Duration>,
    ) -> io::Result<()> {
        either!(self, socket => {
            socket.set_read_timeout(read)?;
            socket.set_write_timeout(write)
        })
    }

    /// Closes the connection for both sides. It may be closed already.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        let _ = either!(self, socket => socket.shutdown(how));
    }
}

fn connect_tcp(targets: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut result = Err(ErrorKind::AddrNotAvailable.into());
    for target in targets {
        result = TcpStream::connect_timeout(target, remaining(deadline)?).and_then(|stream| {
            refuse_self(&stream, *target)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Refuses a socket that has connected to itself. TCP does that if nothing listens on the port, and the system has
/// chosen the same port for the client's end. The manager could then not listen there.
fn refuse_self(mut stream: &TcpStream, target: SocketAddr) -> io::Result<()> {
    if stream.local_addr()? != target {
        return Ok(());
    }
    // Closing a socket with unread data resets it. Otherwise the port would stay occupied for a minute.
    let _ = stream.write(&[0]);
    Err(ErrorKind::ConnectionRefused.into())
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(windows)]
        either!(self, socket => wait_readable(socket))?;
        either!(self, socket => (&mut &*socket).read(buffer))
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, socket => (&mut &*socket).write(bytes))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, socket => (&mut &*socket).write_vectored(parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for &Stream {
    fn ack_now(&self) {
        // Failing to hurry costs time, nothing else.
        #[cfg(target_os = "linux")]
        if let Stream::Tcp(socket) = self {
            let _ = std::os::linux::net::TcpStreamExt::set_quickack(socket, true);
        }
    }

    // By way of the socket itself: std's sockets fill a vector without zeroing it first.
    fn read_into(&mut self, buffer: &mut Vec<u8>, bytes: u64) -> io::Result<usize> {
        if cfg!(windows) {
            return self.take(bytes).read_to_end(buffer);
        }
        either!(self, socket => socket.take(bytes).read_to_end(buffer))
    }
}

/// A stream whose reads and writes fail after a deadline, if there is one.
pub(crate) struct Timed<'a>(pub(crate) &'a Stream, pub(crate) Option<Instant>);

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(deadline) = self.1 {
            let left = remaining(deadline)?;
            either!(self.0, socket => socket.set_read_timeout(Some(left)))?;
        }
        self.0.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(deadline) = self.1 {
            let left = remaining(deadline)?;
            either!(self.0, socket => socket.set_write_timeout(Some(left)))?;
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Timed<'_> {
    fn ack_now(&self) {
        self.0.ack_now();
    }

    fn read_into(&mut self, buffer: &mut Vec<u8>, bytes: u64) -> io::Result<usize> {
        match self.1 {
            Some(_) => self.take(bytes).read_to_end(buffer),
            None => self.0.read_into(buffer, bytes),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::error::Error;
    use crate::net::Listener;

    /// A port to which nothing is bound, even like those from which Linux connects.
    fn free_port() -> SocketAddr {
        (20_000..30_000)
            .map(|half| SocketAddr::from((Ipv4Addr::LOCALHOST, half * 2)))
            .find(|address| TcpListener::bind(address).is_ok())
            .unwrap()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn connect_to_itself_is_refused_and_leaves_the_port_free() {
        let target = free_port();
        let address = Address::from(target);
        // The system tries its 14,000 ports in turn.
        for attempt in 0..40_000 {
            let error = Stream::connect(&address, Duration::from_secs(1)).unwrap_err();
            let Error::Io { source: cause, .. } = error else { unreachable!("{error:?}") };
            assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused, "attempt {attempt}");
        }
        Listener::bind(Some(&address), 0).unwrap();
    }
}
