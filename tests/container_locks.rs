//! What a call may do to a large container: it is not copied for nothing, nor locked for long.

#![cfg(feature = "sync")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use basemanager::sync::{List, ListProxy};
use basemanager::value::Args;
use basemanager::{Client, Manager, ServerHandle, Value};

fn serve() -> (ServerHandle, List, ListProxy) {
    let list = List::new();
    let (shared, manager) = (list.clone(), Manager::new("key").register_sync_types());
    let manager = manager.register("shared", move |_| shared.clone());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), "key").unwrap();
    let proxy = client.create("shared", ()).unwrap().into();
    (handle, list, proxy)
}

type Wrap = fn(Value) -> Value;

/// Many bytes, the last of which is `last`, deep in something.
fn deep(wrap: Wrap, levels: usize, last: u8) -> Value {
    let mut bytes = vec![0; 1 << 20];
    bytes.push(last);
    (0..levels).fold(Value::Bytes(bytes), |inner, _| wrap(inner))
}

#[test]
fn comparing_deep_sets_takes_time_by_their_depth_only() {
    let wraps: [(Wrap, usize); 3] = [
        (|inner| Value::FrozenSet(vec![inner]), 190),
        (|inner| Value::FrozenSet(vec![inner, 1.into()]), 190),
        (|inner| Value::Dict(vec![(1.into(), Value::FrozenSet(vec![inner, 1.into()]))]), 90),
    ];
    for (wrap, levels) in wraps {
        let (_handle, list, proxy) = serve();
        list.push(deep(wrap, levels, 1));
        let start = Instant::now();
        for (last, found) in [(2, 0), (1, 1)] {
            let count = proxy.proxy().call("count", (deep(wrap, levels, last),));
            assert_eq!(count.unwrap(), found.into());
        }
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
}

#[test]
fn beginning_of_an_object_is_the_beginning_of_its_repr() {
    let (handle, list, proxy) = serve();
    let client = Client::connect(handle.address(), "key").unwrap();
    let pairs = Value::Dict((0..40).map(|n| (n.into(), "it's\n".into())).collect());
    let items: Value = (0..40).map(|n| Value::from((n, "é"))).collect();
    let bare = |typeid: &str| client.create(typeid, ()).unwrap();
    let with =
        |typeid: &str, value: &Value| client.create(typeid, std::slice::from_ref(value)).unwrap();
    let attributes = Args::new().kwarg("a", items.clone()).kwarg("a1", 1).kwarg("_hidden", 2);
    list.push("first");
    let objects = [
        proxy.proxy().clone(),
        bare("list"),
        bare("dict"),
        bare("set"),
        bare("Namespace"),
        with("list", &items),
        with("dict", &pairs),
        with("set", &items),
        client.create("Namespace", attributes).unwrap(),
        client.create("Value", ("i", items.clone())).unwrap(),
        client.create("Array", ("i", Value::List(vec![]))).unwrap(),
        client.create("Array", ("i", (0..40).collect::<Value>())).unwrap(),
        client.create("Array", ("u", "text")).unwrap(),
    ];
    let shown = client.debug_info().unwrap();
    for object in &objects {
        let beginning: String = object.repr().unwrap().chars().take(75).collect();
        assert!(shown.lines().any(|line| line.trim_start() == beginning), "{beginning}: {shown}");
    }
}
