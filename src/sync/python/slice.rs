//! Python's indexes and slices.

use std::ops::Range;

use super::{instance, int, integer, wrong_type};
use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::saturated;
use crate::pickle::Pickle;
use crate::value::Value;

/// A bound of a slice, clamped to 64 bits.
pub(in crate::sync) fn bound(value: &Value) -> Result<i64, Exception> {
    let int = int(value).ok_or_else(|| wrong_type("an integer as bound", value))?;
    Ok(i64::try_from(int).unwrap_or(if int < 0 { i64::MIN } else { i64::MAX }))
}

/// The position that an index means in a sequence of this length; negative ones count from its end.
///
/// # Errors
/// `IndexError` beyond the ends.
pub(in crate::sync) fn position(index: i64, len: usize) -> Result<usize, Exception> {
    let at = if index < 0 { index.checked_add_unsigned(len as u64) } else { Some(index) };
    let at = at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < len);
    at.ok_or_else(out_of_range)
}

/// The position that a bound means: inside the sequence, or at its end.
pub(in crate::sync) fn clamp(bound: i64, len: usize) -> usize {
    if bound < 0 {
        len.saturating_sub(saturated(bound.saturating_neg()))
    } else {
        saturated(bound).min(len)
    }
}

pub(in crate::sync) fn out_of_range() -> Exception {
    Exception::builtin("IndexError", "index out of range")
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

/// The positions that a subscript names in a sequence, in its order.
enum Positions {
    Range(Range<usize>),
    Steps(Vec<usize>),
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

    fn positions(&self, len: usize) -> Result<Positions, Exception> {
        match self {
            Self::Index(index) => position(*index, len).map(|at| Positions::Range(at..at + 1)),
            Self::Slice(slice) => Ok(slice.positions(len)),
        }
    }
}

impl Slice {
    fn of(parts: &[Value]) -> Result<Self, Exception> {
        let part = |at| match parts.get(at) {
            None | Some(Value::None) => Ok(None),
            Some(value) => bound(value).map(Some),
        };
        let step = part(2)?.unwrap_or(1);
        if step == 0 {
            return Err(Exception::value_error("the step of a slice must not be 0"));
        }
        Ok(Self { start: part(0)?, stop: part(1)?, step })
    }

    fn positions(&self, len: usize) -> Positions {
        let stride = saturated(self.step.saturating_abs());
        if self.step > 0 {
            let start = self.start.map_or(0, |start| clamp(start, len));
            let stop = self.stop.map_or(len, |stop| clamp(stop, len));
            return match stride {
                1 => Positions::Range(start..stop.max(start)),
                _ => Positions::Steps((start..stop).step_by(stride).collect()),
            };
        }
        // Downwards, a bound is the position after it.
        let after =
            |bound: i64| if bound == -1 { len } else { clamp(bound.saturating_add(1), len) };
        let start = self.start.map_or(len, after);
        let stop = self.stop.map_or(0, after);
        Positions::Steps((stop..start).rev().step_by(stride).collect())
    }
}

/// The items that a subscript names.
///
/// # Errors
/// `IndexError` beyond the ends.
pub(in crate::sync) fn get<'a, T>(items: &'a [T], at: &Subscript) -> Result<Vec<&'a T>, Exception> {
    Ok(match at.positions(items.len())? {
        Positions::Range(range) => items.get(range).into_iter().flatten().collect(),
        Positions::Steps(positions) => {
            positions.into_iter().filter_map(|at| items.get(at)).collect()
        }
    })
}

/// Replaces the items that a subscript names by new ones. Leaves the old ones in `new`, to be dropped without the
/// lock.
///
/// # Errors
/// `IndexError` beyond the ends; `ValueError` if a slice with a step names another number of items.
pub(in crate::sync) fn set<T>(
    items: &mut Vec<T>,
    at: &Subscript,
    new: &mut Vec<T>,
) -> Result<(), Exception> {
    match at.positions(items.len())? {
        Positions::Range(range) => *new = items.splice(range, new.drain(..)).collect(),
        Positions::Steps(positions) if positions.len() == new.len() => {
            for (at, item) in positions.into_iter().zip(new) {
                items.get_mut(at).into_iter().for_each(|old| std::mem::swap(old, item));
            }
        }
        Positions::Steps(positions) => {
            return Err(Exception::value_error(format!(
                "cannot assign {} items to a slice with a step that names {}",
                new.len(),
                positions.len()
            )));
        }
    }
    Ok(())
}

/// Removes and returns the items that a subscript names.
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
#[allow(clippy::unwrap_used)]
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
            let items: Vec<usize> = (0..len).collect();
            let named = get(&items, &Subscript::Slice(Slice { start, stop, step })).unwrap();
            let named: Vec<usize> = named.into_iter().copied().collect();
            assert_eq!(named, positions, "{start:?}:{stop:?}:{step}");
        }
    }
}
