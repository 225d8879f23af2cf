//! Sockets that listen before the manager gets them.

use std::net::TcpListener;
#[cfg(unix)]
use std::os::unix::net::UnixListener;

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
