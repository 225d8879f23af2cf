//! Where a manager listens, as text.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

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
    /// Checks the form of an address that clients connect to.
    #[cfg(feature = "tap")]
    pub(crate) fn check_target(&self) -> Result<()> {
        let Self::Tcp(text) = self else { return Ok(()) };
        match split(text)? {
            ("", port) => Err(Error::invalid(format!(
                "address {text:?}: the host is missing: write 127.0.0.1:{port}"
            ))),
            _ => Ok(()),
        }
    }

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

    /// The IP addresses and port of `host:port`.
    pub(super) fn resolve(text: &str) -> Result<Vec<SocketAddr>> {
        match split(text)? {
            ("", port) => Ok(vec![(Ipv4Addr::UNSPECIFIED, port).into()]),
            _ => match text.to_socket_addrs() {
                Ok(found) => Ok(found.collect()),
                Err(error) => Err(Error::io(format!("resolve {text}"))(error)),
            },
        }
    }

    /// [`Address::resolve`] for a client. Refuses addresses that are meant for a listener.
    pub(super) fn targets(text: &str) -> Result<Vec<SocketAddr>> {
        let targets = Self::resolve(text)?;
        for target in &targets {
            let port = target.port();
            let why = if target.ip().is_unspecified() {
                format!(
                    "a manager listens there on all addresses of its host; connect to one of them, such as 127.0.0.1:{port}"
                )
            } else if port == 0 {
                "port 0 lets a manager choose a free one; connect to the port that it chose"
                    .to_owned()
            } else {
                continue;
            };
            return Err(Error::invalid(format!("address {text:?}: {why}")));
        }
        Ok(targets)
    }

    /// The address for a client on the same host as a listener on this one.
    pub(super) fn reachable(&self) -> Self {
        let Self::Tcp(text) = self else { return self.clone() };
        let local = [("0.0.0.0:", "127.0.0.1:"), ("[::]:", "[::1]:")];
        let local = local
            .iter()
            .find_map(|(any, local)| Some(format!("{local}{}", text.strip_prefix(any)?)));
        Self::Tcp(local.unwrap_or_else(|| text.clone()))
    }
}

/// Host and port of a TCP address.
fn split(text: &str) -> Result<(&str, u16)> {
    let why = match text.rsplit_once(':').map(|(host, port)| (host, port, port.parse())) {
        Some((host, _, Ok(port))) => return Ok((host, port)),
        Some((_, port, _))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            format!("port {port} exceeds 65535")
        }
        _ => "expected host:port, a Unix socket path with a `/`, or @name".to_owned(),
    };
    Err(Error::invalid(format!("address {text:?}: {why}")))
}

/// The name of an abstract Unix socket; `None` for the path of a file.
pub(super) fn abstract_name(path: &Path) -> Option<&str> {
    path.to_str()?.strip_prefix('\0')
}
