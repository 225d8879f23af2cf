//! The length prefix that cuts a byte stream into messages: an `i32`, or −1 and a `u64`, both big-endian. The guide
//! draws it (`guide::wire`).
//!
//! CPython: `multiprocessing.connection.Connection._send_bytes`.

use std::io::{self, Read, Write};
use std::sync::Arc;

use byteorder::{BigEndian, ByteOrder};

use crate::error::{Error, Result};

/// The length of the usual header.
const HEADER: usize = 4;
/// The length of the header of a frame of 2 GiB or more.
const LONG_HEADER: usize = 12;
/// The buffer's first size: a small frame fits.
const FIRST_BUFFER: usize = 1024;
/// Its size once it has been full: many small frames fit, or the beginning of a large one.
const BUFFER: usize = 8 * 1024;
/// A large frame's first allocation. It grows as the frame arrives.
const FIRST_READ: usize = 64 * 1024;

/// Where frames come from.
pub(crate) trait Source: Read {
    /// Sends the TCP acknowledgement of what has arrived without delay. Called when the peer may hold back the
    /// rest of a frame until it sees the acknowledgement of the first part (Nagle's algorithm).
    fn ack_now(&self) {}

    /// An empty buffer for a large frame of `length` bytes.
    fn buffer(&self, _length: usize) -> Vec<u8> {
        Vec::new()
    }

    /// Appends up to `bytes` bytes to `buffer`; fewer only at the end of the stream.
    fn read_into(&mut self, buffer: &mut Vec<u8>, bytes: u64) -> io::Result<usize> {
        self.take(bytes).read_to_end(buffer)
    }
}

impl Source for &[u8] {}

/// Reads frames through a buffer: one read from the source can bring many small frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The last frame and its header, if they did not fit the buffer. In an allocation of its own, which a pickle
    /// that is most of the frame borrows instead of a copy.
    large: Option<Arc<Vec<u8>>>,
    /// The number of bytes to skip: the rest of a payload over the limit.
    to_skip: u64,
}

impl FrameReader {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; FIRST_BUFFER], start: 0, end: 0, large: None, to_skip: 0 }
    }

    /// The payload of the next frame. One of more than `limit` bytes is [`Error::Limit`]; the next call skips it.
    ///
    /// The end of the stream is [`Error::Disconnected`], between frames or within one.
    pub(crate) fn read<S: Source>(&mut self, source: &mut S, limit: usize) -> Result<Frame<'_>> {
        self.large = None;
        loop {
            let buffered = self.end - self.start;
            let skip = usize::try_from(self.to_skip).map_or(buffered, |skip| skip.min(buffered));
            self.to_skip -= skip as u64;
            self.start += skip;
            let unread = self.unread();
            if self.to_skip == 0
                && let Some((header, length)) = parse_header(unread)?
            {
                let Some(length) = usize::try_from(length).ok().filter(|length| *length <= limit)
                else {
                    self.start += header;
                    self.to_skip = length;
                    return Err(Error::limit("frame size", limit));
                };
                let rest = unread.get(header..).unwrap_or_default();
                if rest.len() >= length {
                    let from = self.start + header;
                    self.start = from + length;
                    return Ok(self.buffer.get(from..from + length).unwrap_or_default().into());
                }
                let whole = header.saturating_add(length);
                if whole > BUFFER {
                    return self.read_large(source, header, whole);
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

    /// Whether a whole frame, or an invalid header, is buffered: the next [`read`](Self::read) does not wait.
    pub(crate) fn has_frame(&self) -> bool {
        let unread = self.unread();
        self.to_skip == 0
            && match parse_header(unread) {
                Ok(Some((header, length))) => (unread.len() - header) as u64 >= length,
                Ok(None) => false,
                Err(_) => true,
            }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The bytes in the buffer, including those of frames that were read since the last [`fill`](Self::fill).
    pub(crate) fn received(&self) -> &[u8] {
        self.buffer.get(..self.end).unwrap_or_default()
    }

    /// Reads from the source into the buffer, once, and returns the number of bytes; 0 at the end of the stream.
    pub(crate) fn fill<S: Source>(&mut self, source: &mut S) -> Result<usize> {
        if self.end == self.buffer.len() && self.end < BUFFER {
            self.buffer.resize(BUFFER, 0);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let read = loop {
            match source.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(Error::connection)?,
            }
        };
        self.end += read;
        Ok(read)
    }

    /// Reads a frame of this length, header included, into an allocation of its own. The header keeps the bytes at
    /// the same offsets within pages as in the stream: some processors copy at a seventh of their speed where the
    /// offsets of source and destination differ by a few bytes.
    fn read_large<S: Source>(
        &mut self,
        source: &mut S,
        header: usize,
        length: usize,
    ) -> Result<Frame<'_>> {
        source.ack_now();
        let mut large = source.buffer(length);
        large.extend_from_slice(self.unread());
        (self.start, self.end) = (0, 0);
        // The vector grows as bytes arrive: a declared length alone allocates little, and one that does not fit
        // into memory is an error.
        while large.len() < length {
            let room = large.capacity() - large.len();
            let more = room.max(large.len()).max(FIRST_READ.saturating_sub(large.len()));
            let more = more.min(length - large.len());
            large.try_reserve_exact(more).map_err(|error| Error::connection(error.into()))?;
            if source.read_into(&mut large, more as u64).map_err(Error::connection)? < more {
                return Err(Error::Disconnected);
            }
        }
        let whole = self.large.insert(Arc::new(large));
        Ok(Frame { bytes: whole.get(header..).unwrap_or_default(), backing: Some(whole) })
    }
}

/// The payload of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) bytes: &'a [u8],
    /// The allocation of a large frame; the payload is the end of it.
    pub(crate) backing: Option<&'a Arc<Vec<u8>>>,
}

impl<'a> From<&'a [u8]> for Frame<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, backing: None }
    }
}

