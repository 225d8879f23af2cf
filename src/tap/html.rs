//! A recording as one HTML page: a sequence diagram, and the bytes of each frame, explained.
//!
//! ```text
//!  &[Frame] ──► message.rs ──► Row ──► JSON in page.html ──► page.js draws the diagram      ┐ in the
//!               kind, label, parts                           explain.js the bytes of a frame ┘ browser
//! ```
//! Nothing that came from the wire becomes HTML: it is JSON in which each `<` is escaped, and the scripts set it as
//! text. The page loads nothing, and its policy allows only its own script and style, by their hashes.

mod message;
mod parts;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::{Frame, Kind};
use message::{Reader, Row};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(include_str!("explain.js"), include_str!("page.js"));

/// The most text of the frames in a page, in bytes. The page says how many frames there were.
const MAX_TEXT: usize = 96 << 20;

/// The bytes of all payloads in a page; of frames after that, the first [`FEW`] bytes are kept.
const MAX_BYTES: usize = 24 << 20;
const FEW: usize = 512;

/// Makes a self-contained HTML page of a recording.
///
/// The page contains all items unencrypted, and handshakes that allow an offline guess of a weak authkey: write it to a
/// file that only its owner can read.
///
/// ```
/// use basemanager::tap::{Frame, Kind, Sender, html};
/// use std::time::Duration;
/// let frame = Frame {
///     time: Duration::ZERO,
///     connection: 1,
///     sender: Sender::Client,
///     kind: Kind::Opened("127.0.0.1:40000".into()),
/// };
/// assert!(html::page(&[frame]).starts_with("<!DOCTYPE html>"));
/// ```
#[must_use]
pub fn page(frames: &[Frame]) -> String {
    let template = PAGE
        .replace("{{style-hash}}", &hash(STYLE))
        .replace("{{script-hash}}", &hash(SCRIPT))
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT);
    let (before, after) = template.split_once("{{recording}}").unwrap_or_default();
    let mut page = String::from(before);
    write_recording(&mut page, frames);
    page.push_str(after);
    page
}

/// Writes `{"total": …, "frames": [[…], …], "connections": [[number, address], …]}`; `page.js` names the fields.
fn write_recording(out: &mut String, frames: &[Frame]) {
    let mut reader = Reader::default();
    let mut connections = BTreeMap::<u64, &str>::new();
    let mut bytes_left = MAX_BYTES;
    write_to(out, format_args!("{{\"total\":{},\"frames\":[", frames.len()));
    let start = out.len();
    for (number, frame) in frames.iter().enumerate() {
        if out.len() - start > MAX_TEXT {
            break;
        }
        let address = connections.entry(frame.connection).or_default();
        if let Kind::Opened(from) = &frame.kind {
            *address = from;
        }
        let row = reader.read(number, frame);
        out.push_str(if number == 0 { "" } else { "," });
        write_frame(out, frame, &row, &mut bytes_left);
    }
    out.push_str("],\"connections\":[");
    for (at, (number, address)) in connections.into_iter().enumerate() {
        write_to(out, format_args!("{}[{number},", if at == 0 { "" } else { "," }));
        write_json(out, address);
        out.push(']');
    }
    out.push_str("]}");
}

fn write_frame(out: &mut String, frame: &Frame, row: &Row, bytes_left: &mut usize) {
    let (header, length, bytes) = match &frame.kind {
        Kind::Payload { header, length, bytes } => (*header, *length, bytes.as_slice()),
        Kind::Foreign(bytes) => (0, bytes.len() as u64, bytes.as_slice()),
        _ => (0, 0, &[][..]),
    };
    let kept = bytes.get(..FEW.max(*bytes_left)).unwrap_or(bytes);
    *bytes_left = bytes_left.saturating_sub(kept.len());
    let (time, connection) = (frame.time.as_micros(), frame.connection);
    let sender = u8::from(frame.sender == super::Sender::Manager);
    write_to(out, format_args!("[{time},{connection},{sender},\"{}\",", row.kind));
    write_json(out, &format!("{}{}", row.target, row.label));
    let flags = u8::from(row.is_aside) | u8::from(row.is_error) << 1;
    write_to(out, format_args!(",{flags},{header},{length},\""));
    write_base64(out, &[&header_bytes(header, length), kept].concat());
    out.push_str("\",[");
    for (at, part) in row.parts.iter().enumerate() {
        write_to(
            out,
            format_args!("{}[{},\"{}\"", if at == 0 { "" } else { "," }, part.len, part.code),
        );
        if !part.text.is_empty() {
            out.push(',');
            write_json(out, &part.text);
        }
        out.push(']');
    }
    match row.request {
        Some(request) => write_to(out, format_args!("],{request}")),
        None => out.push_str("],-1"),
    }
    // As a script counts characters.
    write_to(out, format_args!(",{}]", row.target.encode_utf16().count()));
}

