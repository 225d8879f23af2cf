//! A remark on each operation of a pickle, for a reader who sees them for the first time.

use crate::pickle::int_from_le_bytes;
use crate::pickle::opcode::{self as op, number};
use crate::value::Value;

/// The object that an operation spells out, or the operation's number, as Python would print it.
pub(crate) fn operand(code: u8, operand: &[u8]) -> String {
    let value: Value = match code {
        op::NONE => Value::None,
        op::NEWTRUE | op::NEWFALSE => Value::Bool(code == op::NEWTRUE),
        op::BININT | op::LONG1 | op::LONG4 => match int_from_le_bytes(operand) {
            Some(int) => Value::Int(int),
            None => return format!("an int of {} bytes", operand.len()),
        },
        op::BINFLOAT => {
            let bits = operand.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
            Value::Float(f64::from_bits(bits))
        }
        op::SHORT_BINUNICODE | op::BINUNICODE | op::BINUNICODE8 => {
            String::from_utf8_lossy(beginning(operand)).as_ref().into()
        }
        op::SHORT_BINBYTES | op::BINBYTES | op::BINBYTES8 => {
            Value::Bytes(beginning(operand).to_vec())
        }
        op::BYTEARRAY8 => Value::ByteArray(beginning(operand).to_vec()),
        op::EMPTY_LIST => Value::List(Vec::new()),
        op::EMPTY_TUPLE => Value::Tuple(Vec::new()),
        op::EMPTY_DICT => Value::Dict(Vec::new()),
        op::EMPTY_SET => Value::Set(Vec::new()),
        op::GLOBAL => return String::from_utf8_lossy(operand).replace('\n', "."),
        _ => Value::from(number(operand)),
    };
    value.to_string()
}

/// As much of a string as a remark may need.
fn beginning(bytes: &[u8]) -> &[u8] {
    bytes.get(..200).unwrap_or(bytes)
}

