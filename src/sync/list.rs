//! Python's `list`, shared.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::python::slice::{self, Subscript};
use super::python::{self, Key};
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::{Element, Stored};
use crate::object::{Exposed, Return, SharedObject, saturated};
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::lock;

/// A list for this process and for clients. A clone is the same list.
///
/// ```
/// use basemanager::sync::List;
/// let list: List = ["a", "b"].into_iter().collect();
/// list.push(3);
/// assert_eq!(list.get(2), Some(3.into()));
/// assert_eq!(list.to_string(), "['a', 'b', 3]");
/// ```
#[derive(Clone, Default)]
pub struct List(Arc<Shared>);

#[derive(Default)]
struct Shared {
    items: Mutex<Vec<Element>>,
}

impl<T: Into<Element>> FromIterator<T> for List {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::of(items.into_iter().map(Into::into).collect())
    }
}

shared!(List, printed, sized, cleared);

impl List {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a list from a client's arguments, as Python's `list(iterable=())`: a callable for
    /// [`Manager::register`](crate::Manager::register).
    ///
    /// # Errors
    /// `TypeError` if the argument is not plain data, a `range` or a proxy of a container.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        let ([], [iterable]) = call.args([], ["iterable"])?;
        let items = iterable.map(|iterable| python::elements(call, iterable)).transpose()?;
        Ok(Self::of(items.unwrap_or_default()))
    }

    /// A copy of the item at an index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value> {
        self.0.lock().get(index).map(|item| item.data.clone())
    }

    /// Adds an item at the end. For an argument of a client use [`Call::element`], which keeps the shared
    /// objects alive that it names.
    #[doc(alias = "append")]
    pub fn push(&self, item: impl Into<Element>) {
        let item = item.into();
        self.0.lock().push(item);
    }

    /// Removes and returns the last item.
    #[must_use]
    pub fn pop(&self) -> Option<Value> {
        let item = self.0.lock().pop();
        item.map(|item| item.data)
    }

    /// A copy of all items.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Value> {
        self.0.lock().iter().map(|item| item.data.clone()).collect()
    }

    fn of(items: Vec<Element>) -> Self {
        Self(Arc::new(Shared { items: Mutex::new(items) }))
    }
}

#[rustfmt::skip]
const METHODS: [&str; 22] = [
    "__add__", "__contains__", "__delitem__", "__getitem__", "__iadd__", "__imul__", "__len__",
    "__mul__", "__reversed__", "__rmul__", "__setitem__", "append", "clear", "copy", "count",
    "extend", "index", "insert", "pop", "remove", "reverse", "sort",
];

impl SharedObject for Shared {
    fn exposed(&self) -> Exposed {
        METHODS.into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "__getitem__" => {
                let ([at], []) = call.args(["index"], [])?;
                self.get(&Subscript::of(call, at)?).map(Return::Element)
            }
            "__setitem__" => {
                let ([at, value], []) = call.args(["index", "value"], [])?;
                Ok(self.set(&Subscript::of(call, at)?, value, call)?.into())
            }
            "__delitem__" => {
                let ([at], []) = call.args(["index"], [])?;
                let at = Subscript::of(call, at)?;
                let old = slice::delete(&mut self.lock(), &at)?;
                drop(old);
                Ok(().into())
            }
            "__contains__" | "count" | "remove" => {
                let ([value], []) = call.args(["value"], [])?;
                let value = call.kept(value);
                Ok(match call.method() {
                    "__contains__" => self.find(&value, ALL, true).next().is_some().into(),
                    "count" => self.find(&value, ALL, false).count().into(),
                    _ => self.remove(&value)?.into(),
                })
            }
            "index" => {
                let ([value], [start, stop]) = call.args(["value"], ["start", "stop"])?;
                let bound = |arg: Option<&Pickle>, default| {
                    arg.map_or(Ok(default), |arg| slice::bound(&call.value(arg)?))
                };
                let bounds = [bound(start, 0)?, bound(stop, i64::MAX)?];
                let found = self.find(&call.kept(value), bounds, true).next();
                Ok(found.ok_or_else(not_in_list)?.0.into())
            }
            "append" => {
                let ([item], []) = call.args(["item"], [])?;
                let item = call.element(item);
                self.lock().push(item);
                Ok(().into())
            }
            "insert" => {
                let ([at, item], []) = call.args(["index", "item"], [])?;
                let (at, item) = (python::integer(call, at)?, call.element(item));
                let mut items = self.lock();
                let at = slice::clamp(at, items.len());
                items.insert(at, item);
                Ok(().into())
            }
            "pop" => {
                let ([], [at]) = call.args([], ["index"])?;
                let at = at.map_or(Ok(-1), |at| python::integer(call, at))?;
                let mut items = self.lock();
                let at = slice::position(at, items.len())?;
                Ok(Return::Element(items.remove(at)))
            }
            "sort" => Ok(self.sort(call)?.into()),
            // The operators return a copy of the list, those in place too: as in CPython's manager.
            method @ ("extend" | "__iadd__") => {
                let ([iterable], []) = call.args(["iterable"], [])?;
                let new = python::elements(call, iterable)?;
                self.lock().extend(new);
                if method == "extend" { Ok(().into()) } else { self.copy() }
            }
            "__add__" => {
                let ([other], []) = call.args(["other"], [])?;
                let other = call.value(other)?;
                let Value::List(more) = other else {
                    return Err(python::wrong_type("a list", &other));
                };
                let more = more.into_iter().map(|item| call.hold(item));
                let more = more.collect::<Result<Vec<Element>, _>>()?;
                Ok(Return::Element(list(self.lock().iter().chain(&more))))
            }
            "__mul__" | "__rmul__" | "__imul__" => self.repeat(call),
            _ => {
                call.no_args()?;
                self.whole(call)
            }
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let items = self.lock();
        let shown = items.iter().map(|item| &item.data);
        python::write_items(out, "[", shown, "]")
    }

