//! What a review tried: opaque objects within the deepest plain value.
#![cfg(feature = "objects")]
#![allow(clippy::unwrap_used)]

use basemanager::{Client, Limits, List, Manager, Pickle, Value};

#[test]
fn opaque_object_in_the_deepest_value_fits_the_stack() {
    let levels = 199;
    for inner in [&b"cm\nX\n"[..], b"cm\nX\n(cm\nX\n"] {
        let close: &[u8] = if inner.len() > 6 { b")RtR" } else { b"\x85R" };
        let leaf: &[u8] = b"N";
        let pickle = if inner.len() > 6 {
            // X(X(), X(X(), …))
            [b"\x80\x04".to_vec(), b"cm\nX\n(cm\nX\n)R".repeat(levels), leaf.to_vec(), b"tR".repeat(levels), b".".to_vec()].concat()
        } else {
            [b"\x80\x04".to_vec(), inner.repeat(levels), leaf.to_vec(), close.repeat(levels), b".".to_vec()].concat()
        };
        let limits = Limits::default().depth(500);
        let opaque = Value::Opaque(Pickle::from_bytes(&pickle, &limits).unwrap());
        let list = List::new();
        for last in [1, 2] {
            let frozen = Value::FrozenSet(vec![opaque.clone(), last.into()]);
            list.push((0..498).fold(frozen, |inner, _| Value::FrozenSet(vec![inner, 7.into()])));
        }
        let shared = list.clone();
        let server = Manager::new("key").register_sync_types().limits(limits);
        let server = server.register("shared", move |_| shared.clone());
        let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
        let client = Client::to(handle.address(), "key").limits(limits).connect().unwrap();
        let proxy = client.create("shared", &[], &[]).unwrap();
        let set = client.create("set", &[], &[]).unwrap();
        let updated = set.call("update", &[Value::from(&proxy)], &[]);
        println!("{updated:?} {:?}", set.call("__len__", &[], &[]));
        let items = proxy.call("__getitem__", &[0.into()], &[]);
        println!("{:?}", items.map(|item| proxy.call("count", &[item], &[])));
        println!("{:?}", proxy.repr().map(|text| text.len()));
        println!("{:?}", client.debug_info().map(|text| text.len()));
    }
}
