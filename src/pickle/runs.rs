//! Runs of numbers, of which long lists are often made: they are indexed several at a time.

use super::machine::{Run, index};
use super::op;

/// Pushes where each of the numbers at the beginning of `rest` ends, at most `max` of them.
pub(super) fn push(stack: &mut Vec<u32>, rest: &[u8], at: u32, max: usize) -> Run {
    let mut run = Run::default();
    loop {
        let rest = rest.get(run.bytes..).unwrap_or_default();
        let max = max - run.operations;
        let (size, count) = match rest.first() {
            Some(&op::BININT1) => (2, alike::<2>(rest, max)),
            Some(&op::BININT2) => (3, alike::<3>(rest, max)),
            Some(&op::BININT) => (5, alike::<5>(rest, max)),
            Some(&op::BINFLOAT) => (9, alike::<9>(rest, max)),
            _ => return run,
        };
        if count == 0 {
            return run;
        }
        let (from, step) = (at + index(run.bytes), index(size));
        stack.extend((1..=index(count)).map(|nth| from + nth * step));
        run.bytes += count * size;
        run.operations += count;
    }
}

/// How many operations of so many bytes there are at the beginning that are like the first one, up to `max`.
fn alike<const SIZE: usize>(bytes: &[u8], max: usize) -> usize {
    let (all, _) = bytes.as_chunks::<SIZE>();
    let all = all.get(..max).unwrap_or(all);
    let Some(&code) = bytes.first() else { return 0 };
    let count = |some: &[[u8; SIZE]]| some.iter().take_while(|op| op[0] == code).count();
    // Sixteen at a time without a branch take half the time, where there are so many.
    let (groups, rest) = all.as_chunks::<16>();
    let begun = groups.first().map_or_else(|| count(all), |first| count(first));
    if begun < 16 {
        return begun;
    }
    let differ =
        |group: &[[u8; SIZE]; 16]| group.iter().fold(0_u8, |bits, op| bits | (op[0] ^ code));
    let whole = groups.iter().take_while(|group| differ(group) == 0).count();
    16 * whole + groups.get(whole).map_or_else(|| count(rest), |last| count(last))
}
