//! The manager's objects, each under its id, with the number of references that clients hold. The guide draws their
//! lives (`guide::proxies`). References to shared objects are counted for `number_of_objects`.
//!
//! A client that knows an object's id can call the object and drop its references, so ids must be hard to guess. The
//! id of a created object is derived from a random secret of this manager. The id of a shared object is derived from
//! the authkey, so that it is the same after a restart.
//!
//! A pin keeps an object that a reply names (`outbox.rs`). It is not a reference: `number_of_objects` does not count an
//! object that has only pins.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, Instant};

use crate::value::beginning;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::guarded;
use super::registry::Registration;
use crate::error::Result;
use crate::net::Address;
use crate::object::SharedObject;
use crate::object::stored::{ObjectRefs, ObjectTable};
use crate::wire::handshake::{mac, random};
use crate::wire::message::abridged;

/// Begins the input of the MAC that is a shared object's id. No handshake computes that MAC: only challenges that
/// begin with `{sha256}` are answered with HMAC-SHA256.
const SHARED_ID: &[u8] = b"#SHARED_OBJECT#";

/// How long a client may take to `incref` an object that it was handed.
pub(super) const HAND_OVER: Duration = Duration::from_secs(1);

/// The characters of each object's representation that `debug_info` shows, as in `CPython`.
const SHOWN: usize = 75;

/// An object that clients can call.
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) typeid: String,
    pub(super) object: Arc<dyn SharedObject>,
    pub(super) exposed: Vec<String>,
    /// Methods whose results stay in the manager, and the typeids of the results.
    pub(super) method_to_typeid: HashMap<String, String>,
    /// Clients are not told of methods with names such as `__len__`.
    hides_operators: bool,
}

impl Entry {
    /// An entry without an id: [`Objects`] sets it.
    pub(super) fn new(
        registration: Option<&Registration>,
        typeid: &str,
        object: Arc<dyn SharedObject>,
    ) -> Self {
        let listed = registration.and_then(|found| found.exposed.clone());
        let overridden = registration.filter(|found| !found.method_to_typeid.is_empty());
        let method_to_typeid = overridden
            .map_or_else(|| object.method_to_typeid(), |found| found.method_to_typeid.clone());
        // `DictProxy` calls `__iter__` without asking whether it is exposed. An `AutoProxy` must not: it could not
        // iterate over the result, as in CPython; and with `__getitem__` alone, Python would iterate by calling that
        // with 0, 1, 2, …
        let hides_operators =
            listed.is_none() && overridden.is_none() && method_to_typeid.contains_key("__iter__");
        let mut exposed = listed.unwrap_or_else(|| object.exposed().0);
        let further = object.also_exposed(&exposed).0;
        for method in further.into_iter().chain(method_to_typeid.keys().cloned()) {
            if !exposed.contains(&method) {
                exposed.push(method);
            }
        }
        let (id, typeid) = (String::new(), typeid.to_owned());
        Self { id, typeid, object, exposed, method_to_typeid, hides_operators }
    }

    /// The exposed methods that clients are told of. Python's `AutoProxy` gets a method for each. It must not get
    /// those that Python calls to read and set attributes: it would call them for its own attributes, and recurse
    /// without end. Other proxy types, such as `NamespaceProxy`, call them without being told.
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
    pins: usize,
    /// Stays without references.
    shared: bool,
    /// Counts towards `max_objects`: no other part of this process held the object.
    counted: bool,
    /// When its creator got the reference, until that is dropped.
    handed_over: Option<Instant>,
}

pub(super) struct Objects(RwLock<Table>);

struct Table {
    /// By id. A manager mostly has few objects, so comparing ids is cheaper than hashing one.
    slots: BTreeMap<String, Slot>,
    /// The living objects that were shared or handed out, whether or not clients hold references, by address and
    /// typeid. An object that a callable returns again gets the same id.
    known: HashMap<(usize, String), Known>,
    /// An object was added since the last call of [`Objects::to_drain`].
    has_new: bool,
    /// The number of counted slots.
    counted: usize,
    /// Keyed with the manager's secret. Ids are its MACs of 1, 2, 3, …
    secret: Hmac<Sha256>,
    last: u64,
}

struct Known {
    id: String,
    /// As long as this is kept, no other object gets the same address.
    object: Weak<dyn SharedObject>,
}

impl Table {
    fn new_id(&mut self) -> String {
        self.last += 1;
        id(self.secret.clone().chain_update(self.last.to_be_bytes()))
    }

    fn add(&mut self, mut entry: Entry, id: String, shared: bool, counted: bool) {
        if self.known.len() == self.known.capacity() {
            self.known.retain(|_, known| known.object.strong_count() > 0);
        }
        let object = Arc::downgrade(&entry.object);
        self.known.entry(key(&entry)).or_insert(Known { id: id.clone(), object });
        self.has_new = true;
        self.counted += usize::from(counted);
        entry.id.clone_from(&id);
        let entry = Arc::new(entry);
        let slot = Slot { entry, references: 0, pins: 0, shared, counted, handed_over: None };
        self.slots.insert(id, slot);
    }

