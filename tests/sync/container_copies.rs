//! A call that is refused, or shows little of a container, does not copy all of it first.

#![cfg(target_os = "linux")]

use crate::support::alone;
use crate::support::programs::memory;
use basemanager::sync::{Dict, List, Namespace, Set, SharedValue};
use basemanager::{Client, Error, Limits, Manager, Value};

const PARTS: u32 = 16;

/// One of many parts, each of them other bytes.
fn part(number: u32) -> Value {
    Value::Bytes([&number.to_le_bytes()[..], &vec![b'x'; 2 << 20]].concat())
}

/// It looks at the memory of its own process.
#[test]
fn refused_call_copies_no_container() {
    if !alone("container_copies::refused_call_copies_no_container") {
        return;
    }
    let (list, dict, set, namespace) = (List::new(), Dict::new(), Set::new(), Namespace::new());
    for number in 0..PARTS {
        list.push(part(number));
        dict.insert(number, part(number)).unwrap();
        set.insert(part(number)).unwrap();
        namespace.set(&format!("a{number}"), part(number));
    }
    let value = SharedValue::new("i", list.to_vec());
    let plain = Value::List(list.to_vec());
    let limits = Limits::default().expansion(4 << 20);
    let manager = Manager::new("key").register_sync_types().limits(limits);
    let manager = manager.register("large_list", move |_| list.clone());
    let manager = manager.register("large_dict", move |_| dict.clone());
    let manager = manager.register("large_set", move |_| set.clone());
    let manager = manager.register("large_namespace", move |_| namespace.clone());
    let manager = manager.register("large_value", move |_| value.clone());
    let manager = manager.register("large_plain", move |_| plain.clone());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), "key").unwrap();
    let names = ["list", "dict", "set", "namespace", "value", "plain"];
    let large = names.map(|name| client.create(&format!("large_{name}"), ()).unwrap());
    let small = client.create("list", ()).unwrap();
    let (into_dict, into_set) =
        (client.create("dict", ()).unwrap(), client.create("set", ()).unwrap());

    let before = memory("VmHWM");
    for (large, name) in large.iter().zip(names) {
        for (target, method) in
            [(&small, "extend"), (&small, "__iadd__"), (&into_dict, "update"), (&into_set, "union")]
        {
            let error = target.call(method, (large,)).unwrap_err();
            let Error::Exception(exception) = error else { unreachable!("{error:?}") };
            let refused = exception.to_string();
            assert!(refused.starts_with("MemoryError"), "{method} of {name}: {refused}");
        }
    }
    let shown = client.debug_info().unwrap();
    assert!(shown.len() < 2000 && shown.contains("[b'"), "{shown}");
    let grown = (memory("VmHWM") - before) >> 10;
    assert!(grown < 16, "{grown} MiB");
}
