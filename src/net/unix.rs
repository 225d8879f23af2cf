//! Unix sockets: their addresses, and their files.

use std::fs::{self, DirBuilder, File, Metadata, TryLockError};
use std::io::{self, ErrorKind};
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::address::abstract_name;
use super::{Address, Listener, deadline, remaining};
use crate::error::{Error, Result};
use crate::wire::handshake::random;

/// The longest path of a socket, and the longest name of an abstract one.
const LONGEST: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The longest wait for another manager that binds the same path.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// The socket address of a path, or of an abstract name.
pub(super) fn socket_address(path: &Path) -> Result<SocketAddr> {
    let (kind, length, address) = match abstract_name(path) {
        #[cfg(target_os = "linux")]
        Some(name) => ("name", name.len(), SocketAddr::from_abstract_name(name)),
        #[cfg(not(target_os = "linux"))]
        Some(name) => {
            let why = "only Linux has abstract Unix sockets; use a path with a /";
            return Err(Error::invalid(format!("address @{name}: {why}")));
        }
        None => ("path", path.as_os_str().len(), SocketAddr::from_pathname(path)),
    };
    address.map_err(|_| {
        let address = Address::Unix(path.to_owned());
        Error::invalid(format!(
            "address {address}: the {kind} of a Unix socket has at most {LONGEST} bytes, and this one {length}; use a \
             shorter one, without NUL"
        ))
    })
}

/// The path of a socket, or the one that stands for its abstract name; `None` if it has neither.
pub(super) fn path_of(address: &SocketAddr) -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_abstract_name() {
        return Some(format!("\0{}", str::from_utf8(name).ok()?).into());
    }
    address.as_pathname().map(Path::to_owned)
}

/// The file of a bound socket, and the private directory made for it. Dropping it removes both.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: Option<(u64, u64)>,
    directory: Option<PathBuf>,
}

impl Drop for SocketFile {
    // Another process may have removed the file, or have put another socket there.
    fn drop(&mut self) {
        if inode(fs::symlink_metadata(&self.path)) == self.inode {
            let _ = fs::remove_file(&self.path);
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Binds a path or an abstract name, which has no file. `mode` is that of the file.
pub(super) fn bind(path: &Path, mode: u32) -> Result<Listener> {
    let doing = || Error::io(format!("listen on {}", Address::Unix(path.to_owned())));
    let address = socket_address(path)?;
    if abstract_name(path).is_some() {
        return Listener::adopt(UnixListener::bind_addr(&address).map_err(doing())?.into());
    }
    let socket = bind_path(path, &address).map_err(doing())?;
    let inode = inode(fs::symlink_metadata(path));
    let file = SocketFile { path: path.to_owned(), inode, directory: None };
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(doing())?;
    // Connections from before the mode was set may be another user's.
    socket.set_nonblocking(true).map_err(doing())?;
    while socket.accept().is_ok() {}
    let mut listener = Listener::adopt(socket.into())?;
    listener.file = Some(file);
    Ok(listener)
}

/// Binds a path in a fresh directory that no other user can open.
pub(super) fn bind_private(mode: u32) -> Result<Listener> {
    let name = format!("basemanager-{:016x}", u64::from_ne_bytes(random()?));
    let directory = std::env::temp_dir().join(name);
    let doing = Error::io(format!("create {}", directory.display()));
    DirBuilder::new().mode(0o700).create(&directory).map_err(doing)?;
    let mut bound = bind(&directory.join("listener"), mode);
    match bound.as_mut().map(|listener| &mut listener.file) {
        Ok(Some(file)) => file.directory = Some(directory),
        _ => drop(fs::remove_dir(directory)),
    }
    bound
}

/// Binds a path, and replaces the socket of a killed manager there.
///
/// If two managers start at once, both may find the old socket, and the second could remove the new socket of the
/// first. So a manager binds under the lock of a file next to the socket, and replaces nothing without the lock.
fn bind_path(path: &Path, address: &SocketAddr) -> io::Result<UnixListener> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let locked = lock(lock_path.as_ref());
    let bound = match UnixListener::bind_addr(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && locked.is_ok() && is_stale(path) => {
            fs::remove_file(path).and_then(|()| UnixListener::bind_addr(address))
        }
        other => other,
    };
    if locked.is_ok() {
        // Still locked: another manager that has opened the file finds it removed, and creates a new one.
        let _ = fs::remove_file(lock_path);
    }
    bound
}

/// Creates a file, and locks it until it is closed. On a file system without locks, every attempt succeeds.
fn lock(path: &Path) -> io::Result<File> {
    let deadline = deadline(LOCK_TIMEOUT);
    loop {
        let file = File::options().create(true).append(true).mode(0o600).open(path)?;
        let is_locked = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        if is_locked && inode(file.metadata()) == inode(fs::symlink_metadata(path)) {
            return Ok(file);
        }
        remaining(deadline)?;
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a socket file belongs to no socket. The probe is a datagram socket, which cannot connect to a listener: it
/// fails at once with another error, while a stream socket would wait for a place in a full backlog.
fn is_stale(path: &Path) -> bool {
    let probe = || UnixDatagram::unbound()?.connect(path);
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && probe().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// The device and the inode: no two files that exist have the same.
fn inode(found: io::Result<Metadata>) -> Option<(u64, u64)> {
    found.ok().map(|found| (found.dev(), found.ino()))
}
