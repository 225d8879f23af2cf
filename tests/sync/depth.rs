//! However deep a client nests something, and however it grows in the manager: no thread's stack overflows.

use std::sync::Arc;

use crate::support::wire::Wire;
use basemanager::object::{Call, Exposed, Return, SharedObject};
use basemanager::sync::{Dict, List, ListProxy};
use basemanager::{Client, Error, Exception, Limits, Manager, Pickle, Queue, ServerHandle, Value};

/// A manager with a list that lasts, a proxy of it, and a client that says what it likes.
fn serve(limits: Limits) -> (ServerHandle, List, ListProxy, Caller) {
    let list = List::new();
    let manager = Manager::new("key").register_sync_types();
    let manager = manager.share("shared", list.clone()).limits(limits);
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), "key").unwrap();
    let proxy = client.create("shared", ()).unwrap().into();
    let address = handle.address().to_string();
    let id = Wire::create(&address, "key", "shared");
    let caller = Caller { raw: Wire::accepted(&address, "key"), id };
    (handle, list, proxy, caller)
}

/// A connection that sends calls of the list byte by byte.
struct Caller {
    raw: Wire,
    id: String,
}

/// An object that nests `levels` calls of a function, each with the one before as its argument.
fn nested(function: &str, levels: usize, innermost: &[u8]) -> Vec<u8> {
    let functions = format!("c{function}\n").repeat(levels);
    [functions.as_bytes(), innermost, &b"\x85R".repeat(levels)].concat()
}

/// Calls a method of the list with these arguments; `Err` is a reply that is no result, as it came.
fn call(caller: &mut Caller, method: &str, arguments: &[&[u8]]) -> Result<(), String> {
    let Caller { raw, id } = caller;
    raw.request(Some(id), method, &arguments.concat());
    let reply = raw.read().unwrap();
    let returned = reply.starts_with(b"\x80\x04\x8c\x07#RETURN");
    if returned { Ok(()) } else { Err(reply.escape_ascii().to_string()) }
}

fn ops(value: impl Into<Value>) -> Vec<u8> {
    let bytes = Pickle::encode(&value.into()).unwrap().to_bytes();
    bytes[2..bytes.len() - 1].to_vec()
}

fn nests(levels: usize) -> Value {
    let wrap = |inner, level: usize| match level % 3 {
        0 => Value::Dict(vec![(1.into(), inner)]),
        1 => Value::Tuple(vec![inner]),
        _ => Value::List(vec![inner]),
    };
    (0..levels).fold(1.into(), wrap)
}

#[test]
fn iterators_of_iterators_are_refused() {
    let (_handle, _, proxy, mut raw) = serve(Limits::default());
    for function in ["builtins\nlist", "builtins\nzip", "builtins\niter", "builtins\nreversed"] {
        for levels in [1, 16, 99, 1000] {
            let many = nested(function, levels, b"](K\x01e");
            let refused = call(&mut raw, "extend", &[&many]).unwrap_err();
            assert!(refused.contains("#ERROR"), "{function} {levels}: {refused}");
        }
    }
    assert_eq!(proxy.len().unwrap(), 0);
}

#[test]
fn deepest_item_within_the_limit_passes_every_method() {
    for (limits, depth) in [(Limits::default(), 200), (Limits::default().depth(3000), 500)] {
        let (_handle, list, proxy, mut raw) = serve(limits);
        let deepest = ops(nests(depth - 2));
        assert_eq!(call(&mut raw, "append", &[&deepest]), Ok(()));
        assert!(!matches!(list.get(0), Some(Value::Opaque(_))), "it is opened");
        let own = ops(list.get(0).unwrap());
        for (method, arguments) in [
            ("count", vec![&own[..]]),
            ("__contains__", vec![&own]),
            ("append", vec![&own]),
            ("sort", vec![]),
            ("copy", vec![]),
            ("__reversed__", vec![]),
            ("__mul__", vec![b"K\x02"]),
            ("__repr__", vec![]),
            ("#GETVALUE", vec![]),
        ] {
            assert_eq!(call(&mut raw, method, &arguments), Ok(()), "{method}");
        }
        assert_eq!(call(&mut raw, "clear", &[]), Ok(()));
        assert_eq!(proxy.len().unwrap(), 0);
    }
}

