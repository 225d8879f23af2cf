//! Python's `==`, `<` and `list.sort()`.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::{Key, int, type_name};
use crate::exception::Exception;
use crate::value::Value;

/// Python's `a == b`: numbers compare by value, `bytes` equal `bytearray`, sets and dicts have no order.
pub(in crate::sync) fn eq(a: &Value, b: &Value) -> bool {
    compare(a, b, |a, b| Some(Key::of(a) == Key::of(b))) == Some(true)
}

/// [`eq`], or `None` if that takes opening objects or going over sets and dicts in another order.
pub(in crate::sync) fn eq_unopened(a: &Value, b: &Value) -> Option<bool> {
    compare(a, b, |a, b| (a == b).then_some(true))
}

/// Whether two values are equal, where `keyed` compares two sets, two dicts or two opaque objects.
fn compare(a: &Value, b: &Value, keyed: fn(&Value, &Value) -> Option<bool>) -> Option<bool> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Some(a == b),
        (Value::Bytes(a) | Value::ByteArray(a), Value::Bytes(b) | Value::ByteArray(b)) => {
            Some(a == b)
        }
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            if a.len() != b.len() {
                return Some(false);
            }
            let mut items = a.iter().zip(b).map(|(a, b)| compare(a, b, keyed));
            items.find(|equal| *equal != Some(true)).unwrap_or(Some(true))
        }
        (Value::Set(_) | Value::FrozenSet(_), Value::Set(_) | Value::FrozenSet(_))
        | (Value::Dict(_), Value::Dict(_))
        | (Value::Opaque(_), Value::Opaque(_)) => keyed(a, b),
        _ => Some(match (Number::of(a), Number::of(b)) {
            (Some(a), Some(b)) => a.partial_cmp(b) == Some(Ordering::Equal),
            _ => a.is_none() && b.is_none(),
        }),
    }
}

/// Python's `a < b`.
///
/// # Errors
/// `TypeError` if the two, or the first items in which they differ, have no order.
fn less(a: &Value, b: &Value) -> Result<bool, Exception> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Ok(a < b),
        (Value::Bytes(a) | Value::ByteArray(a), Value::Bytes(b) | Value::ByteArray(b)) => Ok(a < b),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            match a.iter().zip(b).find(|(a, b)| !eq(a, b)) {
                Some((a, b)) => less(a, b),
                None => Ok(a.len() < b.len()),
            }
        }
        // A set is less than its proper supersets.
        (Value::Set(a) | Value::FrozenSet(a), Value::Set(b) | Value::FrozenSet(b)) => {
            let keys: HashSet<Key> = b.iter().map(Key::of).collect();
            Ok(a.len() < b.len() && a.iter().all(|member| keys.contains(&Key::of(member))))
        }
        _ => match (Number::of(a), Number::of(b)) {
            (Some(a), Some(b)) => Ok(a.partial_cmp(b) == Some(Ordering::Less)),
            _ => Err(Exception::type_error(format!(
                "'{}' and '{}' have no order",
                type_name(a),
                type_name(b)
            ))),
        },
    }
}

/// Sorts as Python does: stably, also in reverse, and in some order where `<` is not total (sets, nan).
///
/// # Errors
/// `TypeError` if two items have no order. The list stays as it was.
pub(in crate::sync) fn sort<T>(
    items: &mut Vec<T>,
    reverse: bool,
    value: impl Fn(&T) -> &Value,
) -> Result<(), Exception> {
    let order = merge_sort(items.iter().map(value).enumerate().collect(), reverse)?;
    let order: Vec<usize> = order.into_iter().map(|(at, _)| at).collect();
    let mut old: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(order.into_iter().filter_map(|at| old.get_mut(at)?.take()));
    Ok(())
}

type Numbered<'a> = Vec<(usize, &'a Value)>;

