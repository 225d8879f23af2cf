//! How clients call a list.

use super::{Shared, list, repeat};
use crate::error::Exception;
use crate::shared::call::{Arg, Call};
use crate::shared::element::Element;
use crate::shared::objects::sequence::{self, Subscript};
use crate::shared::objects::{args, python};
use crate::shared::{Return, SharedObject, saturated};
use crate::value::Value;

const TOO_LARGE: &str = "Python int too large to convert to C ssize_t";

#[rustfmt::skip]
const METHODS: [&str; 22] = [
    "__add__", "__contains__", "__delitem__", "__getitem__", "__iadd__", "__imul__", "__len__",
    "__mul__", "__reversed__", "__rmul__", "__setitem__", "append", "clear", "copy", "count",
    "extend", "index", "insert", "pop", "remove", "reverse", "sort",
];

impl SharedObject for Shared {
    fn exposed(&self) -> &[&str] {
        &METHODS
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "__add__" | "__iadd__" | "__imul__" | "__mul__" | "__rmul__" => self.operate(call),
            "__contains__" => {
                let [value] = args::special(call)?;
                let value = value.kept()?;
                Ok(self.first(&value, 0, i64::MAX).is_some().into())
            }
            "__getitem__" => {
                let at = subscript(args::one(call, "list")?)?;
                self.get(&at).map(Return::Element)
            }
            "__len__" => {
                let [] = args::special(call)?;
                Ok(self.lock().len().into())
            }
            "__reversed__" => {
                args::none(call, "list")?;
                Ok(Return::Element(self.reversed()))
            }
            "copy" => {
                args::none(call, "list")?;
                Ok(Return::Element(list(&*self.lock())))
            }
            "count" => {
                let value = args::one(call, "list")?.kept()?;
                Ok(self.find(&value, 0, i64::MAX, usize::MAX).0.into())
            }
            "index" => {
                let [value, start, stop] = args::some(call, "list", 1)?;
                let value = value.map_or(Ok(Value::None), |value| value.kept())?;
                let (start, stop) = (bound(start, 0)?, bound(stop, i64::MAX)?);
                Ok(self.index(&value, start, stop)?.into())
            }
            "pop" => {
                let [at] = args::some(call, "list", 0)?;
                let at = at.map_or(Ok(-1), |at| python::integer(at, TOO_LARGE))?;
                self.pop(at).map(Return::Element)
            }
            _ => self.change(call).map(Return::from),
        }
    }

    fn repr(&self) -> String {
        list(&*self.lock()).to_string()
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

impl Shared {
    /// The operators. Those in place give a copy of the list too, as they do in `CPython`'s manager.
    fn operate(&self, call: &Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "__add__" => {
                let [other] = args::special(call)?;
                self.plus(other, call).map(Return::Element)
            }
            "__iadd__" => {
                let [iterable] = args::special(call)?;
                self.extend(iterable, call)?;
                Ok(Return::Element(list(&*self.lock())))
            }
            "__imul__" => {
                let times = times(call)?;
                let mut items = self.lock();
                let new = repeat(&items, times, call)?;
                let old = std::mem::replace(&mut *items, new);
                let copy = list(&*items);
                drop(items);
                drop(old);
                Ok(Return::Element(copy))
            }
            _ => {
                let times = times(call)?;
                let items = repeat(&self.lock(), times, call)?;
                Ok(Return::Element(list(&items)))
            }
        }
    }

    /// The methods that return nothing.
    fn change(&self, call: &Call<'_>) -> Result<(), Exception> {
        match call.method() {
            "__delitem__" => {
                let [at] = args::special(call)?;
                self.delete(&subscript(at)?)?;
            }
            "__setitem__" => {
                let [at, value] = args::special(call)?;
                self.set(&subscript(at)?, value, call)?;
            }
            "append" => {
                let item = call.element(args::one(call, "list")?)?;
                self.lock().push(item);
            }
            "clear" => {
                args::none(call, "list")?;
                self.clear();
            }
            "extend" => self.extend(args::one(call, "list")?, call)?,
            "insert" => {
                args::no_keywords(call, "list")?;
                let [at, item] = args::special(call)?;
                let (at, item) = (python::integer(at, TOO_LARGE)?, call.element(item)?);
                let mut items = self.lock();
                let at = sequence::clamp(at, items.len());
                items.insert(at, item);
            }
            "remove" => {
                let value = args::one(call, "list")?.kept()?;
                self.remove(&value)?;
            }
            "reverse" => {
                args::none(call, "list")?;
                self.lock().reverse();
            }
            "sort" => self.sort(reverse(call)?)?,
            _ => return Err(call.no_such_method()),
        }
        Ok(())
    }
}

/// Whether `sort(*, key=None, reverse=False)` goes downwards.
fn reverse(call: &Call<'_>) -> Result<bool, Exception> {
    let (positional, keywords) = (call.positional().len(), call.keywords().count());
    if positional > 0 {
        return Err(Exception::type_error(match positional + keywords {
            given @ 3.. => format!("sort() takes at most 2 arguments ({given} given)"),
            _ => "sort() takes no positional arguments".to_owned(),
        }));
    }
    let mut reverse = false;
    for (name, arg) in call.keywords() {
        match name {
            "key" => no_key(&arg.value()?)?,
            "reverse" => reverse = arg.truthy()?,
            _ => {
                let text = format!("sort() got an unexpected keyword argument '{name}'");
                return Err(Exception::type_error(text));
            }
        }
    }
    Ok(reverse)
}

/// The `key` of `sort()`: none, or a function that nobody runs.
fn no_key(key: &Value) -> Result<(), Exception> {
    match key {
        Value::None => Ok(()),
        Value::Opaque(_) => Err(Exception::type_error(
            "sort(key=…): a function cannot be run in this manager; sort a copy, and assign it to [:]",
        )),
        other => {
            let name = other.type_name();
            Err(Exception::type_error(format!("'{name}' object is not callable")))
        }
    }
}

/// The operand of `*`.
fn times(call: &Call<'_>) -> Result<usize, Exception> {
    let [times] = args::special(call)?;
    let times = python::integer(times, "cannot fit 'int' into an index-sized integer")?;
    Ok(saturated(times))
}

/// A bound of `index()`, which must be a number.
fn bound(arg: Option<Arg<'_>>, default: i64) -> Result<i64, Exception> {
    let Some(arg) = arg else { return Ok(default) };
    let text = "slice indices must be integers or have an __index__ method";
    sequence::bound(&arg.value()?).ok_or_else(|| Exception::type_error(text))
}

fn subscript(at: Arg<'_>) -> Result<Subscript, Exception> {
    Subscript::of(at, |name| format!("list indices must be integers or slices, not {name}"))
}