/// The sizes of the header and of its payload, once the header has arrived.
fn parse_header(bytes: &[u8]) -> Result<Option<(usize, u64)>> {
    let Some(short) = bytes.get(..HEADER) else { return Ok(None) };
    match BigEndian::read_i32(short) {
        -1 => {
            let long = bytes.get(HEADER..LONG_HEADER);
            Ok(long.map(|long| (LONG_HEADER, BigEndian::read_u64(long))))
        }
        length => match u64::try_from(length) {
            Ok(length) => Ok(Some((HEADER, length))),
            Err(_) => Err(Error::protocol(format!("a frame of {length} bytes"))),
        },
    }
}

/// Appends a frame to `out`. `write` appends the payload, all but `omitted` bytes of it. Returns by how many bytes
/// the payload was moved after `write`, to make room for the long header.
pub(crate) fn append(out: &mut Vec<u8>, omitted: usize, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let at = out.len();
    out.extend([0; HEADER]);
    write(out);
    let length = out.len() - at - HEADER + omitted;
    if let Ok(short) = i32::try_from(length) {
        if let Some(header) = out.get_mut(at..at + HEADER) {
            BigEndian::write_i32(header, short);
        }
        0
    } else {
        let mut header = [0xff; LONG_HEADER];
        BigEndian::write_u64(&mut header[HEADER..], length as u64);
        out.splice(at..at + HEADER, header);
        LONG_HEADER - HEADER
    }
}

