//! How a dict takes in what `dict.update` does: a mapping, pairs, keyword arguments.

use super::{ROLE, Shared};
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::stored::{Element, Held};
use crate::sync::ordered::{Entry, PLACE};
use crate::sync::{args, iterate};
use crate::value::{Key, Value};

/// A key and its value, with a hold on what they name.
pub(super) fn entry(
    call: &Call<'_>,
    name: Value,
    value: Value,
) -> Result<Entry<Element>, Exception> {
    Ok(Entry { key: Key::new(&name, ROLE)?, name: call.hold(name)?, value: call.hold(value)? })
}

impl Shared {
    pub(super) fn set(&self, given: impl IntoIterator<Item = Entry<Element>>) {
        let mut entries = self.lock();
        let insert = |Entry { key, name, value }| entries.insert(key, name, value);
        let old: Vec<_> = given.into_iter().filter_map(insert).collect();
        drop(entries);
        drop(old);
    }

    /// Takes a mapping or pairs in, and keyword arguments. What comes before an error stays.
    pub(super) fn update(&self, call: &Call<'_>) -> Result<(), Exception> {
        let [other] = args::up_to(call, 0)?;
        if let Some(other) = other {
            self.merge(call, call.element(other).data)?;
        }
        for (name, value) in call.keywords() {
            let value = call.element(value);
            let name = Value::from(name.as_str());
            self.set([Entry { key: Key::new(&name, ROLE)?, name: name.into(), value }]);
        }
        Ok(())
    }

    pub(super) fn merge(&self, call: &Call<'_>, other: Value) -> Result<(), Exception> {
        let mut given = Vec::new();
        let result = gather(call, other, &mut given);
        self.set(given);
        result
    }
}

/// The pairs of what `dict.update` takes: of a mapping, or of an iterable of pairs.
fn gather(call: &Call<'_>, other: Value, given: &mut Vec<Entry<Element>>) -> Result<(), Exception> {
    // What the message spells out is paid for.
    let place = if matches!(other, Value::Dict(_)) { 0 } else { PLACE };
    let Held { data, references: _until_held } = iterate::referent(call, other)?;
    let items = match data {
        Value::Dict(pairs) => {
            call.spend(pairs.len().saturating_mul(place))?;
            for (name, value) in pairs {
                given.push(entry(call, name, value)?);
            }
            return Ok(());
        }
        other => iterate::items(call, other, PLACE)?,
    };
    for (at, item) in items.data.into_iter().enumerate() {
        let pair = iterate::items(call, item, 0).map_err(|exception| {
            if exception.is("builtins", "MemoryError") {
                return exception;
            }
            let what = "cannot convert dictionary update sequence element";
            Exception::type_error(format!("{what} #{at} to a sequence"))
        })?;
        let Held { data: pair, references: _until_held } = pair;
        let [name, value] = <[Value; 2]>::try_from(pair).map_err(|pair| {
            let what = format!("dictionary update sequence element #{at}");
            Exception::value_error(format!("{what} has length {}; 2 is required", pair.len()))
        })?;
        given.push(entry(call, name, value)?);
    }
    Ok(())
}
