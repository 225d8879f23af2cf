//! What a Python client can do that was told no proxy type.

use crate::support::{PATIENCE, pythons, snippet};
use basemanager::sync::{Barrier, Dict, DictProxy, List, Namespace, SharedValue};
use basemanager::{Client, Manager, Registration, Value};

#[test]
fn auto_proxy_of_named_object_does_what_it_does_in_cpython() {
    let ages = Dict::new();
    let (typed, chosen) = (ages.clone(), ages.clone());
    let chosen = Registration::new(move |_| chosen.clone());
    let manager = Manager::new("key")
        .register("get_namespace", |_| Namespace::new())
        .register("get_barrier", |_| Barrier::new(1))
        .register("number", |_| SharedValue::new("i", 7))
        .register("names", |_| List::new())
        .register("ages", |_| Dict::new())
        .register("typed", move |_| typed.clone())
        .register_with("chosen", chosen.exposed(["__getitem__", "__setitem__"]));
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    for python in pythons() {
        let theirs = snippet(python, "auto_proxy.py", &[]).end(PATIENCE).well();
        let address = handle.address().to_string();
        let ours = snippet(python, "auto_proxy.py", &[&address]).end(PATIENCE).well();
        assert_eq!(ours.stdout, theirs.stdout, "{python}");
    }
    // A client of ours can iterate, too.
    ages.clear();
    ages.insert("Ada", 36).unwrap();
    let client = Client::connect(handle.address(), "key").unwrap();
    let ages: DictProxy = client.create("typed", ()).unwrap().into();
    let names: Result<Vec<Value>, _> = ages.iter().collect();
    assert_eq!(names.unwrap(), ["Ada".into()]);
}
