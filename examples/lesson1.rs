//! Lesson 1: frames. Sends each client a challenge, and prints the response.
//! `basemanager::guide::build_one` explains it.
//!
//! `cargo run --example lesson1 [ADDRESS]`

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, thread};

use byteorder::{BigEndian, ReadBytesExt};

/// The longest frame of the handshake.
const HANDSHAKE: u32 = 256;

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

/// Sends one client a challenge that is always the same.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    write_frame(&mut stream, b"#CHALLENGE#{sha256}these forty bytes should be random bytes")?;
    println!("response: {}", read_frame(&mut stream, HANDSHAKE)?.escape_ascii());
    // The next lesson checks the response.
    write_frame(&mut stream, b"#FAILURE#")
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
