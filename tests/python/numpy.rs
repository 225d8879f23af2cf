//! `NumPy`'s scalars in place of numbers and truth values.

#![cfg(feature = "sync")]

use std::time::{Duration, Instant};

use crate::support::{PATIENCE, snippet, with_packages};
use basemanager::sync::{Dict, DictProxy, ListProxy};
use basemanager::value::Args;
use basemanager::{Client, Limits, Manager, Pickle, Queue, QueueProxy, ServerHandle, Value};

fn serve() -> (ServerHandle, Client) {
    let many = Queue::new();
    let manager = Manager::new("key").register_sync_types().register("many", move |_| many.clone());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::builder(handle.address(), "key").call_timeout(PATIENCE).connect().unwrap();
    (handle, client)
}

/// A scalar as `NumPy` pickles it, by one of its two modules: what `pickle.dumps(numpy.float64(0.1))` returns,
/// with another type and other bytes.
fn scalar_of(module: &str, code: &str, order: &str, bytes: &[u8]) -> Value {
    let text = |text: &str| {
        [b"\x8c", &[u8::try_from(text.len()).unwrap()][..], text.as_bytes(), b"\x94"].concat()
    };
    let pickle = [
        b"\x80\x04",
        &text(module)[..],
        &text("scalar"),
        b"\x93\x94",
        &text("numpy"),
        &text("dtype"),
        b"\x93\x94",
        &text(code),
        b"\x89\x88\x87\x94R\x94(K\x03",
        &text(order),
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t\x94bC",
        &[u8::try_from(bytes.len()).unwrap()],
        bytes,
        b"\x94\x86\x94R\x94.",
    ];
    Value::Opaque(Pickle::from_bytes(&pickle.concat(), &Limits::default()).unwrap())
}

fn scalar(code: &str, bytes: &[u8]) -> Value {
    scalar_of("numpy._core.multiarray", code, "<", bytes)
}

fn int(int: i64) -> Value {
    scalar("i8", &int.to_le_bytes())
}

/// Python's `==`, as keys of a dict.
fn are_equal(a: &Value, b: &Value) -> bool {
    let dict = Dict::new();
    dict.insert(a.clone(), ()).unwrap();
    dict.contains(b.clone()).unwrap()
}

#[test]
fn scalar_of_each_type_is_its_number() {
    for module in ["numpy.core.multiarray", "numpy._core.multiarray"] {
        let scalar = |code, order, bytes: &[u8]| scalar_of(module, code, order, bytes);
        for (scalar, number) in [
            (scalar("b1", "|", &[1]), Value::from(true)),
            (scalar("b1", "|", &[0]), false.into()),
            (scalar("i1", "|", &[0xff]), (-1).into()),
            (scalar("u1", "|", &[0xff]), 255.into()),
            (scalar("i2", "<", &[0, 0x80]), i64::from(i16::MIN).into()),
            (scalar("i4", ">", &[0, 0, 1, 0]), 256.into()),
            (scalar("i8", "<", &i64::MIN.to_le_bytes()), i64::MIN.into()),
            (scalar("u8", "<", &u64::MAX.to_le_bytes()), u64::MAX.into()),
            (scalar("f2", "<", &[0, 0x38]), 0.5.into()),
            (scalar("f2", "<", &[1, 0]), 2_f64.powi(-24).into()),
            (scalar("f2", "<", &[0xff, 0xfb]), (-65504.0).into()),
            (scalar("f2", "<", &[0, 0xfc]), f64::NEG_INFINITY.into()),
            (scalar("f4", ">", &1.5_f32.to_be_bytes()), 1.5.into()),
            (scalar("f8", "<", &0.1_f64.to_le_bytes()), 0.1.into()),
        ] {
            assert!(are_equal(&scalar, &number) && are_equal(&number, &scalar), "{number}");
            assert_eq!(scalar.truthy(), number.truthy(), "{number}");
            let floats = [scalar, number].map(|value| value.to::<f64>().unwrap().to_bits());
            assert_eq!(floats[0], floats[1]);
        }
    }
    assert_eq!(int(7).as_i64(), Some(7));
    assert_eq!(int(7).to::<u8>().unwrap(), 7);
    assert!(!scalar("b1", &[0]).to::<bool>().unwrap());
    // Of another type, or cut short.
    for other in
        [scalar("c16", &[0; 16]), scalar("i8", &[0; 4]), scalar("b1", &[]), scalar("f8", &[0; 4])]
    {
        assert!(!are_equal(&other, &0.into()));
        assert!(other.truthy() && other.to::<i64>().is_err());
    }
}

#[test]
fn scalar_as_argument_is_read_as_its_number() {
    let (_handle, client) = serve();
    let queue: QueueProxy = client.create("Queue", (int(1),)).unwrap().into();
    let begin = Instant::now();
    let timeout = scalar("f8", &0.05_f64.to_le_bytes());
    let error = queue.proxy().call("get", Args::new().kwarg("timeout", timeout)).unwrap_err();
    assert!(error.is_empty() && begin.elapsed() >= Duration::from_millis(40), "{error}");
    let error = queue.proxy().call("get", (scalar("b1", &[0]),)).unwrap_err();
    assert!(error.is_empty(), "{error}");

    let list: ListProxy = client.create("list", (["a", "b", "c"],)).unwrap().into();
    assert_eq!(list.proxy().call("__getitem__", (int(1),)).unwrap(), "b".into());

    let dict: DictProxy = client.create("dict", ()).unwrap().into();
    dict.insert(2, "two").unwrap();
    dict.insert(int(2), "zwei").unwrap();
    assert_eq!(dict.items().unwrap(), [(2.into(), "zwei".into())]);
    let ours = Dict::new();
    ours.insert(int(2), "zwei").unwrap();
    assert_eq!(ours.get(2.0).unwrap(), Some("zwei".into()));
}

#[test]
fn scalar_as_item_is_forwarded_unopened() {
    let (_handle, client) = serve();
    let queue: QueueProxy = client.create("Queue", ()).unwrap().into();
    queue.put(int(7)).unwrap();
    let Value::Opaque(item) = queue.get().unwrap() else { panic!("it was opened") };
    let Value::Opaque(sent) = int(7) else { unreachable!() };
    assert_eq!(item.to_bytes(), sent.to_bytes());
    let list: ListProxy = client.create("list", ([int(7)],)).unwrap().into();
    assert!(matches!(list.get(0).unwrap(), Some(Value::Opaque(_))));
}

#[test]
fn real_scalars_are_read_as_in_cpython() {
    for python in with_packages(&["numpy"]) {
        let (handle, _client) = serve();
        snippet(&python, "numpy_scalars.py", &[]).end(PATIENCE).well();
        let address = handle.address().to_string();
        snippet(&python, "numpy_scalars.py", &[&address]).end(PATIENCE).well();
    }
}
