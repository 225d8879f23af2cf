//! Lesson 3: requests. Shares a queue, whose `get` does not wait.
//! `basemanager::guide::build_one` explains it.
//!
//! `cargo run --example lesson3 [ADDRESS]`

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, thread};

use byteorder::{BigEndian, ByteOrder, LittleEndian, ReadBytesExt};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The longest frame of the handshake, and the longest request.
const HANDSHAKE: u32 = 256;
const REQUEST: u32 = 1024 * 1024;

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let manager = Arc::new(Manager::default());
    for stream in listener.incoming() {
        let Ok(stream) = stream.inspect_err(|error| eprintln!("error: {error}")) else {
            // Out of file descriptors: other connections must end first.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let manager = Arc::clone(&manager);
        thread::spawn(move || match manager.serve(stream) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => eprintln!("error: {error}"),
            _ => {}
        });
    }
    Ok(())
}

/// What the clients share: one queue, whose id is its name.
#[derive(Default)]
struct Manager {
    /// Each item is the operations that push it onto a stack.
    tasks: Mutex<VecDeque<Vec<u8>>>,
}

impl Manager {
    /// Answers the requests of one connection in order.
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        handshake(&mut stream)?;
        loop {
            let pickle = read_frame(&mut stream, REQUEST)?;
            let result = match Request::read(&pickle) {
                Some(request) => self.call(request),
                None => Err("expected (id, method, args, {}) with one argument or none".to_owned()),
            };
            write_frame(&mut stream, &reply(result))?;
        }
    }

    /// Calls a function of the manager, which has no id, or a method of the queue. Returns a pickled result.
    fn call(&self, request: Request<'_>) -> Result<Vec<u8>, String> {
        let Request { id, method, name, item } = request;
        match (id, method, name, item) {
            (None, "create", Some("task_queue"), _) => {
                return Ok(created("task_queue", &["put", "get"]));
            }
            (None, "dummy" | "incref" | "decref" | "accept_connection", ..) => {}
            (Some("task_queue"), "put", _, Some(item)) => self.tasks().push_back(item),
            (Some("task_queue"), "get", _, None) => {
                return self.tasks().pop_front().ok_or("the queue is empty".to_owned());
            }
            _ => return Err(format!("this manager has no {method}() with such arguments")),
        }
        Ok(b"N".to_vec())
    }

    fn tasks(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request `(id, method, args, {})` with one argument or none.
struct Request<'a> {
    /// The object; none in a request to the manager itself.
    id: Option<&'a str>,
    method: &'a str,
    /// The argument, if it is a short text.
    name: Option<&'a str>,
    /// The argument, as operations that push it onto a stack.
    item: Option<Vec<u8>>,
}

impl<'a> Request<'a> {
    fn read(pickle: &'a [u8]) -> Option<Self> {
        let ops = operations(pickle)?;
        let [[MARK], id, method, args @ .., [EMPTY_DICT, ..], [TUPLE, ..], [STOP]] = ops.as_slice()
        else {
            return None;
        };
        let argument = match args {
            [[EMPTY_TUPLE]] => None,
            [argument @ .., [TUPLE1, ..]] => Some(argument),
            _ => return None,
        };
        let name = if let Some([name]) = argument { text_of(name) } else { None };
        // It may refer to the id and the method: they are pushed and memoized, and POP_MARK pops them.
        let item = argument.map(|ops| [&[MARK], *id, method, &[POP_MARK], &ops.concat()].concat());
        Some(Self { id: text_of(id), method: text_of(method)?, name, item })
    }
}

// The operations that requests and replies are made of, by their names in pickletools.
const PROTO: u8 = 0x80;
const FRAME: u8 = 0x95;
const MARK: u8 = b'(';
const POP_MARK: u8 = b'1';
const MEMOIZE: u8 = 0x94;
const EMPTY_DICT: u8 = b'}';
const EMPTY_TUPLE: u8 = b')';
const TUPLE: u8 = b't';
const TUPLE1: u8 = 0x85;
const TUPLE2: u8 = 0x86;
const SHORT_BINUNICODE: u8 = 0x8c;
const BINUNICODE8: u8 = 0x8d;
const STOP: u8 = b'.';

/// The operations of a pickle, each with the `MEMOIZE` that follows it. Nothing is executed.
fn operations(mut pickle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut ops = Vec::new();
    while let Some(&code) = pickle.first() {
        let is_framing = matches!(code, PROTO | FRAME);
        let mut length = length(pickle)?;
        if !is_framing && pickle.get(length) == Some(&MEMOIZE) {
            length += 1;
        }
        let (op, rest) = pickle.split_at_checked(length)?;
        if !is_framing {
            ops.push(op);
        }
        pickle = rest;
    }
    Some(ops)
}

/// The length of a pickle's first operation: its code, and an operand. Protocols 4 and 5.
#[allow(clippy::match_same_arms, reason = "a line for each kind of operation")]
fn length(pickle: &[u8]) -> Option<usize> {
    let (&code, rest) = pickle.split_first()?;
    let counted = |size| {
        let count = LittleEndian::read_uint(rest.get(..size)?, size);
        usize::try_from(count).ok()?.checked_add(size)
    };
    let operand = match code {
        MARK | POP_MARK | b'0' | MEMOIZE | STOP => 0,
        // None, False, True, empty list, set and dict
        b'N' | 0x88 | 0x89 | b']' | 0x8f | EMPTY_DICT => 0,
        // Tuples and frozenset
        EMPTY_TUPLE | TUPLE1 | TUPLE2 | 0x87 | TUPLE | 0x91 => 0,
        // These put objects into a list, a dict or a set
        b'a' | b'e' | b's' | b'u' | 0x90 => 0,
        // A class by its name, a call, a new object, its state
        0x93 | b'R' | 0x81 | 0x92 | b'b' => 0,
        // Numbers, references to the memo, extension codes
        b'K' | b'h' | 0x82 | PROTO => 1,
        b'M' | 0x83 => 2,
        b'J' | b'j' | 0x84 => 4,
        b'G' | FRAME => 8,
        // Integers, str, bytes and bytearray, behind their length
        0x8a | SHORT_BINUNICODE | b'C' => counted(1)?,
        0x8b | b'X' | b'B' => counted(4)?,
        BINUNICODE8 | 0x8e | 0x96 => counted(8)?,
        _ => return None,
    };
    operand.checked_add(1)
}

/// The text of an operation that pushes a short one.
fn text_of(op: &[u8]) -> Option<&str> {
    match op {
        [SHORT_BINUNICODE, length, text @ ..] => {
            str::from_utf8(text.get(..usize::from(*length))?).ok()
        }
        _ => None,
    }
}

/// A reply `(kind, result)`. It memoizes nothing of its own, so that the memo of an item counts from 0.
fn reply(result: Result<Vec<u8>, String>) -> Vec<u8> {
    let (kind, result) = match result {
        Ok(result) => (text("#RETURN"), result),
        Err(reason) => (text("#TRACEBACK"), text(&(reason + "\n"))),
    };
    [&[PROTO, 5], kind.as_slice(), &result, &[TUPLE2, STOP]].concat()
}

/// The result of `create`: the id of an object, and the names of its methods.
fn created(id: &str, methods: &[&str]) -> Vec<u8> {
    let methods: Vec<u8> = methods.iter().flat_map(|name| text(name)).collect();
    [&text(id), [MARK].as_slice(), &methods, &[TUPLE, TUPLE2]].concat()
}

/// A str.
fn text(text: &str) -> Vec<u8> {
    [&[BINUNICODE8], (text.len() as u64).to_le_bytes().as_slice(), text.as_bytes()].concat()
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
