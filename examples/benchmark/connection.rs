//! One client for all servers: it writes prepared bytes and skips whole replies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::wire::{Wire, read_frame};
use crate::{KEY, Result};

/// The most that one read returns.
const BUFFER: usize = 64 * 1024;

/// How a reply looks.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Language {
    Echo,
    Manager,
    Redis,
}

pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    language: Language,
}

impl Connection {
    /// Connects; to a manager with the handshake and what comes before calls of objects.
    pub(crate) fn open(address: &str, language: Language) -> Result<Self> {
        let wire = match language {
            Language::Manager => Wire::accepted(address, KEY),
            Language::Echo | Language::Redis => Wire::new(TcpStream::connect(address)?),
        };
        let stream = BufReader::with_capacity(BUFFER, wire.into_stream());
        Ok(Self { stream, language })
    }

    /// Without the buffer: for a connection that stays idle.
    pub(crate) fn into_idle(self) -> TcpStream {
        self.stream.into_inner()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// The payload of the next frame.
    pub(crate) fn frame(&mut self) -> Result<Vec<u8>> {
        read_frame(&mut self.stream).ok_or_else(|| "it closed the connection".into())
    }

    /// Reads this many replies.
    pub(crate) fn replies(&mut self, count: usize) -> Result<()> {
        (0..count).try_for_each(|_| match self.language {
            Language::Redis => self.resp(),
            Language::Echo | Language::Manager => self.framed_reply(),
        })
    }

    fn framed_reply(&mut self) -> Result<()> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        let mut head = [0; 24];
        let head = &mut head[..length.min(24)];
        self.stream.read_exact(head)?;
        if self.language == Language::Manager && !head.windows(7).any(|tag| tag == b"#RETURN") {
            return Err(format!("a reply: {}", head.escape_ascii()).into());
        }
        self.skip(length - head.len())
    }

    fn resp(&mut self) -> Result<()> {
        let mut line = Vec::with_capacity(16);
        self.stream.read_until(b'\n', &mut line)?;
        let text = str::from_utf8(&line)?.trim_ascii_end();
        match (text.get(..1), text.get(1..).map(str::parse::<usize>)) {
            (Some(":"), _) => Ok(()),
            (Some("$"), Some(Ok(count))) => self.skip(count + 2),
            (Some("*"), Some(Ok(count))) => (0..count).try_for_each(|_| self.resp()),
            _ => Err(format!("a reply: {text:?}").into()),
        }
    }

    /// Skips this many bytes, which need not have come yet.
    fn skip(&mut self, mut count: usize) -> Result<()> {
        while count > 0 {
            let here = self.stream.fill_buf()?.len().min(count);
            if here == 0 {
                return Err("it closed the connection".into());
            }
            self.stream.consume(here);
            count -= here;
        }
        Ok(())
    }
}
