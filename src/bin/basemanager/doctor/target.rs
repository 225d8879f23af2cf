//! The places that an address stands for, and connections to them.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, ToSocketAddrs};
use std::path::Path;
use std::time::Instant;

use socket2::{Domain, SockAddr, Socket, Type};

use super::{TIMEOUT, ms, say, unreachable};
use crate::failure::Failure;

/// Host and port of `host:port`.
pub(super) fn split(address: &str) -> Result<(&str, u16), Failure> {
    let usage = |why: String| Err(Failure::usage(format!("the address {address:?} {why}")));
    if address.is_empty() {
        return usage("is empty: write host:port, such as 127.0.0.1:5000".to_owned());
    }
    if address.parse::<Ipv6Addr>().is_ok() {
        let with_port = address
            .rsplit_once(':')
            .filter(|(host, port)| host.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok());
        let (host, port) = with_port.unwrap_or((address, "5000"));
        return usage(format!(
            "is IPv6 without brackets, which separate it from the port: write [{host}]:{port}"
        ));
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !address.ends_with(']') => match port.parse() {
            Ok(0) => usage(
                "has port 0, which lets a manager choose a free one: write the port that it chose"
                    .to_owned(),
            ),
            Ok(port) => Ok((host, port)),
            Err(_) => usage(format!("has the port {port:?}: write a number from 1 to 65535")),
        },
        _ => usage(format!("has no port: write host:port, such as {address}:5000")),
    }
}

/// The address with which a client on the same host reaches a manager that listens on all of the host's addresses.
pub(super) fn on_this_host((host, port): (&str, u16)) -> Option<String> {
    match host {
        "" | "0.0.0.0" => Some(format!("127.0.0.1:{port}")),
        "[::]" => Some(format!("[::1]:{port}")),
        _ => None,
    }
}

/// Where a manager may be.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) address: SockAddr,
}

impl Target {
    /// The Unix socket at this path.
    pub(super) fn unix(name: &str, path: &Path) -> Result<Self, Failure> {
        if name.contains("://") {
            let why = "is a URL: write host:port";
            return Err(Failure::usage(format!("the address {name:?} {why}")));
        }
        let address = SockAddr::unix(path)
            .map_err(|error| Failure::usage(format!("the address {name:?}: {error}")))?;
        let is_abstract = path.to_str().is_some_and(|path| path.starts_with('\0'));
        if !is_abstract {
            let kind = fs::metadata(path).map_err(|error| {
                unreachable(match error.kind() {
                    ErrorKind::NotFound => {
                        format!(
                            "there is no file {name}: is the manager running, and at this path?"
                        )
                    }
                    _ => format!("cannot look at {name}: {error}"),
                })
            })?;
            let why = match kind.file_type() {
                kind if kind.is_dir() => Some("a directory"),
                kind if kind.is_file() => Some("a regular file"),
                kind if !is_socket(kind) => Some("a device or a pipe"),
                _ => None,
            };
            if let Some(why) = why {
                return Err(unreachable(format!("{name} is {why}, not a socket")));
            }
        }
        Ok(Self { name: name.to_owned(), address })
    }

    pub(super) fn connect(&self) -> Result<Socket, Failure> {
        let name = &self.name;
        self.socket().map_err(|error| {
            unreachable(match error.kind() {
                ErrorKind::ConnectionRefused if self.is_file() => {
                    format!("nothing listens at {name}: the manager that made this file has ended")
                }
                ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
                    format!("nothing listens at {name}: is the manager running, and at this address?")
                }
                ErrorKind::PermissionDenied if self.is_file() => {
                    format!("this user may not connect to {name}: see `serve --socket-mode`")
                }
                ErrorKind::TimedOut => format!(
                    "{name} does not answer: the host may be down, or a firewall drops packets to this port"
                ),
                ErrorKind::WouldBlock => {
                    format!("{name} accepts no connection: the manager hangs, or is overloaded")
                }
                _ => format!("cannot connect to {name}: {error}"),
            })
        })
    }

    fn is_file(&self) -> bool {
        self.name.contains('/')
    }

    fn socket(&self) -> io::Result<Socket> {
        let socket = Socket::new(self.address.domain(), Type::STREAM, None)?;
        if self.address.domain() == Domain::UNIX {
            // It connects at once, unless the backlog is full.
            socket.set_nonblocking(true)?;
            socket.connect(&self.address)?;
            socket.set_nonblocking(false)?;
            return Ok(socket);
        }
        socket.connect_timeout(&self.address, TIMEOUT)?;
        // The system may have chosen the same port for this end.
        if socket.local_addr()?.as_socket() == self.address.as_socket() {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        Ok(socket)
    }
}

#[cfg(unix)]
fn is_socket(kind: fs::FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&kind)
}

#[cfg(not(unix))]
fn is_socket(_: fs::FileType) -> bool {
    true
}

pub(super) fn resolve(address: &str) -> Result<Vec<Target>, Failure> {
    let started = Instant::now();
    let found = address
        .to_socket_addrs()
        .map_err(|error| unreachable(format!("cannot find the host of {address}: {error}")))?;
    let took = started.elapsed();
    let targets: Vec<_> =
        found.map(|ip| Target { name: ip.to_string(), address: ip.into() }).collect();
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    say("address", format_args!("{}, found in {}", names.join(", "), ms(took)))?;
    Ok(targets)
}
