//! Python's sequences: what an index and a slice mean in them.

use super::python::{instance, is_int, type_name};
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::saturated;
use crate::pickle::Pickle;
use crate::value::Value;

/// A bound of a slice; one out of range is as far as can be.
pub(super) fn bound(value: &Value) -> Option<i64> {
    match &*value.plain() {
        Value::BigInt(int) if int.is_negative() => Some(i64::MIN),
        Value::BigInt(_) => Some(i64::MAX),
        other => other.as_i64(),
    }
}

/// The place that an index means in a sequence of this length, negative ones from its end.
pub(super) fn place(index: i64, len: usize) -> Option<usize> {
    let place = if index < 0 { index.checked_add_unsigned(len as u64)? } else { index };
    usize::try_from(place).ok().filter(|place| *place < len)
}

/// The place that a bound means: inside the sequence, or at its end.
pub(super) fn clamp(bound: i64, len: usize) -> usize {
    if bound < 0 {
        len.saturating_sub(saturated(bound.saturating_neg()))
    } else {
        saturated(bound).min(len)
    }
}

/// What `sequence[…]` is given.
#[derive(Debug)]
pub(super) enum Subscript {
    Index(i64),
    Slice(Slice),
}

/// A Python `slice`; what is `None` in it depends on the sequence.
#[derive(Debug)]
pub(super) struct Slice {
    start: Option<i64>,
    stop: Option<i64>,
    /// Never 0.
    step: i64,
}

impl Subscript {
    /// # Errors
    /// What Python raises: `TypeError` with what `refusal` makes of a type's name if it is neither,
    /// `IndexError` beyond all indexes, `ValueError` for a step of 0.
    pub(super) fn of(
        call: &Call<'_>,
        arg: &Pickle,
        refusal: fn(String) -> String,
    ) -> Result<Self, Exception> {
        let value = call.value(arg)?;
        if is_int(&value) {
            let too_large = "cannot fit 'int' into an index-sized integer";
            let index = value.as_i64().map(Self::Index);
            return index.ok_or_else(|| Exception::builtin("IndexError", too_large));
        }
        let slice = instance(&value).filter(|slice| slice.module == "builtins");
        match slice.filter(|slice| slice.name == "slice").map(|slice| slice.args) {
            Some(parts) => Slice::of(&parts).map(Self::Slice),
            None => Err(Exception::type_error(refusal(type_name(&value)))),
        }
    }
}

impl Slice {
    fn of(parts: &[Value]) -> Result<Self, Exception> {
        let part = |at| match parts.get(at) {
            None | Some(Value::None) => Ok(None),
            Some(value) => bound(value).map(Some).ok_or_else(|| {
                let text = "slice indices must be integers or None or have an __index__ method";
                Exception::type_error(text)
            }),
        };
        let step = part(2)?.unwrap_or(1);
        if step == 0 {
            return Err(Exception::value_error("slice step cannot be zero"));
        }
        Ok(Self { start: part(0)?, stop: part(1)?, step })
    }

    /// The range that it is in a sequence of this length, if its step is 1.
    pub(super) fn range(&self, len: usize) -> Option<std::ops::Range<usize>> {
        let start = self.start.map_or(0, |start| clamp(start, len));
        let stop = self.stop.map_or(len, |stop| clamp(stop, len));
        (self.step == 1).then(|| start..stop.max(start))
    }

    /// The places that it names in a sequence of this length, in its order.
    pub(super) fn places(&self, len: usize) -> Vec<usize> {
        let stride = saturated(self.step.saturating_abs());
        if self.step > 0 {
            let start = self.start.map_or(0, |start| clamp(start, len));
            let stop = self.stop.map_or(len, |stop| clamp(stop, len));
            return (start..stop).step_by(stride).collect();
        }
        // Downwards, a bound is the place behind: -1 past the end is the end.
        let behind = |bound: i64| match place(bound, len) {
            Some(place) => place + 1,
            None if bound < 0 => 0,
            None => len,
        };
        let start = self.start.map_or(len, behind);
        let stop = self.stop.map_or(0, behind);
        (stop..start).rev().step_by(stride).collect()
    }
}

/// The items that a slice names.
pub(super) fn get<'a, T>(items: &'a [T], slice: &Slice) -> impl Iterator<Item = &'a T> {
    slice.places(items.len()).into_iter().filter_map(|place| items.get(place))
}

/// Puts new items in the place of those that a slice names, and the old ones in theirs: whoever holds a
/// lock drops neither under it. `what` the new items are, an error says.
///
/// # Errors
/// `ValueError` if they are not as many, unless the slice is all in one piece.
pub(super) fn set<T>(
    items: &mut Vec<T>,
    slice: &Slice,
    new: &mut Vec<T>,
    what: &str,
) -> Result<(), Exception> {
    if let Some(range) = slice.range(items.len()) {
        let old = items.splice(range, new.drain(..)).collect();
        *new = old;
        return Ok(());
    }
    let places = slice.places(items.len());
    if places.len() != new.len() {
        return Err(Exception::value_error(format!(
            "attempt to assign {what} of size {} to extended slice of size {}",
            new.len(),
            places.len()
        )));
    }
    for (place, item) in places.into_iter().zip(new) {
        items.get_mut(place).into_iter().for_each(|old| std::mem::swap(old, item));
    }
    Ok(())
}

/// Removes the items that a slice names, which come back.
pub(super) fn delete<T>(items: &mut Vec<T>, slice: &Slice) -> Vec<T> {
    if let Some(range) = slice.range(items.len()) {
        return items.drain(range).collect();
    }
    let mut places = slice.places(items.len());
    places.sort_unstable();
    let mut places = places.into_iter().peekable();
    let mut here = 0..;
    items
        .extract_if(.., |_| here.next().is_some_and(|here| places.next_if_eq(&here).is_some()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_name_pythons_places() {
        // [list(range(len))[start:stop:step] …] in Python.
        let cases: [(_, _, _, usize, &[usize]); 13] = [
            (None, None, 1, 3, &[0, 1, 2]),
            (None, None, -1, 3, &[2, 1, 0]),
            (None, None, 2, 5, &[0, 2, 4]),
            (None, None, -2, 4, &[3, 1]),
            (Some(-2), None, 1, 5, &[3, 4]),
            (Some(3), Some(0), -1, 5, &[3, 2, 1]),
            (Some(99), Some(-99), -2, 5, &[4, 2, 0]),
            (Some(-99), Some(99), 1, 2, &[0, 1]),
            (Some(2), Some(1), 1, 5, &[]),
            (Some(1), Some(-1), -1, 5, &[]),
            (Some(i64::MIN), Some(i64::MAX), i64::MAX, 3, &[0]),
            (Some(i64::MAX), Some(i64::MIN), i64::MIN, 3, &[2]),
            (None, None, -1, 0, &[]),
        ];
        for (start, stop, step, len, places) in cases {
            assert_eq!(
                Slice { start, stop, step }.places(len),
                places,
                "{start:?}:{stop:?}:{step}"
            );
        }
    }
}
