//! Python's `<`, and `sort()` by it.

use std::cmp::Ordering;

use super::python::type_name;
use crate::exception::Exception;
use crate::value::{self, BigInt, Value};

/// A slice this short is sorted by insertion: `CPython`'s `minrun` at most.
const SHORT: usize = 64;

/// Sorts as Python does, stably. With an order that is none (sets, nan) the result is some order, and
/// for few items Python's.
///
/// # Errors
/// `TypeError` at the first two that have no order; then the items are partly sorted.
pub(super) fn sort<T>(
    items: &mut [T],
    less: &impl Fn(&T, &T) -> Result<bool, Exception>,
) -> Result<(), Exception> {
    if items.len() < SHORT {
        return insert_all(items, less);
    }
    let middle = items.len() / 2;
    let (left, right) = items.split_at_mut(middle);
    sort(left, less)?;
    sort(right, less)?;
    merge(items, middle, less)
}

/// `CPython`'s `count_run` and `binarysort`, which compare the same pairs.
fn insert_all<T>(
    items: &mut [T],
    less: &impl Fn(&T, &T) -> Result<bool, Exception>,
) -> Result<(), Exception> {
    let mut run = 1;
    let mut falling = None;
    while let Some([before, item]) = items.get(run - 1..=run) {
        let falls = less(item, before)?;
        if *falling.get_or_insert(falls) != falls {
            break;
        }
        run += 1;
    }
    let Some(sorted) = items.get_mut(..run) else { return Ok(()) };
    if falling == Some(true) {
        sorted.reverse();
    }
    for at in run..items.len() {
        let Some((item, sorted)) = items.get(..=at).and_then(<[T]>::split_last) else { break };
        let (mut low, mut high) = (0, sorted.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match sorted.get(middle) {
                Some(other) if less(item, other)? => high = middle,
                _ => low = middle + 1,
            }
        }
        if let Some(from) = items.get_mut(low..=at) {
            from.rotate_right(1);
        }
    }
    Ok(())
}

/// Merges two sorted halves: finds for each place who comes there, then moves everyone.
fn merge<T>(
    items: &mut [T],
    middle: usize,
    less: &impl Fn(&T, &T) -> Result<bool, Exception>,
) -> Result<(), Exception> {
    let (mut left, mut right) = (0, middle);
    let mut places = vec![0; items.len()];
    for place in 0..items.len() {
        let next = match (items.get(left..middle).and_then(<[T]>::first), items.get(right)) {
            (Some(first), Some(second)) if less(second, first)? => &mut right,
            (Some(_), _) => &mut left,
            _ => &mut right,
        };
        if let Some(to) = places.get_mut(*next) {
            *to = place;
        }
        *next += 1;
    }
    for at in 0..places.len() {
        while let Some(&to) = places.get(at)
            && to != at
        {
            items.swap(at, to);
            places.swap(at, to);
        }
    }
    Ok(())
}

/// Python's `a < b`.
///
/// # Errors
/// `TypeError` if these two, or the first parts in which they differ, have no order.
pub(super) fn less(a: &Value, b: &Value) -> Result<bool, Exception> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Ok(a < b),
        (Value::Bytes(a) | Value::ByteArray(a), Value::Bytes(b) | Value::ByteArray(b)) => Ok(a < b),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            match a.iter().zip(b).find(|(a, b)| a != b) {
                Some((a, b)) => less(a, b),
                None => Ok(a.len() < b.len()),
            }
        }
        // A set is less than another if it is part of it.
        (Value::Set(a) | Value::FrozenSet(a), Value::Set(b) | Value::FrozenSet(b)) => {
            Ok(a.len() < b.len() && value::is_subset(a, b))
        }
        _ => match (Number::of(&a.plain()), Number::of(&b.plain())) {
            (Some(a), Some(b)) => Ok(a.compare(&b) == Some(Ordering::Less)),
            _ => Err(Exception::type_error(format!(
                "'<' not supported between instances of '{}' and '{}'",
                type_name(a),
                type_name(b)
            ))),
        },
    }
}

enum Number<'a> {
    Int(i64),
    Big(&'a BigInt),
    Float(f64),
}

impl<'a> Number<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::Float(float) => Some(Self::Float(*float)),
            Value::BigInt(int) => Some(Self::Big(int)),
            other => other.as_i64().map(Self::Int),
        }
    }

    /// Exactly, as Python does; `None` with a nan.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            (Self::Big(a), Self::Big(b)) => Some(compare_big(a, b)),
            // One that does not fit is beyond all that do.
            (Self::Big(a), Self::Int(_)) => Some(signed(a, Ordering::Greater)),
            (Self::Int(_), Self::Big(b)) => Some(signed(b, Ordering::Less)),
            (Self::Float(a), Self::Big(b)) => compare_float(b, *a).map(Ordering::reverse),
            (Self::Big(a), Self::Float(b)) => compare_float(a, *b),
            (Self::Float(a), Self::Int(b)) => compare_int(*b, *a).map(Ordering::reverse),
            (Self::Int(a), Self::Float(b)) => compare_int(*a, *b),
        }
    }
}

/// Rounding keeps order, so that only floats that come out equal need a closer look.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn compare_int(int: i64, float: f64) -> Option<Ordering> {
    let order = (int as f64).partial_cmp(&float)?;
    Some(order.then_with(|| i128::from(int).cmp(&(float as i128))))
}

