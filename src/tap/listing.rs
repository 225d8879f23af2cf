//! `-vv`: the bytes of a pickle, next to the operation that they belong to. Long operands are cut.
//!
//! ```text
//!  offset  bytes        stack  operation             remark
//!       0  80 04            0  PROTO 4               written in protocol 4
//!       2  28               1  MARK                  begins a group: ...
//!       3  4e               2  │ NONE                pushes None
//! ```
//! The bars stand for the marks on the stack. Nothing is imported or called.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::message::why;
use super::remarks::{self, operand};
use crate::error::Result;
use crate::limits::Limits;
use crate::pickle::machine::{Builder, Machine, Op, Parts, Span, Stack};
use crate::pickle::opcode::{self as op, Opcode, number};

/// The bytes in a line.
const WIDTH: usize = 12;
/// The most lines of an operation, or of bytes that are not a pickle.
const MAX_ROWS: usize = 16;
/// The column of the remarks, counted from the operation.
const REMARK: usize = 33;
/// The most characters of an object in a remark.
const TEXT: usize = 48;
/// The most bars.
const MAX_BARS: usize = 12;

/// Lists a pickle, operation by operation: offset, bytes, the size of the stack afterwards, the operation, and a remark
/// for a reader who is new to pickle. Of a long operand, the first 192 bytes are listed. Bytes that cannot be decoded
/// come last, with the reason. `length` is that of the whole pickle, of which only the beginning may be known.
///
/// ```
/// let text = basemanager::tap::listing(b"\x80\x04K\x07\x85.", 6);
/// assert!(text.contains("TUPLE1"));
/// assert!(text.contains("makes the tuple (7,)"), "{text}");
/// ```
#[must_use]
pub fn listing(pickle: &[u8], length: u64) -> String {
    let mut list = Listing {
        bytes: pickle,
        text: format!("offset  {:<36} stack  {:<REMARK$} remark\n", "bytes", "operation"),
        end: 0,
        bars: 0,
        slots: 0,
        memo: BTreeMap::new(),
    };
    let mut stack = Stack::default();
    let ran = Machine::beginning(pickle, &Limits::default()).run(&mut list, &mut stack);
    let rest = match ran {
        Ok(end) => {
            let result = stack.slots.last().map_or("", |slot| slot.text.as_str());
            let remark = format!("ends; the object on the stack is the result: {result}");
            list.row(Span(end, end + 1), stack.slots.len(), "STOP", &remark);
            "bytes after the end of the pickle, which unpicklers ignore".to_owned()
        }
        Err(_) if length > pickle.len() as u64 => {
            let recorded = pickle.len();
            format!("the pickle has {length} bytes; the tap recorded only the first {recorded}")
        }
        Err(error) => {
            let name = pickle.get(list.end as usize).map_or("?", |code| Opcode::of(*code).name);
            format!("cannot decode {name}: {}", why(&error))
        }
    };
    let end = u32::try_from(pickle.len()).unwrap_or(u32::MAX);
    if list.end < end {
        list.row(Span(list.end, end), stack.slots.len(), "?", &rest);
    }
    list.text
}

/// What the listing knows of an object on the stack.
#[derive(Debug)]
struct Slot {
    is_mark: bool,
    /// As Python would print it, shortened.
    text: String,
}

impl Slot {
    fn new(text: String) -> Self {
        Self { is_mark: false, text: remarks::shorten(text, TEXT) }
    }
}

struct Listing<'a> {
    bytes: &'a [u8],
    text: String,
    /// Where the last operation ended.
    end: u32,
    bars: usize,
    /// The size of the stack.
    slots: usize,
    memo: BTreeMap<usize, String>,
}

impl Listing<'_> {
    /// An operation, and as many lines as its bytes need.
    fn row(&mut self, span: Span, stack: usize, operation: &str, remark: &str) {
        (self.end, self.slots) = (span.1, stack);
        let mut offset = span.0 as usize;
        let bars = "│ ".repeat(self.bars.min(MAX_BARS));
        let bytes = span.of(self.bytes);
        for (at, chunk) in bytes.chunks(WIDTH).take(MAX_ROWS).enumerate() {
            let hex: String = chunk.iter().map(|byte| format!("{byte:02x} ")).collect();
            let _ = if at == 0 {
                let operation = format!("{bars}{operation}");
                writeln!(
                    self.text,
                    "{offset:>6}  {hex:<36} {stack:>5}  {operation:<REMARK$} {remark}"
                )
            } else {
                let text: String = chunk.iter().map(|byte| printable(*byte)).collect();
                writeln!(self.text, "{offset:>6}  {hex:<36}        {bars}  {text}")
            };
            offset += chunk.len();
        }
        if let Some(more) = more(bytes, WIDTH) {
            let _ = writeln!(self.text, "{:>6}  {more}", "");
        }
    }

    fn op(&mut self, op: Op<'_>, stack: usize, operand: &str, remark: &str) {
        let name = Opcode::of(op.code).name;
        let space = if operand.is_empty() { "" } else { " " };
        self.row(Span(op.start, op.end), stack, &format!("{name}{space}{operand}"), remark);
    }

    /// The texts of the last slots, with commas.
    fn parts(stack: &[Slot], first: usize) -> String {
        let mut text = String::new();
        for slot in stack.get(first..).unwrap_or_default() {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&slot.text);
            if text.len() > 4 * TEXT {
                break;
            }
        }
        text
    }
}

