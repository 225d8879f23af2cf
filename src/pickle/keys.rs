//! The keys of a pickle's memo.

use std::collections::BTreeMap;

use super::machine::index;

/// Which number each memo key stands for.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The keys below stand for themselves: CPython's writer counts keys up from 0, as the numbers do.
    same: usize,
    /// All that were put after the first that does not.
    others: BTreeMap<usize, u32>,
    /// How many keys there are, which is the key that `MEMOIZE` uses.
    count: usize,
}

impl Keys {
    #[inline]
    pub(super) fn clear(&mut self) {
        (self.same, self.count) = (0, 0);
        if !self.others.is_empty() {
            self.others.clear();
        }
    }

    /// The key that `MEMOIZE` uses.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    #[inline]
    pub(super) fn put(&mut self, key: usize, number: u32) {
        if key == self.same && key == number as usize && self.others.is_empty() {
            self.same += 1;
            self.count += 1;
        } else {
            let fresh = self.others.insert(key, number).is_none() && key >= self.same;
            self.count += usize::from(fresh);
        }
    }

    pub(super) fn get(&self, key: usize) -> Option<u32> {
        let same = || (key < self.same).then(|| index(key));
        self.others.get(&key).copied().or_else(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memoize_counts_the_keys() {
        let mut keys = Keys::default();
        for (key, number) in [(0, 10), (7, 11), (1, 12), (7, 13), (1, 14)] {
            keys.put(key, number);
        }
        assert_eq!(keys.count, 3);
        assert_eq!([0, 1, 7, 2].map(|key| keys.get(key)), [Some(10), Some(14), Some(13), None]);
        (2..=7).for_each(|key| keys.put(key, 20));
        assert_eq!((keys.count, keys.get(7)), (8, Some(20)));
        // As CPython's writer counts them, until one is put again.
        let mut keys = Keys::default();
        (0..3).for_each(|number| keys.put(number as usize, number));
        assert_eq!((keys.count, keys.get(2), keys.get(3)), (3, Some(2), None));
        keys.put(1, 3);
        keys.put(3, 4);
        assert_eq!(keys.count, 4);
        assert_eq!([0, 1, 2, 3].map(|key| keys.get(key)), [Some(0), Some(3), Some(2), Some(4)]);
    }
}
