//! One client for all: it writes bytes that were prepared and passes over whole replies.

use std::io::{Read, Write};
use std::net::TcpStream;

use basemanager::{Limits, Pickle};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::pickle::{Arg, request};
use crate::{KEY, PATIENCE, Result};

/// The most that one read brings.
const BUFFER: usize = 64 * 1024;

/// How replies look.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Language {
    Echo,
    Manager,
    Redis,
}

pub(crate) struct Wire {
    stream: TcpStream,
    language: Language,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Wire {
    /// Connects; to a manager with the handshake and what comes before calls of objects.
    pub(crate) fn connect(address: &str, language: Language) -> Result<Self> {
        let mut wire = Self::open(address, language)?;
        if language == Language::Manager {
            wire.send(&request(None, "accept_connection", &[Arg::Text("benchmark")]))?;
            wire.replies(1)?;
        }
        Ok(wire)
    }

    /// Has a manager create a `task_queue`, and gives its id.
    pub(crate) fn create(address: &str) -> Result<String> {
        let mut wire = Self::open(address, Language::Manager)?;
        wire.send(&request(None, "create", &[Arg::Text("task_queue")]))?;
        let limits = Limits::default();
        // ('#RETURN', (id, exposed methods))
        let reply = Pickle::from_bytes(&wire.frame()?, &limits)?.decode(&limits)?.to_string();
        match reply.split('\'').collect::<Vec<_>>()[..] {
            [_, "#RETURN", _, id, ..] => Ok(id.to_owned()),
            _ => Err(format!("create: {reply}").into()),
        }
    }

    fn open(address: &str, language: Language) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut wire = Self { stream, language, buffer: Vec::new(), start: 0, end: 0 };
        if language == Language::Manager {
            wire.handshake()?;
        }
        Ok(wire)
    }

    /// Proves the key, and takes the other side's proof as it comes.
    fn handshake(&mut self) -> Result<()> {
        let challenge = self.frame()?;
        let message = challenge.strip_prefix(b"#CHALLENGE#").ok_or("no challenge")?;
        if !message.starts_with(b"{sha256}") {
            return Err("it knows no HMAC-SHA256".into());
        }
        let mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes())?;
        let mac = mac.chain_update(message).finalize().into_bytes();
        self.send(&framed(&[b"{sha256}", &mac[..]].concat()))?;
        if self.frame()? != b"#WELCOME#" {
            return Err("it refuses the key".into());
        }
        self.send(&framed(&[&b"#CHALLENGE#{sha256}"[..], &[7; 40]].concat()))?;
        self.frame()?;
        self.send(&framed(b"#WELCOME#"))
    }

    /// Without what it keeps for reading: a connection that only is there.
    pub(crate) fn into_idle(self) -> TcpStream {
        self.stream
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// A frame's payload, whole.
    pub(crate) fn frame(&mut self) -> Result<Vec<u8>> {
        self.need(4)?;
        let length = self.number();
        self.skip(4)?;
        let mut payload = Vec::with_capacity(length);
        while payload.len() < length {
            self.need(1)?;
            let count = (self.end - self.start).min(length - payload.len());
            payload.extend(&self.buffer[self.start..self.start + count]);
            self.start += count;
        }
        Ok(payload)
    }

    /// Reads so many replies.
    pub(crate) fn replies(&mut self, count: usize) -> Result<()> {
        (0..count).try_for_each(|_| match self.language {
            Language::Redis => self.resp(),
            Language::Echo | Language::Manager => self.framed_reply(),
        })
    }

    fn framed_reply(&mut self) -> Result<()> {
        self.need(4)?;
        let length = self.number();
        if self.language == Language::Manager {
            let head = 4 + length.min(24);
            self.need(head)?;
            let head = &self.buffer[self.start + 4..self.start + head];
            if !head.windows(7).any(|tag| tag == b"#RETURN") {
                return Err(format!("a reply: {}", head.escape_ascii()).into());
            }
        }
        self.skip(4 + length)
    }

    fn resp(&mut self) -> Result<()> {
        let length = loop {
            let unread = &self.buffer[self.start..self.end];
            match unread.windows(2).position(|end| end == b"\r\n") {
                Some(end) => break end,
                None => self.need(unread.len() + 1)?,
            }
        };
        let line = &self.buffer[self.start..self.start + length];
        let kind = line[0];
        let count = str::from_utf8(&line[1..])?.parse::<usize>();
        match (kind, count) {
            (b':', _) => self.skip(length + 2),
            (b'$', Ok(count)) => self.skip(length + 2 + count + 2),
            (b'*', Ok(count)) => {
                self.skip(length + 2)?;
                (0..count).try_for_each(|_| self.resp())
            }
            _ => Err(format!("a reply: {}", line.escape_ascii()).into()),
        }
    }

    fn number(&self) -> usize {
        let header = self.buffer[self.start..self.end].iter().take(4);
        header.fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// Reads until so many bytes are there.
    fn need(&mut self, count: usize) -> Result<()> {
        while self.end - self.start < count {
            self.fill()?;
        }
        Ok(())
    }

    /// Passes over so many bytes, which need not have come yet.
    fn skip(&mut self, mut count: usize) -> Result<()> {
        loop {
            let here = count.min(self.end - self.start);
            self.start += here;
            count -= here;
            if count == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<()> {
        self.buffer.resize(BUFFER, 0);
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        match self.stream.read(&mut self.buffer[self.end..])? {
            0 => Err("it closed the connection".into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }
}

/// A payload behind its length.
pub(crate) fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), payload].concat()
}
