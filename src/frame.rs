//! Floor 1: the length prefix that cuts a byte stream into messages.
//!
//! ```text
//!   0x00000000 ..= 0x7fffffff   that many bytes follow
//!   0xffffffff  u64             that many bytes follow (CPython uses it above 0x7fffffff)
//! ```
//! All numbers are big-endian. CPython: `multiprocessing.connection.Connection._send_bytes`.

use std::io::{self, Read, Write};

use byteorder::{BigEndian, ByteOrder};

use crate::error::{Error, Result};

/// The bytes of the usual header.
const HEADER: usize = 4;
/// The bytes of the header of a frame over 2 GiB.
const LONG_HEADER: usize = 12;
/// What one read can bring: many small frames, or the beginning of a large one.
const BUFFER: usize = 8 * 1024;
/// A larger payload buffer is given back once its frame has been used.
const KEEP: usize = 64 * 1024;

/// Where frames come from.
pub(crate) trait Source: Read {
    /// Acknowledges what has arrived at once. Called when the peer may hold back the rest of a frame
    /// until it sees the acknowledgement of the first part (Nagle's algorithm).
    fn ack_now(&self) {}

    /// Appends up to `bytes` bytes to `buffer`; fewer only at the end of the stream.
    fn read_into(&mut self, buffer: &mut Vec<u8>, bytes: u64) -> io::Result<usize> {
        self.take(bytes).read_to_end(buffer)
    }
}

impl Source for &[u8] {}

/// Reads frames: one `read` brings as many small frames as have arrived.
pub(crate) struct FrameReader {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    large: Vec<u8>,
}

impl FrameReader {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into(), start: 0, end: 0, large: Vec::new() }
    }

    /// The next frame's payload, at most `limit` bytes of it.
    ///
    /// The end of the stream is [`Error::Disconnected`], between frames or within one.
    pub(crate) fn read<S: Source>(&mut self, source: &mut S, limit: usize) -> Result<&[u8]> {
        if self.large.capacity() > KEEP {
            self.large = Vec::new();
        }
        loop {
            let unread = self.unread();
            if let Some((header, length)) = parse_header(unread, limit)? {
                let rest = unread.get(header..).unwrap_or_default();
                if rest.len() >= length {
                    let from = self.start + header;
                    self.start = from + length;
                    return Ok(self.buffer.get(from..from + length).unwrap_or_default());
                }
                if header + length > BUFFER {
                    return self.read_large(source, header, length);
                }
            }
            if !unread.is_empty() {
                source.ack_now();
            }
            if self.fill(source)? == 0 {
                return Err(Error::Disconnected);
            }
        }
    }

    /// Whether a whole frame waits in the buffer, so that `read` would not block.
    pub(crate) fn has_frame(&self) -> bool {
        let unread = self.unread();
        matches!(parse_header(unread, usize::MAX), Ok(Some((header, length))) if unread.len() - header >= length)
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn fill<S: Source>(&mut self, source: &mut S) -> Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let read = loop {
            match source.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.end += read;
        Ok(read)
    }

    fn read_large<S: Source>(
        &mut self,
        source: &mut S,
        header: usize,
        length: usize,
    ) -> Result<&[u8]> {
        source.ack_now();
        self.large.clear();
        let begun = self.buffer.get(self.start + header..self.end).unwrap_or_default();
        self.large.extend(begun);
        (self.start, self.end) = (0, 0);
        // The vector grows with what arrives: a declared length alone allocates little.
        self.large.reserve((length - self.large.len()).min(KEEP));
        let missing = length - self.large.len();
        if source.read_into(&mut self.large, missing as u64)? < missing {
            return Err(Error::Disconnected);
        }
        Ok(&self.large)
    }
}

/// The sizes of the header and of its payload, once the header has arrived.
fn parse_header(bytes: &[u8], limit: usize) -> Result<Option<(usize, usize)>> {
    let Some(short) = bytes.get(..HEADER) else { return Ok(None) };
    let (header, length) = match BigEndian::read_i32(short) {
        -1 => match bytes.get(HEADER..LONG_HEADER) {
            Some(long) => (LONG_HEADER, BigEndian::read_u64(long)),
            None => return Ok(None),
        },
        length => match u64::try_from(length) {
            Ok(length) => (HEADER, length),
            Err(_) => return Err(Error::Protocol(format!("a frame of {length} bytes"))),
        },
    };
    match usize::try_from(length) {
        Ok(length) if length <= limit => Ok(Some((header, length))),
        _ => Err(Error::Limit("frame size", limit as u64)),
    }
}

/// Appends a frame to `out`; `write` appends its payload.
pub(crate) fn append(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; HEADER]);
    write(out);
    let length = out.len() - at - HEADER;
    if let Ok(short) = i32::try_from(length) {
        if let Some(header) = out.get_mut(at..at + HEADER) {
            BigEndian::write_i32(header, short);
        }
    } else {
        let mut header = [0xff; LONG_HEADER];
        BigEndian::write_u64(&mut header[HEADER..], length as u64);
        out.splice(at..at + HEADER, header);
    }
}

/// Writes one frame with a single `write`.
pub(crate) fn write_frame<W: Write>(sink: &mut W, payload: &[u8]) -> Result<()> {
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    append(&mut frame, |out| out.extend_from_slice(payload));
    Ok(sink.write_all(&frame)?)
}
