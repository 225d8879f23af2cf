//! What the manager shares: each object under its id, with the references that clients hold.
//!
//! ```text
//!  create ──► 1 reference, the creator's ──► incref, decref … ──► 0: forgotten, and dropped unless
//!                                                                 this process holds it too
//! ```
//! An object that this process holds as well (the callable returns the same one every time) has its
//! typeid for an id, if it was asked for without arguments: a proxy outlives a restart of the manager.
//!
//! What a reply names is kept as well, until its connection's next request or end: by then its reader has
//! taken references of its own. They come by other connections, and an `incref` does not say whose it is,
//! so none of them ends this early; but an object that nothing else keeps is not counted any more.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::guarded;
use crate::error::{Error, Result};
use crate::shared::SharedObject;
use crate::shared::call::ConnectionId;
use crate::shared::element::References;
use crate::shared::wait::lock;

/// How long a client that was handed a new object is given to take its own reference.
pub(super) const HAND_OVER: Duration = Duration::from_secs(1);

/// The characters of each object's representation that `_debug_info()` shows, as in `CPython`.
const SHOWN: usize = 75;

/// An object that clients can name.
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) object: Arc<dyn SharedObject>,
    pub(super) exposed: Vec<String>,
    /// Methods whose results stay here, and their typeids.
    pub(super) method_to_typeid: Arc<HashMap<String, String>>,
    pub(super) typeid: String,
    /// Whether an `AutoProxy` has public methods only.
    hides_operators: bool,
}

impl Entry {
    /// The exposed methods that a client is told of: Python's `AutoProxy` gets a method for each. Those by
    /// which Python reads attributes would call the manager for each attribute of the proxy itself, without
    /// end. Other proxy types, such as `NamespaceProxy`, call them without being told.
    pub(super) fn advertised(&self) -> impl Iterator<Item = &str> {
        const ATTRIBUTES: [&str; 3] = ["__delattr__", "__getattribute__", "__setattr__"];
        let advertised = |name: &&str| {
            !(ATTRIBUTES.contains(name) || self.hides_operators && name.starts_with("__"))
        };
        self.exposed.iter().map(String::as_str).filter(advertised)
    }
}

struct Slot {
    entry: Arc<Entry>,
    references: usize,
    /// Since when its creator holds a reference that it has not passed on.
    handed_over: Option<Instant>,
}

pub(super) struct Objects {
    table: Mutex<Table>,
    /// How many objects were removed so far: while that stays, whoever has found one finds it again.
    removals: AtomicU64,
    /// What each connection's replies named. Locked before the table.
    passing: Mutex<HashMap<ConnectionId, Vec<References>>>,
}

struct Table {
    slots: HashMap<String, Slot>,
    /// Ids by the object's place in memory and its typeid.
    ids: HashMap<(usize, String), String>,
    next: u64,
}

/// What makes an entry.
pub(super) struct New {
    pub(super) typeid: String,
    /// The id that it gets if this process holds the object too, and no other object has it.
    pub(super) stable_id: Option<String>,
    pub(super) object: Arc<dyn SharedObject>,
    pub(super) exposed: Vec<String>,
    pub(super) method_to_typeid: Arc<HashMap<String, String>>,
    pub(super) hides_operators: bool,
}

impl Objects {
    /// Ids of objects that do not last count up from a random number, so that an id of another run
    /// names nothing here.
    pub(super) fn new() -> Result<Self> {
        let next = getrandom::u64().map_err(|e| Error::Io("draw a random id".into(), e.into()))?;
        let (slots, ids) = (HashMap::new(), HashMap::new());
        let table = Mutex::new(Table { slots, ids, next });
        Ok(Self { table, removals: AtomicU64::new(0), passing: Mutex::default() })
    }

