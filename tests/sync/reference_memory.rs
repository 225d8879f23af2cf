//! Small messages that name the same object again and again: the manager counts it once, and keeps one list.

#![cfg(target_os = "linux")]

use crate::support::programs::memory;
use crate::support::{alone, newest_python, python_client, say};
use basemanager::{Manager, Queue};

/// Each takes a message of about 88 KiB at most.
const CALLS: [(&str, &str); 10] = [
    ("q.put_many([p] * 30000)", "30000"),
    ("q.put_many([p] + [None] * 30000)", "30001"),
    ("len(q.get_many(500))", "500"),
    ("l.append(Exception([p] * 30000))", "None"),
    ("len(l.__mul__(100))", "100"),
    ("l.extend([p] * 30000)", "None"),
    ("l.extend([[p] * 100] * 300)", "None"),
    ("len(d.fromkeys(range(1000), Exception([p] * 1000)))", "1000"),
    ("l.clear()", "None"),
    ("m._number_of_objects()", "4"),
];

/// It looks at the memory of its own process.
#[test]
fn object_named_many_times_in_one_message_takes_little_memory() {
    if !alone("reference_memory::object_named_many_times_in_one_message_takes_little_memory") {
        return;
    }
    let Some(python) = newest_python() else { return };
    let queue = Queue::new();
    let manager = Manager::new("key").register_sync_types();
    let manager = manager.register("tasks", move |_| queue.clone());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let code = "from multiprocessing import current_process\n\
                current_process().authkey = b'key'\n\
                m = connect('tasks', 'list', 'dict')\n\
                q, l, d, p = m.tasks(), m.list(), m.dict(), m.list()\nobey()";
    let mut client = python_client(python, code, &handle.address().to_string(), "key");
    let before = memory("VmHWM");
    for (call, result) in CALLS {
        assert_eq!(client.ask(call), result, "{call}");
        let grown = (memory("VmHWM") - before) >> 10;
        say(&format!("{grown} MiB after {call}"));
        assert!(grown < 200, "{grown} MiB after {call}");
    }
}
