//! Floor 1: addresses, and the sockets behind them: TCP everywhere, Unix sockets where there are any.

mod address;
mod bound;
#[cfg(unix)]
mod stale;

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::frame::Source;
pub use address::Address;
pub use bound::BoundListener;

/// A listening socket. Dropping it closes it and removes a Unix socket's file.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    // The file first: while the listener is open, its inode is no other file's.
    Unix(SocketFile, UnixListener),
}

impl Listener {
    /// Binds an address; `None` is a fresh Unix socket in a private directory. `mode` is that of a Unix
    /// socket's file.
    pub(crate) fn bind(address: Option<&Address>, mode: u32) -> Result<Self> {
        match address {
            Some(Address::Tcp(text)) => TcpListener::bind(&*Address::resolve(text)?)
                .map(Self::Tcp)
                .map_err(Error::io(format!("listen on {text}"))),
            Some(Address::Unix(path)) => {
                address::check_length(path)?;
                match address::abstract_name(path) {
                    Some(name) => Self::bind_abstract(path, name),
                    None => Self::bind_unix(path, mode),
                }
            }
            None => Self::bind_private(mode),
        }
    }

    /// Takes over a socket that listens already. A Unix socket's file is its creator's to remove.
    pub(crate) fn adopt(listener: BoundListener) -> Result<Self> {
        let doing = || Error::io("use the listener");
        match listener {
            BoundListener::Tcp(listener) => {
                listener.set_nonblocking(false).map_err(doing())?;
                Ok(Self::Tcp(listener))
            }
            #[cfg(unix)]
            BoundListener::Unix(listener) => {
                listener.set_nonblocking(false).map_err(doing())?;
                let address = listener.local_addr().map_err(doing())?;
                let path = address.as_pathname().map(Path::to_owned);
                let path = path.or_else(|| address::abstract_path(&address));
                let none = || Error::Invalid("listener: it has neither a path nor a name".into());
                let path = path.ok_or_else(none)?;
                Ok(Self::Unix(SocketFile { path, node: None, directory: None }, listener))
            }
        }
    }

    #[cfg(unix)]
    fn bind_unix(path: &Path, mode: u32) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let doing = || Error::io(format!("listen on {}", path.display()));
        let listener = stale::bind(path).map_err(doing())?;
        let file = SocketFile { path: path.to_owned(), node: node(path), directory: None };
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(doing())?;
        // Whoever came before the mode was set may be a stranger.
        listener.set_nonblocking(true).map_err(doing())?;
        while listener.accept().is_ok() {}
        listener.set_nonblocking(false).map_err(doing())?;
        Ok(Self::Unix(file, listener))
    }

    /// There is no file: nothing to remove, no mode to set, and no socket that a killed manager left behind.
    #[cfg(target_os = "linux")]
    fn bind_abstract(path: &Path, name: &str) -> Result<Self> {
        let listener = address::of_abstract(name).and_then(|at| UnixListener::bind_addr(&at));
        let listener = listener.map_err(Error::io(format!("listen on @{name}")))?;
        Ok(Self::Unix(SocketFile { path: path.to_owned(), node: None, directory: None }, listener))
    }

    #[cfg(not(target_os = "linux"))]
    fn bind_abstract(_: &Path, name: &str) -> Result<Self> {
        Err(address::no_abstract(name))
    }

    #[cfg(unix)]
    fn bind_private(mode: u32) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let name =
            getrandom::u64().map_err(|e| Error::Io("draw a random name".into(), e.into()))?;
        let directory = std::env::temp_dir().join(format!("basemanager-{name:016x}"));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(Error::io(format!("create {}", directory.display())))?;
        let mut listener = Self::bind_unix(&directory.join("listener"), mode);
        match &mut listener {
            Ok(Self::Unix(file, _)) => file.directory = Some(directory),
            _ => drop(std::fs::remove_dir(&directory)),
        }
        listener
    }

    #[cfg(not(unix))]
    fn bind_unix(path: &Path, _: u32) -> Result<Self> {
        Err(Error::Invalid(format!("address {}: no Unix sockets here", path.display())))
    }

    #[cfg(not(unix))]
    fn bind_private(mode: u32) -> Result<Self> {
        Self::bind(Some(&Address::from("127.0.0.1:0")), mode)
    }

    /// Where it listens, with the port that the system chose.
    pub(crate) fn address(&self) -> Result<Address> {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map(Address::from)
                .map_err(Error::io("read the listener's address")),
            #[cfg(unix)]
            Self::Unix(file, _) => Ok(Address::Unix(file.path.clone())),
        }
    }

    pub(crate) fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Peer(Some(peer))))
            }
            #[cfg(unix)]
            Self::Unix(_, listener) => Ok((Stream::Unix(listener.accept()?.0), Peer(None))),
        }
    }
}

/// Where a connection came from, for the log. Nothing tells the clients of a Unix socket apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("a client of the Unix socket"),
        }
    }
}

/// A Unix socket's file, and the private directory made for it.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    node: Option<(u64, u64)>,
    directory: Option<PathBuf>,
}

#[cfg(unix)]
impl Drop for SocketFile {
    // Somebody may have removed them already, or put another socket there: there is nobody to tell.
    fn drop(&mut self) {
        if self.node.is_some() && node(&self.path) == self.node {
            let _ = std::fs::remove_file(&self.path);
        }
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// The device and the inode of a file: no two files that exist have the same.
#[cfg(unix)]
fn node(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

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

/// The end of a time that begins now; times without end last a year.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(Duration::from_secs(60 * 60 * 24 * 365))
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
    use super::*;

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
            let Error::Io(_, cause) = error else { unreachable!("{error:?}") };
            assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused, "attempt {attempt}");
        }
        Listener::bind(Some(&address), 0).unwrap();
    }
}
