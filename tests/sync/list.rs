//! Lists, arrays, values and namespaces, from both languages: what calls give, what stays alive, and
//! that nothing else does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::{self, PATIENCE, newest_python, pythons, snippet};
use basemanager::sync::{
    ArrayProxy, DictProxy, EventProxy, List, ListProxy, NamespaceProxy, ValueProxy,
};
use basemanager::value::Args;
use basemanager::{Client, Error, Limits, Manager, Pickle, Proxy, QueueProxy, ServerHandle, Value};

fn serve() -> (ServerHandle, Client) {
    let server = Manager::new("key").register_sync_types().bind("127.0.0.1:0").unwrap();
    let handle = server.start().unwrap();
    let client = Client::connect(handle.address(), "key").unwrap();
    (handle, client)
}

fn list(client: &Client) -> ListProxy {
    client.create("list", ()).unwrap().into()
}

/// A proxy that was stored.
fn stored<P: From<Proxy>>(client: &Client, value: Option<Value>) -> P {
    client.proxy_of(&value.unwrap()).unwrap().expect("a proxy").into()
}

/// The objects that anyone still holds, once the connections that passed some on are closed.
fn left(handle: &ServerHandle) -> usize {
    let client = Client::connect(handle.address(), "key").unwrap();
    support::until("the objects go", PATIENCE, || client.number_of_objects().unwrap() == 0);
    client.number_of_objects().unwrap()
}

fn raised(error: Error) -> String {
    match error {
        Error::Exception(exception) => exception.to_string(),
        other => other.to_string(),
    }
}

#[test]
fn list_is_used_from_rust() {
    let (_handle, client) = serve();
    let list = list(&client);
    assert!(list.is_empty().unwrap());
    list.extend(["b", "a"]).unwrap();
    list.push("c").unwrap();
    list.insert(0, "d").unwrap();
    assert_eq!(list.len().unwrap(), 4);
    assert_eq!(list.get_as::<String>(-1).unwrap(), Some("c".to_owned()));
    assert_eq!(list.get(4).unwrap(), None);
    list.sort().unwrap();
    assert_eq!(list.proxy().repr().unwrap(), "['a', 'b', 'c', 'd']");
    list.set(0, 5).unwrap();
    assert_eq!(raised(list.set(9, 5).unwrap_err()), "IndexError: index out of range");
    assert_eq!(raised(list.sort().unwrap_err()), "TypeError: 'str' and 'int' have no order");
    assert!(list.contains("b").unwrap() && !list.contains("z").unwrap());
    assert_eq!(list.iter().collect::<Result<Vec<_>, _>>().unwrap(), list.to_vec().unwrap());
    assert_eq!(list.pop().unwrap(), Some("d".into()));
    assert_eq!(list.remove(0).unwrap(), Some(5.into()));
    list.clear().unwrap();
    assert_eq!(list.pop().unwrap(), None);
    assert_eq!(list.to_vec().unwrap(), []);
}

#[test]
fn array_is_used_from_rust() {
    let (_handle, client) = serve();
    let array: ArrayProxy = client.create("Array", ("i", [3, 1, 2])).unwrap().into();
    assert_eq!(array.get_as::<i32>(-1).unwrap(), Some(2));
    array.set(0, true).unwrap();
    assert_eq!(array.to_vec().unwrap(), [1.into(), 1.into(), 2.into()]);
    assert_eq!(array.get(3).unwrap(), None);
    assert_eq!(
        raised(array.set(0, 1_i64 << 31).unwrap_err()),
        "OverflowError: 2147483648 does not fit typecode 'i': -2147483648 to 2147483647"
    );
    assert_eq!(array.proxy().repr().unwrap(), "array('i', [1, 1, 2])");
}