impl Builder for Listing<'_> {
    type Slot = Slot;

    fn push(&mut self, op: Op<'_>, stack: &mut Vec<Slot>) -> Result<()> {
        if op.code == op::MARK {
            self.op(op, stack.len() + 1, "", "begins a group, which a later operation collects");
            self.bars += 1;
            stack.push(Slot { is_mark: true, text: String::new() });
            return Ok(());
        }
        let text = operand(op.code, op.operand);
        let shown = if op.operand.is_empty() {
            String::new()
        } else {
            remarks::shorten(text.clone(), TEXT / 2)
        };
        self.op(op, stack.len() + 1, &shown, &remarks::push(op.code, op.operand));
        stack.push(Slot::new(text));
        Ok(())
    }

    fn join(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, parts: Parts) -> Result<()> {
        let count = stack.len().saturating_sub(parts.first);
        if parts.first > parts.slot {
            self.bars = self.bars.saturating_sub(1);
        }
        let inner = Self::parts(stack, parts.first);
        let mut names =
            stack.get(parts.first..).unwrap_or_default().iter().map(|slot| slot.text.as_str());
        let (first, second) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        let text = match op.code {
            op::FROZENSET => format!("frozenset({{{inner}}})"),
            op::STACK_GLOBAL => {
                format!("{}.{}", first.trim_matches('\''), second.trim_matches('\''))
            }
            op::REDUCE => format!("{first}{second}"),
            op::NEWOBJ | op::NEWOBJ_EX => format!("{first}.__new__{second}"),
            _ if count == 1 => format!("({inner},)"),
            _ => format!("({inner})"),
        };
        stack.truncate(parts.slot);
        let slot = Slot::new(text);
        self.op(op, stack.len() + 1, "", &remarks::join(op.code, count, &slot.text));
        stack.push(slot);
        Ok(())
    }

    fn fill(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, parts: Parts) -> Result<()> {
        let is_marked = stack.get(parts.first.saturating_sub(1)).is_some_and(|slot| slot.is_mark);
        if is_marked {
            self.bars = self.bars.saturating_sub(1);
        }
        let count = stack.len().saturating_sub(parts.first);
        let inner = match op.code {
            op::SETITEM | op::SETITEMS => {
                let mut text = String::new();
                for pair in stack.get(parts.first..).unwrap_or_default().chunks(2) {
                    let [key, value] = pair else { continue };
                    let comma = if text.is_empty() { "" } else { ", " };
                    let _ = write!(text, "{comma}{}: {}", key.text, value.text);
                    if text.len() > 4 * TEXT {
                        break;
                    }
                }
                text
            }
            _ => Self::parts(stack, parts.first),
        };
        stack.truncate(parts.slot + 1);
        if let Some(slot) = stack.last_mut() {
            let filled = remarks::fill_text(op.code, &slot.text, &inner);
            *slot = Slot::new(filled);
        }
        let text = stack.last().map_or("", |slot| slot.text.as_str());
        self.op(op, stack.len(), "", &remarks::fill(op.code, count, text));
        Ok(())
    }

    fn put(&mut self, op: Op<'_>, stack: &mut [Slot], key: Option<usize>) -> Result<()> {
        let key = key.unwrap_or(self.memo.len());
        let text = stack.last().map(|slot| slot.text.clone()).unwrap_or_default();
        let remark = format!("remembers {text} as memo {key}, for a later GET");
        self.op(op, stack.len(), &format!("→ memo {key}"), &remark);
        self.memo.insert(key, text);
        Ok(())
    }

    fn get(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, key: usize) -> Result<Option<Span>> {
        let known = self.memo.get(&key).cloned();
        let remark = match &known {
            Some(text) => format!("pushes memo {key} again, the same object: {text}"),
            None => format!("pushes memo {key}, which was never put: an error in Python"),
        };
        self.op(op, stack.len() + 1, &format!("← memo {key}"), &remark);
        stack.push(Slot::new(known.unwrap_or_else(|| "?".to_owned())));
        Ok(None)
    }

    fn discard(&mut self, op: Op<'_>, stack: &mut Vec<Slot>, first: usize) {
        let marks =
            stack.get(first..).unwrap_or_default().iter().filter(|slot| slot.is_mark).count();
        self.bars = self.bars.saturating_sub(marks);
        let text = Self::parts(stack, first);
        stack.truncate(first);
        self.op(
            op,
            stack.len(),
            "",
            &format!("drops {text} from the stack; its side effects remain"),
        );
    }

    fn skip(&mut self, op: Op<'_>) {
        let text = operand(op.code, op.operand);
        let follow = self.bytes.len().saturating_sub(op.end as usize);
        let remark = if op.code == op::FRAME && number(op.operand) > follow {
            format!(
                "pickle framing: the next {} bytes belong together; only {follow} are here",
                number(op.operand)
            )
        } else {
            remarks::push(op.code, op.operand)
        };
        self.op(op, self.slots, &text, &remark);
    }
}

