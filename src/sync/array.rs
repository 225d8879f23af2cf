//! Python's `multiprocessing.managers.Array`: an `array.array`, shared.

use std::sync::{Arc, Mutex, MutexGuard};

use super::python;
use super::python::array::Typecode;
use super::python::slice::{self, Subscript, out_of_range};
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::Element;
use crate::object::{Exposed, Return, SharedObject};
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

    fn repr(&self) -> String {
        self.short_repr(usize::MAX)
    }

    fn short_repr(&self, max: usize) -> String {
        let items = self.lock();
        let code = self.typecode.0;
        python::beginning(max, |out| match items.first() {
            None => write!(out, "array('{code}')"),
            Some(_) if self.typecode.is_text() => {
                let text: String = items.iter().filter_map(Value::as_str).collect();
                write!(out, "array('{code}', {})", Value::Str(text))
            }
            Some(_) => {
                write!(out, "array('{code}', ")?;
                python::write_items(out, "[", items.iter(), "])")
            }
        })
    }

    fn size(&self) -> usize {
        self.lock().len().saturating_mul(size_of::<Element>())
    }

    fn value(&self) -> Result<Element, Exception> {
        Ok(self.typecode.pickle(self.lock().clone())?.into())
    }
}
