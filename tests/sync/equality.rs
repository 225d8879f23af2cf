//! Which keys, members and items are equal, as Python has it.

use crate::support::{PATIENCE, pythons, snippet};
use basemanager::sync::{Dict, DictProxy, List};
use basemanager::{Client, Limits, Manager, Pickle, Value};

#[test]
fn equal_objects_pickled_differently_are_one_key() {
    let shared = Dict::new();
    let manager = Manager::new("key").register_sync_types();
    let manager = manager.register("shared", move |_| shared.clone());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    for python in pythons() {
        snippet(python, "equality.py", &[]).end(PATIENCE).well();
        let address = handle.address().to_string();
        snippet(python, "equality.py", &[&address]).end(PATIENCE).well();
    }
}

/// `P(word, word)`, the second a reference to the first or not.
fn pair(word: &str, shared: bool) -> Value {
    let size = u32::try_from(word.len()).unwrap().to_le_bytes();
    let word = [b"X", &size[..], word.as_bytes(), b"\x94"].concat();
    let second = if shared { b"h\x00" } else { &word[..] };
    let whole = [b"\x80\x04", &word[..], b"0cm\nP\n", &word, second, b"\x86\x81."];
    // Memo 0 is the one that was discarded, which a reference means as well.
    Value::Opaque(Pickle::from_bytes(&whole.concat(), &Limits::default()).unwrap())
}

#[test]
fn object_above_size_bound_is_compared_by_its_pickle() {
    let (small, large) = ("x".repeat(1_000), "x".repeat(5_000));
    let dict = Dict::new();
    dict.insert(pair(&small, true), 1).unwrap();
    dict.insert(pair(&large, true), 1).unwrap();
    assert!(dict.contains(pair(&small, false)).unwrap());
    assert!(dict.contains(pair(&large, true)).unwrap());
    assert!(!dict.contains(pair(&large, false)).unwrap());
}

/// `C([[..., x, x], [..., x, x]])`: each list twice the one before, by references.
fn bomb(levels: u8) -> Value {
    let mut bytes = b"\x80\x04cm\nC\n]\x94".to_vec();
    for level in 0..levels {
        bytes.extend([b'0', b']', 0x94, b'(', b'h', level, b'h', level, b'e']);
    }
    bytes.extend(b"\x85\x81.");
    Value::Opaque(Pickle::from_bytes(&bytes, &Limits::default()).unwrap())
}

#[test]
fn object_that_expands_without_end_is_compared_by_its_pickle() {
    let dict = Dict::new();
    for _ in 0..1_000 {
        dict.insert(bomb(60), 1).unwrap();
    }
    assert_eq!(dict.len(), 1);
    assert!(dict.contains(bomb(60)).unwrap() && !dict.contains(bomb(59)).unwrap());
}

/// `C(C(C(...)))`
fn nested(levels: usize) -> Value {
    let bytes = [
        b"\x80\x04",
        &b"cm\nC\n".repeat(levels)[..],
        b")\x81",
        &b"\x85\x81".repeat(levels - 1),
        b".",
    ];
    Value::Opaque(Pickle::from_bytes(&bytes.concat(), &Limits::default()).unwrap())
}

#[test]
fn deeply_nested_object_as_key_fits_the_stack_of_a_connection() {
    let manager = Manager::new("key").register_sync_types();
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), "key").unwrap();
    let dict: DictProxy = client.create("dict", ()).unwrap().into();
    for levels in [1, 10, 99, 199, 201, 20_000] {
        dict.insert(nested(levels), levels).unwrap();
        assert_eq!(dict.get_as(nested(levels)).unwrap(), Some(levels));
    }
    let list: List = [nested(199)].into_iter().collect();
    assert_eq!(list.get(0), Some(nested(199)));
}

#[test]
fn ordered_dicts_in_another_order_are_not_equal() {
    let ordered = |class: &[u8], pairs: &[u8]| {
        let pickle = [b"\x80\x04ccollections\n", class, b"\n)R(", pairs, b"u."].concat();
        Value::Opaque(Pickle::from_bytes(&pickle, &Limits::default()).unwrap())
    };
    let (a, b) = (&b"\x8c\x01aK\x01"[..], b"\x8c\x01bK\x02");
    // The same with its first key written in another way.
    let long_a = b"X\x01\0\0\0aK\x01";
    let ordered_dict = |pairs: &[&[u8]]| ordered(b"OrderedDict", &pairs.concat());
    let counter = |pairs: &[&[u8]]| ordered(b"Counter", &pairs.concat());
    let dict = Dict::new();
    dict.insert(ordered_dict(&[a, b]), 1).unwrap();
    dict.insert(counter(&[a, b]), 1).unwrap();
    assert!(dict.contains(ordered_dict(&[long_a, b])).unwrap());
    assert!(!dict.contains(ordered_dict(&[b, a])).unwrap());
    assert!(dict.contains(counter(&[b, a])).unwrap());
}
