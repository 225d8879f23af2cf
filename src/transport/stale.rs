//! Unix sockets that killed managers left behind.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{deadline, node};

/// How long it may take to find out whether anybody listens at a path.
const STALE_CHECK: Duration = Duration::from_secs(1);

/// Binds a path, in place of a socket that a killed manager left behind there.
///
/// Two managers that start at once must not both find the old socket, nor one of them the other's that does not
/// listen yet: the second would remove the new socket. So one at a time does this, under the lock of a file
/// beside the socket, which nobody else can open and which is there no longer than this takes.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let locked = lock(Path::new(&lock_path));
    // Where no file can be made, there is nobody else.
    let alone = !matches!(&locked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && alone && is_stale(path) => {
            fs::remove_file(path).and_then(|()| UnixListener::bind(path))
        }
        other => other,
    };
    if locked.is_ok() {
        // Still locked: a manager that has opened it already finds it gone, and makes another.
        let _ = fs::remove_file(lock_path);
    }
    bound
}

/// Locks a file until it is closed; fails with `WouldBlock` if somebody else keeps it locked. Where the file system
/// has no such locks, there is nobody else.
fn lock(path: &Path) -> io::Result<File> {
    let until = deadline(2 * STALE_CHECK);
    loop {
        let file = File::options().create(true).append(true).mode(0o600).open(path)?;
        let busy = match file.try_lock() {
            Ok(()) => !is_at(&file, path),
            Err(error) => matches!(error, TryLockError::WouldBlock),
        };
        if !busy {
            return Ok(file);
        }
        if Instant::now() >= until {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a file was not removed from its path since it was opened.
fn is_at(file: &File, path: &Path) -> bool {
    file.metadata().is_ok_and(|found| Some((found.dev(), found.ino())) == node(path))
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
