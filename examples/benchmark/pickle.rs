//! Requests as CPython's pickler writes them: protocol 4, in frames of 64 KiB.

use crate::wire::framed;

/// A frame ends when it has come to this; bytes of this size stand outside of frames.
const FRAME: usize = 64 * 1024;

/// An argument of a call.
#[derive(Clone, Copy)]
pub(crate) enum Arg<'a> {
    Text(&'a str),
    Int(u32),
    /// So many bytes.
    Bytes(usize),
    /// The list of 0, 1, 2 …
    List(u32),
}

/// `(ident, method, args, {})` in its frame; the manager itself has no ident.
pub(crate) fn request(ident: Option<&str>, method: &str, args: &[Arg<'_>]) -> Vec<u8> {
    let mut to = Pickler { out: b"\x80\x04".to_vec(), frame: b"(".to_vec() };
    match ident {
        Some(ident) => to.arg(Arg::Text(ident)),
        None => to.op(b"N"),
    }
    to.arg(Arg::Text(method));
    for arg in args {
        to.arg(*arg);
    }
    to.op(if args.is_empty() { b")" } else { b"\x85\x94" });
    to.op(b"}\x94t\x94.");
    to.end_frame();
    framed(&to.out)
}

struct Pickler {
    out: Vec<u8>,
    frame: Vec<u8>,
}

impl Pickler {
    fn op(&mut self, bytes: &[u8]) {
        self.frame.extend(bytes);
        if self.frame.len() >= FRAME {
            self.end_frame();
        }
    }

    fn end_frame(&mut self) {
        if !self.frame.is_empty() {
            self.out.push(0x95);
            self.out.extend((self.frame.len() as u64).to_le_bytes());
            self.out.append(&mut self.frame);
        }
    }

    fn arg(&mut self, arg: Arg<'_>) {
        match arg {
            Arg::Text(text) => {
                let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
                self.op(&[&[0x8c, length], text.as_bytes(), &[0x94]].concat());
            }
            Arg::Int(number) => match (u8::try_from(number), u16::try_from(number)) {
                (Ok(byte), _) => self.op(&[b'K', byte]),
                (_, Ok(short)) => self.op(&[&b"M"[..], &short.to_le_bytes()].concat()),
                _ => self.op(&[&b"J"[..], &number.to_le_bytes()].concat()),
            },
            Arg::Bytes(size) => {
                let length = u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes();
                let bytes = [&b"B"[..], &length, &vec![7; size]].concat();
                if size < FRAME {
                    self.op(&bytes);
                } else {
                    self.end_frame();
                    self.out.extend(bytes);
                }
                self.op(b"\x94");
            }
            Arg::List(size) => {
                self.op(b"]\x94");
                for from in (0..size).step_by(1000) {
                    self.op(b"(");
                    (from..size.min(from + 1000)).for_each(|number| self.arg(Arg::Int(number)));
                    self.op(b"e");
                }
            }
        }
    }
}