/// The order of magnitudes, as that of numbers with this one's sign.
fn signed(int: &BigInt, order: Ordering) -> Ordering {
    if int.is_negative() { order.reverse() } else { order }
}

fn compare_big(a: &BigInt, b: &BigInt) -> Ordering {
    match (a.is_negative(), b.is_negative()) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => {
            // Two's complement of one length, from the top, has the order of the numbers.
            let (a_bytes, b_bytes) = (a.to_le_bytes(), b.to_le_bytes());
            signed(a, a_bytes.len().cmp(&b_bytes.len()))
                .then_with(|| a_bytes.iter().rev().cmp(b_bytes.iter().rev()))
        }
    }
}

fn compare_float(int: &BigInt, float: f64) -> Option<Ordering> {
    let order = match Value::BigInt(int.clone()).to::<f64>() {
        Ok(rounded) => rounded.partial_cmp(&float)?,
        // Beyond all that are finite.
        Err(_) if float.is_finite() => signed(int, Ordering::Greater),
        Err(_) => 0.0.partial_cmp(&float)?,
    };
    // A float this large is whole, and prints in full.
    Some(order.then_with(|| {
        let (a, b) = (int.to_string(), format!("{float:.0}"));
        signed(int, a.len().cmp(&b.len()).then_with(|| a.cmp(&b)))
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Python's `a < b` and `b < a`.
    fn check(a: impl Into<Value>, b: impl Into<Value>, expected: (bool, bool)) {
        let (a, b) = (a.into(), b.into());
        assert_eq!((less(&a, &b), less(&b, &a)), (Ok(expected.0), Ok(expected.1)), "{a} {b}");
    }

    #[test]
    fn numbers() {
        const LESS: (bool, bool) = (true, false);
        const NEITHER: (bool, bool) = (false, false);
        let two_53 = 1_i64 << 53;
        let (huge, tiny) = (1_i128 << 100, -(1_i128 << 100));
        check(1, 2, LESS);
        check(false, true, LESS);
        check(1, 1.5, LESS);
        check(1, 1.0, NEITHER);
        check(0, f64::NAN, NEITHER);
        check(9_007_199_254_740_992.0, two_53 + 1, LESS);
        check(i64::MAX, 9_223_372_036_854_775_808.0, LESS);
        check(i64::MAX, huge, LESS);
        check(tiny, i64::MIN, LESS);
        check(tiny, huge, LESS);
        check(huge, huge + 1, LESS);
        check(tiny - 1, tiny, LESS);
        check(huge, huge << 9, LESS);
        check(tiny << 9, tiny, LESS);
        check(2_f64.powi(100), huge + 1, LESS);
        check(tiny - 1, -2_f64.powi(100), LESS);
        check(huge, 2_f64.powi(100), NEITHER);
        check(huge, f64::NAN, NEITHER);
        check(huge, f64::INFINITY, LESS);
        check(f64::NEG_INFINITY, tiny, LESS);
        // 256**200 has no float.
        let beyond = || Value::from_le_bytes(&[&[0; 200][..], &[1]].concat());
        check(f64::MAX, beyond(), LESS);
        check(beyond(), f64::INFINITY, LESS);
        check(f64::NEG_INFINITY, beyond(), LESS);
        check(beyond(), f64::NAN, NEITHER);
    }

    #[test]
    fn the_rest() {
        check("a", "é", (true, false));
        check(b"a", Value::ByteArray(b"b".into()), (true, false));
        check([1, 2], [1, 3], (true, false));
        check(Value::List(vec![]), [1], (true, false));
        check((1, "a"), (1, "a"), (false, false));
        let set = |items: &[i64]| Value::Set(items.iter().map(|item| (*item).into()).collect());
        check(set(&[1]), set(&[2, 1]), (true, false));
        check(set(&[1]), set(&[2, 3]), (false, false));
        let large = |from: i64| (from..100_000).rev().map(Value::from).collect();
        check(Value::Set(large(1)), Value::FrozenSet(large(0)), (true, false));
    }

    #[test]
    fn what_has_no_order_is_told() {
        let message = |a: Value, b: Value| less(&a, &b).map_err(|error| error.to_string());
        let expected = |a, b| {
            Err(format!("TypeError: '<' not supported between instances of '{a}' and '{b}'"))
        };
        assert_eq!(message((1, "x").into(), (1, 2).into()), expected("str", "int"));
        assert_eq!(message(Value::None, Value::None), expected("NoneType", "NoneType"));
        assert_eq!(message(Value::Dict(vec![]), 1.5.into()), expected("dict", "float"));
    }

    #[test]
    fn sorting_is_stable_at_any_length() {
        for len in [0, 1, 2, 63, 64, 200, 1000] {
            let mut items: Vec<_> =
                (0..len).map(|n| (Value::from(n * 7919 % 101 / 3), n)).collect();
            let mut expected = items.clone();
            expected.sort_by_key(|(value, n)| (value.as_i64(), *n));
            sort(&mut items, &|a, b| less(&a.0, &b.0)).unwrap();
            assert_eq!(items, expected);
        }
    }

    #[test]
    fn a_failure_leaves_all_items() {
        let mut items: Vec<Value> = vec![3.into(), 1.into(), 2.into(), "a".into(), 0.into()];
        assert!(sort(&mut items, &less).is_err());
        assert_eq!(Value::from(items).to_string(), "[1, 2, 3, 'a', 0]"); // CPython's
    }
}
