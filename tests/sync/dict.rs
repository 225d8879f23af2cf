//! Dicts and sets, shared by many.

use std::sync::Barrier;
use std::thread;

use basemanager::sync::{Dict, DictProxy, Set, SetProxy};
use basemanager::value::Args;
use basemanager::{Client, Manager, ServerHandle, Value};

fn serve() -> (ServerHandle, Client) {
    let manager = Manager::new("key").register_sync_types();
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), "key").unwrap();
    (handle, client)
}

fn dict(client: &Client) -> DictProxy {
    client.create("dict", ()).unwrap().into()
}

fn set(client: &Client) -> SetProxy {
    client.create("set", ()).unwrap().into()
}

#[test]
fn dict_set_and_iterators_are_used_from_rust() {
    let (_handle, client) = serve();
    let dict = dict(&client);
    assert!(dict.is_empty().unwrap());
    dict.insert(1, "one").unwrap();
    dict.insert((1, "b"), [2]).unwrap();
    dict.insert(1.0, "uno").unwrap();
    assert_eq!(dict.get(true).unwrap(), Some("uno".into()));
    assert_eq!(dict.get_as::<String>(1).unwrap().as_deref(), Some("uno"));
    assert!(dict.get_as::<i64>(1).is_err());
    assert_eq!(dict.get(2).unwrap(), None);
    assert_eq!((dict.len().unwrap(), dict.contains(1).unwrap()), (2, true));
    assert_eq!(dict.proxy().repr().unwrap(), "{1: 'uno', (1, 'b'): [2]}");
    assert_eq!(dict.remove(1).unwrap(), Some("uno".into()));
    assert_eq!(dict.remove(1).unwrap(), None);
    assert_eq!(dict.items().unwrap(), [((1, "b").into(), [2].into())]);
    let error = dict.insert(Value::List(vec![]), 1).unwrap_err().to_string();
    assert!(error.contains("unhashable type: 'list'"), "{error}");

    let set = set(&client);
    set.insert(1).unwrap();
    set.insert("a").unwrap();
    set.insert(1.0).unwrap();
    assert_eq!(set.members().unwrap(), [1.into(), "a".into()]);
    set.remove(true).unwrap();
    set.remove("none").unwrap();
    assert_eq!((set.len().unwrap(), set.contains("a").unwrap()), (1, true));
    let union = set.proxy().call("union", ([5],)).unwrap();
    assert_eq!(union, Value::Set(vec!["a".into(), 5.into()]));
    set.clear().unwrap();
    assert!(set.is_empty().unwrap());
}

#[test]
fn iterator_returns_the_current_keys() {
    let (_handle, client) = serve();
    let dict = dict(&client);
    for key in 0..3 {
        dict.insert(key, key).unwrap();
    }
    let keys: Result<Vec<Value>, _> = dict.iter().collect();
    assert_eq!(keys.unwrap(), [0.into(), 1.into(), 2.into()]);

    let mut keys = dict.iter();
    assert_eq!(keys.next().unwrap().unwrap(), 0.into());
    dict.insert(3, 3).unwrap();
    let error = keys.next().unwrap().unwrap_err().to_string();
    assert!(error.ends_with("dictionary changed size during iteration"), "{error}");
    assert!(keys.next().is_none());
}

#[test]
fn iterator_outlives_the_proxy_of_its_dict() {
    let (_handle, client) = serve();
    let dict = dict(&client);
    dict.insert(1, 2).unwrap();
    let keys = dict.proxy().call_proxy("__iter__", ()).unwrap();
    drop(dict);
    assert_eq!(client.number_of_objects().unwrap(), 1);
    assert_eq!(keys.call("__next__", ()).unwrap(), 1.into());
    drop(keys);
    assert_eq!(client.number_of_objects().unwrap(), 0);
}

#[test]
fn concurrent_writes_are_all_kept() {
    const CLIENTS: i64 = 8;
    const EACH: i64 = 100;
    let (dict, set) = (Dict::new(), Set::new());
    let (shared, members) = (dict.clone(), set.clone());
    let manager = Manager::new("key")
        .register("dict", move |_| shared.clone())
        .register("set", move |_| members.clone());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (handle, start) = (&handle, &start);
            scope.spawn(move || {
                let manager = Client::connect(handle.address(), "key").unwrap();
                let (dict, set) = (self::dict(&manager), self::set(&manager));
                start.wait();
                for at in 0..EACH {
                    dict.insert((client, at), at).unwrap();
                    set.insert(at).unwrap();
                    // Each takes out half of what it put in.
                    if at % 2 == 1 {
                        assert_eq!(dict.remove((client, at - 1)).unwrap(), Some((at - 1).into()));
                    }
                }
            });
        }
    });
    assert_eq!((dict.len(), set.len()), (400, 100));
    // Every client's own stand in the order in which it put them in.
    for client in 0..CLIENTS {
        let own = dict.items().into_iter().filter_map(|(key, at)| match key {
            Value::Tuple(parts) if parts[0] == client.into() => at.as_i64(),
            _ => None,
        });
        assert!(own.eq((0..EACH).filter(|at| at % 2 == 1)));
    }
}

#[test]
fn set_relations_with_an_unhashable_item_raise_type_error() {
    let (_handle, client) = serve();
    let set = set(&client);
    set.insert(2).unwrap();
    let unhashable = Value::List(vec![2.into(), Value::List(vec![])]);
    for method in ["issubset", "issuperset", "isdisjoint", "union", "update"] {
        let error = set.proxy().call(method, std::slice::from_ref(&unhashable));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("TypeError: unhashable type: 'list'"), "{method}: {error}");
    }
    assert_eq!(set.members().unwrap(), [2.into()]);
}

#[test]
fn failed_update_changes_nothing() {
    let (_handle, client) = serve();
    let dict = dict(&client);
    let pairs = Value::from([Value::from((1, 2)), (1, 2, 3).into()]);
    let error =
        dict.proxy().call("update", Args::new().arg(pairs).kwarg("x", 1)).unwrap_err().to_string();
    assert!(error.contains("ValueError: expected pairs of key and value, got 3 items"), "{error}");
    assert!(dict.is_empty().unwrap());
}