#[test]
fn value_and_namespace_are_used_from_rust() {
    let (_handle, client) = serve();
    let value: ValueProxy = client.create("Value", ("i", 5)).unwrap().into();
    value.set("any").unwrap();
    assert_eq!(value.get_as::<String>().unwrap(), "any");
    assert_eq!(value.proxy().repr().unwrap(), "Value('i', 'any')");

    let keywords = Args::new().kwarg("b", "x").kwarg("_hidden", 1);
    let names: NamespaceProxy = client.create("Namespace", keywords).unwrap().into();
    names.set("a", 1).unwrap();
    assert_eq!(names.get_as::<u8>("_hidden").unwrap(), Some(1));
    assert_eq!(names.get("c").unwrap(), None);
    assert_eq!(names.proxy().repr().unwrap(), "Namespace(a=1, b='x')");
    assert!(names.remove("a").unwrap() && !names.remove("a").unwrap());
}

#[test]
fn calls_end_as_in_cpython() {
    for python in pythons() {
        let (handle, _client) = serve();
        let address = handle.address().to_string();
        let mut calls = snippet(python, "sync_list.py", &[&address]);
        let ended = calls.end(4 * PATIENCE).well();
        // Each line but the last is a difference.
        let [total] = ended.stdout.as_slice() else { panic!("{python}: {:#?}", ended.stdout) };
        let count = total.strip_suffix(" calls").and_then(|count| count.parse::<usize>().ok());
        assert!(count.is_some_and(|count| count > 400), "{python}: {total}");
        assert_eq!(left(&handle), 0);
    }
}

#[test]
fn proxy_in_a_container_keeps_its_object() {
    let (handle, client) = serve();
    let outer = list(&client);
    let inner = list(&client);
    outer.push(inner.proxy()).unwrap();
    outer.push([Value::from(inner.proxy()), 1.into()]).unwrap();
    let value: ValueProxy = client.create("Value", ("i", 0)).unwrap().into();
    value.set(outer.proxy()).unwrap();
    drop((outer, inner));
    assert_eq!(client.number_of_objects().unwrap(), 3);
    let repr = value.proxy().repr().unwrap();
    assert!(repr.starts_with("Value('i', <ListProxy object, typeid 'list' at 0x"), "{repr}");

    let outer: ListProxy = stored(&client, Some(value.get().unwrap()));
    let inner: ListProxy = stored(&client, outer.get(0).unwrap());
    inner.push("deep").unwrap();
    let items = outer.get(1).unwrap().unwrap().to::<Vec<Value>>().unwrap();
    let same: ListProxy = stored(&client, items.into_iter().next());
    assert_eq!(same.to_vec().unwrap(), ["deep".into()]);
    assert!(client.proxy_of(&1.into()).unwrap().is_none());

    // What leaves its container lives as long as a proxy for it.
    let popped: ListProxy = stored(&client, outer.remove(0).unwrap());
    outer.clear().unwrap();
    drop((outer, inner, same));
    value.set(0).unwrap();
    assert_eq!(popped.len().unwrap(), 1);
    drop((popped, value, client));
    assert_eq!(left(&handle), 0);
}

#[test]
fn proxy_of_dropped_object_is_an_error() {
    let (_handle, client) = serve();
    let value = Value::from(list(&client).proxy());
    let error = client.proxy_of(&value).unwrap_err();
    assert!(error.to_string().contains("no object has the id"), "{error}");
}

#[test]
fn proxies_cross_from_one_language_to_the_other() {
    let Some(python) = newest_python() else { return };
    let outer = List::new();
    let shared = outer.clone();
    let server =
        Manager::new("key").register_sync_types().register("outer", move |_| shared.clone());
    let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), "key").unwrap();
    let proxy: ListProxy = client.create("outer", ()).unwrap().into();
    let mine = list(&client);
    proxy.push(mine.proxy()).unwrap();
    let deep = Value::from([Value::from(mine.proxy())]);
    let queue: QueueProxy = client.create("Queue", ()).unwrap().into();
    let queued = ("queue".into(), queue.proxy().into());
    proxy.push(Value::Dict(vec![("deep".into(), deep), queued])).unwrap();
    let event: EventProxy = client.create("Event", ()).unwrap().into();
    proxy.push(event.proxy()).unwrap();

    let address = handle.address().to_string();
    snippet(python, "sync_nested.py", &[&address]).end(PATIENCE).well();
    assert_eq!(mine.to_vec().unwrap(), vec![Value::from("ListProxy"); 3]);
    assert!(event.is_set().unwrap());
    assert_eq!(queue.try_get().unwrap(), Some("AutoProxy[Queue]".into()));
    // The Python process is gone; what it made is not.
    let theirs: ListProxy = stored(&client, proxy.get(3).unwrap());
    assert_eq!(theirs.to_vec().unwrap(), ["from Python".into()]);
    let pair = proxy.get(4).unwrap().unwrap().to::<Vec<Value>>().unwrap();
    let value: ValueProxy = stored(&client, pair.first().cloned());
    assert_eq!(value.get_as::<i64>().unwrap(), 7);
    let dict: DictProxy = stored(&client, pair.last().cloned());
    let names: NamespaceProxy = stored(&client, dict.get("a").unwrap());
    assert_eq!(names.get_as::<i64>("x").unwrap(), Some(1));

    // A proxy that came from Python goes back as it was.
    let again = Value::from(value.proxy());
    assert_eq!(again, pair.into_iter().next().unwrap());

    drop((proxy, mine, event, queue, theirs, value, dict, names, client));
    outer.clear();
    assert_eq!(left(&handle), 0);
}

