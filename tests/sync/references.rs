//! What keeps shared objects alive: proxies in containers, and those on their way to a client.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::{PATIENCE, pythons, snippet, until};
use basemanager::object::{Call, Element, Exposed, Return, SharedObject};
use basemanager::sync::{
    Dict, DictProxy, List, ListProxy, Namespace, NamespaceProxy, Set, SetProxy, SharedValue,
    ValueProxy,
};
use basemanager::{
    Client, Exception, Limits, Manager, Pickle, Proxy, Queue, QueueProxy, ServerHandle, Value,
};

fn serve() -> (ServerHandle, Client) {
    let manager = Manager::new("key").register_sync_types().share("shared", List::new());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = connect(&handle);
    (handle, client)
}

/// Another client, with connections of its own.
fn connect(handle: &ServerHandle) -> Client {
    Client::connect(handle.address(), "key").unwrap()
}

fn create<P: From<Proxy>>(client: &Client, typeid: &str) -> P {
    client.create(typeid, ()).unwrap().into()
}

/// The only item of a list or dict, or the item itself.
fn only(value: Value) -> Value {
    match value {
        Value::List(mut items) if items.len() == 1 => only(items.remove(0)),
        Value::Dict(mut pairs) if pairs.len() == 1 => only(pairs.remove(0).1),
        other => other,
    }
}

/// Has an inner list held by a shared one and by nothing else, reads it there in some way, empties the
/// shared one by another connection, and then makes a proxy of what was read.
fn read_then_emptied(read: impl FnOnce(&Client, &ListProxy) -> Value) {
    let (handle, client) = serve();
    let other: ListProxy = create(&connect(&handle), "shared");
    let shared: ListProxy = create(&client, "shared");
    let inner: ListProxy = create(&client, "list");
    inner.push("alive").unwrap();
    shared.push(inner.proxy()).unwrap();
    drop(inner);
    let value = read(&client, &shared);
    other.clear().unwrap();
    let inner: ListProxy = client.proxy_of(&only(value)).unwrap().expect("a proxy").into();
    assert_eq!(inner.to_vec().unwrap(), ["alive".into()]);
}

#[test]
fn object_named_in_a_copy_lives_until_the_client_has_it() {
    read_then_emptied(|_, shared| shared.proxy().value().unwrap());
}

#[test]
fn object_named_in_a_copied_value_lives_until_the_client_has_it() {
    let (handle, client) = serve();
    let value: ValueProxy = client.create("Value", ("i", 0)).unwrap().into();
    let inner: ListProxy = create(&client, "list");
    value.set(inner.proxy()).unwrap();
    let stored = value.get().unwrap();
    drop(inner);
    let copy = value.proxy().value().unwrap();
    assert!(matches!(copy, Value::Opaque(_)), "{copy:?}");
    // By a connection of its own: the one that read is kept as it is.
    let list: ListProxy = create(&connect(&handle), "list");
    list.push(value.proxy()).unwrap();
    drop(value);
    list.clear().unwrap();
    client.proxy_of(&stored).unwrap().expect("a proxy");
}

#[test]
fn object_named_in_a_union_lives_until_the_client_has_it() {
    for method in ["__or__", "__ror__"] {
        read_then_emptied(|client, shared| {
            let dict: DictProxy = create(client, "dict");
            let inner = shared.get(0).unwrap().unwrap();
            dict.insert("inner", inner).unwrap();
            let nothing = Value::Dict(Vec::new());
            // Its end is told by a connection of its own.
            dict.proxy().call(method, (nothing,)).unwrap()
        });
    }
}

#[test]
fn object_named_in_fromkeys_lives_until_the_client_has_it() {
    read_then_emptied(|client, shared| {
        let dict: DictProxy = create(client, "dict");
        let made = dict.proxy().call("fromkeys", (shared.proxy(),)).unwrap();
        let Value::Dict(mut pairs) = made else { panic!("{made:?}") };
        pairs.remove(0).0
    });
}

/// Has a callable store what a client passed in, drops the client's own proxy, and calls what is left.
fn kept_by_callable(keep: impl Fn(Element) + Send + Sync + 'static, forget: impl FnOnce()) {
    let manager = Manager::new("key").register_sync_types().register("keep", move |call| {
        let ([value], []) = call.args(["value"], [])?;
        let value = call.element(value);
        keep(value);
        Ok::<_, Exception>(())
    });
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = connect(&handle);
    let inner: ListProxy = create(&client, "list");
    let stored = Value::from(inner.proxy());
    client.create("keep", std::slice::from_ref(&stored)).unwrap();
    drop(inner);
    let inner: ListProxy = client.proxy_of(&stored).unwrap().expect("a proxy").into();
    inner.push("alive").unwrap();
    drop(inner);
    forget();
    assert_eq!(client.number_of_objects().unwrap(), 0);
}

