//! Python's `range`, written out.

/// The integers of a `range(from, to, step)`, one by one; `None` for a step of 0. Their number is the lower bound of
/// the iterator's `size_hint`.
pub(crate) fn range(from: i64, to: i64, step: i64) -> Option<impl Iterator<Item = i64>> {
    if step == 0 {
        return None;
    }
    let empty = if step > 0 { to <= from } else { to >= from };
    let count = if empty { 0 } else { from.abs_diff(to).div_ceil(step.unsigned_abs()) };
    // Each is between two `i64`s, even if the product is not.
    Some((0..count).map(move |nth| from.wrapping_add(step.wrapping_mul(nth.cast_signed()))))
}