#[test]
fn concurrent_inserts_and_pops_lose_no_item() {
    const EACH: usize = 500;
    const ALL: usize = 4 * EACH;
    let (handle, _client) = serve();
    let shared = Client::connect(handle.address(), "key").unwrap();
    let list = list(&shared);
    let (taken, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..4 {
            let list = &list;
            let (taken, sum) = (&taken, &sum);
            scope.spawn(move || {
                for item in 0..EACH {
                    list.insert(3, number * EACH + item).unwrap();
                }
            });
            scope.spawn(move || {
                while taken.load(Ordering::Relaxed) < ALL {
                    if let Some(item) = list.remove(0).unwrap() {
                        taken.fetch_add(1, Ordering::Relaxed);
                        sum.fetch_add(item.to().unwrap(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(taken.into_inner(), ALL);
    assert_eq!(sum.into_inner(), ALL * (ALL - 1) / 2);
    assert!(list.is_empty().unwrap());
}

/// Python's `function([1, 2])`, as it pickles iterators.
fn iterator(function: &str) -> Value {
    let pickle = [b"\x80\x04c", function.as_bytes(), b"\n](K\x01K\x02e\x85R."].concat();
    Pickle::from_bytes(&pickle, &Limits::default()).unwrap().into()
}

#[test]
fn extend_with_an_iterator_suggests_list() {
    let (_handle, client) = serve();
    let list = list(&client);
    for function in ["builtins\niter", "builtins\nzip", "builtins\nreversed", "collections\ndeque"]
    {
        let extended = list.proxy().call("extend", (iterator(function),));
        let error = raised(extended.unwrap_err());
        assert!(error.starts_with("TypeError"), "{error}");
        assert!(error.contains("is not iterable in this manager: pass list(...)"), "{error}");
        let made = client.create("dict", (iterator(function),)).unwrap_err().to_string();
        assert!(
            made.contains("TypeError") && made.contains("pass list(...) or dict(...)"),
            "{made}"
        );
    }
    assert!(list.is_empty().unwrap());
}

// What it gets wrong where memory has 32 bits: a count that does not fit them is none, or wraps.
#[test]
fn count_beyond_32_bits_is_not_truncated() {
    let (_handle, client) = serve();
    let list = list(&client);
    list.extend([1, 2, 3]).unwrap();
    for times in [(1 << 62) + 1, 1 << 32, (1 << 32) + 1, i64::MAX] {
        for method in ["__mul__", "__imul__"] {
            let error = list.proxy().call(method, (times,)).unwrap_err();
            assert!(raised(error).starts_with("MemoryError"), "{method} {times}");
        }
        assert_eq!(list.len().unwrap(), 3);
        let queue: QueueProxy = client.create("Queue", (times,)).unwrap().into();
        assert!(!queue.is_full().unwrap());
        queue.put_many([1, 2]).unwrap();
        let many = queue.proxy().call("get_many", (times,)).unwrap();
        assert_eq!(many, [1, 2].into());
    }
    list.proxy().call("__imul__", (-1_i64 << 33,)).unwrap();
    assert!(list.is_empty().unwrap());
}
