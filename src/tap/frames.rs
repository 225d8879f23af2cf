//! Cuts one direction of a connection into frames while it passes.
//!
//! ```text
//!  header ──► payload ──► header ...        a frame is complete: Kind::Payload
//!    │           └─ the end of the stream ─► Kind::Foreign
//!    └─ an invalid length ────────────────► Kind::Foreign, and so is everything after it
//! ```
//! A large payload is counted, not stored: only its first 64 KiB are kept.

use std::fmt;

use byteorder::{BigEndian, ByteOrder};

use super::{Kind, SHOWN, Sender};

/// The frames that each side sends in a handshake.
pub(crate) const HANDSHAKE: u64 = 3;
/// The longest of them.
const LONGEST: u64 = 256;

/// Reads the frames that one side sends.
#[derive(Debug)]
pub(crate) struct Parser {
    state: State,
    /// How many frames were complete.
    frames: u64,
    /// The frames that may have at most 256 bytes.
    short: u64,
}

#[derive(Debug)]
enum State {
    /// The bytes of a header that came so far.
    Header(Vec<u8>),
    Payload(Payload),
    /// No frames any more; this many bytes may still be shown.
    Foreign(usize),
}

#[derive(Debug)]
struct Payload {
    header: Vec<u8>,
    length: u64,
    left: u64,
    kept: Vec<u8>,
}

impl Parser {
    /// A manager that refuses a handshake sends a traceback instead: only its challenge is always short.
    pub(crate) fn new(sender: Sender) -> Self {
        let short = if sender == Sender::Client { HANDSHAKE } else { 1 };
        Self { state: State::Header(Vec::new()), frames: 0, short }
    }

    /// Reads up to the end of a frame, or of the bytes. Returns how many it used, and what they complete.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> (usize, Option<Kind>) {
        match &mut self.state {
            State::Header(header) => {
                let size = if header.starts_with(&[0xff; 4]) { 12 } else { 4 };
                let used = bytes.len().min(size - header.len());
                header.extend(bytes.iter().take(used));
                if header.len() < size {
                    return (used, None);
                }
                self.begin(bytes, used)
            }
            State::Payload(payload) => {
                let used =
                    usize::try_from(payload.left).map_or(bytes.len(), |left| left.min(bytes.len()));
                payload.left -= used as u64;
                let room = SHOWN - payload.kept.len();
                payload.kept.extend(bytes.iter().take(used.min(room)));
                (used, self.complete())
            }
            State::Foreign(room) => {
                let shown = bytes.len().min(*room);
                *room -= shown;
                let shown = bytes.get(..shown).unwrap_or_default().to_vec();
                (bytes.len(), Some(shown).filter(|shown| !shown.is_empty()).map(Kind::Foreign))
            }
        }
    }

    /// A header of 4 bytes, or of 12, has come.
    fn begin(&mut self, bytes: &[u8], used: usize) -> (usize, Option<Kind>) {
        let State::Header(header) = &mut self.state else { return (used, None) };
        let long = header.get(4..12).map(BigEndian::read_u64);
        let length = match (BigEndian::read_i32(header), long) {
            (-1, None) => return (used, None),
            (-1, Some(length)) => Some(length),
            (length, _) => u64::try_from(length).ok(),
        };
        let longest = if self.frames < self.short { LONGEST } else { u64::MAX };
        let header = std::mem::take(header);
        if let Some(length) = length.filter(|length| *length <= longest) {
            let kept = Vec::new();
            self.state = State::Payload(Payload { header, length, left: length, kept });
            return (used, self.complete());
        }
        let shown = header.iter().chain(bytes.iter().skip(used)).take(SHOWN);
        let shown: Vec<u8> = shown.copied().collect();
        self.state = State::Foreign(SHOWN - shown.len());
        (bytes.len(), Some(Kind::Foreign(shown)))
    }

    fn complete(&mut self) -> Option<Kind> {
        let State::Payload(payload) = &mut self.state else { return None };
        if payload.left > 0 {
            return None;
        }
        let kind = Kind::Payload {
            header: u8::try_from(payload.header.len()).unwrap_or(4),
            length: payload.length,
            bytes: std::mem::take(&mut payload.kept),
        };
        self.state = State::Header(Vec::new());
        self.frames += 1;
        Some(kind)
    }

    /// The stream has ended. Returns the beginning of a frame that is not complete.
    pub(crate) fn end(&mut self) -> Option<Kind> {
        let bytes = match std::mem::replace(&mut self.state, State::Foreign(0)) {
            State::Header(header) => header,
            State::Payload(Payload { header, kept, .. }) => [header, kept].concat(),
            State::Foreign(_) => return None,
        };
        Some(bytes).filter(|bytes| !bytes.is_empty()).map(Kind::Foreign)
    }

    /// How many frames were complete.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// The length of the payload that is arriving.
    pub(crate) fn arriving(&self) -> Option<u64> {
        match &self.state {
            State::Payload(payload) => Some(payload.length),
            _ => None,
        }
    }

    /// Whether the sender may wait for an acknowledgement before it sends the rest of a frame, or of a handshake.
    pub(crate) fn expects_more(&self) -> bool {
        match &self.state {
            State::Header(header) => self.frames <= HANDSHAKE || !header.is_empty(),
            State::Payload(_) => true,
            State::Foreign(_) => false,
        }
    }
}

