//! Where a manager listens, as text.

use std::fmt;
#[cfg(target_os = "linux")]
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The longest path of a Unix socket, and the longest name of an abstract one.
const LONGEST: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Where a manager listens.
///
/// Text with a `/` in it is the path of a Unix socket, `@name` is an abstract one, and anything else is `host:port`, with
/// an IPv6 host in brackets. To listen on all of the host's IPv4 addresses, leave the host out (`:5000`, Python's
/// `("", 5000)`); port 0 lets the system choose a free one.
///
/// An abstract Unix socket (Linux) has no file, so that no file mode protects it: every process in the same network
/// namespace can connect to it, and only the authkey keeps others out. Python writes its address `"\0name"`.
///
/// ```
/// use basemanager::Address;
/// assert_eq!(Address::from("@tasks"), Address::Unix("\0tasks".into()));
/// assert_eq!(Address::from("[::1]:5000"), Address::Tcp("[::1]:5000".into()));
/// assert_eq!(Address::from("/run/tasks"), Address::Unix("/run/tasks".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `host:port`, resolved when it is used.
    Tcp(String),
    /// The path of a Unix socket; with a NUL before it, the name of an abstract one.
    Unix(PathBuf),
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        match text.strip_prefix(['@', '\0']) {
            Some(name) => Self::Unix(format!("\0{name}").into()),
            None if text.contains('/') => Self::Unix(text.into()),
            None => Self::Tcp(text.to_owned()),
        }
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Address {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address.to_string())
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Self {
        address.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(text) => f.write_str(text),
            Self::Unix(path) => match abstract_name(path) {
                Some(name) => write!(f, "@{name}"),
                None => path.display().fmt(f),
            },
        }
    }
}

impl Address {
    /// Host and port, as Python has them in a token; `None` for a Unix socket.
    pub(crate) fn host_and_port(&self) -> Option<(&str, u16)> {
        let Self::Tcp(text) = self else { return None };
        let (host, port) = text.rsplit_once(':')?;
        Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
    }

    /// The text that Python has in a token for a Unix socket.
    pub(crate) fn python_path(&self) -> String {
        match self {
            Self::Tcp(text) => text.clone(),
            Self::Unix(path) => path.to_string_lossy().into_owned(),
        }
    }

    pub(super) fn resolve(text: &str) -> Result<Vec<SocketAddr>> {
        match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some(("", Ok(port))) => return Ok(vec![(Ipv4Addr::UNSPECIFIED, port).into()]),
            Some((_, Ok(_))) => {}
            _ => return Err(Error::Invalid(format!("address {text:?}: expected host:port"))),
        }
        let found = text.to_socket_addrs().map_err(Error::io(format!("resolve {text}")))?;
        Ok(found.collect())
    }
}

/// The name of an abstract Unix socket; `None` for the path of a file.
pub(super) fn abstract_name(path: &Path) -> Option<&str> {
    path.to_str()?.strip_prefix('\0')
}

#[cfg(target_os = "linux")]
pub(super) fn of_abstract(name: &str) -> io::Result<std::os::unix::net::SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    std::os::unix::net::SocketAddr::from_abstract_name(name)
}

/// The path that stands for an abstract Unix socket, if this is one whose name is text.
#[cfg(target_os = "linux")]
pub(super) fn abstract_path(address: &std::os::unix::net::SocketAddr) -> Option<PathBuf> {
    use std::os::linux::net::SocketAddrExt;
    let name = std::str::from_utf8(address.as_abstract_name()?).ok()?;
    Some(format!("\0{name}").into())
}

#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn abstract_path(_: &std::os::unix::net::SocketAddr) -> Option<PathBuf> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(super) fn no_abstract(name: &str) -> Error {
    Error::Invalid(format!(
        "address @{name}: only Linux has abstract Unix sockets; use a path with a /"
    ))
}

/// Refuses a path that is longer than the system allows.
pub(super) fn check_length(path: &Path) -> Result<()> {
    let (what, length) = match abstract_name(path) {
        Some(name) => ("name", name.len()),
        None => ("path", path.as_os_str().len()),
    };
    if length <= LONGEST {
        return Ok(());
    }
    let address = Address::Unix(path.to_owned());
    let most =
        format!("the {what} of a Unix socket has at most {LONGEST} bytes, and this one {length}");
    Err(Error::Invalid(format!("address {address}: {most}; use a shorter one")))
}

/// Refuses to connect where only a listener can be.
pub(super) fn check_reachable(text: &str, target: SocketAddr) -> Result<()> {
    let port = target.port();
    let why = if target.ip().is_unspecified() {
        format!(
            "a manager listens there on all addresses of its host; connect to one of them, such as 127.0.0.1:{port}"
        )
    } else if port == 0 {
        "port 0 lets a manager choose a free one; connect to the port that it chose".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Invalid(format!("address {text:?}: {why}")))
}