// `slice::sort_by` may panic if the order is not total, and cannot stop at an error.
fn merge_sort(mut left: Numbered<'_>, reverse: bool) -> Result<Numbered<'_>, Exception> {
    if left.len() < 2 {
        return Ok(left);
    }
    let mut merged = Vec::with_capacity(left.len());
    let right = left.split_off(left.len() / 2);
    let mut left = merge_sort(left, reverse)?.into_iter().peekable();
    let mut right = merge_sort(right, reverse)?.into_iter().peekable();
    while let (Some((_, a)), Some((_, b))) = (left.peek(), right.peek()) {
        let right_first = if reverse { less(a, b)? } else { less(b, a)? };
        merged.extend(if right_first { right.next() } else { left.next() });
    }
    merged.extend(left.chain(right));
    Ok(merged)
}

/// A number as Python compares it: by its exact value, whatever its type.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    /// A float that is a whole number becomes an `Int`, so that equal numbers are the same.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match &*value.plain() {
            Value::Float(float) => Some(whole(*float).map_or(Self::Float(*float), Self::Int)),
            other => int(other).map(Self::Int),
        }
    }

    /// `None` if one is nan.
    #[expect(clippy::cast_precision_loss, reason = "rounding keeps the order")]
    fn partial_cmp(self, other: Self) -> Option<Ordering> {
        // Where the rounded int equals the float, the float is 2**127: any other is an Int itself.
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Int(a), Self::Float(b)) => {
                Some((a as f64).partial_cmp(&b)?.then(Ordering::Less))
            }
            (Self::Float(_), Self::Int(_)) => Some(other.partial_cmp(self)?.reverse()),
        }
    }
}

