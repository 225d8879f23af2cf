//! Packages from `PyPI` that use managers, or are a copy of Python's.

#![cfg(feature = "sync")]

use crate::support::{PATIENCE, snippet, with_packages};
use basemanager::sync::{Namespace, SharedValue};
use basemanager::{Manager, Queue, Value};

fn fork_works_as_multiprocessing_does(name: &str) {
    let manager = Manager::new("key").register_sync_types();
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    for python in with_packages(&[name]) {
        snippet(&python, "forks.py", &[name]).end(PATIENCE).well();
        let address = handle.address().to_string();
        snippet(&python, "forks.py", &[name, &address]).end(PATIENCE).well();
    }
}

#[test]
fn multiprocess_uses_shared_objects_and_nested_proxies() {
    fork_works_as_multiprocessing_does("multiprocess");
}

/// It knows HMAC-MD5 only.
#[cfg(feature = "legacy-md5")]
#[test]
fn billiard_uses_shared_objects_and_nested_proxies() {
    fork_works_as_multiprocessing_does("billiard");
}

#[test]
fn neat_python_worker_evaluates_for_a_manager_in_rust() {
    const SHUT_DOWN: i64 = 1;
    for python in with_packages(&["neat-python==0.92"]) {
        let (tasks, results) = (Queue::new(), Queue::new());
        let (state, namespace) = (SharedValue::new("i", 0), Namespace::new());
        let (inqueue, outqueue, states) = (tasks.clone(), results.clone(), state.clone());
        let manager = Manager::new("key")
            .register("get_inqueue", move |_| inqueue.clone())
            .register("get_outqueue", move |_| outqueue.clone())
            .register("get_state", move |_| states.clone())
            .register("get_namespace", move |_| namespace.clone());
        let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
        let mut worker = snippet(&python, "neat_worker.py", &[&handle.address().to_string()]);
        let task = |genome: i64| Value::from([Value::from((genome, genome, 10))]);
        for genome in 1..=3 {
            tasks.put(task(genome)).unwrap();
        }
        for genome in 1..=3 {
            let result = results.get_timeout(PATIENCE).unwrap();
            assert_eq!(result, Some([Value::from((genome, 10 * genome))].into()));
        }
        state.set(SHUT_DOWN);
        assert_eq!(worker.end(PATIENCE).well().stdout, ["stopped"], "{python}");
    }
}