/// The length header as it was on the wire.
fn header_bytes(header: u8, length: u64) -> Vec<u8> {
    let length = length.to_be_bytes();
    match header {
        0 => Vec::new(),
        12 => [&[0xff; 4], &length[..]].concat(),
        _ => length[4..].to_vec(),
    }
}

fn hash(text: &str) -> String {
    let mut hash = String::new();
    write_base64(&mut hash, &Sha256::digest(text));
    hash
}

fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = out.write_fmt(text);
}

/// Writes a JSON string that may stand within `<script>`: without `<` it cannot end it, nor begin a comment.
fn write_json(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '<'
            | '>'
            | '&'
            | '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}' => {
                write_to(out, format_args!("\\u{:04x}", u32::from(char)));
            }
            _ => out.push(char),
        }
    }
    out.push('"');
}

fn write_base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 63;
            let digit = DIGITS.get(digit as usize).copied().unwrap_or_default();
            out.push(if place > group.len() { '=' } else { char::from(digit) });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod page_tests {
    use std::time::Duration;

    use super::super::Sender;
    use super::*;

    fn frame(kind: Kind) -> Frame {
        Frame { time: Duration::from_micros(5), connection: 1, sender: Sender::Client, kind }
    }

    fn payload(bytes: &[u8]) -> Kind {
        Kind::Payload { header: 4, length: bytes.len() as u64, bytes: bytes.to_vec() }
    }

    fn recording(frames: &[Frame]) -> String {
        let page = page(frames);
        let (_, data) = page.split_once("id=\"recording\">").unwrap();
        data.split_once("</script>").unwrap().0.to_owned()
    }

    #[test]
    fn base64_is_padded() {
        for (bytes, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            let mut out = String::new();
            write_base64(&mut out, bytes.as_bytes());
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn template_places_are_filled() {
        let page = page(&[]);
        assert!(!page.contains("{{"));
        assert_eq!(page.matches("<script").count(), 2);
        // A template that is in the recording stays text.
        assert!(recording(&[frame(Kind::Opened("{{script}}".into()))]).contains("{{script}}"));
    }

    #[test]
    fn markup_from_the_wire_stays_text() {
        const EVIL: &str =
            "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\u{2028}\"\\";
        let request =
            crate::pickle::Pickle::encode(&(EVIL, EVIL, (EVIL,)).into()).unwrap().to_bytes();
        let frames = [
            frame(Kind::Opened(EVIL.into())),
            frame(payload(EVIL.as_bytes())),
            frame(payload(&[b"#CHALLENGE#{", EVIL.as_bytes(), b"}"].concat())),
            frame(payload(&request)),
            frame(Kind::Foreign(EVIL.into())),
        ];
        let page = page(&frames);
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</script").count(), 2);
        assert!(!recording(&frames).contains(['<', '>', '&', '\u{2028}']));
        assert!(page.contains("\\u003c/script\\u003e"));
    }

    #[test]
    fn connection_without_frames_of_its_beginning_has_no_address() {
        assert!(recording(&[frame(Kind::Closed)]).ends_with("\"connections\":[[1,\"\"]]}"));
    }

    #[test]
    fn payloads_over_the_limit_are_cut() {
        let frames = vec![frame(payload(&vec![0; 64 << 10])); MAX_BYTES / (64 << 10) + 100];
        let recording = recording(&frames);
        assert!(recording.len() < MAX_BYTES * 4 / 3 + 400_000, "{}", recording.len());
    }

    #[test]
    fn header_is_shown_as_sent() {
        assert_eq!(header_bytes(4, 258), [0, 0, 1, 2]);
        assert_eq!(header_bytes(12, u64::MAX), [0xff; 12]);
    }
}