/// Writes one frame with a single `write`.
pub(crate) fn write_frame<W: Write>(sink: &mut W, payload: &[u8]) -> Result<()> {
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    append(&mut frame, 0, |out| out.extend_from_slice(payload));
    sink.write_all(&frame).map_err(Error::connection)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;
    use std::collections::VecDeque;

    use super::*;

    /// A stream that comes in pieces, and counts what is asked of it.
    #[derive(Default)]
    struct Pieces {
        left: VecDeque<Vec<u8>>,
        reads: usize,
        acks: Cell<usize>,
    }

    impl Pieces {
        fn new<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
            Self { left: pieces.into_iter().map(<[u8]>::to_vec).collect(), ..Self::default() }
        }
    }

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.reads += 1;
            let Some(mut piece) = self.left.pop_front() else { return Ok(0) };
            let rest = piece.split_off(piece.len().min(into.len()));
            into[..piece.len()].copy_from_slice(&piece);
            if !rest.is_empty() {
                self.left.push_front(rest);
            }
            Ok(piece.len())
        }
    }

    impl Source for Pieces {
        fn ack_now(&self) {
            self.acks.set(self.acks.get() + 1);
        }
    }

    fn framed(payloads: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for payload in payloads {
            append(&mut out, 0, |out| out.extend_from_slice(payload));
        }
        out
    }

    fn read_all(source: &mut impl Source, limit: usize) -> (Vec<Vec<u8>>, Error) {
        let (mut reader, mut frames) = (FrameReader::new(), Vec::new());
        loop {
            match reader.read(source, limit) {
                Ok(frame) => frames.push(frame.bytes.to_vec()),
                Err(error) => return (frames, error),
            }
        }
    }

    #[test]
    fn frames_may_be_split_anywhere() {
        // The last one is too large for the buffer.
        let payloads: [&[u8]; 4] = [b"", b"one", &[2; 300], &[3; BUFFER + 5]];
        let stream = framed(&payloads);
        let check = |mut source: Pieces| {
            let (frames, end) = read_all(&mut source, usize::MAX);
            assert_eq!(frames, payloads);
            assert!(matches!(end, Error::Disconnected));
        };
        for at in 0..stream.len() {
            let (first, second) = stream.split_at(at);
            check(Pieces::new([first, second].into_iter().filter(|piece| !piece.is_empty())));
        }
        for size in 1..20 {
            check(Pieces::new(stream.chunks(size)));
        }
    }

    #[test]
    fn one_read_brings_many_frames() {
        let stream = framed(&[b"a", b"b", b"c"]);
        let mut source = Pieces::new([&stream[..stream.len() - 1], &stream[stream.len() - 1..]]);
        let mut reader = FrameReader::new();
        assert!(!reader.has_frame());
        assert_eq!(reader.read(&mut source, 9).unwrap().bytes, b"a");
        assert!(reader.has_frame());
        assert_eq!(reader.read(&mut source, 9).unwrap().bytes, b"b");
        assert_eq!((source.reads, source.acks.get()), (1, 0));
        assert!(!reader.has_frame(), "its last byte is missing");
        assert_eq!(reader.read(&mut source, 9).unwrap().bytes, b"c");
        assert_eq!((source.reads, source.acks.get()), (2, 1), "the peer may wait for a word");
    }

    #[test]
    fn a_long_header_is_understood() {
        let long = |length: u64| [&[0xff; 4][..], &length.to_be_bytes(), b"payload"].concat();
        for pieces in [1, 3, 100] {
            let (frames, _) = read_all(&mut Pieces::new(long(7).chunks(pieces)), 7);
            assert_eq!(frames, [b"payload"]);
        }
        for length in [8, 1 << 31, u64::MAX] {
            let (frames, error) = read_all(&mut &long(length)[..], 7);
            assert!(frames.is_empty());
            assert_eq!(error.to_string(), "frame size exceeds the limit of 7");
        }
    }

    #[test]
    fn payload_of_2_gib_moves_for_the_long_header() {
        for (omitted, moved) in [(0, 0), (0x7fff_fffc, 0), (0x7fff_fffd, 8), (0x7fff_fffe, 8)] {
            let mut out = b"before".to_vec();
            assert_eq!(append(&mut out, omitted, |out| out.extend(b"abc")), moved, "{omitted}");
            let (header, length) = parse_header(&out[6..]).unwrap().unwrap();
            assert_eq!((header, length), (HEADER + moved, 3 + omitted as u64));
            assert_eq!(out[6 + header..], *b"abc");
        }
    }

    #[test]
    fn frame_over_limit_is_refused_unread() {
        for (stream, limit, why) in [
            (framed(&[b"four"]), 3, "frame size exceeds the limit of 3"),
            (vec![0x7f, 0xff, 0xff, 0xff], 1 << 20, "frame size exceeds the limit of 1048576"),
            (vec![0xff, 0xff, 0xff, 0xfe], 9, "protocol error: a frame of -2 bytes"),
            (vec![0x80, 0, 0, 0], 9, "protocol error: a frame of -2147483648 bytes"),
        ] {
            assert_eq!(read_all(&mut &stream[..], limit).1.to_string(), why);
        }
        assert_eq!(read_all(&mut &framed(&[b"four"])[..], 4).0, [b"four"]);
        // The refused payload is not taken for a header.
        let (mut reader, stream) = (FrameReader::new(), framed(&[&[0xfe; 4]]));
        assert!(reader.read(&mut &stream[..], 3).is_err() && !reader.has_frame());
    }

    #[test]
    fn the_end_may_come_anywhere() {
        let stream = framed(&[&[7; BUFFER * 2]]);
        for end in [0, 1, 3, 4, 5, BUFFER, stream.len() - 1] {
            let (frames, error) = read_all(&mut &stream[..end], usize::MAX);
            assert!(frames.is_empty() && matches!(error, Error::Disconnected), "{end}");
        }
    }

    #[test]
    fn declared_length_allocates_at_most_64_kib() {
        struct Header<'a>(&'a [u8], usize);
        impl Read for Header<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                self.0.read(into)
            }
        }
        impl Source for Header<'_> {
            fn read_into(&mut self, buffer: &mut Vec<u8>, _bytes: u64) -> io::Result<usize> {
                self.1 = buffer.capacity();
                Ok(0)
            }
        }
        let mut source = Header(b"\x7f\xff\xff\xff", 0);
        assert!(FrameReader::new().read(&mut source, usize::MAX).is_err());
        assert_eq!(source.1, FIRST_READ);
    }

    #[test]
    fn large_frame_leaves_no_large_buffer() {
        let stream = framed(&[&vec![1; BUFFER * 3], b"small"]);
        let (mut source, mut reader) = (&stream[..], FrameReader::new());
        let frame = reader.read(&mut source, usize::MAX).unwrap();
        // With its header.
        assert_eq!(frame.backing.unwrap().as_slice(), &stream[..HEADER + BUFFER * 3]);
        assert_eq!(frame.bytes, &stream[HEADER..HEADER + BUFFER * 3]);
        assert_eq!(reader.read(&mut source, usize::MAX).unwrap().bytes, b"small");
        assert!(reader.large.is_none());
    }

    #[test]
    fn a_frame_is_one_write() {
        struct Writes(Vec<Vec<u8>>);
        impl Write for Writes {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = Writes(Vec::new());
        write_frame(&mut sink, b"abc").unwrap();
        assert_eq!(sink.0, [b"\0\0\0\x03abc"]);
    }
}