    /// Takes an object in, or finds it again, with `references` more to it; `None` if it were one more than
    /// `most`.
    pub(super) fn insert(&self, new: New, references: usize, most: usize) -> Option<Arc<Entry>> {
        let mut table = lock(&self.table);
        let key = (address(&new.object), new.typeid.clone());
        if table.slots.len() >= most && !table.ids.contains_key(&key) {
            // Before the object, whose own drop may call back.
            drop(table);
            return None;
        }
        let lasting = Arc::strong_count(&new.object) > 1;
        let stable_id = new.stable_id.filter(|id| lasting && !table.slots.contains_key(id));
        let id = table.ids.get(&key).cloned().or(stable_id).unwrap_or_else(|| {
            table.next = table.next.wrapping_add(1);
            format!("{:x}", table.next)
        });
        let New { typeid, object, exposed, method_to_typeid, hides_operators, .. } = new;
        let slot = table.slots.entry(id.clone()).or_insert_with(|| {
            let id = id.clone();
            let entry = Entry { id, object, exposed, method_to_typeid, typeid, hides_operators };
            Slot { entry: Arc::new(entry), references: 0, handed_over: None }
        });
        slot.references += references;
        if references > 0 {
            slot.handed_over = Some(Instant::now());
        }
        let entry = slot.entry.clone();
        table.ids.insert(key, id);
        Some(entry)
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Entry>> {
        lock(&self.table).slots.get(id).map(|slot| slot.entry.clone())
    }

    pub(super) fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        lock(&self.table).slots.values().map(|slot| slot.entry.clone()).collect()
    }

    /// Adds a reference; `false` if there is no such object.
    pub(super) fn incref(&self, id: &str) -> bool {
        let mut table = lock(&self.table);
        table.slots.get_mut(id).map(|slot| slot.references += 1).is_some()
    }

    /// Drops a reference, and with the last one the object; `false` if there was none.
    pub(super) fn decref(&self, id: &str) -> bool {
        let mut table = lock(&self.table);
        let Some(slot) = table.slots.get_mut(id) else { return false };
        let Some(references) = slot.references.checked_sub(1) else { return false };
        slot.references = references;
        slot.handed_over = None;
        if references == 0 {
            let removed = table.slots.remove(id);
            self.removals.fetch_add(1, Ordering::Release);
            if let Some(slot) = &removed {
                let entry = &slot.entry;
                table.ids.remove(&(address(&entry.object), entry.typeid.clone()));
            }
            drop(table);
            discard(removed.map(|slot| slot.entry));
        }
        true
    }

    /// Keeps what a connection's reply names.
    pub(super) fn pass(&self, connection: ConnectionId, references: References) {
        lock(&self.passing).entry(connection).or_default().push(references);
    }

    /// Gives back what the reply named that a connection was to get, counted from its last clearing.
    pub(super) fn take_back(&self, connection: ConnectionId, place: usize) -> References {
        let mut passing = lock(&self.passing);
        let references = passing.get_mut(&connection).and_then(|passing| passing.get_mut(place));
        references.map(std::mem::take).unwrap_or_default()
    }

    /// Lets go of what a connection's replies named.
    pub(super) fn passed(&self, connection: ConnectionId) {
        // The last to hold an object, perhaps: not under the lock.
        let passed = lock(&self.passing).remove(&connection);
        drop(passed);
    }

    /// Lets go of everything.
    pub(super) fn clear(&self) {
        let slots = std::mem::take(&mut lock(&self.table).slots);
        self.removals.fetch_add(1, Ordering::Release);
        discard(slots.into_values().map(|slot| slot.entry));
    }

    /// Whether a client was just handed an object and has not taken its own reference yet.
    pub(super) fn handing_over(&self) -> bool {
        let table = lock(&self.table);
        let fresh = |since: Instant| since.elapsed() < HAND_OVER;
        table.slots.values().any(|slot| slot.handed_over.is_some_and(fresh))
    }

