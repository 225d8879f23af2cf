//! Python's `list`, shared. What it does is here, how clients call it in `list/calls.rs`.

mod calls;

use std::mem::swap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::sequence::{self, Subscript};
use super::{args, order, python};
use crate::error::Exception;
use crate::pickle::Writer;
use crate::shared::call::{Arg, Call};
use crate::shared::element::{Element, Held};
use crate::shared::wait::lock;
use crate::value::{Needle, Value, equal_at_once};

/// A list, usable in this process and by clients at once. A clone is the same list.
///
/// ```
/// use basemanager::List;
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

    /// What Python's constructor makes of a client's arguments: `list(iterable=())`.
    ///
    /// # Errors
    /// `TypeError`, as Python's.
    pub fn from_call(call: &mut Call<'_>) -> Result<Self, Exception> {
        if call.keywords().next().is_some() {
            return Err(Exception::type_error("list() takes no keyword arguments"));
        }
        let [iterable] = args::up_to(call, 0)?;
        let items = iterable.map(|iterable| python::elements(call, iterable)).transpose()?;
        Ok(Self::of(items.unwrap_or_default()))
    }

    /// A copy of the item at a place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value> {
        self.0.lock().get(index).map(|item| item.data.clone())
    }

    /// Adds an item at the end. One that a client sent comes as [`Call::element`], which keeps the shared
    /// objects that it names.
    #[doc(alias = "append")]
    pub fn push(&self, item: impl Into<Element>) {
        let item = item.into();
        self.0.lock().push(item);
    }

    /// Takes the last item.
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

