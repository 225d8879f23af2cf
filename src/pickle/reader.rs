//! The operands of a pickle's operations, and the keys of its memo.

use std::collections::BTreeMap;

use super::{malformed, op};
use crate::error::Result;

/// Which number each memo key stands for. CPython's writer counts keys up from 0, as the numbers do.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// How many keys, from 0 on, stand for themselves: nearly always all of them, otherwise none.
    same: usize,
    dense: Vec<u32>,
    sparse: BTreeMap<usize, u32>,
}

impl Keys {
    #[inline]
    pub(super) fn clear(&mut self) {
        self.same = 0;
        self.dense.clear();
        if !self.sparse.is_empty() {
            self.sparse.clear();
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.dense.capacity() + self.sparse.len()
    }

    /// The key that `MEMOIZE` uses: the number of keys that are there.
    #[inline]
    pub(super) fn next(&self) -> usize {
        self.same + self.dense.len() + self.sparse.len()
    }

    /// Numbers count up from 0, put by put.
    #[inline]
    pub(super) fn put(&mut self, key: usize, number: u32) {
        if key == self.same && key == number as usize {
            self.same += 1;
        } else {
            self.put_other(key, number);
        }
    }

    fn put_other(&mut self, key: usize, number: u32) {
        self.dense.extend((0..).take(std::mem::take(&mut self.same)));
        let count = self.dense.len();
        match self.dense.get_mut(key) {
            Some(slot) => *slot = number,
            None if key == count => {
                self.sparse.remove(&key);
                self.dense.push(number);
            }
            None => {
                self.sparse.insert(key, number);
            }
        }
    }

    pub(super) fn get(&self, key: usize) -> Option<u32> {
        if key < self.same {
            return u32::try_from(key).ok();
        }
        self.dense.get(key).or_else(|| self.sparse.get(&key)).copied()
    }
}

/// Reads operations; every read is checked against the end.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8> {
        let byte = self.bytes.get(self.at).ok_or_else(|| malformed("it ends too early"))?;
        self.at += 1;
        Ok(*byte)
    }

    /// The operand of an operation: of a string without its length, of `GLOBAL` two lines in one.
    #[allow(clippy::inline_always, reason = "1.7 ns an operation instead of 3")]
    #[inline(always)]
    pub(super) fn operand(&mut self, code: u8) -> Result<&'a [u8]> {
        match code {
            op::BININT1 | op::BINPUT | op::BINGET | op::PROTO => self.take(1),
            op::BININT2 => self.take(2),
            op::BININT | op::LONG_BINPUT | op::LONG_BINGET => self.take(4),
            op::BINFLOAT | op::FRAME => self.take(8),
            op::SHORT_BINUNICODE | op::SHORT_BINBYTES | op::LONG1 => self.counted(1),
            op::BINUNICODE | op::BINBYTES | op::LONG4 => self.counted(4),
            op::BINUNICODE8 | op::BINBYTES8 | op::BYTEARRAY8 => self.counted(8),
            op::GLOBAL => self.two_lines(),
            _ => Ok(&[]),
        }
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or_else(|| malformed("it ends too early"))?;
        self.at += count;
        Ok(taken)
    }

    /// A length of `size` bytes, and that many bytes.
    fn counted(&mut self, size: usize) -> Result<&'a [u8]> {
        let length = number(self.take(size)?);
        self.take(length)
    }

    fn two_lines(&mut self) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let (end, _) = ends.nth(1).ok_or_else(|| malformed("a line has no end"))?;
        let lines = self.take(end)?;
        self.at += 1;
        Ok(lines)
    }
}

/// An unsigned little-endian number.
#[inline]
pub(super) fn number(bytes: &[u8]) -> usize {
    let number = bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    usize::try_from(number).unwrap_or(usize::MAX)
}