#[test]
fn proxy_stored_by_callable_in_value_stays_alive() {
    let value = SharedValue::new("O", ());
    let other = value.clone();
    kept_by_callable(move |element| value.set(element), move || other.set(()));
}

#[test]
fn proxy_stored_by_callable_in_list_stays_alive() {
    let list = List::new();
    let other = list.clone();
    kept_by_callable(move |element| list.push(element), move || other.clear());
    let list: Arc<Mutex<List>> = Arc::default();
    let other = list.clone();
    let collect = move |element| *list.lock().unwrap() = [element].into_iter().collect();
    kept_by_callable(collect, move || other.lock().unwrap().clear());
}

#[test]
fn proxy_stored_by_callable_in_dict_stays_alive() {
    let dict = Dict::new();
    let other = dict.clone();
    kept_by_callable(
        move |element| drop(dict.insert("key", element).unwrap()),
        move || {
            other.clear();
        },
    );
    let dict = Dict::new();
    let other = dict.clone();
    kept_by_callable(
        move |element| drop(dict.insert(element, "value").unwrap()),
        move || {
            other.clear();
        },
    );
}

#[test]
fn proxy_stored_by_callable_in_set_stays_alive() {
    let set = Set::new();
    let other = set.clone();
    kept_by_callable(move |element| assert!(set.insert(element).unwrap()), move || other.clear());
}

#[test]
fn proxy_stored_by_callable_in_namespace_stays_alive() {
    let namespace = Namespace::new();
    let other = namespace.clone();
    kept_by_callable(
        move |element| namespace.set("name", element),
        move || {
            other.remove("name");
        },
    );
}

#[test]
fn proxy_stored_by_callable_in_queue_stays_alive() {
    let queue = Queue::new();
    let other = queue.clone();
    kept_by_callable(
        move |element| queue.put(element).unwrap(),
        move || {
            other.get().unwrap();
        },
    );
}

/// An object whose end asks its containers for their size, as any end may.
struct Curious {
    dict: Dict,
    queue: Queue,
}

impl SharedObject for Curious {
    fn exposed(&self) -> Exposed {
        Exposed::default()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        Err(call.no_such_method())
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        assert_eq!((self.dict.len(), self.queue.len()), (0, 0));
    }
}

#[test]
fn drop_of_container_drops_its_items_without_the_lock() {
    let (dict, queue) = (Dict::new(), Queue::new());
    let (its_dict, its_queue) = (dict.clone(), queue.clone());
    let manager = Manager::new("key").register("curious", move |_| {
        Arc::new(Curious { dict: its_dict.clone(), queue: its_queue.clone() })
    });
    let manager = manager.register("dict", move |_| dict.clone());
    let manager = manager.register("queue", move |_| queue.clone());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::builder(handle.address(), "key").call_timeout(PATIENCE).connect().unwrap();
    let dict: DictProxy = create(&client, "dict");
    let queue: QueueProxy = create(&client, "queue");

    let proxy = client.create("curious", ()).unwrap();
    let key = Value::from(&proxy);
    dict.insert(key.clone(), 1).unwrap();
    drop(proxy);
    let now = Some(Duration::ZERO);
    assert_eq!(dict.proxy().call_waiting("pop", (key,), now).unwrap(), 1.into());
    assert_eq!(client.number_of_objects().unwrap(), 2);

    let proxy = client.create("curious", ()).unwrap();
    queue.put(&proxy).unwrap();
    drop(proxy);
    queue.proxy().call_waiting("shutdown", (true,), now).unwrap();
    assert_eq!(client.number_of_objects().unwrap(), 2);
}

#[test]
fn object_after_removal_and_drop_is_counted_as_in_cpython() {
    for python in pythons() {
        let (handle, _client) = serve();
        let theirs = snippet(python, "sync_count.py", &[]).end(PATIENCE).well();
        let address = handle.address().to_string();
        let ours = snippet(python, "sync_count.py", &[&address]).end(PATIENCE).well();
        assert_eq!(theirs.stdout, ["3", "4", "3", "3", "3", "3", "4", "3"], "{python}");
        assert_eq!(ours.stdout, theirs.stdout, "{python}");
    }
}