/// The integer that equals a float, if there is one.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "it is compared")]
#[expect(clippy::float_cmp, reason = "they are equal or they are not")]
fn whole(float: f64) -> Option<i128> {
    let int = float as i128;
    // What is too large becomes the greatest, which has no float of its own.
    (int as f64 == float && int != i128::MAX).then_some(int)
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

    fn equal(a: impl Into<Value>, b: impl Into<Value>) -> bool {
        let (a, b) = (a.into(), b.into());
        assert_eq!(eq(&a, &b), eq(&b, &a), "{a} {b}");
        eq(&a, &b)
    }

    #[test]
    fn numbers_are_equal_by_value() {
        let two_53 = 1_i64 << 53;
        assert!(equal(1, 1.0));
        assert!(equal(true, 1.0));
        assert!(equal(0, -0.0));
        assert!(equal(two_53, 9_007_199_254_740_992.0));
        assert!(!equal(two_53 + 1, 9_007_199_254_740_992.0));
        assert!(!equal(i64::MAX, 9_223_372_036_854_775_808.0));
        assert!(equal(i64::MIN, -9_223_372_036_854_775_808.0));
        assert!(equal(1_u64 << 63, 9_223_372_036_854_775_808.0));
        assert!(equal(1_i128 << 100, 2_f64.powi(100)));
        assert!(equal(-(1_i128 << 100), -2_f64.powi(100)));
        assert!(!equal((1_i128 << 100) + 1, 2_f64.powi(100)));
        assert!(equal(i128::MIN, -2_f64.powi(127)));
        assert!(!equal(i128::MAX, 2_f64.powi(127)));
        assert!(!equal(u64::MAX, f64::INFINITY));
        assert!(!equal(f64::NAN, f64::NAN));
        assert!(!equal(0, Value::None));
        assert!(!equal(1, "1"));
        assert!(equal(Value::None, ()));
    }

    #[test]
    fn containers_are_equal_as_in_python() {
        let (one, two) = (Value::from(1), Value::from(2));
        let ab = vec![one.clone(), two.clone()];
        let ba = vec![two.clone(), one.clone()];
        assert!(equal(b"ab", Value::ByteArray(b"ab".to_vec())));
        assert!(!equal(b"ab", "ab"));
        assert!(!equal(Value::List(ab.clone()), Value::Tuple(ab.clone())));
        assert!(!equal(Value::List(ab.clone()), Value::List(ba.clone())));
        assert!(equal([1], [1.0]));
        assert!(equal(Value::Set(ab.clone()), Value::FrozenSet(ba.clone())));
        assert!(!equal(Value::Set(ab.clone()), Value::Set(vec![one.clone()])));
        assert!(!equal(Value::Set(ab), Value::List(ba)));
        let (x, y) = ((one.clone(), two.clone()), (two, one));
        let dict = Value::Dict(vec![x.clone(), y.clone()]);
        assert!(equal(dict.clone(), Value::Dict(vec![y.clone(), x.clone()])));
        assert!(!equal(dict, Value::Dict(vec![x])));
        assert!(!equal(Value::Dict(vec![y]), Value::Dict(vec![])));
        let nan = Value::Set(vec![f64::NAN.into()]);
        assert!(!equal(nan.clone(), nan));
    }

    #[test]
    fn large_sets_are_compared_in_any_order() {
        const LARGE: i64 = 100_000;
        let set =
            |order: &mut dyn Iterator<Item = i64>| Value::Set(order.map(Value::from).collect());
        assert!(equal(set(&mut (0..LARGE)), set(&mut (0..LARGE).rev())));
        assert!(!equal(set(&mut (0..LARGE)), set(&mut (1..=LARGE).rev())));
        let pair = |int: i64| (int.into(), Value::List(vec![int.into()]));
        let dict = |order: &mut dyn Iterator<Item = i64>| Value::Dict(order.map(pair).collect());
        assert!(equal(dict(&mut (0..LARGE)), dict(&mut (0..LARGE).rev())));
        let inner = |int: i64, turned: bool| {
            let (a, b) = (int.into(), (int + LARGE).into());
            Value::FrozenSet(if turned { vec![b, a] } else { vec![a, b] })
        };
        let sets = |turned| (0..LARGE).map(|int| inner(int, turned)).collect::<Vec<_>>();
        let turned = sets(true).into_iter().rev().collect();
        assert!(equal(Value::Set(sets(false)), Value::Set(turned)));
    }

    #[test]
    fn numbers_are_ordered_by_value() {
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
        check(i128::MAX, 2_f64.powi(127), LESS);
        check(i128::MAX, f64::MAX, LESS);
        check(i128::MIN, -2_f64.powi(127), NEITHER);
    }

    #[test]
    fn sequences_and_sets_are_ordered_as_in_python() {
        check("a", "é", (true, false));
        check(b"a", Value::ByteArray(b"b".into()), (true, false));
        check([1, 2], [1, 3], (true, false));
        check(Value::List(vec![]), [1], (true, false));
        check((1, "a"), (1.0, "a"), (false, false));
        let set = |items: &[i64]| Value::Set(items.iter().map(|item| (*item).into()).collect());
        check(set(&[1]), set(&[2, 1]), (true, false));
        check(set(&[1]), set(&[2, 3]), (false, false));
        let large = |from: i64| (from..100_000).rev().map(Value::from).collect();
        check(Value::Set(large(1)), Value::FrozenSet(large(0)), (true, false));
    }

    #[test]
    fn values_without_order_raise_type_error() {
        let message = |a: Value, b: Value| less(&a, &b).unwrap_err().to_string();
        let text = |a, b| format!("TypeError: '{a}' and '{b}' have no order");
        assert_eq!(message((1, "x").into(), (1, 2).into()), text("str", "int"));
        assert_eq!(message(Value::None, Value::None), text("NoneType", "NoneType"));
        assert_eq!(message(Value::Dict(vec![]), 1.5.into()), text("dict", "float"));
    }

    #[test]
    fn sort_is_stable_at_any_length() {
        for len in [0, 1, 2, 63, 64, 200, 1000] {
            let mut items: Vec<_> =
                (0..len).map(|n| (Value::from(n * 7919 % 101 / 3), n)).collect();
            let mut expected = items.clone();
            expected.sort_by_key(|(value, n)| (value.as_i64(), *n));
            sort(&mut items, false, |item| &item.0).unwrap();
            assert_eq!(items, expected);
        }
    }

    #[test]
    fn failed_sort_changes_nothing() {
        let mut items: Vec<Value> = vec![3.into(), 1.into(), 2.into(), "a".into(), 0.into()];
        assert!(sort(&mut items, false, |item| item).is_err());
        assert_eq!(Value::from(items).to_string(), "[3, 1, 2, 'a', 0]");
    }

    #[test]
    fn sort_without_total_order_ends() {
        let nan = |n: i32| if n % 3 == 0 { f64::NAN } else { f64::from(n * 7919 % 101) };
        let mut items: Vec<Value> = (0..1000).map(|n| nan(n).into()).collect();
        sort(&mut items, false, |item| item).unwrap();
        assert_eq!(items.len(), 1000);
    }
}
