//! What the manager shares: each object under its id, with the references that clients hold.
//!
//! ```text
//!  create ──► 1 reference, the creator's ──► incref, decref … ──► 0: forgotten, and dropped unless
//!                                                                 this process holds it too
//!  share  ──► in the table from the manager's start to its end; clients' references are counted
//! ```
//! Ids are unguessable: whoever knows an object's id can call it and drop references to it. A created
//! object's id is drawn from a random secret of this manager; a shared object's id is derived from the
//! authkey, so that it is the same after a restart, unless clients may not create it.
//!
//! What a reply names is kept as well, until its connection's next request or end: by then its reader has
//! taken references of its own. They come by other connections, and an `incref` does not say whose it is,
//! so none of them ends this early; but an object that nothing else keeps is not counted any more.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::guarded;
use crate::error::Result;
use crate::handshake::{mac, random};
use crate::message::abridged;
use crate::shared::SharedObject;
use crate::shared::call::ConnectionId;
use crate::shared::element::References;
use crate::shared::wait::lock;
use crate::transport::Address;

/// Begins what is authenticated for the id of a shared object. No peer can have it answered as a challenge:
/// only those that begin with `{sha256}` are answered with HMAC-SHA256.
const SHARED_ID: &[u8] = b"#SHARED_OBJECT#";

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
    /// It stays without references.
    shared: bool,
    /// It counts towards the most objects that there may be: this process did not hold it too.
    counted: bool,
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
    /// By the object's address in memory and its typeid; also of objects that clients no longer refer to
    /// but this process holds.
    known: HashMap<(usize, String), Known>,
    /// How many slots are counted.
    counted: usize,
    /// Keyed with this manager's secret; ids are its MACs of 0, 1, 2, …
    secret: Hmac<Sha256>,
    next: u64,
}

/// An object that was handed out before.
struct Known {
    id: String,
    // As long as this is kept, no other object has the same address.
    object: Weak<dyn SharedObject>,
    drained: bool,
}

/// What makes an entry.
pub(super) struct New {
    pub(super) typeid: String,
    pub(super) object: Arc<dyn SharedObject>,
    pub(super) exposed: Vec<String>,
    pub(super) method_to_typeid: Arc<HashMap<String, String>>,
    pub(super) hides_operators: bool,
}

impl Table {
    fn fresh_id(&mut self) -> String {
        self.next += 1;
        id(self.secret.clone().chain_update(self.next.to_be_bytes()))
    }

    /// Adds an object; one that is not shared begins with its creator's reference.
    fn add(&mut self, id: String, new: New, shared: bool, counted: bool) -> Arc<Entry> {
        let New { typeid, object, exposed, method_to_typeid, hides_operators } = new;
        if self.known.len() == self.known.capacity() {
            self.known.retain(|_, known| known.object.strong_count() > 0);
        }
        let known = Known { id: id.clone(), object: Arc::downgrade(&object), drained: false };
        self.known.entry((address(&object), typeid.clone())).or_insert(known);
        let entry =
            Entry { id: id.clone(), object, exposed, method_to_typeid, typeid, hides_operators };
        let entry = Arc::new(entry);
        let (references, handed_over) = if shared { (0, None) } else { (1, Some(Instant::now())) };
        let slot = Slot { entry: entry.clone(), references, shared, counted, handed_over };
        self.slots.insert(id, slot);
        self.counted += usize::from(counted);
        entry
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Entry>> {
        let Slot { entry, counted, .. } = self.slots.remove(id)?;
        self.counted -= usize::from(counted);
        // What this process holds keeps its id, and is drained at the end.
        if Arc::strong_count(&entry.object) == 1 {
            self.known.remove(&(address(&entry.object), entry.typeid.clone()));
        }
        Some(entry)
    }
}

impl Objects {
    pub(super) fn new() -> Result<Self> {
        let table = Table {
            slots: HashMap::new(),
            known: HashMap::new(),
            counted: 0,
            secret: mac(&random::<32>()?, &[])?,
            next: 0,
        };
        Ok(Self {
            table: Mutex::new(table),
            removals: AtomicU64::new(0),
            passing: Mutex::default(),
        })
    }

    /// Takes an object in that stays.
    pub(super) fn share(&self, id: String, new: New) {
        lock(&self.table).add(id, new, true, false);
    }

    /// Takes an object in, or finds it again, with one reference more to it; `None` if it were one more
    /// than `most`.
    pub(super) fn insert(&self, new: New, most: usize) -> Option<Arc<Entry>> {
        let mut table = lock(&self.table);
        let key = (address(&new.object), new.typeid.clone());
        let known = table.known.get(&key).map(|known| known.id.clone());
        if let Some(slot) = known.as_ref().and_then(|id| table.slots.get_mut(id)) {
            slot.references += 1;
            slot.handed_over = Some(Instant::now());
            return Some(slot.entry.clone());
        }
        // An object that this process holds as well lasts whether or not clients may refer to it: refusing
        // it would save nothing.
        let counted = Arc::strong_count(&new.object) == 1;
        if counted && table.counted >= most {
            return None;
        }
        let id = known.unwrap_or_else(|| table.fresh_id());
        Some(table.add(id, new, false, counted))
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Entry>> {
        lock(&self.table).slots.get(id).map(|slot| slot.entry.clone())
    }

    pub(super) fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    /// The objects that were shared or handed out, and still live, and were not among these before.
    pub(super) fn to_drain(&self) -> Vec<Arc<dyn SharedObject>> {
        let mut table = lock(&self.table);
        let known = table.known.values_mut();
        let fresh = known.filter_map(|known| {
            let drained = std::mem::replace(&mut known.drained, true);
            if drained { None } else { known.object.upgrade() }
        });
        fresh.collect()
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
        if references == 0 && !slot.shared {
            let removed = table.remove(id);
            self.removals.fetch_add(1, Ordering::Release);
            drop(table);
            discard(removed);
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
        let mut table = lock(&self.table);
        let slots = std::mem::take(&mut table.slots);
        table.known.clear();
        table.counted = 0;
        drop(table);
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

    /// Each object's abridged id, references and representation, as Python's `debug_info` shows them.
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
            let id = abridged(&entry.id);
            format!("  {id}:       refcount={references}\n    {repr}")
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
pub(super) fn let_go<T: ?Sized>(held: Arc<T>) {
    let _ = guarded(|| drop(held));
}

/// The id of a shared object: the same after a restart with this authkey at this address.
pub(super) fn shared_id(authkey: &[u8], typeid: &str, address: &Address) -> Result<String> {
    let length = (typeid.len() as u64).to_be_bytes();
    let mac = mac::<Hmac<Sha256>>(authkey, SHARED_ID)?.chain_update(length);
    Ok(id(mac.chain_update(typeid).chain_update(address.to_string())))
}

/// 128 bits of a MAC.
fn id(mac: Hmac<Sha256>) -> String {
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    format!("{:032x}", u128::from_be_bytes(bytes.first_chunk().copied().unwrap_or_default()))
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
            let hides_operators = false;
            let new = New { typeid, object, exposed, method_to_typeid, hides_operators };
            let entry = objects.insert(new, usize::MAX);
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