    fn size(&self) -> usize {
        size(&self.lock())
    }

    fn value(&self) -> Result<Element, Exception> {
        Ok(list(&*self.lock()))
    }
}

/// The bounds of a whole list.
const ALL: [i64; 2] = [0, i64::MAX];

// The methods drop what they remove without the lock: an item may be the last reference to another object.
impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Element>> {
        lock(&self.items)
    }

    fn copy(&self) -> Result<Return, Exception> {
        self.value().map(Return::Element)
    }

    /// The methods without arguments.
    fn whole(&self, call: &Call<'_>) -> Result<Return, Exception> {
        Ok(match call.method() {
            "__len__" => self.lock().len().into(),
            "__reversed__" => {
                let reversed = self.lock().iter().rev().collect();
                Return::Element(python::iterator(reversed)?)
            }
            "copy" => self.copy()?,
            "clear" => {
                self.clear();
                ().into()
            }
            "reverse" => {
                self.lock().reverse();
                ().into()
            }
            _ => return Err(call.no_such_method()),
        })
    }

    fn get(&self, at: &Subscript) -> Result<Element, Exception> {
        let items = self.lock();
        let named = slice::get(&items, at)?;
        Ok(match (at, named.as_slice()) {
            (Subscript::Index(_), [item]) => Element::clone(item),
            _ => list(named),
        })
    }

    fn set(&self, at: &Subscript, value: &Pickle, call: &Call<'_>) -> Result<(), Exception> {
        // Holds the old items in the end, and drops them without the lock.
        let mut new = match at {
            Subscript::Index(_) => vec![call.element(value)],
            Subscript::Slice(_) => python::elements(call, value)?,
        };
        slice::set(&mut self.lock(), at, &mut new)
    }

    fn remove(&self, value: &Value) -> Result<(), Exception> {
        loop {
            let (at, copy) = self.find(value, ALL, true).next().ok_or_else(not_in_list)?;
            let mut items = self.lock();
            let found = copy.as_ref().unwrap_or(value);
            // The list may have changed meanwhile.
            if items.get(at).is_some_and(|item| python::eq_unopened(found, item) == Some(true)) {
                let old = items.remove(at);
                drop(items);
                drop(old);
                return Ok(());
            }
        }
    }

    /// The items between two bounds that equal a value, or at least the first: the index of each, and a copy if it
    /// was compared by that. Items that take long to compare are copied, and compared without the lock.
    fn find(
        &self,
        value: &Value,
        bounds: [i64; 2],
        first: bool,
    ) -> impl Iterator<Item = (usize, Option<Value>)> + use<> {
        let items = self.lock();
        let [start, stop] = bounds.map(|bound| slice::clamp(bound, items.len()));
        let mut candidates = Vec::new();
        for (at, item) in items.iter().enumerate().take(stop).skip(start) {
            match python::eq_unopened(value, item) {
                Some(false) => {}
                Some(true) => {
                    candidates.push((at, None));
                    if first {
                        break;
                    }
                }
                None => candidates.push((at, Some(item.data.clone()))),
            }
        }
        drop(items);
        let opened = candidates.iter().any(|(_, copy)| copy.is_some());
        let key = opened.then(|| Key::of(value));
        candidates
            .into_iter()
            .filter(move |(_, copy)| copy.as_ref().is_none_or(|copy| Some(Key::of(copy)) == key))
    }

    /// `self * times`, `times * self` and `self *= times`.
    fn repeat(&self, call: &Call<'_>) -> Result<Return, Exception> {
        let ([times], []) = call.args(["times"], [])?;
        let times = saturated(python::integer(call, times)?);
        let mut items = self.lock();
        call.spend(size(&items).saturating_mul(times))?;
        let total = items.len().saturating_mul(times);
        let mut product: Vec<_> = items.iter().cycle().take(total).cloned().collect();
        if call.method() == "__imul__" {
            std::mem::swap(&mut *items, &mut product);
            drop(items);
            return self.copy();
        }
        drop(items);
        Ok(Return::Element(list(&product)))
    }

    /// `sort(*, key=None, reverse=False)`.
    fn sort(&self, call: &Call<'_>) -> Result<(), Exception> {
        let ([], [key, reverse]) = call.args([], ["key", "reverse"])?;
        if !call.positional().is_empty() {
            return Err(Exception::type_error("sort() takes keyword arguments only"));
        }
        if key.is_some_and(|key| !call.kept(key).is_none()) {
            let text = "sort() of this manager takes no key, for it runs no functions: sort a copy, and \
                        assign it to [:]";
            return Err(Exception::type_error(text));
        }
        let reverse = call.is_true(reverse, false)?;
        python::sort(&mut self.lock(), reverse, |item| &item.data)
    }
}

/// Copies of items, as a list.
fn list<'a>(items: impl IntoIterator<Item = &'a Element>) -> Element {
    items.into_iter().collect::<Stored<Vec<Value>>>().map(Value::List)
}

fn size(items: &[Element]) -> usize {
    items.iter().map(|item| python::size(item)).sum()
}

fn not_in_list() -> Exception {
    Exception::value_error("the value is not in the list")
}