#[test]
fn deep_value_of_the_owner_is_stored_unopened() {
    let (handle, list, proxy, _) = serve(Limits::default());
    list.push(nests(501));
    assert!(matches!(list.get(0), Some(Value::Opaque(_))));
    list.push(nests(500));
    assert!(matches!(list.get(1), Some(Value::Tuple(_) | Value::List(_) | Value::Dict(_))));
    let dict = Dict::new();
    dict.insert(1, nests(501)).unwrap();
    assert!(matches!(dict.get(1).unwrap(), Some(Value::Opaque(_))));
    // This client opens less, and says so.
    assert!(matches!(proxy.get(1).unwrap(), Some(Value::Opaque(_))));
    let client = Client::connect(handle.address(), "key").unwrap();
    assert!(client.debug_info().unwrap().contains("refcount"));
}

#[test]
fn too_deep_argument_is_an_error_and_the_connection_goes_on() {
    let (_handle, _, proxy, _) = serve(Limits::default());
    proxy.push(nests(900)).unwrap();
    let error = proxy.push(nests(1001)).unwrap_err();
    assert!(matches!(error, Error::Conversion { .. }), "{error:?}");
    assert!(!error.may_have_taken_effect());
    assert_eq!(proxy.len().unwrap(), 1);
}

#[test]
fn puts_before_a_too_deep_item_are_carried_out() {
    let queue = Queue::new();
    let shared = queue.clone();
    let manager = Manager::new("key").register("queue", move |_| shared.clone());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let proxy = Client::connect(handle.address(), "key").unwrap().queue("queue").unwrap();
    let items = [1.into(), 2.into(), nests(1001), 3.into()];
    let results: Vec<_> = proxy.put_each(items).collect();
    assert!(matches!(results[..], [Ok(()), Ok(()), Err(Error::Conversion { .. })]), "{results:?}");
    assert_eq!(queue.len(), 2);
    proxy.put(4).unwrap();
}

/// An object whose method makes something too deep.
struct Deep;

impl SharedObject for Deep {
    fn exposed(&self) -> Exposed {
        ["make"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let ([levels], []) = call.args(["levels"], [])?;
        Ok(nests(levels.to()?).into())
    }
}

#[test]
fn too_deep_result_is_an_error_and_the_connection_goes_on() {
    let manager = Manager::new("key").register("deep", |_| Arc::new(Deep));
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let proxy = Client::connect(handle.address(), "key").unwrap().create("deep", ()).unwrap();
    proxy.call("make", (900,)).unwrap();
    let error = proxy.call("make", (1001,)).unwrap_err();
    assert!(error.to_string().contains("nests deeper than 1000 levels"), "{error}");
    assert_eq!(proxy.call("make", (0,)).unwrap(), 1.into());
}

#[test]
fn opaque_object_in_the_deepest_value_fits_the_stack() {
    const LEVELS: usize = 199;
    // X(X(… None)), and X(X(), X(X(), …)).
    let one = nested("m\nX", LEVELS, b"N");
    let two = [&b"cm\nX\n(cm\nX\n)R".repeat(LEVELS)[..], b"N", &b"tR".repeat(LEVELS)].concat();
    let limits = Limits::default().depth(500);
    for ops in [one, two] {
        let pickle = [b"\x80\x04", &ops[..], b"."].concat();
        let opaque = Value::Opaque(Pickle::from_bytes(&pickle, &limits).unwrap());
        let (handle, list, ..) = serve(limits);
        for last in [1, 2] {
            let innermost = Value::FrozenSet(vec![opaque.clone(), last.into()]);
            let wrap = |inner, _| Value::FrozenSet(vec![inner, 7.into()]);
            list.push((0..498).fold(innermost, wrap));
        }
        let client = Client::builder(handle.address(), "key").limits(limits).connect().unwrap();
        let shared: ListProxy = client.create("shared", ()).unwrap().into();
        let set = client.create("set", ()).unwrap();
        set.call("update", (shared.proxy(),)).unwrap();
        assert_eq!(set.call("__len__", ()).unwrap(), 2.into());
        let item = shared.proxy().call("__getitem__", (1,)).unwrap();
        shared.proxy().call("count", (item,)).unwrap();
        assert!(shared.proxy().repr().unwrap().len() > LEVELS);
        assert!(client.debug_info().unwrap().contains("frozenset"));
    }
}
