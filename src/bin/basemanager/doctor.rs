//! `doctor`: what is wrong with an address.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use basemanager::{Client, Error, Value};

use crate::connect::Connect;
use crate::failure::{CONNECTION, Failure, KEY};
use crate::snapshot::entry;

/// How long a step may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Diagnose why clients cannot connect to an address
#[derive(clap::Args)]
#[command(after_help = "\
Example: basemanager doctor --address 192.0.2.7:5000")]
pub(crate) struct Doctor {
    #[command(flatten)]
    connect: Connect,
}

/// How a manager's challenge begins.
const CHALLENGE: &[u8] = b"#CHALLENGE#";

impl Doctor {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let address = self.connect.address.as_str();
        let is_unix = address.contains('/') || address.starts_with('@');
        if !is_unix {
            let host = address.rsplit_once(':').map_or("", |(host, _)| host);
            if matches!(host, "" | "0.0.0.0" | "[::]") {
                println!(
                    "note     {address} is for a manager to listen on: a client needs the host's own address"
                );
            }
            let greeting = connect(address)?;
            println!("greeting {}", dialect(&greeting)?);
        }
        let started = Instant::now();
        let client = self
            .connect
            .builder()?
            .connect_timeout(TIMEOUT)
            .greeting_timeout(TIMEOUT)
            .call_timeout(TIMEOUT)
            .connect()
            .map_err(|error| explain(error, address))?;
        println!("key      accepted by both sides in {}", milliseconds(started));
        manager(&client)
    }
}

/// Connects, and reads what the other side says first.
fn connect(address: &str) -> Result<Vec<u8>, Failure> {
    let failed = |message: String| Failure { status: CONNECTION, message };
    let started = Instant::now();
    let mut addresses = address
        .to_socket_addrs()
        .map_err(|error| Failure::usage(format!("{address} is no address: {error}")))?;
    let Some(resolved) = addresses.next() else {
        return Err(Failure::usage(format!("{address} has no address")));
    };
    println!("address  {resolved}, found in {}", milliseconds(started));
    let started = Instant::now();
    let mut stream = TcpStream::connect_timeout(&resolved, TIMEOUT).map_err(|error| {
        failed(match error.kind() {
            ErrorKind::ConnectionRefused => format!(
                "nothing listens at {resolved}: is the manager running, and on this port?"
            ),
            ErrorKind::TimedOut => format!(
                "{resolved} does not answer: the host may be down, or a firewall drops packets to this port"
            ),
            _ => format!("cannot connect to {resolved}: {error}"),
        })
    })?;
    println!("connect  in {}", milliseconds(started));
    let started = Instant::now();
    let mut greeting = read(&mut stream)?;
    if greeting.is_none() {
        println!("answer   none within {TIMEOUT:?}; a manager speaks first");
        // Most other services wait for the client.
        let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        greeting = read(&mut stream)?;
    }
    let greeting = greeting.ok_or_else(|| {
        failed(format!("{resolved} accepts connections and says nothing: this is not a manager"))
    })?;
    if greeting.is_empty() {
        return Err(failed(format!(
            "{resolved} closed the connection at once: a manager does that when it has no place for another client"
        )));
    }
    println!("answer   in {}", milliseconds(started));
    Ok(greeting)
}

/// What arrives first; nothing at the end of the stream, and `None` if nothing comes.
fn read(stream: &mut TcpStream) -> Result<Option<Vec<u8>>, Failure> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut greeting = vec![0; 256];
    match stream.read(&mut greeting) {
        Ok(length) => greeting.truncate(length),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            return Ok(None);
        }
        Err(error) => {
            let message = format!("cannot read: {error}");
            return Err(Failure { status: CONNECTION, message });
        }
    }
    Ok(Some(greeting))
}

/// What a greeting shows of its sender.
fn dialect(greeting: &[u8]) -> Result<&'static str, Failure> {
    let challenge = greeting.get(4..).and_then(|payload| payload.strip_prefix(CHALLENGE));
    match challenge {
        Some(challenge) if challenge.starts_with(b"{") => {
            Ok("of a manager that proves the key with SHA-256, as Python 3.12 and later do")
        }
        Some(_) => Ok("of a manager that proves the key with HMAC-MD5, as Python up to 3.11 does"),
        None => {
            let text = String::from_utf8_lossy(greeting.get(..40).unwrap_or(greeting));
            let name = match greeting {
                [b'S', b'S', b'H', ..] => "an SSH server",
                [b'H', b'T', b'T', b'P', ..] => "a web server",
                [0x15 | 0x16, 3, ..] => "a TLS server",
                [b'2', b'2', b'0', ..] => "a mail or FTP server",
                _ => "another service",
            };
            Err(Failure {
                status: CONNECTION,
                message: format!("this is not a manager but {name}: it begins with {text:?}"),
            })
        }
    }
}

fn explain(error: Error, address: &str) -> Failure {
    let is_key = matches!(error, Error::Authentication { .. });
    let failure = Failure::from(error);
    match failure.status {
        KEY if is_key => failure
            .hint("set MANAGER_AUTHKEY or --key-file to the key that the manager was started with"),
        CONNECTION => {
            Failure { message: format!("no manager at {address}: {}", failure.message), ..failure }
        }
        _ => failure,
    }
}

/// What the manager tells of itself.
fn manager(client: &Client) -> Result<(), Failure> {
    let started = Instant::now();
    let objects = client.number_of_objects()?;
    println!("request  answered in {}; {objects} objects", milliseconds(started));
    match client.create("stats", ()).and_then(|stats| stats.value()) {
        Ok(stats) => {
            let version = entry(&stats, "version").and_then(Value::as_str).unwrap_or("?");
            println!("manager  basemanager {version}");
        }
        Err(Error::Remote { .. }) => {
            println!("manager  Python's, or one without the typeid 'stats'");
        }
        Err(error) => return Err(error.into()),
    }
    println!("all is well");
    Ok(())
}

fn milliseconds(started: Instant) -> String {
    format!("{:.1} ms", started.elapsed().as_secs_f64() * 1000.0)
}
