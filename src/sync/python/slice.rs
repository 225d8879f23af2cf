//! Python's indexes and slices.

use std::ops::Range;

use super::{instance, int, integer, wrong_type};
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::saturated;
use crate::pickle::Pickle;
use crate::value::Value;

/// A bound of a slice, clamped to 64 bits.
pub(in crate::sync) fn bound(value: &Value) -> Option<i64> {
    let clamp = |int: i128| if int < 0 { i64::MIN } else { i64::MAX };
    int(value).map(|int| i64::try_from(int).unwrap_or_else(|_| clamp(int)))
}

/// The position that an index means in a sequence of this length; negative ones count from its end.
pub(in crate::sync) fn position(index: i64, len: usize) -> Option<usize> {
    let at = if index < 0 { index.checked_add_unsigned(len as u64)? } else { index };
    usize::try_from(at).ok().filter(|at| *at < len)
}

/// The position that a bound means: inside the sequence, or at its end.
pub(in crate::sync) fn clamp(bound: i64, len: usize) -> usize {
    if bound < 0 {
        len.saturating_sub(saturated(bound.saturating_neg()))
    } else {
        saturated(bound).min(len)
    }
}

/// The argument of `sequence[...]`.
#[derive(Debug)]
pub(in crate::sync) enum Subscript {
    Index(i64),
    Slice(Slice),
}

/// A Python `slice`. A bound of `None` depends on the sequence.
#[derive(Debug)]
pub(in crate::sync) struct Slice {
    start: Option<i64>,
    stop: Option<i64>,
    /// Never 0.
    step: i64,
}

impl Subscript {
    /// # Errors
    /// `TypeError` if it is neither an integer nor a slice, `IndexError` if an index does not fit 64 bits,
    /// `ValueError` if a step is 0.
    pub(in crate::sync) fn of(call: &Call<'_>, arg: &Pickle) -> Result<Self, Exception> {
        let value = call.value(arg)?;
        if int(&value).is_some() {
            return integer(call, arg).map(Self::Index).map_err(|_| out_of_range());
        }
        let slice = instance(&value);
        match slice.filter(|slice| slice.module == "builtins" && slice.name == "slice") {
            Some(slice) => Slice::of(&slice.args).map(Self::Slice),
            None => Err(wrong_type("an integer or a slice as index", &value)),
        }
    }
}

/// The positions that a subscript names in a sequence.
enum Positions {
    Range(Range<usize>),
    Steps(Vec<usize>),
}

impl Subscript {
    fn positions(&self, len: usize) -> Result<Positions, Exception> {
        match self {
            Self::Index(index) => {
                let at = position(*index, len).ok_or_else(out_of_range)?;
                Ok(Positions::Range(at..at + 1))
            }
            Self::Slice(slice) => Ok(match slice.range(len) {
                Some(range) => Positions::Range(range),
                None => Positions::Steps(slice.positions(len)),
            }),
        }
    }
}

pub(in crate::sync) fn out_of_range() -> Exception {
    Exception::builtin("IndexError", "index out of range")
}

impl Slice {
    fn of(parts: &[Value]) -> Result<Self, Exception> {
        let part = |at| match parts.get(at) {
            None | Some(Value::None) => Ok(None),
            Some(value) => {
                let refusal = || wrong_type("an integer or None as bound of a slice", value);
                bound(value).map(Some).ok_or_else(refusal)
            }
        };
        let step = part(2)?.unwrap_or(1);
        if step == 0 {
            return Err(Exception::value_error("the step of a slice must not be 0"));
        }
        Ok(Self { start: part(0)?, stop: part(1)?, step })
    }

    /// The range of positions that it names in a sequence of this length, if its step is 1.
    fn range(&self, len: usize) -> Option<Range<usize>> {
        let start = self.start.map_or(0, |start| clamp(start, len));
        let stop = self.stop.map_or(len, |stop| clamp(stop, len));
        (self.step == 1).then(|| start..stop.max(start))
    }

    /// The positions that it names in a sequence of this length, in its order.
    fn positions(&self, len: usize) -> Vec<usize> {
        let stride = saturated(self.step.saturating_abs());
        if self.step > 0 {
            let start = self.start.map_or(0, |start| clamp(start, len));
            let stop = self.stop.map_or(len, |stop| clamp(stop, len));
            return (start..stop).step_by(stride).collect();
        }
        // Downwards, a bound is the position after it.
        let behind = |bound: i64| match position(bound, len) {
            Some(at) => at + 1,
            None if bound < 0 => 0,
            None => len,
        };
        let start = self.start.map_or(len, behind);
        let stop = self.stop.map_or(0, behind);
        (stop..start).rev().step_by(stride).collect()
    }
}

/// The items that a slice names.
pub(in crate::sync) fn get<'a, T>(items: &'a [T], slice: &Slice) -> impl Iterator<Item = &'a T> {
    slice.positions(items.len()).into_iter().filter_map(|at| items.get(at))
}

/// Replaces the item at an index, or the items that a slice names, by new ones. Leaves the old ones in `new`, to be
/// dropped without the lock.
///
/// # Errors
/// `IndexError` beyond the ends; `ValueError` if a slice with a step names another number of items.
pub(in crate::sync) fn set<T>(
    items: &mut Vec<T>,
    at: &Subscript,
    new: &mut Vec<T>,
) -> Result<(), Exception> {
    let positions = match at.positions(items.len())? {
        Positions::Range(range) => {
            let old = items.splice(range, new.drain(..)).collect();
            *new = old;
            return Ok(());
        }
        Positions::Steps(positions) => positions,
    };
    if positions.len() != new.len() {
        return Err(Exception::value_error(format!(
            "cannot assign {} items to a slice with a step that names {}",
            new.len(),
            positions.len()
        )));
    }
    for (at, item) in positions.into_iter().zip(new) {
        items.get_mut(at).into_iter().for_each(|old| std::mem::swap(old, item));
    }
    Ok(())
}

/// Removes and returns the item at an index, or the items that a slice names.
///
/// # Errors
/// `IndexError` beyond the ends.
pub(in crate::sync) fn delete<T>(items: &mut Vec<T>, at: &Subscript) -> Result<Vec<T>, Exception> {
    let mut positions = match at.positions(items.len())? {
        Positions::Range(range) => return Ok(items.drain(range).collect()),
        Positions::Steps(positions) => positions,
    };
    positions.sort_unstable();
    let mut positions = positions.into_iter().peekable();
    let mut here = 0..;
    let named = |_: &mut T| here.next().is_some_and(|at| positions.next_if_eq(&at).is_some());
    Ok(items.extract_if(.., named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_name_the_same_positions_as_in_python() {
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
        for (start, stop, step, len, positions) in cases {
            assert_eq!(
                Slice { start, stop, step }.positions(len),
                positions,
                "{start:?}:{stop:?}:{step}"
            );
        }
    }
}
