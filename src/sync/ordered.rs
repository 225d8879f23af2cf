//! What dicts and sets are kept in: entries in order of insertion, found by their keys.

use std::collections::{BTreeMap, HashMap};

use crate::object::stored::Element;
use crate::value::Key;

/// About how many bytes an entry takes beside its name and value: the key, and twice the way to it.
pub(super) const PLACE: usize = 160;

/// A map that remembers the order of insertion. No operation takes time by its size.
#[derive(Clone, Debug)]
pub(super) struct Ordered<V> {
    /// Where each key stands.
    places: HashMap<Key, u64>,
    /// Counted up, never used again.
    entries: BTreeMap<u64, Entry<V>>,
    next: u64,
}

/// A key as it was given first, and what belongs to it.
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
    /// Of equal keys the first gives the place and the name, the last the value.
    fn from_iter<I: IntoIterator<Item = Entry<V>>>(entries: I) -> Self {
        let mut ordered = Self::default();
        for Entry { key, name, value } in entries {
            ordered.insert(key, name, value);
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

    /// Gives a key a value. One that is there keeps its place and its name: what is left over of
    /// the old value and the new name comes back.
    pub(super) fn insert(&mut self, key: Key, name: Element, value: V) -> Option<(Element, V)> {
        let place = self.places.get(&key);
        if let Some(entry) = place.and_then(|place| self.entries.get_mut(place)) {
            return Some((name, std::mem::replace(&mut entry.value, value)));
        }
        self.places.insert(key.clone(), self.next);
        self.entries.insert(self.next, Entry { key, name, value });
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

    /// The first entry at a place or behind it, and the place after.
    pub(super) fn at(&self, place: u64) -> Option<(&Entry<V>, u64)> {
        let (found, entry) = self.entries.range(place..).next()?;
        Some((entry, found + 1))
    }
}
