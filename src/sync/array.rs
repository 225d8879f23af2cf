//! Python's `multiprocessing.managers.Array`: an `array.array`, shared.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::python;
use super::python::slice::{self, Subscript, out_of_range};
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::Element;
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::{Pickle, int_from_le_bytes};
use crate::value::Value;
use crate::wait::lock;

/// An array of numbers of one type, for this process and for clients. A clone is the same array.
///
/// ```
/// use basemanager::sync::Array;
/// let array = Array::new('i', [1, 2, 3])?;
/// array.set(0, 7)?;
/// assert_eq!(array.to_string(), "array('i', [7, 2, 3])");
/// assert!(array.set(0, "x").is_err());
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone)]
pub struct Array(Arc<Shared>);

struct Shared {
    typecode: Typecode,
    items: Mutex<Vec<Value>>,
}

shared!(Array, printed, sized);

impl Array {
    /// An array with one of Python's typecodes: `b B h H i I l L q Q` for integers of 1, 2, 4, 8 and 8
    /// bytes, signed and unsigned, `f d` for floats, `u w` for characters.
    ///
    /// # Errors
    /// `ValueError` for another typecode, `OverflowError` or `TypeError` if an item does not fit it.
    pub fn new<T: Into<Value>>(typecode: char, items: impl IntoIterator<Item = T>) -> Result<Self> {
        let typecode = Typecode::new(typecode)?;
        let items = items.into_iter().map(|item| typecode.item(&item.into()));
        Ok(Self::of(typecode, items.collect::<Result<_, Exception>>()?))
    }

    /// Creates an array from a client's arguments, as Python's `Array(typecode, sequence, lock=True)`: a callable
    /// for [`Manager::register`](crate::Manager::register).
    ///
    /// # Errors
    /// `TypeError`, `ValueError` or `OverflowError`, as [`Array::new`].
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let ([typecode, sequence], [_]) = call.args(["typecode", "sequence"], ["lock"])?;
        let typecode = Typecode::new(typecode.to()?)?;
        let sequence = python::referent(call, call.value(sequence)?)?;
        Ok(Self::of(typecode, initial(call, typecode, sequence.data)?))
    }

    /// A copy of the item at an index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value> {
        self.0.lock().get(index).cloned()
    }

    /// Replaces the item at an index.
    ///
    /// # Errors
    /// `IndexError` beyond the end, `OverflowError` or `TypeError` if the item does not fit.
    pub fn set(&self, index: usize, item: impl Into<Value>) -> Result<()> {
        let item = self.0.typecode.item(&item.into())?;
        *self.0.lock().get_mut(index).ok_or_else(out_of_range)? = item;
        Ok(())
    }

    /// A copy of all items.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Value> {
        self.0.lock().clone()
    }

    fn of(typecode: Typecode, items: Vec<Value>) -> Self {
        Self(Arc::new(Shared { typecode, items: Mutex::new(items) }))
    }
}

