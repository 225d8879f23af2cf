//! Connected sockets.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::{Address, address, deadline};
use crate::error::{Error, Result};
use crate::wire::frame::Source;

/// Waits until a read returns at once, no longer than the read may take. Windows does not wake a blocked read
/// when its socket is shut down, but ends one that begins after that.
#[cfg(windows)]
fn wait_readable(socket: &TcpStream) -> io::Result<()> {
    const LOOK: Duration = Duration::from_millis(200);
    let timeout = socket.read_timeout()?;
    let until = timeout.map(deadline);
    let result = loop {
        let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            break Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left.min(LOOK)))?;
        match socket.peek(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            // Data, the end, or an error, which the read returns.
            _ => break Ok(()),
        }
    };
    socket.set_read_timeout(timeout)?;
    result
}

/// Refuses a socket that has connected to itself. TCP allows that where nobody listens on a port from the range
/// that the system assigns to clients, and it keeps the manager from listening there.
fn not_to_itself(stream: TcpStream, target: SocketAddr) -> io::Result<TcpStream> {
    if stream.local_addr()? != target {
        return Ok(stream);
    }
    // Closing a socket with unread data resets it. Otherwise the port would stay occupied for a minute.
    let _ = (&stream).write(&[0]);
    Err(io::ErrorKind::ConnectionRefused.into())
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
    pub(crate) fn connect(address: &Address, timeout: Option<Duration>) -> Result<Self> {
        let doing = || Error::io(format!("connect to {address}"));
        match address {
            Address::Tcp(text) => {
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                let until = timeout.map(deadline);
                for target in Address::resolve(text)? {
                    address::check_reachable(text, target)?;
                    let stream =
                        match until.map(|until| until.saturating_duration_since(Instant::now())) {
                            Some(left) if left.is_zero() => Err(io::ErrorKind::TimedOut.into()),
                            Some(left) => TcpStream::connect_timeout(&target, left),
                            None => TcpStream::connect(target),
                        };
                    match stream.and_then(|stream| not_to_itself(stream, target)) {
                        Ok(stream) => {
                            stream.set_nodelay(true).map_err(doing())?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(doing()(last))
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                address::check_length(path)?;
                match address::abstract_name(path) {
                    #[cfg(target_os = "linux")]
                    Some(name) => {
                        address::of_abstract(name).and_then(|at| UnixStream::connect_addr(&at))
                    }
                    #[cfg(not(target_os = "linux"))]
                    Some(name) => return Err(address::no_abstract(name)),
                    None => UnixStream::connect(path),
                }
                .map(Self::Unix)
                .map_err(doing())
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(doing()(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Wakes a listener that is blocked in `accept`, by connecting to it.
    pub(crate) fn knock(address: &Address) -> Result<Self> {
        let mut reachable = address.clone();
        if let Address::Tcp(text) = &mut reachable
            && let Ok(mut target) = text.parse::<SocketAddr>()
            && target.ip().is_unspecified()
        {
            match target {
                SocketAddr::V4(_) => target.set_ip(Ipv4Addr::LOCALHOST.into()),
                SocketAddr::V6(_) => target.set_ip(Ipv6Addr::LOCALHOST.into()),
            }
            *text = target.to_string();
        }
        Self::connect(&reachable, Some(Duration::from_secs(1)))
    }

    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        either!(self, socket => socket.set_nonblocking(on))
    }

    /// Bounds each read and each write; `None` lets them wait for ever.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_timeouts(timeout, timeout)
    }

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

    /// Ends the connection for both sides. That it has ended already is as good.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        let _ = either!(self, socket => socket.shutdown(how));
    }
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

/// A stream whose reads and writes must all be over by a deadline.
pub(crate) struct Timed<'a>(pub(crate) &'a Stream, pub(crate) Instant);

impl Timed<'_> {
    fn arm(&self) -> io::Result<&Stream> {
        let left = self.1.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.0.set_timeout(Some(left))?;
        Ok(self.0)
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.arm()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Timed<'_> {
    fn ack_now(&self) {
        Source::ack_now(&self.0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;

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
            let error = Stream::connect(&address, Some(Duration::from_secs(1))).unwrap_err();
            let Error::Io { source: cause, .. } = error else { unreachable!("{error:?}") };
            assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused, "attempt {attempt}");
        }
        Listener::bind(Some(&address), 0).unwrap();
    }
}
