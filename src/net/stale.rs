//! Unix sockets that killed managers left behind.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::deadline;

/// How long it may take to find out whether anybody listens at a path.
const STALE_CHECK: Duration = Duration::from_secs(1);

/// Binds a path, in place of a socket that a killed manager left behind there.
///
/// Two managers that start at once must not both find the old socket, nor one of them the other's that does not
/// listen yet: the second would remove the new socket. So one at a time does this, under a lock of the
/// directory, which needs no file of its own.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or(Path::new(".")));
    let locked = directory.as_ref().map_or(true, lock);
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && locked && is_stale(path) => {
            fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        other => other,
    }
}

/// Locks a directory until it is closed; `false` if somebody else keeps it locked. Where the file system has no
/// such locks, there is nobody else.
fn lock(directory: &File) -> bool {
    let until = deadline(2 * STALE_CHECK);
    loop {
        match directory.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                thread::sleep(Duration::from_millis(5));
            }
            locked => return !matches!(locked, Err(TryLockError::WouldBlock)),
        }
    }
}

/// Whether nobody listens at a path. Connecting to a process that is stopped and has a full backlog blocks, so
/// it happens on a thread of its own: to be kept waiting means that somebody is there.
fn is_stale(path: &Path) -> bool {
    let is_socket = |found: fs::Metadata| found.file_type().is_socket();
    if !fs::symlink_metadata(path).is_ok_and(is_socket) {
        return false;
    }
    let (tx, rx) = mpsc::channel();
    let path = path.to_owned();
    let spawned = thread::Builder::new().spawn(move || {
        let error = UnixStream::connect(path).err();
        let _ = tx.send(error.is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused));
    });
    spawned.is_ok() && rx.recv_timeout(STALE_CHECK) == Ok(true)
}
