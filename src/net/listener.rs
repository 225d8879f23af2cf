//! Listening sockets.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
#[cfg(unix)]
use std::os::unix::net::UnixListener;

#[cfg(unix)]
use super::unix;
use super::{Address, Stream};
use crate::error::{Error, Result};

/// A socket that listens already, for [`Manager::bind_listener`](crate::Manager::bind_listener).
#[derive(Debug)]
#[non_exhaustive]
pub enum BoundListener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixListener),
}

impl From<TcpListener> for BoundListener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

#[cfg(unix)]
impl From<UnixListener> for BoundListener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// A listening socket. Dropping it closes it, and removes a Unix socket's file.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Where it listens, with the port that the system chose.
    pub(crate) address: Address,
    // Dropped before the socket: while that is open, no other file has the same inode.
    #[cfg(unix)]
    pub(super) file: Option<unix::SocketFile>,
    socket: BoundListener,
}

impl Listener {
    /// Binds an address; `None` is a fresh Unix socket in a private directory. `mode` is that of a Unix socket's file.
    #[cfg_attr(not(unix), allow(unused_variables))]
    pub(crate) fn bind(address: Option<&Address>, mode: u32) -> Result<Self> {
        match address {
            Some(Address::Tcp(text)) => Self::bind_tcp(text),
            #[cfg(unix)]
            Some(Address::Unix(path)) => unix::bind(path, mode),
            #[cfg(unix)]
            None => unix::bind_private(mode),
            #[cfg(not(unix))]
            Some(address) => {
                Err(Error::invalid(format!("address {address}: no Unix sockets here")))
            }
            #[cfg(not(unix))]
            None => Self::bind_tcp("127.0.0.1:0"),
        }
    }

    fn bind_tcp(text: &str) -> Result<Self> {
        match TcpListener::bind(&*Address::resolve(text)?) {
            Ok(listener) => Self::adopt(listener.into()),
            Err(error) => Err(Error::io(format!("listen on {text}"))(error)),
        }
    }

    /// Takes over a socket that listens already. The file of a Unix socket stays when the listener is dropped.
    pub(crate) fn adopt(socket: BoundListener) -> Result<Self> {
        let doing = || Error::io("use the listener");
        let address = match &socket {
            BoundListener::Tcp(listener) => {
                listener.set_nonblocking(false).map_err(doing())?;
                listener.local_addr().map_err(doing())?.into()
            }
            #[cfg(unix)]
            BoundListener::Unix(listener) => {
                listener.set_nonblocking(false).map_err(doing())?;
                let path = unix::path_of(&listener.local_addr().map_err(doing())?);
                let none = || Error::invalid("listener: it has neither a path nor a name");
                path.ok_or_else(none)?.into()
            }
        };
        Ok(Self {
            address,
            #[cfg(unix)]
            file: None,
            socket,
        })
    }

    pub(crate) fn accept(&self) -> io::Result<(Stream, PeerAddress)> {
        match &self.socket {
            BoundListener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                // It fails if the peer is gone already, which the handshake notices.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), PeerAddress(Some(peer))))
            }
            #[cfg(unix)]
            BoundListener::Unix(listener) => {
                Ok((Stream::Unix(listener.accept()?.0), PeerAddress(None)))
            }
        }
    }
}

/// Where a connection came from, for the log. The clients of a Unix socket have no addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(Option<SocketAddr>);

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("a client of the Unix socket"),
        }
    }
}
