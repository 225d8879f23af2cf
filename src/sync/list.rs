//! Python's `list`, shared.

use std::sync::{Arc, Mutex, MutexGuard};

use super::python::slice::{self, Subscript, out_of_range};
use super::python::{self, Key};
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::{Element, Held};
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
            "__contains__" => {
                let ([value], []) = call.args(["value"], [])?;
                let value = call.kept(value);
                Ok(self.first(&value, 0, i64::MAX).is_some().into())
            }
            "__getitem__" => {
                let ([at], []) = call.args(["index"], [])?;
                self.get(&Subscript::of(call, at)?).map(Return::Element)
            }
            "__len__" => {
                call.no_args()?;
                Ok(self.lock().len().into())
            }
            "__reversed__" => {
                call.no_args()?;
                let reversed: Held<Vec<Value>> = self.lock().iter().rev().collect();
                Ok(Return::Element(reversed.map(python::iterator)))
            }
            "copy" => {
                call.no_args()?;
                Ok(Return::Element(list(&*self.lock())))
            }
            "count" => {
                let ([value], []) = call.args(["value"], [])?;
                let value = call.kept(value);
                Ok(self.find(&value, 0, i64::MAX, false).count().into())
            }
            "index" => {
                let ([value], bounds) = call.args(["value"], ["start", "stop"])?;
                Ok(self.index(call, value, bounds)?.into())
            }
            "pop" => {
                let ([], [at]) = call.args([], ["index"])?;
                let at = at.map_or(Ok(-1), |at| python::integer(call, at))?;
                self.pop(at).map(Return::Element)
            }
            // The operators return a copy of the list, those in place too: as in CPython's manager.
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
            "__iadd__" => {
                self.extend(call)?;
                Ok(Return::Element(list(&*self.lock())))
            }
            "__imul__" => {
                let times = times(call)?;
                let mut items = self.lock();
                let new = repeat(&items, times, call)?;
                let old = std::mem::replace(&mut *items, new);
                drop(items);
                drop(old);
                Ok(Return::Element(list(&*self.lock())))
            }
            "__mul__" | "__rmul__" => {
                let times = times(call)?;
                let items = repeat(&self.lock(), times, call)?;
                Ok(Return::Element(list(&items)))
            }
            _ => self.change(call).map(Return::from),
        }
    }

    fn repr(&self) -> String {
        self.short_repr(usize::MAX)
    }

    fn short_repr(&self, max: usize) -> String {
        let items = self.lock();
        let shown = items.iter().map(|item| &item.data);
        python::beginning(max, |out| python::write_items(out, "[", shown, "]"))
    }

    fn size(&self) -> usize {
        self.lock().iter().map(|item| python::size(item)).sum()
    }

    fn value(&self) -> Result<Element, Exception> {
        Ok(list(&*self.lock()))
    }
}

