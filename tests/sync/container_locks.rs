//! What a call may do to a large container: it is not copied for nothing, nor locked for long.

use std::thread;
use std::time::{Duration, Instant};

use basemanager::sync::{List, ListProxy};
use basemanager::value::Args;
use basemanager::{Client, Limits, Manager, Pickle, ServerHandle, Value};

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
fn comparison_of_deep_sets_takes_time_by_depth() {
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
fn abridged_text_is_the_beginning_of_the_repr() {
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

/// `X(Y(), Y(), …, last)`, of so many bytes or a little more.
fn instances(size: usize, last: u8) -> Value {
    let inner = b"cm\nY\n)R";
    let inner = inner.repeat(size / inner.len());
    let pickle = [b"\x80\x04cm\nX\n(", &inner[..], b"K", &[last], b"tR."].concat();
    Value::Opaque(Pickle::from_bytes(&pickle, &Limits::default()).unwrap())
}

#[test]
fn search_for_an_opaque_object_locks_the_list_briefly() {
    for (size, count) in [(4_000, 300), (40_000, 300)] {
        let (_handle, list, proxy) = serve();
        for _ in 0..count {
            list.push(instances(size, 1));
        }
        let searching = thread::spawn(move || {
            let call = |method, last| proxy.proxy().call(method, (instances(size, last),));
            assert_eq!(call("count", 1).unwrap(), count.into());
            assert_eq!(call("count", 2).unwrap(), 0.into());
        });
        let mut longest = Duration::ZERO;
        while !searching.is_finished() {
            let start = Instant::now();
            list.push(1);
            longest = longest.max(start.elapsed());
            thread::sleep(Duration::from_millis(5));
        }
        searching.join().unwrap();
        assert!(longest < Duration::from_millis(500), "{longest:?}");
    }
}

#[test]
fn search_finds_an_object_pickled_differently() {
    let object = |args: &[u8]| {
        let pickle = [b"\x80\x04cm\nX\n", args, b"R."].concat();
        Value::Opaque(Pickle::from_bytes(&pickle, &Limits::default()).unwrap())
    };
    // X(1), X(2), X(3) and X(2), which is also pickled with its argument in a tuple of its own.
    let [one, two, three, other_two] =
        [&b"K\x01\x85"[..], b"K\x02\x85", b"K\x03\x85", b"(K\x02t"].map(object);
    let (_handle, list, proxy) = serve();
    let call = |method, value: &Value| proxy.proxy().call(method, std::slice::from_ref(value));
    for item in [&one, &two, &three, &other_two] {
        list.push(item.clone());
    }
    assert_eq!(call("count", &two).unwrap(), 2.into());
    for (place, value) in [(0, &one), (1, &two), (1, &other_two), (2, &three)] {
        assert_eq!(call("index", value).unwrap(), place.into());
    }
    call("remove", &other_two).unwrap();
    assert_eq!(call("index", &two).unwrap(), 2.into());
    call("remove", &two).unwrap();
    assert!(call("remove", &two).is_err());
    assert_eq!(list.to_vec(), [one, three]);
}
