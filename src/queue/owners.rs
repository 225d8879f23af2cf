//! What the clients of an at-least-once queue took and have not settled: neither acknowledged nor returned.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::exception::Exception;
use crate::object::call::Owner;

/// An item that an owner took.
pub(super) trait Leased {
    /// When the lease expires. All leases of a queue are equally long, so the oldest expires first.
    fn deadline(&self) -> Option<Instant>;
}

/// Which of an owner's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Oldest,
    Newest,
}

/// The items that were taken, by the client or thread that took them.
pub(super) struct Owners<D> {
    taken: HashMap<Owner, Taken<D>>,
    len: usize,
    /// No lease expires earlier than this.
    next_expiry: Option<Instant>,
}

struct Taken<D> {
    /// The number of expired items that the owner may still try to settle, which is an error. They are only counted,
    /// so that an owner that never settles anything needs no memory.
    expired: usize,
    /// The other items, the oldest first.
    items: VecDeque<D>,
}

impl<D> Default for Owners<D> {
    fn default() -> Self {
        Self { taken: HashMap::new(), len: 0, next_expiry: None }
    }
}

impl<D> Default for Taken<D> {
    fn default() -> Self {
        Self { expired: 0, items: VecDeque::new() }
    }
}

impl<D: Leased> Owners<D> {
    /// The number of items, of all owners.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn has_items(&self, owner: Owner) -> bool {
        self.taken.get(&owner).is_some_and(|taken| !taken.items.is_empty())
    }

    /// All items.
    #[cfg(feature = "redis")]
    pub(super) fn iter(&self) -> impl Iterator<Item = &D> {
        self.taken.values().flat_map(|taken| &taken.items)
    }

    /// The owner took an item.
    pub(super) fn add(&mut self, owner: Owner, item: D) {
        self.restore(owner, Which::Newest, item);
    }

    /// Gives an item back to the owner from whom it was removed.
    pub(super) fn restore(&mut self, owner: Owner, which: Which, item: D) {
        self.len += 1;
        self.next_expiry = self.next_expiry.into_iter().chain(item.deadline()).min();
        let items = &mut self.taken.entry(owner).or_default().items;
        match which {
            Which::Oldest => items.push_front(item),
            Which::Newest => items.push_back(item),
        }
    }

    /// Removes an item of this owner for `method`, which is named in the error.
    pub(super) fn remove(
        &mut self,
        owner: Owner,
        method: &str,
        which: Which,
    ) -> Result<D, Exception> {
        let Entry::Occupied(mut entry) = self.taken.entry(owner) else {
            let text = format!("{method}() called too many times: no item is unacknowledged here");
            return Err(Exception::value_error(text));
        };
        let taken = entry.get_mut();
        let item = match which {
            // The oldest items are those that expired.
            Which::Oldest if taken.expired > 0 => None,
            Which::Oldest => taken.items.pop_front(),
            Which::Newest => taken.items.pop_back(),
        };
        match item {
            Some(_) => self.len -= 1,
            None => taken.expired -= 1,
        }
        if taken.expired == 0 && taken.items.is_empty() {
            entry.remove();
        }
        item.ok_or_else(|| {
            Exception::value_error(format!("{method}() called too late: the item's lease expired"))
        })
    }

    /// Removes all items of this owner, the oldest first.
    pub(super) fn remove_all(&mut self, owner: Owner) -> VecDeque<D> {
        let items = self.taken.remove(&owner).map(|taken| taken.items).unwrap_or_default();
        self.len -= items.len();
        items
    }

    /// Whether a lease may have expired. Without leases, this does not read the clock.
    pub(super) fn may_have_expired(&self) -> bool {
        self.next_expiry.is_some_and(|expiry| expiry <= Instant::now())
    }

    /// Removes the items whose leases have expired.
    pub(super) fn expire(&mut self, now: Instant) -> VecDeque<D> {
        let has_expired = |item: &D| item.deadline().is_some_and(|deadline| deadline <= now);
        let mut expired = VecDeque::new();
        for taken in self.taken.values_mut() {
            let count = taken.items.partition_point(has_expired);
            taken.expired += count;
            expired.extend(taken.items.drain(..count));
        }
        self.len -= expired.len();
        let first = |taken: &Taken<D>| taken.items.front()?.deadline();
        self.next_expiry = self.taken.values().filter_map(first).min();
        expired
    }
}

/// The error of `nack` for a queue that is not at-least-once.
pub(super) fn not_at_least_once() -> Exception {
    Exception::value_error("nack() is for at-least-once queues only")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    impl Leased for Instant {
        fn deadline(&self) -> Option<Instant> {
            Some(*self)
        }
    }

    #[test]
    fn owner_that_never_acknowledges_needs_no_memory() {
        let (mut owners, owner) = (Owners::default(), Owner::this_thread());
        let later = Instant::now() + Duration::from_secs(2);
        for times in 1..=1000 {
            owners.add(owner, Instant::now());
            assert_eq!((owners.expire(later).len(), owners.len()), (1, 0));
            let taken = owners.taken.get(&owner).map(|taken| (taken.expired, taken.items.len()));
            assert_eq!(taken, Some((times, 0)));
        }
    }
}
