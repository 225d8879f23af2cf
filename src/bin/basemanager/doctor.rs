//! `doctor`: what is wrong with an address.
//!
//! Each step prints a line: find the addresses, connect, read the greeting, prove the key, send a request. The first
//! step that fails ends the diagnosis.

mod greeting;
mod target;

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

use basemanager::{Address, Client, Error, Value};

use self::greeting::{Start, dialect};
use self::target::{Target, on_this_host, resolve, split};
use crate::connect::Connect;
use crate::failure::{CONNECTION, Failure, KEY};
use crate::snapshot::entry;

/// How long a step may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A service that is silent for so long is asked. That is shorter than the time after which it would hang up.
const SILENCE: Duration = Duration::from_secs(1);

/// Diagnose why clients cannot connect to an address
#[derive(clap::Args)]
#[command(after_help = "\
Example: basemanager doctor --address 192.0.2.7:5000")]
pub(crate) struct Doctor {
    #[command(flatten)]
    connect: Connect,
}

impl Doctor {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let address = self.connect.address.as_str();
        let mut local = None;
        let targets = match Address::from(address) {
            Address::Unix(path) => vec![Target::unix(address, &path)?],
            Address::Tcp(_) => {
                local = on_this_host(split(address)?);
                if local.is_some() {
                    let why =
                        "is for a manager to listen on: a client needs the host's own address";
                    say("note", format_args!("{address} {why}"))?;
                }
                resolve(local.as_deref().unwrap_or(address))?
            }
        };
        let found = reach(&targets)?;
        let started = Instant::now();
        let client = Client::builder(found.name.as_str(), self.connect.key()?)
            .connect_timeout(TIMEOUT)
            .greeting_timeout(TIMEOUT)
            .call_timeout(TIMEOUT)
            .connect()
            .map_err(explain)?;
        say("key", format_args!("accepted by both sides in {}", ms(started.elapsed())))?;
        identify(&client)?;
        if let Some(local) = local {
            return Err(Failure::usage(format!(
                "the manager is well, but clients refuse {address}: use {local} on this host, and its name or IP address \
                 elsewhere"
            )));
        }
        crate::print(b"all is well\n").map(drop)
    }
}

/// Prints the result of a step.
fn say(step: &str, result: impl Display) -> Result<(), Failure> {
    crate::print(format!("{step:<8} {result}\n").as_bytes()).map(drop)
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn unreachable(message: impl Into<String>) -> Failure {
    Failure { status: CONNECTION, message: message.into() }
}

/// The first of the addresses at which a manager greets. Clients use the first that accepts a connection.
fn reach(targets: &[Target]) -> Result<&Target, Failure> {
    let mut failed: Option<Failure> = None;
    let mut hides: Option<&str> = None;
    for target in targets {
        let mut connected = false;
        match greet(target, &mut connected) {
            Ok(()) => {
                let Some(first) = hides else { return Ok(target) };
                return Err(unreachable(format!(
                    "a manager answers at {}, but clients come to {first} first, which is none: use {0}",
                    target.name
                )));
            }
            Err(failure) => {
                if targets.len() > 1 {
                    say("failed", &failure.message)?;
                }
                if connected && hides.is_none() {
                    hides = Some(&target.name);
                    failed = Some(failure);
                } else {
                    failed.get_or_insert(failure);
                }
            }
        }
    }
    Err(failed.unwrap_or_else(|| unreachable("the host has no address")))
}

/// Connects, and reads what the other side says first.
fn greet(target: &Target, connected: &mut bool) -> Result<(), Failure> {
    let name = &target.name;
    let started = Instant::now();
    let mut socket = target.connect()?;
    *connected = true;
    say("connect", format_args!("to {name} in {}", ms(started.elapsed())))?;
    let mut start = Start::read(&mut socket, SILENCE)?;
    let waits = start.bytes.is_empty() && !start.has_ended;
    if waits {
        say("answer", format_args!("none within {SILENCE:?}; a manager speaks first"))?;
        // Most other services wait for the client.
        let _ = socket.write_all(b"GET / HTTP/1.0\r\n\r\n");
        start = Start::read(&mut socket, TIMEOUT)?;
    }
    if start.bytes.is_empty() {
        return Err(unreachable(match (start.has_ended, waits) {
            (false, _) => format!(
                "{name} accepts connections and says nothing: this is not a manager, or one that hangs"
            ),
            (true, false) => format!(
                "{name} closed the connection at once: a manager does that when it has no place for another client"
            ),
            (true, true) => {
                format!("{name} closed the connection when asked: this is not a manager")
            }
        }));
    }
    let asked = if waits { ", when asked" } else { "" };
    say("answer", format_args!("in {}{asked}", ms(start.took)))?;
    say("greeting", dialect(&start)?)
}

fn explain(error: Error) -> Failure {
    let failure = Failure::from(error);
    match failure.status {
        KEY => failure
            .hint("set MANAGER_AUTHKEY or --key-file to the key that the manager was started with"),
        CONNECTION => {
            let message = format!("the manager greeted, but then: {}", failure.message);
            Failure { message, ..failure }
                .hint("it may be shutting down, or have no place for another client")
        }
        _ => failure,
    }
}

/// What the manager tells of itself.
fn identify(client: &Client) -> Result<(), Failure> {
    let started = Instant::now();
    let objects = client.number_of_objects().map_err(explain)?;
    say("request", format_args!("answered in {}; {objects} objects", ms(started.elapsed())))?;
    match client.create("stats", ()).and_then(|stats| stats.value()) {
        Ok(stats) => {
            let version = entry(&stats, "version").and_then(Value::as_str).unwrap_or("?");
            say("manager", format_args!("basemanager {version}"))
        }
        Err(Error::Remote { .. }) => say("manager", "Python's, or one without the typeid 'stats'"),
        Err(error) => Err(explain(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::thread;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn target(address: SocketAddr) -> Target {
        Target { name: address.to_string(), address: address.into() }
    }

    /// A service that sends this greeting.
    fn service(greeting: &'static [u8]) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(greeting);
            }
        });
        target(address)
    }

    #[test]
    fn every_address_of_a_host_is_tried() {
        let challenge = b"\0\0\0\x3b#CHALLENGE#{sha256}";
        // A port that is taken, on which nothing listens.
        let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        taken.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let closed = taken.local_addr().unwrap().as_socket().unwrap();
        let targets = [target(closed), service(challenge)];
        assert_eq!(reach(&targets).unwrap().name, targets[1].name);
        // Clients would stop at the web server.
        let targets = [target(closed), service(b"HTTP/1.1 400 Bad\r\n\r\n"), service(challenge)];
        let hidden = reach(&targets).unwrap_err();
        let expected = format!("clients come to {} first", targets[1].name);
        assert!(hidden.message.contains(&expected), "{}", hidden.message);
        let refused = reach(&targets[..1]).unwrap_err();
        assert!(refused.message.contains("nothing listens"), "{}", refused.message);
        assert_eq!((hidden.status, refused.status), (CONNECTION, CONNECTION));
    }
}
