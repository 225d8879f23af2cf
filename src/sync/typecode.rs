//! The typecodes of Python's `array`: what an item of each is made of, on a 64-bit Unix.

use super::python::{self, type_name};
use crate::exception::Exception;
use crate::pickle::Writer;
use crate::value::Value;

/// One of `b B u w h H i I l L q Q f d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Typecode(pub(super) char);

const TOO_LARGE: &str = "Python int too large to convert to C long";

impl Typecode {
    /// # Errors
    /// `ValueError` if there is none such.
    pub(super) fn new(code: char) -> Result<Self, Exception> {
        if "bBuwhHiIlLqQfd".contains(code) {
            return Ok(Self(code));
        }
        let text = "bad typecode (must be b, B, u, w, h, H, i, I, l, L, q, Q, f or d)";
        Err(Exception::value_error(text))
    }

    /// # Errors
    /// `TypeError` if it is no text of one character, `ValueError` if there is none such.
    pub(super) fn of(value: &Value) -> Result<Self, Exception> {
        one_char(value, "array() argument 1").and_then(Self::new)
    }

    /// Whether the items are characters.
    pub(super) fn is_text(self) -> bool {
        matches!(self.0, 'u' | 'w')
    }

    /// The bytes of an item.
    pub(super) fn size(self) -> usize {
        match self.0 {
            'b' | 'B' => 1,
            'h' | 'H' => 2,
            'i' | 'I' | 'f' | 'u' | 'w' => 4,
            _ => 8,
        }
    }

    /// What an array holds when it is given this.
    ///
    /// # Errors
    /// `TypeError` for another type, `OverflowError` if it does not fit: in `CPython`'s words.
    pub(super) fn item(self, value: &Value) -> Result<Value, Exception> {
        let value = value.plain();
        match self.0 {
            'u' | 'w' => one_char(&value, "array item").map(|char| char.to_string().into()),
            'f' | 'd' => self.float(&value),
            _ => self.int(&value),
        }
    }

    #[allow(clippy::cast_possible_truncation)] // An f is short of precision, as in C.
    fn float(self, value: &Value) -> Result<Value, Exception> {
        match (value.clone().to::<f64>(), value) {
            (Ok(float), _) if self.0 == 'f' => Ok(Value::from(float as f32)),
            (Ok(float), _) => Ok(Value::from(float)),
            (Err(_), Value::BigInt(_)) => Err(overflow("int too large to convert to float")),
            (Err(_), _) => {
                let name = type_name(value);
                Err(Exception::type_error(format!("must be real number, not {name}")))
            }
        }
    }

    fn int(self, value: &Value) -> Result<Value, Exception> {
        if !python::is_int(value) {
            return Err(python::no_int(value));
        }
        let int = match value {
            Value::BigInt(int) if int.is_negative() => i128::MIN,
            _ => i128::MAX,
        };
        let int = value.clone().to::<i128>().unwrap_or(int);
        let named = |name: &str, least: i64, most: i64| match i64::try_from(int) {
            Err(_) => Err(overflow(TOO_LARGE)),
            Ok(int) if int < least => Err(overflow(&format!("{name} is less than minimum"))),
            Ok(int) if int > most => Err(overflow(&format!("{name} is greater than maximum"))),
            Ok(_) => Ok(()),
        };
        match self.0 {
            // C takes these two for a wider type first.
            'b' => named("signed short integer", i16::MIN.into(), i16::MAX.into())
                .and_then(|()| named("signed char", i8::MIN.into(), i8::MAX.into())),
            'H' => named("signed integer", i32::MIN.into(), i32::MAX.into())
                .and_then(|()| named("unsigned short", 0, u16::MAX.into())),
            'B' => named("unsigned byte integer", 0, u8::MAX.into()),
            'h' => named("signed short integer", i16::MIN.into(), i16::MAX.into()),
            'i' => named("signed integer", i32::MIN.into(), i32::MAX.into()),
            'I' | 'L' if int < 0 => Err(overflow("can't convert negative value to unsigned int")),
            'I' | 'L' if u64::try_from(int).is_err() => {
                Err(overflow("Python int too large to convert to C unsigned long"))
            }
            'I' => named("unsigned int", 0, u32::MAX.into())
                .map_err(|_| overflow("unsigned int is greater than maximum")),
            'l' => named("", i64::MIN, i64::MAX),
            'q' if i64::try_from(int).is_err() => Err(overflow("int too big to convert")),
            'Q' if int < 0 => Err(overflow("can't convert negative int to unsigned")),
            'Q' if u64::try_from(int).is_err() => Err(overflow("int too big to convert")),
            _ => Ok(()),
        }?;
        Ok(int.into())
    }