// The methods drop what they remove without the lock: an item may be the last reference to another object.
impl Shared {
    /// The methods that return `None`.
    fn change(&self, call: &Call<'_>) -> Result<(), Exception> {
        match call.method() {
            "__delitem__" => {
                let ([at], []) = call.args(["index"], [])?;
                let at = Subscript::of(call, at)?;
                let old = slice::delete(&mut self.lock(), &at)?;
                drop(old);
            }
            "__setitem__" => {
                let ([at, value], []) = call.args(["index", "value"], [])?;
                self.set(&Subscript::of(call, at)?, value, call)?;
            }
            "append" => {
                let ([item], []) = call.args(["item"], [])?;
                let item = call.element(item);
                self.lock().push(item);
            }
            "clear" => {
                call.no_args()?;
                self.clear();
            }
            "extend" => self.extend(call)?,
            "insert" => {
                let ([at, item], []) = call.args(["index", "item"], [])?;
                let (at, item) = (python::integer(call, at)?, call.element(item));
                let mut items = self.lock();
                let at = slice::clamp(at, items.len());
                items.insert(at, item);
            }
            "remove" => {
                let ([value], []) = call.args(["value"], [])?;
                let value = call.kept(value);
                self.remove(&value)?;
            }
            "reverse" => {
                call.no_args()?;
                self.lock().reverse();
            }
            "sort" => self.sort(call)?,
            _ => return Err(call.no_such_method()),
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Element>> {
        lock(&self.items)
    }

    fn get(&self, at: &Subscript) -> Result<Element, Exception> {
        let items = self.lock();
        match at {
            Subscript::Index(index) => {
                let item = slice::position(*index, items.len()).and_then(|at| items.get(at));
                item.cloned().ok_or_else(out_of_range)
            }
            Subscript::Slice(slice) => Ok(list(slice::get(&items, slice))),
        }
    }

    fn set(&self, at: &Subscript, value: &Pickle, call: &Call<'_>) -> Result<(), Exception> {
        // Holds the old items in the end, and drops them without the lock.
        let mut new = match at {
            Subscript::Index(_) => vec![call.element(value)],
            Subscript::Slice(_) => python::elements(call, value)?,
        };
        slice::set(&mut self.lock(), at, &mut new)?;
        Ok(())
    }

    fn pop(&self, index: i64) -> Result<Element, Exception> {
        let mut items = self.lock();
        let at = slice::position(index, items.len());
        Ok(items.remove(at.ok_or_else(out_of_range)?))
    }

    /// `index(value, start=0, stop=sys.maxsize)`.
    fn index(
        &self,
        call: &Call<'_>,
        value: &Pickle,
        [start, stop]: [Option<&Pickle>; 2],
    ) -> Result<usize, Exception> {
        let value = call.kept(value);
        let bound = |arg: Option<&Pickle>, default| {
            let Some(arg) = arg else { return Ok(default) };
            let arg = call.value(arg)?;
            slice::bound(&arg).ok_or_else(|| python::wrong_type("an integer", &arg))
        };
        let (start, stop) = (bound(start, 0)?, bound(stop, i64::MAX)?);
        self.first(&value, start, stop).map(|(at, _)| at).ok_or_else(not_in_list)
    }

    fn remove(&self, value: &Value) -> Result<(), Exception> {
        loop {
            let (at, copy) = self.first(value, 0, i64::MAX).ok_or_else(not_in_list)?;
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

    fn first(&self, value: &Value, start: i64, stop: i64) -> Option<(usize, Option<Value>)> {
        self.find(value, start, stop, true).next()
    }

    /// The items from `start` up to `stop` that equal a value, or at least the first: the index of each, and a copy if
    /// it was compared by that. Items that take long to compare are copied, and compared without the lock.
    fn find(
        &self,
        value: &Value,
        start: i64,
        stop: i64,
        first: bool,
    ) -> impl Iterator<Item = (usize, Option<Value>)> + use<> {
        let items = self.lock();
        let [start, stop] = [start, stop].map(|bound| slice::clamp(bound, items.len()));
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

    fn extend(&self, call: &Call<'_>) -> Result<(), Exception> {
        let ([iterable], []) = call.args(["iterable"], [])?;
        let new = python::elements(call, iterable)?;
        self.lock().extend(new);
        Ok(())
    }

    /// `sort(*, key=None, reverse=False)`.
    fn sort(&self, call: &Call<'_>) -> Result<(), Exception> {
        let ([], [key, reverse]) = call.args([], ["key", "reverse"])?;
        if !call.positional().is_empty() {
            return Err(Exception::type_error("sort() takes keyword arguments only"));
        }
        if key.map_or(Ok(false), |key| call.value(key).map(|key| !key.is_none()))? {
            let text = "sort() of this manager takes no key, for it runs no functions: sort a copy, and \
                        assign it to [:]";
            return Err(Exception::type_error(text));
        }
        let reverse = call.is_true(reverse, false)?;
        let mut items = self.lock();
        // Equal items keep their order either way.
        if reverse {
            items.reverse();
        }
        let result = python::sort(&mut items, |item| &item.data);
        if reverse {
            items.reverse();
        }
        result
    }
}

/// Copies of items, as a list.
fn list<'a>(items: impl IntoIterator<Item = &'a Element>) -> Element {
    items.into_iter().collect::<Held<Vec<Value>>>().map(Value::List)
}

/// The operand of `*`.
fn times(call: &Call<'_>) -> Result<usize, Exception> {
    let ([times], []) = call.args(["times"], [])?;
    python::integer(call, times).map(saturated)
}

fn repeat(items: &[Element], times: usize, call: &Call<'_>) -> Result<Vec<Element>, Exception> {
    let size: usize = items.iter().map(|item| python::size(&item.data)).sum();
    call.spend(size.saturating_mul(times))?;
    Ok(items.iter().cycle().take(items.len().saturating_mul(times)).cloned().collect())
}

fn not_in_list() -> Exception {
    Exception::value_error("the value is not in the list")
}