    /// The objects that clients, or data that is kept here, hold references to.
    pub(super) fn count(&self) -> usize {
        let passing = lock(&self.passing);
        let mut passing_only: HashMap<&str, usize> = HashMap::new();
        for reference in References::held_by_only(passing.values().flatten()) {
            *passing_only.entry(&reference.id).or_default() += 1;
        }
        let passing_only = |id: &str| passing_only.get(id).copied().unwrap_or_default();
        let table = lock(&self.table);
        table.slots.iter().filter(|(id, slot)| slot.references > passing_only(id)).count()
    }

    /// Each object's id, references and representation, as Python's `debug_info` shows them.
    pub(super) fn debug_info(&self) -> String {
        let table = lock(&self.table);
        let mut rows: Vec<_> = table
            .slots
            .values()
            .map(|slot| (slot.entry.clone(), slot.references))
            .filter(|(_, references)| *references > 0)
            .collect();
        drop(table);
        rows.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        let show = |(entry, references): &(Arc<Entry>, usize)| {
            let repr = entry.object.short_repr(SHOWN);
            format!("  {}:       refcount={references}\n    {repr}", entry.id)
        };
        rows.iter().map(show).collect::<Vec<_>>().join("\n")
    }
}

/// Drops objects, and with them, in turn, what they alone held: a chain of containers takes no more
/// stack than one. No lock may be held, for an object's own drop may call back.
fn discard(entries: impl IntoIterator<Item = Arc<Entry>>) {
    thread_local!(static PENDING: RefCell<Option<Vec<Arc<Entry>>>> = const { RefCell::new(None) });
    let entries: Vec<_> = entries.into_iter().collect();
    PENDING.with(|pending| {
        if let Some(pending) = pending.borrow_mut().as_mut() {
            return pending.extend(entries);
        }
        *pending.borrow_mut() = Some(entries);
        loop {
            let next = pending.borrow_mut().as_mut().and_then(Vec::pop);
            let Some(entry) = next else { break };
            let_go(entry);
        }
        *pending.borrow_mut() = None;
    });
}

/// Lets go of an object, perhaps as the last to hold it: its own drop may panic, which is no reason to keep
/// others, or to reply once more.
pub(super) fn let_go(entry: Arc<Entry>) {
    let _ = guarded(|| drop(entry));
}

fn address(object: &Arc<dyn SharedObject>) -> usize {
    Arc::as_ptr(object).cast::<()>() as usize
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::error::Exception;
    use crate::server::STACK;
    use crate::shared::Return;
    use crate::shared::call::Call;
    use crate::shared::element::{Keeper, Reference};

    impl Keeper for Objects {
        fn release(&self, id: &str) {
            self.decref(id);
        }
    }

    /// A container of one.
    struct Link(#[expect(dead_code, reason = "held")] Option<Reference>);

    impl SharedObject for Link {
        fn exposed(&self) -> &[&str] {
            &[]
        }

        fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
            Err(call.no_such_method())
        }
    }

    #[test]
    fn a_long_chain_takes_no_more_stack_than_a_short_one() {
        let objects = Arc::new(Objects::new().unwrap_or_else(|error| unreachable!("{error}")));
        let mut last = None;
        for _ in 0..100_000 {
            let (exposed, method_to_typeid) = (Vec::new(), Arc::default());
            let (typeid, object) = ("link".to_owned(), Arc::new(Link(last)));
            let (stable_id, hides_operators) = (None, false);
            let new = New { typeid, stable_id, object, exposed, method_to_typeid, hides_operators };
            let entry = objects.insert(new, 1, usize::MAX);
            let reference =
                |entry: Arc<Entry>| Reference { keeper: objects.clone(), id: entry.id.clone() };
            last = entry.map(reference);
        }
        assert_eq!(objects.count(), 100_000);
        let small = thread::Builder::new().stack_size(STACK).spawn(move || drop(last));
        assert!(small.is_ok_and(|thread| thread.join().is_ok()));
        assert_eq!(objects.count(), 0);
    }
}
