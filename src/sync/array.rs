//! Python's `multiprocessing.managers.Array`: an `array.array`, shared.

use std::sync::{Arc, Mutex, MutexGuard};

use super::sequence::{self, Subscript};
use super::typecode::Typecode;
use super::{args, iterate, python};
use crate::error::Result;
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::Element;
use crate::object::{Exposed, Return, SharedObject};
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::lock;

/// An array of numbers of one type, usable in this process and by clients at once. A clone is the same
/// array.
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
    /// bytes, signed and not, `f d` for floats, `u w` for characters.
    ///
    /// # Errors
    /// `ValueError` for another typecode, `OverflowError` or `TypeError` if an item does not fit it.
    pub fn new<T: Into<Value>>(typecode: char, items: impl IntoIterator<Item = T>) -> Result<Self> {
        let typecode = Typecode::new(typecode)?;
        let items = items.into_iter().map(|item| typecode.item(&item.into()));
        Ok(Self::of(typecode, items.collect::<Result<_, Exception>>()?))
    }

    /// What Python's constructor makes of a client's arguments: `Array(typecode, sequence, lock=True)`.
    ///
    /// # Errors
    /// `TypeError`, `ValueError` or `OverflowError`, as Python's.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let ([typecode, items], [_]) = call.args(["typecode", "sequence"], ["lock"])?;
        let typecode = Typecode::of(&call.value(typecode)?)?;
        let items = initial(call, typecode, iterate::referent(call, call.value(items)?)?.data)?;
        Ok(Self::of(typecode, items))
    }

    /// The item at a place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value> {
        self.0.lock().get(index).cloned()
    }

    /// Replaces the item at a place.
    ///
    /// # Errors
    /// `IndexError` if there is no such place, `OverflowError` or `TypeError` if the item does not fit.
    pub fn set(&self, index: usize, item: impl Into<Value>) -> Result<()> {
        let item = self.0.typecode.item(&item.into())?;
        let mut items = self.0.lock();
        *items
            .get_mut(index)
            .ok_or_else(|| index_error("array assignment index out of range"))? = item;
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

/// What an array is made from: bytes are its memory, anything else its items.
fn initial(call: &Call<'_>, typecode: Typecode, items: Value) -> Result<Vec<Value>, Exception> {
    let refusal = |what| {
        let code = typecode.0;
        let text = format!("cannot use a {what} to initialize an array with typecode '{code}'");
        Err(Exception::type_error(text))
    };
    let items = match (items, typecode.is_text()) {
        (Value::Str(_), false) => return refusal("str"),
        (Value::Bytes(bytes) | Value::ByteArray(bytes), _) => {
            call.spend((bytes.len() / typecode.size()).saturating_mul(size_of::<Value>()))?;
            return typecode.unpack(&bytes);
        }
        (items, is_text) => match Typecode::unpickle(&items) {
            Some((other, _)) if other.is_text() && !is_text => return refusal("unicode array"),
            Some((_, items)) => items,
            None => iterate::items(call, items, 0)?.data,
        },
    };
    items.iter().map(|item| typecode.item(item)).collect()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Value>> {
        lock(&self.items)
    }

    fn get(&self, at: &Subscript) -> Result<Value, Exception> {
        let items = self.lock();
        match at {
            Subscript::Index(index) => {
                let item = sequence::place(*index, items.len()).and_then(|at| items.get(at));
                item.cloned().ok_or_else(|| index_error("array index out of range"))
            }
            Subscript::Slice(slice) => {
                let items: Vec<Value> = sequence::get(&items, slice).cloned().collect();
                Ok(self.typecode.pickle(&items))
            }
        }
    }

    fn set(&self, at: &Subscript, value: &Value) -> Result<(), Exception> {
        let mut items = self.lock();
        match at {
            Subscript::Index(index) => {
                let place = sequence::place(*index, items.len());
                let item = place.and_then(|place| items.get_mut(place));
                let item =
                    item.ok_or_else(|| index_error("array assignment index out of range"))?;
                *item = self.typecode.item(value)?;
            }
            Subscript::Slice(slice) => {
                let (typecode, mut new) = Typecode::unpickle(value).ok_or_else(|| {
                    let name = python::type_name(value);
                    let text = format!("can only assign array (not \"{name}\") to array slice");
                    Exception::type_error(text)
                })?;
                if typecode != self.typecode {
                    let text = "bad argument type for built-in operation";
                    return Err(Exception::type_error(text));
                }
                sequence::set(&mut items, slice, &mut new, "array")?;
            }
        }
        Ok(())
    }
}

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        ["__getitem__", "__len__", "__setitem__"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "__getitem__" => {
                let [at] = args::special(call)?;
                Ok(self.get(&subscript(call, at)?)?.into())
            }
            "__len__" => {
                let [] = args::special(call)?;
                Ok(self.lock().len().into())
            }
            "__setitem__" => {
                let [at, value] = args::special(call)?;
                Ok(self.set(&subscript(call, at)?, &call.value(value)?)?.into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self) -> String {
        let items = self.lock();
        let code = self.typecode.0;
        if items.is_empty() {
            return format!("array('{code}')");
        }
        let items = if self.typecode.is_text() {
            Value::Str(items.iter().filter_map(Value::as_str).collect())
        } else {
            Value::List(items.clone())
        };
        format!("array('{code}', {items})")
    }

    fn short_repr(&self, max: usize) -> String {
        let items = self.lock();
        if items.is_empty() || self.typecode.is_text() {
            drop(items);
            return self.repr().chars().take(max).collect();
        }
        python::beginning(max, |out| {
            write!(out, "array('{}', ", self.typecode.0)?;
            python::write_items(out, "[", items.iter(), "])")
        })
    }

    fn size(&self) -> usize {
        self.lock().len().saturating_mul(size_of::<Element>())
    }

    fn value(&self) -> Result<Element, Exception> {
        Ok(self.typecode.pickle(&self.lock()).into())
    }
}

fn subscript(call: &Call<'_>, at: &Pickle) -> Result<Subscript, Exception> {
    Subscript::of(call, at, |_| "array indices must be integers".to_owned())
}

fn index_error(text: &str) -> Exception {
    Exception::builtin("IndexError", text)
}