/// Bytes that are not frames.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Foreign {
    /// Another protocol, by its name.
    Protocol(&'static str),
    /// Text, by its first four characters. They would be this frame length.
    Text(String, u64),
    /// A frame with an invalid length, or an incomplete one: a description.
    Broken(String),
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(name) => f.write_str(name),
            Self::Text(start, length) => {
                write!(f, "text; \"{start}\" would be a frame length of {length} bytes")
            }
            Self::Broken(what) => f.write_str(what),
        }
    }
}

/// Names the protocol of bytes that are not frames, or describes what is wrong with their length.
///
/// ```
/// use basemanager::tap::{Foreign, name_protocol};
/// assert_eq!(name_protocol(b"GET / HTTP/1.1\r\n"), Foreign::Protocol("HTTP"));
/// assert_eq!(name_protocol(b"\x80\0\0\0").to_string(), "an invalid frame length, -2147483648");
/// ```
#[must_use]
pub fn name_protocol(bytes: &[u8]) -> Foreign {
    const HTTP: [&[u8]; 10] =
        [b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"HTTP"];
    const BEGINNINGS: [(&[u8], &str); 9] = [
        (b"SSH-", "SSH"),
        (b"PRI * HTTP/2", "HTTP/2"),
        (b"PROXY ", "the PROXY protocol"),
        (b"RFB ", "VNC"),
        (b"AMQP", "AMQP"),
        (b"220 ", "SMTP or FTP"),
        (b"EHLO", "SMTP"),
        (b"PING", "Redis"),
        (b"+PONG", "Redis"),
    ];
    match bytes {
        [0x14..=0x17, 3, 0..=4, ..] => return Foreign::Protocol("TLS"),
        [b'*' | b'$' | b'+' | b'-', rest @ ..] if rest.windows(2).any(|end| end == b"\r\n") => {
            return Foreign::Protocol("Redis");
        }
        [0x80, 2..=5, 0x95 | b'(' | b']' | b'}', ..] => {
            return Foreign::Broken("a pickle without the length before it".to_owned());
        }
        _ => {}
    }
    if HTTP.iter().any(|method| bytes.starts_with(method)) {
        return Foreign::Protocol("HTTP");
    }
    if let Some((_, name)) = BEGINNINGS.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Foreign::Protocol(name);
    }
    let Some(header) = bytes.get(..4) else {
        return Foreign::Broken(format!("only {} of the 4 bytes of a length", bytes.len()));
    };
    let length = BigEndian::read_i32(header);
    let (length, size) = match (length, bytes.get(4..12)) {
        (-1, None) => return Foreign::Broken("only a part of a 12-byte length".to_owned()),
        (-1, Some(long)) => (BigEndian::read_u64(long), 12),
        (..=-2, _) => return Foreign::Broken(format!("an invalid frame length, {length}")),
        _ => (u64::from(length.unsigned_abs()), 4),
    };
    if header.iter().all(u8::is_ascii_graphic) {
        return Foreign::Text(header.escape_ascii().to_string(), length);
    }
    let came = (bytes.len() - size) as u64;
    Foreign::Broken(if length > LONGEST {
        format!(
            "a frame of {length} bytes that is incomplete, or too long for a handshake ({LONGEST})"
        )
    } else {
        format!("a frame that ends after {came} of {length} bytes")
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// What a parser makes of these bytes, in pieces of one size.
    fn parse(bytes: &[u8], size: usize) -> Vec<Kind> {
        let (mut parser, mut kinds) = (Parser::new(Sender::Client), Vec::new());
        for mut piece in bytes.chunks(size) {
            while !piece.is_empty() {
                let (used, kind) = parser.next(piece);
                piece = &piece[used..];
                kinds.extend(kind);
            }
        }
        kinds.extend(parser.end());
        kinds
    }

    fn payload(header: u8, bytes: &[u8]) -> Kind {
        Kind::Payload { header, length: bytes.len() as u64, bytes: bytes.to_vec() }
    }

    #[test]
    fn frames_are_the_same_in_any_pieces() {
        let bytes = b"\0\0\0\x02ab\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\x03cde\0\0\0\x05fg";
        let mut expected = vec![payload(4, b"ab"), payload(4, b""), payload(12, b"cde")];
        expected.push(Kind::Foreign(b"\0\0\0\x05fg".to_vec()));
        for size in 1..=bytes.len() {
            assert_eq!(parse(bytes, size), expected, "{size}");
        }
    }

    #[test]
    fn large_payload_is_counted_and_its_beginning_kept() {
        let mut bytes = b"\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        let length = 3 * SHOWN + 1;
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(bytes.len() + length, 7);
        bytes.extend(b"\0\0\0\x01x");
        for size in [1000, 4096, bytes.len()] {
            let kinds = parse(&bytes, size);
            assert_eq!(kinds.len(), 5);
            let Kind::Payload { length: said, bytes, .. } = &kinds[3] else { panic!("{kinds:?}") };
            assert_eq!((*said, bytes.len()), (length as u64, SHOWN));
            assert_eq!(kinds[4], payload(4, b"x"));
        }
    }

    #[test]
    fn foreign_bytes_stay_foreign_and_bounded() {
        let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
        bytes.resize(3 * SHOWN, 0);
        for size in [1, 5, 1000, bytes.len()] {
            let kinds = parse(&bytes, size);
            let mut shown = Vec::new();
            for kind in kinds {
                let Kind::Foreign(bytes) = kind else { panic!("{kind:?}") };
                shown.extend(bytes);
            }
            assert_eq!(shown, bytes[..SHOWN], "{size}");
        }
    }

    #[test]
    fn handshake_frame_over_256_bytes_is_foreign() {
        assert!(matches!(parse(&[0, 0, 1, 1, 5], 5)[..], [Kind::Foreign(_)]));
        assert!(matches!(parse(&[0xff; 12], 5)[..], [Kind::Foreign(_)]));
        assert!(matches!(
            parse(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0], 5)[3..],
            [Kind::Foreign(_)]
        ));
    }

    #[test]
    fn protocols_have_names() {
        for (bytes, name) in [
            (&b"HTTP/1.1 400 Bad"[..], "HTTP"),
            (b"\x16\x03\x01\x02\0\x01", "TLS"),
            (b"SSH-2.0-x\r\n", "SSH"),
            (b"*1\r\n$4\r\nPING\r\n", "Redis"),
            (b"\xff\xff\xff\xfe", "an invalid frame length, -2"),
            (b"\x80\x04\x95\0", "a pickle without the length before it"),
            (b"\0\0\0\x05ab", "a frame that ends after 2 of 5 bytes"),
            (b"\0\0", "only 2 of the 4 bytes of a length"),
            (b"\xff\xff\xff\xff\0", "only a part of a 12-byte length"),
            (b"hello", "text; \"hell\" would be a frame length of 1751477356 bytes"),
        ] {
            assert_eq!(name_protocol(bytes).to_string(), name);
        }
    }
}
