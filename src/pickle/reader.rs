//! The operands of a pickle's operations, and the keys of its memo.

use std::collections::BTreeMap;

use super::malformed;
use crate::error::Result;

/// Which number each memo key stands for. CPython's writer counts keys up from 0.
#[derive(Debug, Default)]
pub(super) struct Keys {
    dense: Vec<u32>,
    sparse: BTreeMap<u64, u32>,
}

impl Keys {
    pub(super) fn clear(&mut self) {
        self.dense.clear();
        self.sparse.clear();
    }

    /// The key that `MEMOIZE` uses: the number of keys that are there.
    pub(super) fn next(&self) -> u64 {
        (self.dense.len() + self.sparse.len()) as u64
    }

    pub(super) fn put(&mut self, key: u64, number: u32) {
        let dense = usize::try_from(key).unwrap_or(usize::MAX);
        let count = self.dense.len();
        match self.dense.get_mut(dense) {
            Some(slot) => *slot = number,
            None if dense == count => {
                self.sparse.remove(&key);
                self.dense.push(number);
            }
            None => {
                self.sparse.insert(key, number);
            }
        }
    }

    pub(super) fn get(&self, key: u64) -> Option<u32> {
        let dense = usize::try_from(key).ok().and_then(|key| self.dense.get(key));
        dense.or_else(|| self.sparse.get(&key)).copied()
    }
}

/// Reads operands; every read is checked against the end.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| malformed("it ends too early"))?;
        let taken = self.bytes.get(self.at..end).unwrap_or_default();
        self.at = end;
        Ok(taken)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8> {
        let byte = self.bytes.get(self.at).ok_or_else(|| malformed("it ends too early"))?;
        self.at += 1;
        Ok(*byte)
    }

    /// An unsigned little-endian number of `size` bytes.
    pub(super) fn number(&mut self, size: usize) -> Result<u64> {
        Ok(self.take(size)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// A length of `size` bytes, and that many bytes.
    pub(super) fn counted(&mut self, size: usize) -> Result<&'a [u8]> {
        let length = self.number(size)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Up to the end of the line, which is passed over.
    pub(super) fn line(&mut self) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(length.ok_or_else(|| malformed("a line has no end"))?)?;
        self.at += 1;
        Ok(line)
    }

    pub(super) fn key(&mut self) -> Result<u64> {
        let line = self.line()?;
        let text = std::str::from_utf8(line).ok().filter(|text| text.len() <= 20);
        text.and_then(|text| text.parse().ok()).ok_or_else(|| malformed("a memo key is no number"))
    }
}
