//! Python's `repr()` of a value.

use std::fmt::{self, Display, Formatter, Write};

use super::Value;

impl Display for Value {
    /// As Python's `repr()`. An opaque value is shown as the call that makes it: see [`Pickle`](crate::Pickle).
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(truth) => f.write_str(if *truth { "True" } else { "False" }),
            Self::Int(int) => int.fmt(f),
            Self::Float(float) => write_float(f, *float),
            Self::Str(text) => write_text(f, text),
            Self::Bytes(bytes) => write_bytes(f, bytes),
            Self::ByteArray(bytes) => {
                f.write_str("bytearray(")?;
                write_bytes(f, bytes)?;
                f.write_char(')')
            }
            Self::List(items) => write_items(f, "[", items, "]"),
            Self::Tuple(items) if items.len() == 1 => write_items(f, "(", items, ",)"),
            Self::Tuple(items) => write_items(f, "(", items, ")"),
            Self::Dict(pairs) => {
                write_items(f, "{", pairs.iter().map(|(key, value)| Pair(key, value)), "}")
            }
            Self::Set(items) if items.is_empty() => f.write_str("set()"),
            Self::Set(items) => write_items(f, "{", items, "}"),
            Self::FrozenSet(items) if items.is_empty() => f.write_str("frozenset()"),
            Self::FrozenSet(items) => write_items(f, "frozenset({", items, "})"),
            Self::Opaque(pickle) => pickle.fmt(f),
        }
    }
}

/// The first `max` characters of what is written: the writer stops there.
pub(crate) fn beginning(
    max: usize,
    write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
) -> String {
    struct Beginning(String, usize);
    impl fmt::Write for Beginning {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for char in text.chars() {
                self.1 = self.1.checked_sub(1).ok_or(fmt::Error)?;
                self.0.push(char);
            }
            Ok(())
        }
    }
    let mut beginning = Beginning(String::new(), max);
    // An error says that it is full.
    let _ = write(&mut beginning);
    beginning.0
}

/// An item of a dict.
pub(crate) struct Pair<'a>(pub(crate) &'a Value, pub(crate) &'a Value);

impl Display for Pair<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}

/// Writes items between brackets, with commas.
pub(crate) fn write_items<T: Display>(
    f: &mut dyn fmt::Write,
    open: &str,
    items: impl IntoIterator<Item = T>,
    close: &str,
) -> fmt::Result {
    f.write_str(open)?;
    for (at, item) in items.into_iter().enumerate() {
        f.write_str(if at == 0 { "" } else { ", " })?;
        write!(f, "{item}")?;
    }
    f.write_str(close)
}

/// The shortest digits that read back the same, with an exponent below 1e-4 and from 1e16 on.
///
/// Between two equally near, Python takes the even digit. Rust does so only when told how many
/// digits to write, so each number is printed once to count them.
fn write_float(f: &mut Formatter<'_>, float: f64) -> fmt::Result {
    if float.is_nan() {
        return f.write_str("nan");
    }
    let places = |text: &str| text.split_once('.').map_or(0, |(_, places)| places.len());
    let shortest = format!("{float:e}");
    match shortest.split_once('e').map(|(digits, power)| (digits, power.parse::<i32>())) {
        Some((digits, Ok(power))) if !(-4..16).contains(&power) => {
            let even = format!("{float:.*e}", places(digits));
            // Next to a power of two, the nearest that short may belong to the number below.
            let same = even.split_once('e').filter(|_| even.parse() == Ok(float));
            write!(f, "{}e{power:+03}", same.map_or(digits, |(digits, _)| digits))
        }
        _ => write!(f, "{float:.*}", places(&format!("{float:?}"))),
    }
}

fn write_text(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    let quote = quote(text.as_bytes());
    f.write_char(quote)?;
    for char in text.chars() {
        if char.is_ascii() || !is_printable(char) {
            write_escaped(f, u32::from(char), quote)?;
        } else {
            f.write_char(char)?;
        }
    }
    f.write_char(quote)
}

