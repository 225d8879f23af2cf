//! A queue in this crate's manager and one in `CPython`'s own, called by the same Python program: each call must
//! return the same result, or raise an exception of the same class.

use std::time::Duration;

use crate::support::{Process, Python, pythons, snippet};
use basemanager::{Exception, Manager, Queue};

/// Calls with another result than in `CPython`, or an exception whose text matters, and a part of the outcome.
struct Difference {
    reason: &'static str,
    ours: &'static str,
    calls: &'static [&'static str],
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "clients are offered all methods, those of later Pythons too",
        ours: "'shutdown'",
        calls: &[r#"[name for name in sorted(dir(type(q))) if not name.startswith("_")]"#],
    },
    Difference {
        reason: "the object is not Python's, and its length says more than where it lies",
        ours: "<Queue of 0 items>",
        calls: &["str(q)", "q._getvalue()"],
    },
    Difference {
        reason: "the same, as the client asks for it",
        ours: "False",
        calls: &[r#"q._callmethod("__str__").startswith("<queue.Queue object at")"#],
    },
    Difference {
        reason: "the error names what there is instead",
        ours: "KeyError: no typeid 'Nothing' is registered; there are: Queue",
        calls: &["m.Nothing()"],
    },
    Difference {
        reason: "the error names what there is instead",
        ours: "object is not in exposed={'empty', 'full', 'get',",
        calls: &[
            r#"q._callmethod("unknown")"#,
            r#"q._callmethod("_put", (1,))"#,
            r#"q._callmethod("__init__")"#,
            r#"q._callmethod("mutex")"#,
        ],
    },
    Difference {
        reason: "what CPython calls __init__() is a function here",
        ours: "TypeError: Queue() ",
        calls: &["m.Queue(1, 2)", "m.Queue(size=1)"],
    },
    Difference {
        reason: "says what is wrong, not how it came out",
        ours: "TypeError: expected a timeout in seconds, got '",
        calls: &[
            r#"q.get(timeout="soon")"#,
            r#"q.get(timeout=b"1")"#,
            "q.get(timeout=[1])",
            "q.get(timeout=(1, 2))",
            "q.get(timeout={})",
            "q.get(timeout=1j)",
            r#"b.put(3, timeout="soon")"#,
        ],
    },
    Difference {
        reason: "a timeout is read before the state: CPython does so only if it has to wait",
        ours: "'timeout' must be a non-negative number",
        calls: &["u.put(1, timeout=-1)", "s.put(3, timeout=-1)", "s.get(timeout=-1)"],
    },
    Difference {
        reason: "the same",
        ours: "TypeError: expected a timeout in seconds, got 'str'",
        calls: &[
            r#"u.put(2, timeout="soon")"#,
            r#"s.put(3, timeout="soon")"#,
            r#"s.get(timeout="soon")"#,
        ],
    },
    Difference { reason: "the two were refused", ours: "0", calls: &["u.qsize()"] },
];

#[test]
fn queue_has_the_semantics_of_python() {
    let server = Manager::new("semantics")
        .register("Queue", |call| {
            let ([], [maxsize]) = call.args([], ["maxsize"])?;
            let maxsize: i64 = maxsize.map_or(Ok(0), basemanager::Pickle::to)?;
            Ok::<_, Exception>(Queue::bounded(usize::try_from(maxsize).unwrap_or(0)))
        })
        .bind("127.0.0.1:0")
        .unwrap();
    let handle = server.start().unwrap();
    let address = handle.address().to_string();

    let start = |python: &Python, args: &[&str]| snippet(python, "queue_semantics.py", args);
    let with_both = |python| (python, start(python, &[]), start(python, &[&address]));
    let runs: Vec<_> = pythons().iter().map(with_both).collect();

    let mut wrong = Vec::new();
    for (python, cpython, ours) in runs {
        let (cpython, ours) = (lines(cpython), lines(ours));
        assert_eq!(ours.len(), cpython.len(), "{python} made other calls");
        assert!(ours.len() > 100, "{python} made few calls: {ours:?}");
        for (cpython, ours) in cpython.iter().zip(&ours) {
            if let Some(what) = compare(cpython, ours, python) {
                wrong.push(format!("{what}: {python}\n  CPython: {cpython}\n  here:    {ours}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    handle.shutdown();
    handle.join().unwrap();
}

/// Why a call's two outcomes are wrong, if they are.
fn compare(cpython: &str, ours: &str, python: &Python) -> Option<&'static str> {
    let (call, outcome) = ours.split_once(" -> ")?;
    let known = DIFFERENCES.iter().find(|difference| difference.calls.contains(&call));
    match known {
        None => (class(ours) != class(cpython)).then_some("a new difference"),
        Some(known) if ours == cpython => {
            let newer = known.ours == "'shutdown'" && python.version >= [3, 13, 0];
            (!newer).then_some("no difference any more, but listed")
        }
        Some(known) => (!outcome.contains(known.ours)).then_some(known.reason),
    }
}

/// The outcome without the text of an exception. A `RemoteError` keeps the class that its text names.
fn class(line: &str) -> &str {
    let Some((call, outcome)) = line.split_once(" -> ") else { return line };
    let is_name = |part: &str| part.chars().all(|c| c.is_alphanumeric() || "._".contains(c));
    let names = if outcome.contains(".RemoteError: ") { 2 } else { 1 };
    let length: usize = outcome
        .split_inclusive(": ")
        .take(names)
        .take_while(|part| part.strip_suffix(": ").is_some_and(is_name))
        .map(str::len)
        .sum();
    match length {
        0 => line,
        length => &line[..call.len() + " -> ".len() + length],
    }
}

fn lines(mut run: Process) -> Vec<String> {
    run.end(Duration::from_secs(30)).well().stdout
}
