//! Which objects clients reach, under which ids, and how many of them there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::wire::{Wire, text};
use crate::support::{own_address, python_client, pythons};
use basemanager::value::Args;
use basemanager::{Client, Manager, Queue, Registration, ServerHandle, Value};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const KEY: &str = "k3y-of-these-tests";

fn start(manager: Manager) -> (ServerHandle, Client) {
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), KEY).unwrap();
    (handle, client)
}

// Lookups.

#[test]
fn lookup_of_typeid_runs_no_callable() {
    let calls = Arc::new(AtomicUsize::new(0));
    let (count, queue) = (calls.clone(), Queue::new());
    let manager = Manager::new(KEY).register("queue", move |call| {
        count.fetch_add(1, Ordering::Relaxed);
        call.shut_down_manager();
        queue.clone()
    });
    let (handle, _client) = start(manager);
    let address = handle.address().to_string();
    for function in ["incref", "decref"] {
        let mut raw = Wire::connect(&address, KEY);
        raw.request(None, function, &text("queue"));
        let (kind, text) = raw.reply().unwrap();
        assert_eq!(kind, "#TRACEBACK", "{function}");
        assert!(text.to_string().contains("no object has the id 'queue'"), "{text}");
    }
    let mut raw = Wire::accepted(&address, KEY);
    raw.request(Some("queue"), "qsize", b"");
    let (kind, text) = raw.reply().unwrap();
    assert_eq!(kind, "#TRACEBACK");
    assert!(text.to_string().contains("no object has the id 'queue'"), "{text}");
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    Client::connect(&address, KEY).unwrap();
}

// Ids.

#[test]
fn ids_of_created_objects_are_not_consecutive() {
    let (_handle, client) = start(Manager::new(KEY).register("own", |_| Queue::new()));
    let made: Vec<_> = (0..100).map(|_| client.queue("own").unwrap()).collect();
    let mut ids: Vec<u128> =
        made.iter().map(|queue| u128::from_str_radix(queue.proxy().id(), 16).unwrap()).collect();
    assert!(made.iter().all(|queue| queue.proxy().id().len() == 32));
    ids.sort_unstable();
    // The chance that any two of a hundred random ones are this close is less than 2^-80.
    assert!(ids.windows(2).all(|pair| pair[1] - pair[0] > 1 << 32), "{ids:x?}");
}

#[test]
fn texts_abridge_ids() {
    let (_handle, client) = start(Manager::new(KEY).register("own", |_| Queue::new()));
    let (one, two) = (client.queue("own").unwrap(), client.queue("own").unwrap());
    let item = Value::from(one.proxy()).to_string();
    let debug = client.debug_info().unwrap();
    let id = one.proxy().id();
    assert!(item.contains(&format!("at 0x{}>", &id[..8])), "{item}");
    assert!(debug.contains(&id[..8]) && !debug.contains(id), "{debug}");
    drop(two);
}

#[test]
fn callable_returning_known_object_returns_same_id() {
    let queue = Queue::new();
    let kept = queue.clone();
    let (_handle, client) = start(Manager::new(KEY).register("queue", move |_| kept.clone()));
    let one = client.queue("queue").unwrap();
    let id = one.proxy().id().to_owned();
    assert_eq!(client.queue("queue").unwrap().proxy().id(), id);
    drop(one);
    assert_eq!(client.number_of_objects().unwrap(), 0);
    assert_eq!(client.queue("queue").unwrap().proxy().id(), id, "it still lives");
}

// `max_objects`.

#[test]
fn create_of_kept_object_succeeds_at_max_objects() {
    let (queue, late) = (Queue::new(), Queue::new());
    let manager = Manager::new(KEY)
        .max_objects(1)
        .register("own", |_| Queue::new())
        .register("queue", move |_| queue.clone())
        .register("late", move |_| late.clone());
    let (_handle, client) = start(manager);
    let kept = client.queue("queue").unwrap();
    let own = client.queue("own").unwrap();
    let refused = client.queue("own").unwrap_err().to_string();
    assert!(refused.contains("number of objects exceeds the limit of 1"), "{refused}");
    client.queue("queue").unwrap().put(1).unwrap();
    client.queue("late").unwrap().put(1).unwrap();
    assert_eq!(kept.get().unwrap(), Value::from(1));
    drop(own);
    let _own = client.queue("own").unwrap();
    assert!(client.queue("own").is_err());
}

// Shared objects.

#[test]
fn shared_object_is_the_same_for_all_clients_and_counted_while_referenced() {
    let tasks = Queue::new();
    let (handle, client) = start(Manager::new(KEY).share("tasks", &tasks));
    let id = client.queue("tasks").unwrap().proxy().id().to_owned();
    assert_eq!(client.number_of_objects().unwrap(), 0);
    for python in pythons() {
        let code = "m = connect('tasks')\nq = m.tasks()\nobey()";
        let mut peer = python_client(python, code, &handle.address().to_string(), KEY);
        assert_eq!(peer.ask("q._id"), format!("'{id}'"), "{python}");
        assert_eq!(peer.ask("m._number_of_objects()"), "1", "{python}");
        assert_eq!(peer.ask("q.put(7)"), "None", "{python}");
        assert_eq!(tasks.get().unwrap(), 7.into(), "{python}");
        assert_eq!(peer.ask("globals().pop('q').qsize()"), "0", "{python}");
        assert_eq!(peer.ask("m._number_of_objects()"), "0", "{python}");
    }
}

