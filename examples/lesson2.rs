//! Lesson 2: the handshake. Prints the first request of each client that knows the key.
//! `basemanager::guide::build_one` explains it.
//!
//! `cargo run --example lesson2 [ADDRESS]`

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, thread};

use byteorder::{BigEndian, ReadBytesExt};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The longest frame of the handshake, and the longest request.
const HANDSHAKE: u32 = 256;
const REQUEST: u32 = 1024 * 1024;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let Ok(stream) = stream.inspect_err(|error| eprintln!("error: {error}")) else {
            // Out of file descriptors: other connections must end first.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        thread::spawn(move || match serve(stream) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => eprintln!("error: {error}"),
            _ => {}
        });
    }
    Ok(())
}

/// Prints the first request of one connection.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    handshake(&mut stream)?;
    println!("request: {}", read_frame(&mut stream, REQUEST)?.escape_ascii());
    Ok(())
}

/// Each side proves that it knows the key, the client first.
fn handshake(stream: &mut TcpStream) -> io::Result<()> {
    let key = env::var_os("MANAGER_AUTHKEY").unwrap_or_else(|| "producer".into());
    if key.is_empty() {
        return Err(io::Error::other("MANAGER_AUTHKEY is empty"));
    }
    challenge(stream, key.as_encoded_bytes())?;
    respond(stream, key.as_encoded_bytes())
}

/// Sends a challenge, and a verdict on the response.
fn challenge(stream: &mut TcpStream, key: &[u8]) -> io::Result<()> {
    let mut random = [0; 40];
    getrandom::fill(&mut random)?;
    let message = [b"{sha256}".as_slice(), &random].concat();
    write_frame(stream, &[b"#CHALLENGE#", message.as_slice()].concat())?;
    let response = read_frame(stream, HANDSHAKE)?;
    let digest = response.strip_prefix(b"{sha256}").unwrap_or_default();
    if hmac(key, &message)?.verify_slice(digest).is_err() {
        write_frame(stream, b"#FAILURE#")?;
        // A shorter response is that of another digest.
        let why = if response.len() < 40 { "is older than Python 3.12" } else { "has another key" };
        return Err(io::Error::other(format!("the client {why}")));
    }
    write_frame(stream, b"#WELCOME#")
}

/// Responds to the client's challenge, and reads its verdict.
fn respond(stream: &mut TcpStream, key: &[u8]) -> io::Result<()> {
    let challenge = read_frame(stream, HANDSHAKE)?;
    let message = challenge.strip_prefix(b"#CHALLENGE#").unwrap_or_default();
    if !message.starts_with(b"{sha256}") {
        return Err(io::Error::other("the client must be Python 3.12 or later"));
    }
    let digest = hmac(key, message)?.finalize().into_bytes();
    write_frame(stream, &[b"{sha256}", digest.as_slice()].concat())?;
    match read_frame(stream, HANDSHAKE)?.as_slice() {
        b"#WELCOME#" => Ok(()),
        _ => Err(io::Error::other("the client rejects our response")),
    }
}

/// A code that can be computed only with the key.
fn hmac(key: &[u8], message: &[u8]) -> io::Result<Hmac<Sha256>> {
    let mac = Hmac::<Sha256>::new_from_slice(key).map_err(io::Error::other)?;
    Ok(mac.chain_update(message))
}

/// Reads a frame: its length in four bytes, and then that many bytes.
fn read_frame(stream: &mut impl Read, limit: u32) -> io::Result<Vec<u8>> {
    let length = stream.read_u32::<BigEndian>()?;
    if length > limit {
        return Err(io::Error::other(format!(
            "frame of {length} bytes exceeds the limit of {limit}"
        )));
    }
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

/// Writes a frame.
fn write_frame(stream: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    stream.write_all(&[length.to_be_bytes().as_slice(), payload].concat())
}