// What a method removes is dropped when the lock is not held any more: an item may be the last to hold
// another object.
impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Element>> {
        lock(&self.items)
    }

    fn get(&self, at: &Subscript) -> Result<Element, Exception> {
        let items = self.lock();
        match at {
            Subscript::Index(index) => {
                let item = sequence::place(*index, items.len()).and_then(|at| items.get(at));
                item.cloned().ok_or_else(|| index_error("list index out of range"))
            }
            Subscript::Slice(slice) => Ok(list(sequence::get(&items, slice))),
        }
    }

    fn set(&self, at: &Subscript, value: Arg<'_>, call: &Call<'_>) -> Result<(), Exception> {
        // Declared before the lock is taken: dropped after, whatever happens.
        let mut new = match at {
            Subscript::Index(_) => vec![call.element(value)?],
            Subscript::Slice(_) => python::elements(call, value).map_err(|exception| {
                let text = "must assign iterable to extended slice";
                let cause = exception.is("builtins", "TypeError");
                if cause { Exception::type_error(text) } else { exception }
            })?,
        };
        let mut items = self.lock();
        match at {
            Subscript::Index(index) => {
                let place = assigned(*index, items.len())?;
                items
                    .get_mut(place)
                    .into_iter()
                    .zip(&mut new)
                    .for_each(|(old, new)| swap(old, new));
            }
            Subscript::Slice(slice) => sequence::set(&mut items, slice, &mut new, "sequence")?,
        }
        Ok(())
    }

    fn delete(&self, at: &Subscript) -> Result<(), Exception> {
        let mut items = self.lock();
        let old = match at {
            Subscript::Index(index) => {
                let place = assigned(*index, items.len())?;
                vec![items.remove(place)]
            }
            Subscript::Slice(slice) => sequence::delete(&mut items, slice),
        };
        drop(items);
        drop(old);
        Ok(())
    }

    fn pop(&self, index: i64) -> Result<Element, Exception> {
        let mut items = self.lock();
        if items.is_empty() {
            return Err(index_error("pop from empty list"));
        }
        let place = sequence::place(index, items.len());
        Ok(items.remove(place.ok_or_else(|| index_error("pop index out of range"))?))
    }

    fn remove(&self, value: &Value) -> Result<(), Exception> {
        loop {
            let (place, copy) = self.first(value, 0, i64::MAX).ok_or_else(|| not_in("remove"))?;
            let mut items = self.lock();
            let is_there = |item: &Element| {
                equal_at_once(copy.as_ref().unwrap_or(value), &item.data) == Some(true)
            };
            // Else the list changed meanwhile.
            if items.get(place).is_some_and(is_there) {
                let old = items.remove(place);
                drop(items);
                drop(old);
                return Ok(());
            }
        }
    }

    /// Where a value is first, from `start` up to `stop`.
    fn index(&self, value: &Value, start: i64, stop: i64) -> Result<usize, Exception> {
        let found = self.first(value, start, stop);
        found.map(|(place, _)| place).ok_or_else(|| not_in("index"))
    }

    fn first(&self, value: &Value, start: i64, stop: i64) -> Option<Found> {
        self.find(value, start, stop, 1).1
    }

    /// How many items, up to `most`, from `start` up to `stop` equal a value, and the first of them. Items that
    /// take long to compare are copied, and compared when the list is not locked any more.
    fn find(&self, value: &Value, start: i64, stop: i64, most: usize) -> (usize, Option<Found>) {
        let (mut count, mut first, mut unsure) = (0, None, Vec::new());
        let items = self.lock();
        let [start, stop] = [start, stop].map(|bound| sequence::clamp(bound, items.len()));
        for (place, item) in items.iter().enumerate().take(stop).skip(start) {
            match equal_at_once(value, &item.data) {
                Some(false) => {}
                Some(true) => {
                    first.get_or_insert((place, None));
                    count += 1;
                    if count == most {
                        break;
                    }
                }
                None => unsure.push((place, item.data.clone())),
            }
        }
        drop(items);
        let needle = Needle::new(value);
        let mut found = unsure.into_iter().filter(|(_, copy)| needle.equals(copy));
        // Where one is enough, those that were not known are before the one that was.
        if let Some((place, copy)) = found.next() {
            count += 1;
            if first.as_ref().is_none_or(|(known, _)| place < *known) {
                first = Some((place, Some(copy)));
            }
            if count < most {
                count += found.count();
            }
        }
        (count, first)
    }

    fn plus(&self, other: Arg<'_>, call: &Call<'_>) -> Result<Element, Exception> {
        let other = other.value()?;
        let Value::List(more) = other else {
            let name = python::type_name(&other);
            let text = format!("can only concatenate list (not \"{name}\") to list");
            return Err(Exception::type_error(text));
        };
        let more = more.into_iter().map(|item| call.hold(item));
        let more = more.collect::<Result<Vec<Element>, _>>()?;
        Ok(list(self.lock().iter().chain(&more)))
    }

    fn extend(&self, iterable: Arg<'_>, call: &Call<'_>) -> Result<(), Exception> {
        let new = python::elements(call, iterable)?;
        self.lock().extend(new);
        Ok(())
    }

    fn sort(&self, reverse: bool) -> Result<(), Exception> {
        let mut items = self.lock();
        // Equal items stay in order whichever way it goes.
        if reverse {
            items.reverse();
        }
        let result = order::sort(&mut items, &|a, b| order::less(&a.data, &b.data));
        if reverse {
            items.reverse();
        }
        result
    }

    /// What Python's `reversed(list)` pickles as: the list, and the place to begin at.
    fn reversed(&self) -> Element {
        let items = self.lock();
        let last = items.len().checked_sub(1);
        let copy = list(&*items);
        drop(items);
        copy.map(|items| {
            let mut writer = Writer::default();
            writer.global("builtins", "reversed");
            writer.tuple(1, |writer| writer.value(&items));
            writer.reduce();
            if let Some(last) = last {
                writer.value(&last.into());
                writer.build();
            }
            writer.into_pickle().into()
        })
    }
}

/// The place of an item, and a copy of it, if it was compared by that.
type Found = (usize, Option<Value>);

/// Copies of items, as a list.
fn list<'a>(items: impl IntoIterator<Item = &'a Element>) -> Element {
    items.into_iter().collect::<Held<Vec<Value>>>().map(Value::List)
}

fn repeat(items: &[Element], times: usize, call: &Call<'_>) -> Result<Vec<Element>, Exception> {
    let size: usize = items.iter().map(|item| python::size(&item.data)).sum();
    call.spend(size.saturating_mul(times))?;
    Ok(items.iter().cycle().take(items.len().saturating_mul(times)).cloned().collect())
}

fn assigned(index: i64, len: usize) -> Result<usize, Exception> {
    let place = sequence::place(index, len);
    place.ok_or_else(|| index_error("list assignment index out of range"))
}

fn index_error(text: &str) -> Exception {
    Exception::builtin("IndexError", text)
}

fn not_in(method: &str) -> Exception {
    Exception::value_error(format!("list.{method}(x): x not in list"))
}