    /// Removes an object that is no longer needed. The result must be dropped without the lock.
    fn remove_unused(&mut self, id: &str) -> Option<Arc<Entry>> {
        let slot = self.slots.get(id)?;
        if slot.shared || slot.references > 0 || slot.pins > 0 {
            return None;
        }
        let Slot { entry, counted, .. } = self.slots.remove(id)?;
        self.counted -= usize::from(counted);
        Some(entry)
    }
}

impl Objects {
    pub(super) fn new() -> Result<Self> {
        let secret = mac(&random::<32>()?, &[])?;
        Ok(Self(RwLock::new(Table {
            slots: BTreeMap::new(),
            known: HashMap::new(),
            has_new: false,
            counted: 0,
            secret,
            last: 0,
        })))
    }

    // Each update of the table is complete before anything can panic, so a poisoned lock is usable.
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a shared object, unless one has this id.
    pub(super) fn share(&self, id: String, entry: Entry) {
        let mut table = self.write();
        if !table.slots.contains_key(&id) {
            table.add(entry, id, true, false);
        }
    }

    /// Adds an object with one reference, or adds a reference to it if it is in the table. `None` if there would be
    /// more than `max` objects.
    pub(super) fn insert(&self, entry: Entry, max: usize) -> Option<Arc<Entry>> {
        let mut table = self.write();
        let known = table.known.get(&key(&entry)).map(|known| known.id.clone());
        let id = known.unwrap_or_else(|| table.new_id());
        if !table.slots.contains_key(&id) {
            // Refusing an object that this process holds as well would save no memory.
            let counted = Arc::strong_count(&entry.object) == 1;
            if counted && table.counted >= max {
                return None;
            }
            table.add(entry, id.clone(), false, counted);
        }
        let slot = table.slots.get_mut(&id)?;
        slot.references += 1;
        slot.handed_over = Some(Instant::now());
        Some(slot.entry.clone())
    }

    pub(super) fn entry(&self, id: &str) -> Option<Arc<Entry>> {
        self.read().slots.get(id).map(|slot| slot.entry.clone())
    }

    /// The living objects that were shared or handed out; none if there are no new ones since the last call.
    pub(super) fn to_drain(&self) -> Vec<Arc<dyn SharedObject>> {
        let mut table = self.write();
        if !std::mem::take(&mut table.has_new) {
            return Vec::new();
        }
        table.known.values().filter_map(|known| known.object.upgrade()).collect()
    }

    /// Removes everything.
    pub(super) fn clear(&self) {
        let mut table = self.write();
        table.known.clear();
        let slots = std::mem::take(&mut table.slots);
        drop(table);
        drop_all(slots.into_values().map(|slot| slot.entry));
    }

    /// Whether a client was handed an object in the last second and has not taken a reference of its own yet.
    pub(super) fn handing_over(&self) -> bool {
        let recent = |since: Instant| since.elapsed() < HAND_OVER;
        self.read().slots.values().any(|slot| slot.handed_over.is_some_and(recent))
    }

    /// The number of objects that have references, from clients or from data that the manager keeps.
    pub(super) fn count(&self) -> usize {
        self.read().slots.values().filter(|slot| slot.references > 0).count()
    }

    /// The abridged id, reference count and representation of each object with references or pins, as Python's
    /// `debug_info` shows them.
    pub(super) fn debug_info(&self) -> String {
        let row = |slot: &Slot| (slot.entry.clone(), slot.references + slot.pins);
        let mut rows: Vec<_> = self.read().slots.values().map(row).collect();
        rows.retain(|(_, references)| *references > 0);
        let show = |(entry, references): &(Arc<Entry>, usize)| {
            let repr = beginning(SHOWN, |out| entry.object.repr(out));
            let id = abridged(&entry.id);
            format!("  {id}:       refcount={references}\n    {repr}")
        };
        rows.iter().map(show).collect::<Vec<_>>().join("\n")
    }
}

impl Objects {
    /// Keeps the objects that a reply names.
    pub(super) fn pin(&self, references: &ObjectRefs) {
        self.update(references.ids(), |slot| {
            slot.pins += 1;
            true
        });
    }

    pub(super) fn unpin(&self, ids: impl Iterator<Item = String>) {
        self.update(ids, |slot| {
            slot.pins = slot.pins.saturating_sub(1);
            true
        });
    }

    /// Changes slots, and removes those that are no longer needed; `false` if one is missing or `change` returns that.
    fn update<I: AsRef<str>>(
        &self,
        ids: impl IntoIterator<Item = I>,
        change: impl Fn(&mut Slot) -> bool,
    ) -> bool {
        let mut table = self.write();
        let (mut changed, mut removed) = (true, Vec::new());
        for id in ids {
            changed &= table.slots.get_mut(id.as_ref()).is_some_and(&change);
            removed.extend(table.remove_unused(id.as_ref()));
        }
        drop(table);
        drop_all(removed);
        changed
    }
}