/// How the ids begin of all objects that are there, counted or not.
fn there(client: &Client) -> Vec<String> {
    let rows = client.debug_info().unwrap();
    let ids = rows.lines().filter_map(|row| row.trim().split_once(":  "));
    ids.map(|(id, _)| id.to_owned()).collect()
}

#[test]
fn unused_result_is_unpinned_by_next_request_or_disconnect() {
    for ends in [false, true] {
        let (handle, client) = serve();
        let reader = connect(&handle);
        let list: ListProxy = create(&reader, "list");
        let inner: ListProxy = create(&client, "list");
        let [outer_id, inner_id] =
            [&list, &inner].map(|list| list.proxy().id().get(..8).unwrap().to_owned());
        list.push(inner.proxy()).unwrap();
        drop(inner);
        assert_eq!(client.number_of_objects().unwrap(), 2);
        list.pop().unwrap().unwrap();
        assert_eq!(client.number_of_objects().unwrap(), 1, "nobody is about to use it");
        assert!(there(&client).contains(&inner_id), "but its reader may");
        if ends {
            drop((list, reader));
            until("the connection ends", PATIENCE, || there(&client).is_empty());
        } else {
            list.len().unwrap();
            assert_eq!(there(&client), [outer_id]);
        }
    }
}

#[test]
fn slower_of_two_readers_finds_the_object() {
    let (handle, fast) = serve();
    let slow = connect(&handle);
    let [one, two]: [ListProxy; 2] = [&fast, &slow].map(|client| create(client, "shared"));
    let inner: ListProxy = create(&fast, "list");
    one.push(inner.proxy()).unwrap();
    drop(inner);
    let [read, read_too] = [&one, &two].map(|list| list.get(0).unwrap().unwrap());
    // One takes and drops all that it can, and asks for more; the container is empty.
    let inner = fast.proxy_of(&read).unwrap();
    drop(inner);
    one.clear().unwrap();
    let inner = fast.proxy_of(&read).unwrap();
    drop(inner);
    assert_eq!(fast.number_of_objects().unwrap(), 1);
    let inner: ListProxy = slow.proxy_of(&read_too).unwrap().expect("a proxy").into();
    assert_eq!(fast.number_of_objects().unwrap(), 2);
    assert!(two.is_empty().unwrap() && inner.is_empty().unwrap());
    drop((inner, one, two));
    assert_eq!(there(&fast), [""; 0]);
}

#[test]
fn shared_object_of_another_manager_is_foreign() {
    let ((handle, client), (_other_handle, other)) = (serve(), serve());
    let shared: ListProxy = create(&client, "shared");
    let theirs: ListProxy = create(&other, "shared");
    assert_ne!(shared.proxy().id(), theirs.proxy().id());
    shared.push("ours").unwrap();
    let references = || client.debug_info().unwrap().matches("refcount=2").count();

    let list: ListProxy = create(&client, "list");
    list.push(theirs.proxy()).unwrap();
    assert_eq!(references(), 0, "held by a proxy of another's");
    list.clear().unwrap();
    let error = list.proxy().call("extend", (theirs.proxy(),)).unwrap_err();
    assert!(error.to_string().contains("object is not iterable"), "{error}");
    assert_eq!(list.to_vec().unwrap(), []);

    // However a client calls the manager that it reached.
    for host in ["127.0.0.1", "localhost"] {
        let port = handle.address().to_string().rsplit_once(':').unwrap().1.to_owned();
        let client = Client::connect(format!("{host}:{port}"), "key").unwrap();
        let shared: ListProxy = create(&client, "shared");
        list.proxy().call("extend", (shared.proxy(),)).unwrap();
        assert_eq!(list.to_vec().unwrap(), ["ours".into()]);
        list.clear().unwrap();
    }
    list.push(shared.proxy()).unwrap();
    assert_eq!(references(), 1);
}