    /// The items in memory, as `bytes` gives them to an array.
    ///
    /// # Errors
    /// `ValueError` if there is a part of one too many, or one is no character.
    pub(super) fn unpack(self, bytes: &[u8]) -> Result<Vec<Value>, Exception> {
        let size = self.size();
        if !bytes.len().is_multiple_of(size) {
            return Err(Exception::value_error("bytes length not a multiple of item size"));
        }
        let item = |item: &[u8]| match self.0 {
            'f' => Some(f32::from_le_bytes(item.try_into().ok()?).into()),
            'd' => Some(f64::from_le_bytes(item.try_into().ok()?).into()),
            'u' | 'w' => {
                let char = char::from_u32(u32::from_le_bytes(item.try_into().ok()?))?;
                Some(char.to_string().into())
            }
            code if code.is_lowercase() => Some(Value::from_le_bytes(item)),
            // One more byte, or the top bit would be taken for a sign.
            _ => Some(Value::from_le_bytes(&[item, &[0]].concat())),
        };
        let items: Option<Vec<Value>> = bytes.chunks_exact(size).map(item).collect();
        items.ok_or_else(|| Exception::value_error("character is not in range"))
    }

    /// The array of these items, as Python pickles it in protocol 2: `array('i', [1, 2])`. That means the
    /// same on every machine.
    pub(super) fn pickle(self, items: &[Value]) -> Value {
        let mut writer = Writer::default();
        writer.global("array", "array");
        writer.tuple(2, |writer| {
            writer.str(self.0.encode_utf8(&mut [0; 4]));
            writer.value(&Value::List(items.to_vec()));
        });
        writer.reduce();
        writer.into_pickle().into()
    }

    /// The array that a value is, if it is one: `array('i', [1, 2])`, or `array('i', bytes)` as a manager's
    /// clients pickle it, or `_array_reconstructor(array, 'i', format, bytes)` as others do.
    pub(super) fn unpickle(value: &Value) -> Option<(Self, Vec<Value>)> {
        let array = python::instance(value).filter(|instance| instance.module == "array")?;
        match (array.name.as_str(), array.args.as_slice()) {
            ("array", [code, Value::List(items)]) => {
                let code = Self::of(code).ok()?;
                let items = items.iter().map(|item| code.item(item).ok());
                Some((code, items.collect::<Option<_>>()?))
            }
            ("array", [code, Value::Bytes(bytes)]) => {
                let code = Self::of(code).ok()?;
                Some((code, code.unpack(bytes).ok()?))
            }
            ("_array_reconstructor", [_, code, Value::Int(format), Value::Bytes(bytes)]) => {
                Some((Self::of(code).ok()?, Self::unpack_format(*format, bytes)?))
            }
            _ => None,
        }
    }

    /// Items in a format of `array._array_reconstructor`: even numbers are little-endian.
    fn unpack_format(format: i64, bytes: &[u8]) -> Option<Vec<Value>> {
        let (code, size) = match format {
            0 => return Self('B').unpack(bytes).ok(),
            1 => return Self('b').unpack(bytes).ok(),
            2 | 3 => ('H', 2),
            4 | 5 => ('h', 2),
            6 | 7 => ('I', 4),
            8 | 9 => ('i', 4),
            10 | 11 => ('Q', 8),
            12 | 13 => ('q', 8),
            14 | 15 => ('f', 4),
            16 | 17 => ('d', 8),
            20 | 21 => ('w', 4),
            _ => return None,
        };
        let code = Self(code);
        if format % 2 == 0 {
            return code.unpack(bytes).ok();
        }
        let swapped: Vec<u8> =
            bytes.chunks(size).flat_map(|item| item.iter().rev().copied()).collect();
        code.unpack(&swapped).ok()
    }
}

/// The items of an array that came as a value, if it is one.
pub(crate) fn items(array: &Value) -> Option<Vec<Value>> {
    Typecode::unpickle(array).map(|(_, items)| items)
}

