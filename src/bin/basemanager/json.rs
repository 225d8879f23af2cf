//! Items as text: JSON where it can say the same, else Python's repr.

use std::fs::File;
use std::io;

use basemanager::Value;
use serde_json::Value as Json;

use crate::failure::Failure;

/// An item from the command line or a line of stdin: JSON, else text.
pub(crate) fn parse(text: &str) -> Result<Value, Failure> {
    match serde_json::from_str(text) {
        Ok(json) => from_json(json),
        Err(error) if error.to_string().starts_with("recursion limit") => {
            Err(Failure::usage("JSON that nests more than 127 deep"))
        }
        Err(_) => Ok(text.into()),
    }
}

fn from_json(json: Json) -> Result<Value, Failure> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(truth) => truth.into(),
        Json::Number(number) => number_from(number.as_str())?,
        Json::String(text) => text.into(),
        Json::Array(items) => {
            Value::List(items.into_iter().map(from_json).collect::<Result<_, _>>()?)
        }
        Json::Object(entries) => {
            let entry = |(key, value): (String, Json)| Ok((key.into(), from_json(value)?));
            Value::Dict(entries.into_iter().map(entry).collect::<Result<_, Failure>>()?)
        }
    })
}

fn number_from(text: &str) -> Result<Value, Failure> {
    if !text.contains(['.', 'e', 'E']) {
        let too_large = |_| Failure::usage(format!("the integer {text} has more than 128 bits"));
        return Ok(Value::Int(text.parse().map_err(too_large)?));
    }
    match text.parse::<f64>() {
        Ok(float) if float.is_finite() => Ok(float.into()),
        _ => Err(Failure::usage(format!("the number {text} is too large for a float"))),
    }
}

/// Appends JSON, if the item is made of what JSON has: `None`, `bool`, `int`, `float`, `str`, `list`, `tuple` (as an
/// array), and `dict` with keys of `str`.
pub(crate) fn append(out: &mut Vec<u8>, value: &Value) -> Result<(), NotJson> {
    match value {
        Value::None => out.extend(b"null"),
        Value::Bool(truth) => out.extend(if *truth { &b"true"[..] } else { b"false" }),
        Value::Int(int) => write(out, int)?,
        Value::Float(float) if float.is_finite() => write(out, float)?,
        Value::Str(text) => write(out, text)?,
        Value::List(items) | Value::Tuple(items) => {
            append_all(out, *b"[]", items, append)?;
        }
        Value::Dict(entries) => append_all(out, *b"{}", entries, |out, (key, value)| {
            let Value::Str(key) = key else { return Err(NotJson) };
            write(out, key)?;
            out.extend(b": ");
            append(out, value)
        })?,
        _ => return Err(NotJson),
    }
    Ok(())
}

/// JSON has no such value.
#[derive(Debug)]
pub(crate) struct NotJson;

fn write<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), NotJson> {
    serde_json::to_writer(out, value).map_err(|_| NotJson)
}

fn append_all<T>(
    out: &mut Vec<u8>,
    [open, close]: [u8; 2],
    items: &[T],
    mut one: impl FnMut(&mut Vec<u8>, &T) -> Result<(), NotJson>,
) -> Result<(), NotJson> {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.extend(b", ");
        }
        one(out, item)?;
    }
    out.push(close);
    Ok(())
}

/// How items are printed.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Format {
    /// JSON, or Python's repr where JSON has no such value. One line each.
    Json,
    /// Python's repr. One line each.
    Repr,
    /// The bytes or text of an item, and nothing else.
    Raw,
}

/// Appends an item in this format.
pub(crate) fn append_item(out: &mut Vec<u8>, value: &Value, format: Format) {
    let start = out.len();
    match (format, value) {
        (Format::Raw, Value::Bytes(bytes) | Value::ByteArray(bytes)) => return out.extend(bytes),
        (Format::Raw, Value::Str(text)) => return out.extend(text.as_bytes()),
        (Format::Repr, _) => {}
        _ => {
            if append(out, value).is_ok() {
                return out.push(b'\n');
            }
            out.truncate(start);
        }
    }
    // A repr escapes line ends, but that of an opaque object may contain some.
    out.extend(value.to_string().replace('\n', "\\n").into_bytes());
    out.push(b'\n');
}

/// Whether a text can stand for this item. Not for a class, an object that holds itself, an integer of more than 128
/// bits, or an object of more than 64 KiB.
pub(crate) fn has_text(value: &Value) -> bool {
    !value.to_string().contains("<opaque pickle, ")
}

/// Standard output without a buffer, so that it is known which items were written.
pub(crate) fn stdout() -> io::Result<File> {
    #[cfg(unix)]
    let handle = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned();
    #[cfg(windows)]
    let handle = std::os::windows::io::AsHandle::as_handle(&io::stdout()).try_clone_to_owned();
    Ok(File::from(handle?))
}

/// Writes some items, and returns how many were written completely.
pub(crate) fn write_items(
    out: &mut impl io::Write,
    items: &[Value],
    format: Format,
) -> (usize, io::Result<()>) {
    let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(items.len()));
    for item in items {
        append_item(&mut text, item, format);
        ends.push(text.len());
    }
    let (mut rest, mut result) = (text.as_slice(), Ok(()));
    while !rest.is_empty() && result.is_ok() {
        match out.write(rest) {
            Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => result = Err(error),
        }
    }
    let written = text.len() - rest.len();
    (ends.partition_point(|end| *end <= written), result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_as_they_were_put() {
        for text in
            ["null", "7", "-1", "1.5", "true", "\"a\\nb\"", "[1, [2]]", "{\"b\": 1, \"a\": []}"]
        {
            let mut out = Vec::new();
            append_item(&mut out, &parse(text).unwrap(), Format::Json);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{text}\n"));
        }
        assert_eq!(parse("hello world").unwrap(), "hello world".into());
        assert_eq!(parse("170141183460469231731687303715884105727").unwrap(), i128::MAX.into());
        assert!(parse("170141183460469231731687303715884105728").is_err());
        assert!(parse("1e999").is_err());
    }

    #[test]
    fn items_without_json_are_their_repr() {
        let repr = |value: Value, format| {
            let mut out = Vec::new();
            append_item(&mut out, &value, format);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(repr(Value::Bytes(b"a".to_vec()), Format::Json), "b'a'\n");
        assert_eq!(repr(vec![f64::NAN].into(), Format::Json), "[nan]\n");
        assert_eq!(repr(Value::Dict(vec![(1.into(), 2.into())]), Format::Json), "{1: 2}\n");
        assert_eq!(repr((1, "a").into(), Format::Json), "[1, \"a\"]\n");
        assert_eq!(repr((1, "a").into(), Format::Repr), "(1, 'a')\n");
        assert_eq!(repr(Value::Bytes(b"a\n".to_vec()), Format::Raw), "a\n");
    }
}