/// The first items of an array: bytes are its memory, anything else is iterated over.
fn initial(call: &Call<'_>, typecode: Typecode, items: Value) -> Result<Vec<Value>, Exception> {
    if let Value::Bytes(bytes) | Value::ByteArray(bytes) = items {
        call.spend((bytes.len() / typecode.size()).saturating_mul(size_of::<Value>()))?;
        return typecode.unpack(&bytes);
    }
    let items = match Typecode::unpickle(&items) {
        Some((_, items)) => items,
        None => python::items(call, items, 0)?.data,
    };
    items.iter().map(|item| typecode.item(item)).collect()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Value>> {
        lock(&self.items)
    }

    fn get(&self, at: &Subscript) -> Result<Value, Exception> {
        let items = self.lock();
        let named = slice::get(&items, at)?;
        match (at, named.as_slice()) {
            (Subscript::Index(_), [item]) => Ok(Value::clone(item)),
            _ => self.typecode.pickle(named.into_iter().cloned().collect()),
        }
    }

    fn set(&self, at: &Subscript, value: &Value) -> Result<(), Exception> {
        let mut items = self.lock();
        let mut new = match at {
            Subscript::Index(index) => {
                slice::position(*index, items.len())?;
                vec![self.typecode.item(value)?]
            }
            Subscript::Slice(_) => match Typecode::unpickle(value) {
                Some((typecode, items)) if typecode == self.typecode => items,
                _ => return Err(python::wrong_type("an array with the same typecode", value)),
            },
        };
        slice::set(&mut items, at, &mut new)
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["__getitem__", "__len__", "__setitem__"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "__getitem__" => {
                let ([at], []) = call.args(["index"], [])?;
                Ok(self.get(&Subscript::of(call, at)?)?.into())
            }
            "__len__" => {
                call.no_args()?;
                Ok(self.lock().len().into())
            }
            "__setitem__" => {
                let ([at, value], []) = call.args(["index", "value"], [])?;
                Ok(self.set(&Subscript::of(call, at)?, &call.value(value)?)?.into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let items = self.lock();
        let code = self.typecode.0;
        match items.first() {
            None => write!(out, "array('{code}')"),
            Some(_) if self.typecode.is_text() => {
                let text: String = items.iter().filter_map(Value::as_str).collect();
                write!(out, "array('{code}', {})", Value::Str(text))
            }
            Some(_) => {
                write!(out, "array('{code}', ")?;
                python::write_items(out, "[", items.iter(), "])")
            }
        }
    }

    fn size(&self) -> usize {
        self.lock().len().saturating_mul(size_of::<Element>())
    }

    fn value(&self) -> Result<Element, Exception> {
        Ok(self.typecode.pickle(self.lock().clone())?.into())
    }
}

/// One of `b B u w h H i I l L q Q f d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Typecode(char);

impl Typecode {
    /// # Errors
    /// `ValueError` if it is not a typecode.
    fn new(code: char) -> Result<Self, Exception> {
        if "bBuwhHiIlLqQfd".contains(code) {
            return Ok(Self(code));
        }
        let text = format!("a typecode must be one of b B u w h H i I l L q Q f d, not {code}");
        Err(Exception::value_error(text))
    }

    /// Whether the items are characters.
    fn is_text(self) -> bool {
        matches!(self.0, 'u' | 'w')
    }

    /// The size of an item in bytes.
    fn size(self) -> usize {
        match self.0 {
            'b' | 'B' => 1,
            'h' | 'H' => 2,
            'i' | 'I' | 'f' | 'u' | 'w' => 4,
            _ => 8,
        }
    }

    /// A value as an item of the array.
    ///
    /// # Errors
    /// `TypeError` if it is of another type, `OverflowError` if it does not fit.
    #[expect(clippy::cast_possible_truncation, reason = "'f' loses precision, as in C")]
    fn item(self, value: &Value) -> Result<Value, Exception> {
        match self.0 {
            'u' | 'w' => Ok(value.clone().to::<char>()?.into()),
            'f' | 'd' => {
                let float =
                    python::float(value).ok_or_else(|| python::wrong_type("a number", value))?;
                Ok(if self.0 == 'f' { (float as f32).into() } else { float.into() })
            }
            code => {
                let int =
                    python::int(value).ok_or_else(|| python::wrong_type("an integer", value))?;
                let values = 1_i128 << (8 * self.size());
                let min = if code.is_lowercase() { -values / 2 } else { 0 };
                let max = min + values - 1;
                if (min..=max).contains(&int) {
                    return Ok(int.into());
                }
                Err(python::overflow(format!(
                    "{int} does not fit typecode '{code}': {min} to {max}"
                )))
            }
        }
    }

    /// The items that these bytes are in memory.
    ///
    /// # Errors
    /// `ValueError` if the last item is incomplete, or an item is not a character.
    fn unpack(self, bytes: &[u8]) -> Result<Vec<Value>, Exception> {
        let item = |item: &[u8]| match self.0 {
            'f' => Some(f32::from_le_bytes(item.try_into().ok()?).into()),
            'd' => Some(f64::from_le_bytes(item.try_into().ok()?).into()),
            'u' | 'w' => char::from_u32(u32::from_le_bytes(item.try_into().ok()?)).map(Value::from),
            code if code.is_lowercase() => int_from_le_bytes(item).map(Value::Int),
            // The zero byte keeps the top bit from being read as a sign.
            _ => int_from_le_bytes(&[item, &[0]].concat()).map(Value::Int),
        };
        let items = bytes.chunks_exact(self.size());
        let whole = items.remainder().is_empty();
        let items: Option<Vec<Value>> = items.map(item).collect();
        items.filter(|_| whole).ok_or_else(|| {
            let (len, code) = (bytes.len(), self.0);
            Exception::value_error(format!("{len} bytes are not items of typecode '{code}'"))
        })
    }

    /// The array of these items, as Python pickles it in protocol 2: `array('i', [1, 2])`. Unlike the item
    /// bytes, that means the same on every machine.
    ///
    /// # Errors
    /// If the items cannot be pickled.
    fn pickle(self, items: Vec<Value>) -> Result<Value, Exception> {
        Ok(Pickle::instance("array", "array", (self.0, items))?.into())
    }

    /// The array that a value is, if it is one: `array('i', [1, 2])`, or `array('i', bytes)` as
    /// `multiprocessing.managers` pickles it.
    pub(crate) fn unpickle(value: &Value) -> Option<(Self, Vec<Value>)> {
        let array = python::instance(value)?;
        if (array.module.as_str(), array.name.as_str()) != ("array", "array") {
            return None;
        }
        let [code, items] = <[Value; 2]>::try_from(array.args).ok()?;
        let code = Self::new(code.to().ok()?).ok()?;
        let items = match items {
            Value::List(items) => items.iter().map(|item| code.item(item)).collect(),
            Value::Bytes(bytes) => code.unpack(&bytes),
            _ => return None,
        };
        Some((code, items.ok()?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn integers_at_the_limits_of_each_typecode() {
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
    fn unfit_items_raise_type_error_or_overflow_error() {
        let refusal = |code, value: Value| Typecode(code).item(&value).unwrap_err().to_string();
        for (code, value, text) in [
            ('b', 128.into(), "OverflowError: 128 does not fit typecode 'b': -128 to 127"),
            ('I', (-1).into(), "OverflowError: -1 does not fit typecode 'I': 0 to 4294967295"),
            ('i', 1.5.into(), "TypeError: expected an integer, got 'float'"),
            ('d', "x".into(), "TypeError: expected a number, got 'str'"),
            ('u', 5.into(), "TypeError: expected str, got int"),
            ('u', "ab".into(), "TypeError: expected a str of one character"),
        ] {
            assert_eq!(refusal(code, value), text);
        }
        assert!(refusal('q', (1_i128 << 100).into()).starts_with("OverflowError"));
    }

    #[test]
    fn arrays_come_back_from_their_pickle() {
        let array = Typecode('i').pickle(vec![1.into(), 2.into()]).unwrap();
        assert_eq!(Typecode::unpickle(&array), Some((Typecode('i'), vec![1.into(), 2.into()])));
        // What a manager's client sends for array('h', [7, -2]).
        let dumped =
            b"\x80\x04\x8c\x05array\x94\x8c\x05array\x94\x93\x94\x8c\x01h\x94C\x04\x07\0\xfe\xff\
            \x94\x86\x94R\x94.";
        let array = Pickle::from_bytes(dumped, &Limits::default()).unwrap().into();
        assert_eq!(Typecode::unpickle(&array), Some((Typecode('h'), vec![7.into(), (-2).into()])));
        assert_eq!(Typecode('d').unpack(&1.5_f64.to_le_bytes()), Ok(vec![1.5.into()]));
        assert_eq!(Typecode('w').unpack(b"a\0\0\0"), Ok(vec!["a".into()]));
        assert_eq!(Typecode('B').unpack(&[255]), Ok(vec![255.into()]));
        assert!(Typecode('w').unpack(b"\xff\xff\xff\xff").is_err());
        assert!(Typecode('h').unpack(b"a").is_err());
    }
}