/// A text of one character; `what` should have been one.
fn one_char(value: &Value, what: &str) -> Result<char, Exception> {
    let mut chars = value.as_str().unwrap_or_default().chars();
    let got = match (value, chars.next(), chars.next()) {
        (_, Some(char), None) => return Ok(char),
        (Value::Str(text), ..) => format!("a string of length {}", text.chars().count()),
        // An argument is told from an item so.
        (Value::None, ..) if what != "array item" => "None".to_owned(),
        _ => type_name(value),
    };
    let text = format!("{what} must be a unicode character, not {got}");
    Err(Exception::type_error(text))
}

fn overflow(text: &str) -> Exception {
    Exception::builtin("OverflowError", text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::pickle::Pickle;

    #[test]
    fn numbers_at_the_edges() {
        for (code, least, most) in [
            ('b', -128, 127),
            ('B', 0, 255),
            ('h', -32768, 32767),
            ('H', 0, 65535),
            ('i', i128::from(i32::MIN), i128::from(i32::MAX)),
            ('I', 0, i128::from(u32::MAX)),
            ('l', i128::from(i64::MIN), i128::from(i64::MAX)),
            ('L', 0, i128::from(u64::MAX)),
            ('q', i128::from(i64::MIN), i128::from(i64::MAX)),
            ('Q', 0, i128::from(u64::MAX)),
        ] {
            let item = |int: i128| Typecode(code).item(&int.into());
            assert_eq!(item(least), Ok(least.into()), "{code}");
            assert_eq!(item(most), Ok(most.into()), "{code}");
            assert!(item(least - 1).is_err() && item(most + 1).is_err(), "{code}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_in_cpythons_words() {
        let refusal = |code, value: Value| Typecode(code).item(&value).unwrap_err().to_string();
        let huge = || Value::from(1_i128 << 100);
        for (code, value, text) in [
            ('b', 128.into(), "OverflowError: signed char is greater than maximum"),
            ('B', (-1).into(), "OverflowError: unsigned byte integer is less than minimum"),
            ('h', huge(), "OverflowError: Python int too large to convert to C long"),
            ('I', (-1).into(), "OverflowError: can't convert negative value to unsigned int"),
            ('I', (1_i64 << 32).into(), "OverflowError: unsigned int is greater than maximum"),
            ('I', huge(), "OverflowError: Python int too large to convert to C unsigned long"),
            ('q', huge(), "OverflowError: int too big to convert"),
            ('Q', (-1).into(), "OverflowError: can't convert negative int to unsigned"),
            ('i', 1.5.into(), "TypeError: 'float' object cannot be interpreted as an integer"),
            ('d', "x".into(), "TypeError: must be real number, not str"),
            ('u', 5.into(), "TypeError: array item must be a unicode character, not int"),
        ] {
            assert_eq!(refusal(code, value), text);
        }
    }

    #[test]
    fn arrays_come_back_from_their_pickle() {
        let array = Typecode('i').pickle(&[1.into(), 2.into()]);
        assert_eq!(Typecode::unpickle(&array), Some((Typecode('i'), vec![1.into(), 2.into()])));
        // What pickle.dumps(array('i', [7, 8])) gives.
        let dumped = b"\x80\x04\x8c\x05array\x94\x8c\x14_array_reconstructor\x94\x93\x94(\x8c\x05array\
            \x94\x8c\x05array\x94\x93\x94\x8c\x01i\x94K\x08C\x08\x07\0\0\0\x08\0\0\0\x94t\x94R\x94.";
        let array = Pickle::from_bytes(dumped, &Limits::default()).unwrap().into();
        assert_eq!(Typecode::unpickle(&array), Some((Typecode('i'), vec![7.into(), 8.into()])));
        let numbers = |format, bytes: &[u8]| Typecode::unpack_format(format, bytes);
        assert_eq!(numbers(1, &[255]), Some(vec![(-1).into()]));
        assert_eq!(numbers(2, &[1, 255]), Some(vec![0xff01.into()]));
        assert_eq!(numbers(5, &[255, 254]), Some(vec![(-2).into()]));
        assert_eq!(numbers(15, &1.5_f32.to_be_bytes()), Some(vec![1.5.into()]));
        assert_eq!(numbers(20, b"a\0\0\0"), Some(vec!["a".into()]));
        assert_eq!(numbers(22, b"a\0\0\0"), None);
        assert_eq!(numbers(10, b"a\0\0\0"), None);
    }
}