/// At most this many characters.
pub(crate) fn shorten(mut text: String, max: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(max) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// An operation that pushes an object, or changes nothing.
pub(crate) fn push(code: u8, operand: &[u8]) -> String {
    let length = operand.len();
    match code {
        op::PROTO => "names the version of the pickle format; 5 is the newest".to_owned(),
        op::FRAME => {
            let size = number(operand);
            format!(
                "pickle framing: the next {size} bytes belong together (not a frame of the connection)"
            )
        }
        op::NONE => "pushes None".to_owned(),
        op::NEWTRUE => "pushes True".to_owned(),
        op::NEWFALSE => "pushes False".to_owned(),
        op::BININT1 => "pushes an int that fits one byte".to_owned(),
        op::BININT2 => "pushes an int of two bytes, the lower one first".to_owned(),
        op::BININT => "pushes an int of four bytes, with sign, the lowest first".to_owned(),
        op::LONG1 | op::LONG4 => format!("pushes an int of {length} bytes, the lowest first"),
        op::BINFLOAT => "pushes a float: 8 bytes of IEEE 754, the highest first".to_owned(),
        op::SHORT_BINUNICODE => format!("pushes a str: 1 byte with its length, {length} of UTF-8"),
        op::BINUNICODE => format!("pushes a str: 4 bytes with its length, {length} of UTF-8"),
        op::BINUNICODE8 => format!("pushes a str: 8 bytes with its length, {length} of UTF-8"),
        op::SHORT_BINBYTES => format!("pushes bytes: 1 byte with their number, then {length}"),
        op::BINBYTES => format!("pushes bytes: 4 bytes with their number, then {length}"),
        op::BINBYTES8 => format!("pushes bytes: 8 bytes with their number, then {length}"),
        op::BYTEARRAY8 => format!("pushes a bytearray: 8 bytes with its length, then {length}"),
        op::EMPTY_TUPLE => "pushes (), the empty tuple".to_owned(),
        op::EMPTY_LIST => "pushes [], a list to be filled".to_owned(),
        op::EMPTY_DICT => "pushes {}, a dict to be filled".to_owned(),
        op::EMPTY_SET => "pushes set(), to be filled".to_owned(),
        op::GLOBAL => "would IMPORT this module, and push its attribute of this name".to_owned(),
        _ => String::new(),
    }
}

/// An operation that makes one object of several.
pub(crate) fn join(code: u8, count: usize, made: &str) -> String {
    match code {
        op::STACK_GLOBAL => {
            format!("would IMPORT the module and attribute that the two strings name: {made}")
        }
        op::REDUCE => {
            format!(
                "would CALL the object under the top of the stack, with the top as arguments: {made}"
            )
        }
        op::NEWOBJ => format!("would make an object of a class, without __init__: {made}"),
        op::NEWOBJ_EX => format!("would make an object of a class, with keywords: {made}"),
        op::FROZENSET => {
            format!("makes one frozenset of the {count} objects since the mark: {made}")
        }
        op::TUPLE => format!("makes one tuple of the {count} objects since the mark: {made}"),
        op::TUPLE1 => format!("takes the top of the stack, and makes the tuple {made}"),
        _ => format!("takes {count} objects from the stack, and makes the tuple {made}"),
    }
}

/// An operation that puts objects into another.
pub(crate) fn fill(code: u8, count: usize, filled: &str) -> String {
    match code {
        op::BUILD => {
            format!(
                "sets the state of the object under the top (__setstate__, or attributes): {filled}"
            )
        }
        op::APPEND => format!("appends the top to the list under it: {filled}"),
        op::APPENDS => format!("appends the {count} objects since the mark to the list: {filled}"),
        op::SETITEM => format!("sets a key and its value in the dict under them: {filled}"),
        op::SETITEMS => {
            format!("sets {} keys, each with its value, in the dict: {filled}", count / 2)
        }
        _ => format!("adds the {count} objects since the mark to the set: {filled}"),
    }
}

/// The text of an object after others were put into it.
pub(crate) fn fill_text(code: u8, text: &str, inner: &str) -> String {
    if code == op::BUILD {
        return format!("{text} with state {inner}");
    }
    let (empty, close) = match text {
        "set()" => return format!("{{{inner}}}"),
        _ if text.ends_with(']') => (text == "[]", ']'),
        _ if text.ends_with('}') => (text == "{}", '}'),
        // It was cut, or is an object.
        _ if text.ends_with('…') => return text.to_owned(),
        _ => return format!("{text} with {inner}"),
    };
    let start = text.strip_suffix(close).unwrap_or(text);
    let comma = if empty || inner.is_empty() { "" } else { ", " };
    format!("{start}{comma}{inner}{close}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A generator of bytes that are often opcodes.
    pub(crate) struct Random(pub(crate) u64);

    impl Random {
        pub(crate) fn next(&mut self) -> u8 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.to_le_bytes()[3]
        }

        pub(crate) fn opcode(&mut self) -> u8 {
            const COMMON: &[u8] = b"N(K])}tea(s\x85\x86u\x94hq0R\x81b\x8f\x90(N\x8c\x01\x93";
            match self.next() {
                byte @ 0..32 => byte,
                byte => COMMON[usize::from(byte) % COMMON.len()],
            }
        }
    }

    #[test]
    fn operands_are_python() {
        assert_eq!(operand(op::BININT, &[0xff; 4]), "-1");
        assert_eq!(operand(op::BINFLOAT, &1.5_f64.to_be_bytes()), "1.5");
        assert_eq!(operand(op::GLOBAL, b"os\nsystem"), "os.system");
        assert_eq!(fill_text(op::APPENDS, "[1]", "2, 3"), "[1, 2, 3]");
        assert_eq!(fill_text(op::SETITEM, "{}", "'a': 1"), "{'a': 1}");
        assert_eq!(shorten("abcdef".to_owned(), 3), "abc…");
    }
}
