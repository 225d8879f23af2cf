//! The limit of the socket: a server that does nothing but move the bytes.
//!
//! ```text
//!  request   length   reply's length   anything …
//!  reply     length   zeros …
//! ```
//! A thread a connection, one buffer to read into, one write for all replies to what one read brought.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::child::until_input_ends;
use crate::{Result, say_address};

const STACK: usize = 128 * 1024;

pub(crate) fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say_address(&listener.local_addr()?.to_string())?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serving = thread::Builder::new().stack_size(STACK);
            if let Err(error) = serving.spawn(move || converse(stream)) {
                eprintln!("echo: {error}");
            }
        }
    });
    until_input_ends()
}

fn converse(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut out) = (vec![0; 64 * 1024], Vec::new());
    let (mut start, mut end, mut passed) = (0, 0, 0);
    loop {
        // What a request has beyond its two numbers is only read.
        let here = passed.min(end - start);
        (start, passed) = (start + here, passed - here);
        if passed == 0 && end - start >= 8 {
            let length = number(&buffer[start..]);
            let reply = number(&buffer[start + 4..]);
            out.extend(u32::try_from(reply)?.to_be_bytes());
            out.resize(out.len() + reply, 0);
            passed = length + 4;
            continue;
        }
        // A large request that is not whole has its answer later.
        if passed == 0 && !out.is_empty() {
            stream.write_all(&out)?;
            out.clear();
        }
        buffer.copy_within(start..end, 0);
        (start, end) = (0, end - start);
        let count = stream.read(&mut buffer[end..])?;
        if count == 0 {
            return Ok(());
        }
        end += count;
    }
}

/// A big-endian number of four bytes.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | usize::from(*byte))
}