/// For a `bytearray`, Python before 3.14 also escapes a `'` between double quotes; this does not.
fn write_bytes(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let quote = quote(bytes);
    write!(f, "b{quote}")?;
    bytes.iter().try_for_each(|byte| write_escaped(f, u32::from(*byte), quote))?;
    f.write_char(quote)
}

/// Single quotes, unless only double ones save an escape.
fn quote(bytes: &[u8]) -> char {
    if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' }
}

/// Writes printable ASCII as it is, and everything else by its number.
fn write_escaped(f: &mut Formatter<'_>, code: u32, quote: char) -> fmt::Result {
    match char::from_u32(code) {
        Some('\n') => f.write_str("\\n"),
        Some('\r') => f.write_str("\\r"),
        Some('\t') => f.write_str("\\t"),
        Some(char) if char == '\\' || char == quote => write!(f, "\\{char}"),
        Some(char @ ' '..='~') => f.write_char(char),
        _ if code < 0x100 => write!(f, "\\x{code:02x}"),
        _ if code < 0x1_0000 => write!(f, "\\u{code:04x}"),
        _ => write!(f, "\\U{code:08x}"),
    }
}

/// Python's `str.isprintable`, which Rust has in the escapes of `Debug`. There, a combining mark is
/// escaped only where it has nothing to combine with; Python never escapes it.
fn is_printable(char: char) -> bool {
    char.escape_debug().len() == 1 || format!("a{char}").escape_debug().nth(1) == Some(char)
}

// Every expected text is what Python 3 prints.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::pickle::Pickle;

    fn check(value: impl Into<Value>, expected: &str) {
        assert_eq!(value.into().to_string(), expected);
    }

    #[test]
    fn floats() {
        for (float, expected) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1_956_873_983_951_424.0 + 0.25, "1956873983951424.2"),
            (2_f64.powi(-25), "2.9802322387695312e-08"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1e-4, "0.0001"),
            (0.00012, "0.00012"),
            (1e-5, "1e-05"),
            (-2.5e-5, "-2.5e-05"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (-f64::NAN, "nan"),
        ] {
            check(float, expected);
        }
    }

    #[test]
    fn text() {
        check("it", "'it'");
        check("it's", r#""it's""#);
        check(r#"'""#, r#"'\'"'"#);
        check(r#"""#, r#"'"'"#);
        check("\0\t\n\r\\\u{7f}\u{ad}\u{a0}", r"'\x00\t\n\r\\\x7f\xad\xa0'");
        check("\u{200b}\u{2028}\u{e000}\u{e0001}", r"'\u200b\u2028\ue000\U000e0001'");
        check("é\u{301}😀", "'é\u{301}😀'");
        check("\u{301}", "'\u{301}'");
    }

    #[test]
    fn bytes() {
        check(b"\0\t\n\r\x7f\xff\\a", r"b'\x00\t\n\r\x7f\xff\\a'");
        check(b"it's", r#"b"it's""#);
        check(Value::ByteArray(b"a".to_vec()), "bytearray(b'a')");
    }

    #[test]
    fn containers() {
        let one = || vec![Value::from(1)];
        check((), "None");
        check([Value::from(true), false.into()], "[True, False]");
        check(Value::Tuple(vec![]), "()");
        check((1,), "(1,)");
        check((1, "a"), "(1, 'a')");
        check(Value::Dict(vec![]), "{}");
        check(
            Value::Dict(vec![(1.into(), "a".into()), (2.into(), 0.5.into())]),
            "{1: 'a', 2: 0.5}",
        );
        check(Value::Set(vec![]), "set()");
        check(Value::Set(one()), "{1}");
        check(Value::FrozenSet(vec![]), "frozenset()");
        check(Value::FrozenSet(one()), "frozenset({1})");
        check(Pickle::new(&[0; 42], 0), "<opaque pickle, 42 bytes>");
    }
}