#[test]
fn create_of_shared_typeid_with_arguments_raises_type_error() {
    let (handle, client) = start(Manager::new(KEY).share("tasks", Queue::new()));
    for args in [Args::new().arg(1), Args::new().kwarg("maxsize", 1)] {
        let refused = client.create("tasks", args).unwrap_err().to_string();
        assert!(refused.contains("TypeError: tasks() "), "{refused}");
    }
    for python in pythons() {
        let code = "m = connect('tasks')\nobey()";
        let mut peer = python_client(python, code, &handle.address().to_string(), KEY);
        assert!(peer.ask("m.tasks(1)").contains("TypeError: tasks() takes"), "{python}");
    }
    assert_eq!(client.number_of_objects().unwrap(), 0);
}

#[test]
fn shared_registration_exposes_what_it_names() {
    let registration = Registration::shared(Queue::new()).exposed(["put"]);
    let (_handle, client) = start(Manager::new(KEY).register_with("tasks", registration));
    let tasks = client.queue("tasks").unwrap();
    tasks.put(1).unwrap();
    let refused = tasks.get().unwrap_err().to_string();
    assert!(refused.contains("is not in exposed={'put'}"), "{refused}");
}

#[test]
fn shared_value_is_read_as_a_copy() {
    let (_handle, client) = start(Manager::new(KEY).share("version", "1.2"));
    assert_eq!(client.create("version", ()).unwrap().value().unwrap(), "1.2".into());
}

#[test]
fn shared_ids_depend_on_authkey_typeid_and_address() {
    let queue = Queue::new();
    let id = |key: &str, typeid: &str, address: &str| {
        let manager = Manager::new(key).share(typeid, &queue);
        let handle = manager.bind(address).unwrap().start().unwrap();
        let client = Client::connect(handle.address(), key).unwrap();
        (client.queue(typeid).unwrap().proxy().id().to_owned(), handle.address().to_string())
    };
    let (one, address) = id(KEY, "a", &own_address());
    assert!(one.len() == 32 && one.bytes().all(|b| b.is_ascii_hexdigit()), "{one}");
    assert_eq!(id(KEY, "a", &address), (one.clone(), address.clone()));
    let others =
        [id(KEY, "b", &address), id("another", "a", &address), id(KEY, "a", &own_address())];
    for (other, _) in others {
        assert_ne!(other, one);
    }
}

/// The id of a shared object, as whoever holds the authkey can compute it.
fn computed_id(typeid: &str, address: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    let mac =
        mac.chain_update(b"#SHARED_OBJECT#").chain_update((typeid.len() as u64).to_be_bytes());
    let mac = mac.chain_update(typeid).chain_update(address).finalize().into_bytes();
    format!("{:032x}", u128::from_be_bytes(*mac.first_chunk().unwrap()))
}

#[test]
fn id_of_an_object_that_clients_cannot_create_is_not_computable() {
    let queue = Queue::new();
    queue.put("secret").unwrap();
    let manager = Manager::new(KEY)
        .register_with("inbox", Registration::shared(&queue).exposed(["put"]))
        .register_with("admin", Registration::shared(&queue).create_method(false));
    let (handle, client) = start(manager);
    let address = handle.address().to_string();
    assert_eq!(client.queue("inbox").unwrap().proxy().id(), computed_id("inbox", &address));
    assert!(client.queue("admin").is_err());
    let mut raw = Wire::accepted(&address, KEY);
    raw.request(Some(&computed_id("admin", &address)), "get", b"");
    let (kind, what) = raw.reply().unwrap();
    assert_eq!((kind.as_str(), queue.len()), ("#TRACEBACK", 1), "{what}");
}

#[test]
fn shared_object_stays_when_its_references_are_dropped() {
    let tasks = Queue::new();
    let (handle, client) = start(Manager::new(KEY).share("tasks", &tasks));
    let proxy = client.queue("tasks").unwrap();
    for _ in 0..3 {
        let mut raw = Wire::connect(&handle.address().to_string(), KEY);
        raw.request(None, "decref", &text(proxy.proxy().id()));
        // It may have been taken at another manager with the same address.
        let (kind, why) = raw.reply().unwrap();
        assert_eq!(kind, "#RETURN", "{why}");
    }
    proxy.put(1).unwrap();
    assert_eq!(tasks.get().unwrap(), 1.into());
}

#[test]
fn decref_of_named_object_does_not_make_it() {
    let named = Registration::named(|_| -> Result<Queue, _> { panic!("it is not called") });
    let (handle, _client) = start(Manager::new(KEY).register_with("queue", named));
    let address = handle.address().to_string();
    let id = format!("{}/queue/jobs", computed_id("queue/jobs", &address));
    for (id, kind) in [(id.as_str(), "#RETURN"), ("0/queue/jobs", "#TRACEBACK")] {
        let mut raw = Wire::connect(&address, KEY);
        raw.request(None, "decref", &text(id));
        assert_eq!(raw.reply().unwrap().0, kind, "{id}");
    }
}

#[test]
fn shared_objects_are_not_counted_by_max_objects() {
    let manager = Manager::new(KEY).max_objects(1).share("tasks", Queue::new());
    let (_handle, client) =
        start(manager.share("more", Queue::new()).register("own", |_| Queue::new()));
    let _shared = [client.queue("tasks").unwrap(), client.queue("more").unwrap()];
    let _own = client.queue("own").unwrap();
    assert!(client.queue("own").is_err());
    client.queue("tasks").unwrap().put(1).unwrap();
}