/// Has proxies go into a container and out of it again, which `pass` does, ten thousand times. Every ten
/// times a list is made, and dropped; what the container gave is used as a proxy then, and dropped.
fn rounds<P: From<Proxy>>(typeid: &str, pass: impl Fn(&P, &Value) -> Value) {
    let (handle, client) = serve();
    let args: &[Value] = if typeid == "Value" { &["i".into(), 0.into()] } else { &[] };
    let container: P = client.create(typeid, args).unwrap().into();
    for round in 0..1_000 {
        let inner: ListProxy = create(&client, "list");
        let stored = Value::from(inner.proxy());
        let read: Vec<Value> = (0..10).map(|_| pass(&container, &stored)).collect();
        drop(inner);
        let inner: ListProxy =
            client.proxy_of(read.last().unwrap()).unwrap().expect("a proxy").into();
        inner.push(round).unwrap();
    }
    // What a container still holds goes with it.
    assert!(client.number_of_objects().unwrap() <= 2);
    drop((container, client));
    let client = connect(&handle);
    until("all have gone", PATIENCE, || there(&client).is_empty());
    assert_eq!(client.number_of_objects().unwrap(), 0);
}

#[test]
fn ten_thousand_rounds_through_a_list_leave_nothing() {
    let (handle, client) = serve();
    let threads = 2;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let outer: ListProxy = create(&client, "list");
                for round in 0..10_000 / threads {
                    let inner: ListProxy = create(&client, "list");
                    outer.push(inner.proxy()).unwrap();
                    if round % 10 == 0 {
                        let stored = outer.get(0).unwrap().unwrap();
                        let inner: ListProxy = client.proxy_of(&stored).unwrap().unwrap().into();
                        inner.push(outer.len().unwrap()).unwrap();
                    }
                    match round % 4 {
                        0 => drop(outer.pop().unwrap()),
                        1 => outer.set(0, inner.proxy()).unwrap(),
                        2 => outer.clear().unwrap(),
                        _ => drop(outer.proxy().call("__imul__", (2,)).unwrap()),
                    }
                }
            });
        }
    });
    assert!(client.number_of_objects().unwrap() < 100);
    drop(client);
    let client = connect(&handle);
    until("all have gone", PATIENCE, || client.number_of_objects().unwrap() == 0);
}

#[test]
fn ten_thousand_rounds_through_a_dict_leave_nothing() {
    rounds("dict", |dict: &DictProxy, inner| {
        dict.insert("key", inner.clone()).unwrap();
        dict.insert(inner.clone(), "value").unwrap();
        dict.remove(inner.clone()).unwrap();
        dict.remove("key").unwrap().unwrap()
    });
}

#[test]
fn ten_thousand_rounds_through_a_set_leave_nothing() {
    rounds("set", |set: &SetProxy, inner| {
        set.insert(inner.clone()).unwrap();
        set.proxy().call("pop", ()).unwrap()
    });
}

#[test]
fn ten_thousand_rounds_through_a_namespace_leave_nothing() {
    rounds("Namespace", |names: &NamespaceProxy, inner| {
        names.set("name", inner.clone()).unwrap();
        names.get("name").unwrap().unwrap()
    });
}

#[test]
fn ten_thousand_rounds_through_a_value_leave_nothing() {
    rounds("Value", |value: &ValueProxy, inner| {
        value.set(inner.clone()).unwrap();
        value.get().unwrap()
    });
}

#[test]
fn ten_thousand_rounds_through_a_queue_leave_nothing() {
    rounds("Queue", |queue: &QueueProxy, inner| {
        queue.put(inner.clone()).unwrap();
        queue.get().unwrap()
    });
}

#[test]
fn drop_of_a_chain_of_lists_drops_all() {
    let (_handle, client) = serve();
    let mut last: ListProxy = create(&client, "list");
    for _ in 0..1_000 {
        let next: ListProxy = create(&client, "list");
        next.push(last.proxy()).unwrap();
        last = next;
    }
    assert_eq!(client.number_of_objects().unwrap(), 1_001);
    drop(last);
    assert_eq!(client.number_of_objects().unwrap(), 0);
}

#[test]
fn deep_plain_value_is_stored_and_dropped() {
    let (handle, client) = serve();
    let list: ListProxy = create(&client, "list");
    let depth = 100_000;
    let pickle = [&b"\x80\x04"[..], &b"]".repeat(depth), &b"a".repeat(depth - 1), b"."].concat();
    let limits = Limits::default();
    let deep = Value::Opaque(Pickle::from_bytes(&pickle, &limits).unwrap());
    list.push(deep.clone()).unwrap();
    list.push([deep.clone()]).unwrap();
    assert!(matches!(list.get(0).unwrap(), Some(Value::Opaque(_))));
    list.clear().unwrap();
    list.push(deep).unwrap();
    drop(list);
    assert_eq!(client.number_of_objects().unwrap(), 0);
    connect(&handle).number_of_objects().unwrap();
}