impl ObjectTable for Objects {
    #[cfg(feature = "sync")]
    fn get(&self, id: &str) -> Option<Arc<dyn SharedObject>> {
        self.read().slots.get(id).map(|slot| slot.entry.object.clone())
    }

    fn incref(&self, id: &str) -> bool {
        self.update([id], |slot| {
            slot.references += 1;
            true
        })
    }

    fn decref(&self, id: &str) -> bool {
        self.update([id], |slot| {
            let had_any = slot.references > 0;
            slot.references -= usize::from(had_any);
            slot.handed_over = None;
            // A shared object has the same id in other managers, and after a restart: the reference may be of there.
            had_any || slot.shared
        })
    }
}

/// Drops objects, and in turn the objects that only they hold: a long chain of containers takes no more stack than
/// a short one. No lock may be held, because the drop of an object may call back.
fn drop_all(entries: impl IntoIterator<Item = Arc<Entry>>) {
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
            drop_guarded(entry);
        }
        *pending.borrow_mut() = None;
    });
}

/// Drops a hold on an object. If it is the last, the object's own drop may panic, which must not affect the caller.
pub(super) fn drop_guarded<T: ?Sized>(held: Arc<T>) {
    let _ = guarded(|| drop(held));
}

/// The id of a shared object: the same after a restart with this authkey at this address.
pub(super) fn shared_id(authkey: &[u8], typeid: &str, address: &Address) -> Result<String> {
    let length = (typeid.len() as u64).to_be_bytes();
    let mac = mac::<Hmac<Sha256>>(authkey, SHARED_ID)?.chain_update(length);
    Ok(id(mac.chain_update(typeid).chain_update(address.to_string())))
}

/// The typeid and the name in the id of an object that is shared by name.
pub(super) fn split_named_id(id: &str) -> Option<(&str, &str)> {
    id.split_once('/')?.1.split_once('/')
}

/// The first 128 bits of a MAC.
fn id(mac: Hmac<Sha256>) -> String {
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    format!("{:032x}", u128::from_be_bytes(bytes.first_chunk().copied().unwrap_or_default()))
}

/// The key of an object in `Table::known`.
fn key(entry: &Entry) -> (usize, String) {
    (Arc::as_ptr(&entry.object).cast::<()>() as usize, entry.typeid.clone())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::exception::Exception;
    use crate::object::Return;
    use crate::object::call::Call;
    use crate::object::stored::ObjectRef;
    use crate::server::STACK;

    /// A container of one element.
    struct Link(#[expect(dead_code, reason = "held")] Option<ObjectRef>);

    impl SharedObject for Link {
        fn exposed(&self) -> crate::object::Exposed {
            crate::object::Exposed::default()
        }

        fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
            Err(call.no_such_method())
        }
    }

    fn insert(objects: &Objects, held: Option<ObjectRef>) -> String {
        let entry = Entry::new(None, "link", Arc::new(Link(held)));
        objects.insert(entry, usize::MAX).map(|entry| entry.id.clone()).unwrap_or_default()
    }

    #[test]
    fn long_chain_drops_on_a_small_stack() {
        let objects = Arc::new(Objects::new().unwrap_or_else(|error| unreachable!("{error}")));
        let table: Arc<dyn ObjectTable> = objects.clone();
        let mut last = None;
        for _ in 0..100_000 {
            let id = insert(&objects, last);
            last = ObjectRef::new(&table, id.clone());
            assert!(table.decref(&id));
        }
        assert_eq!(objects.count(), 100_000);
        let small = thread::Builder::new().stack_size(STACK).spawn(move || drop(last));
        assert!(small.is_ok_and(|thread| thread.join().is_ok()));
        assert_eq!(objects.count(), 0);
    }

    #[test]
    fn pinned_object_lives_but_is_not_counted() {
        let objects = Arc::new(Objects::new().unwrap_or_else(|error| unreachable!("{error}")));
        let table: Arc<dyn ObjectTable> = objects.clone();
        let id = insert(&objects, None);
        let references: ObjectRefs =
            ObjectRef::new(&table, id.clone()).map(Arc::new).into_iter().collect();
        objects.pin(&references);
        assert!(table.decref(&id));
        assert_eq!(objects.count(), 1);
        drop(references);
        assert_eq!(objects.count(), 0);
        assert!(objects.debug_info().contains("refcount=1"));
        assert!(table.incref(&id), "a pinned object can be referred to");
        objects.unpin(std::iter::once(id.clone()));
        assert_eq!(objects.count(), 1);
        assert!(table.decref(&id) && !table.incref(&id));
    }
}