/// Bytes that are not a pickle, in hexadecimal digits and as text: 16 in a line, and at most 16 lines.
#[must_use]
pub fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (row, chunk) in bytes.chunks(16).take(MAX_ROWS).enumerate() {
        let hex: String = chunk.iter().map(|byte| format!("{byte:02x} ")).collect();
        let shown: String = chunk.iter().map(|byte| printable(*byte)).collect();
        let _ = writeln!(text, "{:>6}  {hex:<48} {shown}", row * 16);
    }
    if let Some(more) = more(bytes, 16) {
        let _ = writeln!(text, "{:>6}  {more}", "");
    }
    text
}

/// Says how many bytes have no line.
fn more(bytes: &[u8], width: usize) -> Option<String> {
    let left = bytes.len().checked_sub(MAX_ROWS * width).filter(|left| *left > 0)?;
    let digits = left.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    Some(format!("… {grouped} more {}", if left == 1 { "byte" } else { "bytes" }))
}

fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '·' }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn request_is_listed_with_bars_memo_and_remarks() {
        let pickle =
            b"\x80\x04\x95\x13\0\0\0\0\0\0\0(\x8c\x02id\x94\x8c\x03put\x94K\x07\x85\x94}t.";
        let text = listing(pickle, 0);
        for part in [
            "PROTO 4",
            "FRAME 19",
            "MARK",
            "│ SHORT_BINUNICODE 'id'",
            "│ MEMOIZE → memo 0",
            "│ BININT1 7",
            "makes the tuple (7,)",
            "('id', 'put', (7,), {})",
            "STOP",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }

    #[test]
    fn every_byte_is_listed_of_any_bytes() {
        let mut rng = crate::tap::remarks::tests::Random(7);
        for _ in 0..2000 {
            let length = usize::from(rng.next()) % 80;
            let mut bytes: Vec<u8> = (0..length).map(|_| rng.opcode()).collect();
            bytes.push(b'.');
            let text = listing(&bytes, 0);
            let mut listed = Vec::new();
            for line in text.lines().skip(1) {
                let hex = line.get(8..44).unwrap();
                listed.extend(
                    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()),
                );
            }
            assert_eq!(listed, bytes, "{text}");
        }
    }

    #[test]
    fn long_operand_is_cut() {
        let pickle = [&b"\x80\x04X\x40\x42\x0f\0"[..], &vec![b'x'; 1_000_000], b"."].concat();
        let text = listing(&pickle, pickle.len() as u64);
        assert_eq!(text.lines().count(), 1 + 1 + MAX_ROWS + 1 + 1, "{text}");
        // 5 of the 192 bytes are the opcode and the length.
        assert!(text.contains("        … 999,813 more bytes\n"), "{text}");
        assert!(text.contains("1000007  2e"), "{text}");
        assert!(!listing(&[b'N'; 192], 192).contains("more"));
        let text = dump(&[7; 257]);
        assert!(text.ends_with("        … 1 more byte\n"), "{text}");
    }

    #[test]
    fn what_cannot_be_read_comes_last_with_the_reason() {
        let text = listing(b"\x80\x04N(I7\nt.", 0);
        assert!(
            text.contains("cannot decode INT: it uses pickle opcode INT (protocol 0 or 1)"),
            "{text}"
        );
        let text = listing(b"\x80\x04B\0\0\0\x01", 0x100_0007);
        assert!(text.contains("has 16777223 bytes; the tap recorded only the first 7"), "{text}");
        let text = listing(b"N.more", 0);
        assert!(text.contains("after the end") && text.contains("6d 6f 72 65"), "{text}");
    }
}
