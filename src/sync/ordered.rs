//! The map inside dicts and sets: finds entries by key, and iterates in order of insertion.

use std::collections::{BTreeMap, HashMap};

use super::python::Key;
use crate::object::stored::Element;

/// The entries of a dict.
pub(super) type Entries = Ordered<Element>;

/// About how many bytes an entry takes beside its name and value: the key, and its place in both maps.
pub(super) const OVERHEAD: usize = 160;

/// Every operation takes constant or logarithmic time.
#[derive(Clone, Debug)]
pub(super) struct Ordered<V> {
    places: HashMap<Key, u64>,
    /// By place: places are counted up, and never used again.
    entries: BTreeMap<u64, Entry<V>>,
    next: u64,
}

/// A key as it was first inserted (`name`), and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry<V> {
    pub(super) key: Key,
    pub(super) name: Element,
    pub(super) value: V,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self { places: HashMap::new(), entries: BTreeMap::new(), next: 0 }
    }
}

impl<V> FromIterator<Entry<V>> for Ordered<V> {
    fn from_iter<I: IntoIterator<Item = Entry<V>>>(entries: I) -> Self {
        let mut ordered = Self::default();
        for entry in entries {
            ordered.insert(entry);
        }
        ordered
    }
}

impl<V> Ordered<V> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.places.contains_key(key)
    }

    pub(super) fn get(&self, key: &Key) -> Option<&V> {
        let place = self.places.get(key)?;
        self.entries.get(place).map(|entry| &entry.value)
    }

    /// Inserts an entry. If the key is there already, it keeps its place and its name; returns the new name
    /// with the old value.
    pub(super) fn insert(&mut self, mut entry: Entry<V>) -> Option<Entry<V>> {
        let place = self.places.get(&entry.key);
        if let Some(old) = place.and_then(|place| self.entries.get_mut(place)) {
            std::mem::swap(&mut old.value, &mut entry.value);
            return Some(entry);
        }
        self.places.insert(entry.key.clone(), self.next);
        self.entries.insert(self.next, entry);
        self.next += 1;
        None
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Entry<V>> {
        let place = self.places.remove(key)?;
        self.entries.remove(&place)
    }

    pub(super) fn pop_first(&mut self) -> Option<Entry<V>> {
        let key = self.iter().next()?.key.clone();
        self.remove(&key)
    }

    pub(super) fn pop_last(&mut self) -> Option<Entry<V>> {
        let key = self.iter().next_back()?.key.clone();
        self.remove(&key)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry<V>> {
        self.entries.values()
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Entry<V>> {
        self.entries.into_values()
    }

    /// The first entry at or after a place, and the place after it.
    pub(super) fn at(&self, place: u64) -> Option<(&Entry<V>, u64)> {
        let (found, entry) = self.entries.range(place..).next()?;
        Some((entry, found + 1))
    }
}
