//! Listening sockets.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

#[cfg(unix)]
use super::stale;
use super::{Address, BoundListener, Stream, address};
use crate::error::{Error, Result};

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
                let none = || Error::invalid("listener: it has neither a path nor a name");
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
        let name = getrandom::u64().map_err(|e| Error::io("draw a random name")(e.into()))?;
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
        Err(Error::invalid(format!("address {}: no Unix sockets here", path.display())))
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

    pub(crate) fn accept(&self) -> io::Result<(Stream, PeerAddress)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                // It fails if the peer is gone already, which the handshake finds out.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), PeerAddress(Some(peer))))
            }
            #[cfg(unix)]
            Self::Unix(_, listener) => Ok((Stream::Unix(listener.accept()?.0), PeerAddress(None))),
        }
    }
}

/// Where a connection came from, for the log. Nothing tells the clients of a Unix socket apart.
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
pub(super) fn node(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}
