//! What a client owes its user: errors that say what happened, times that are kept, connections that
//! are never used out of step, and the same against a manager of either language.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::{
    Process, Python, TempDir, assert_mentions, blocked, dead_address, own_address, pythons, until,
};
use basemanager::object::{Call, Exposed, Monitor, Return, SharedObject};
use basemanager::value::Args;
use basemanager::{
    Authkey, Client, ClientBuilder, Error, Exception, Limits, Manager, Queue, QueueProxy,
    ServerHandle, Value,
};

const KEY: &str = "client";
/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);
/// What a busy machine may add to a wait.
const SLACK: Duration = Duration::from_secs(5);
const BRIEF: Duration = Duration::from_millis(100);

/// A manager of every language: a queue that all share, and new ones.
fn manager() -> ServerHandle {
    manager_at(&own_address())
}

fn manager_at(address: &str) -> ServerHandle {
    let manager = Manager::new(KEY).share("tasks", Queue::new());
    let manager = manager.register("Queue", |call| {
        let ([], [maxsize]) = call.args([], ["maxsize"])?;
        let maxsize = maxsize.map_or(Ok(0), basemanager::Pickle::to)?;
        Ok::<_, Exception>(Queue::bounded(maxsize))
    });
    manager.bind(address).unwrap().start().unwrap()
}

/// The same in Python, with the rest of what a `SyncManager` shares.
fn python_manager(python: &Python) -> (Process, String) {
    const CODE: &str = "
import queue
import sys
from multiprocessing.managers import SyncManager
tasks = queue.Queue()
SyncManager.register('tasks', callable=lambda: tasks)
server = SyncManager(('127.0.0.1', 0), sys.argv[1].encode()).get_server()
print('listening on %s:%d' % server.address, flush=True)
server.serve_forever()
";
    let mut process = run(python, CODE, &[KEY]);
    let address = process.address();
    (process, address)
}

fn run(python: &Python, code: &str, args: &[&str]) -> Process {
    let mut command = Command::new(&python.path);
    command.args(["-c", code]).args(args);
    Process::start(&python.to_string(), &mut command)
}

/// Runs a test against a manager of this crate, and one of every Python.
fn against_every_manager(test: impl Fn(&Client, &str)) {
    let handle = manager();
    test(&Client::connect(handle.address(), KEY).unwrap(), "Rust");
    for python in pythons() {
        let (_process, address) = python_manager(python);
        test(&Client::connect(address, KEY).unwrap(), &python.to_string());
    }
}

// Connecting.

#[test]
fn connect_without_a_listener_names_the_address() {
    let directory = TempDir::new();
    let (tcp, _guard) = dead_address();
    let addresses = [tcp, directory.path("none")];
    for address in addresses.into_iter().take(if cfg!(unix) { 2 } else { 1 }) {
        let error = Client::connect(&address, KEY).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert_mentions(&error.to_string(), &["connect to", &address]);
        assert!(std::error::Error::source(&error).is_some());
        assert!(!error.is_timeout() && !error.is_empty());
    }
}

#[test]
fn connect_to_malformed_address_is_invalid() {
    for address in ["nonsense", "127.0.0.1:", "127.0.0.1:99999"] {
        let error = Client::connect(address, KEY).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert_mentions(&error.to_string(), &[address]);
    }
}

#[test]
fn connect_with_wrong_key_fails_authentication() {
    let refused = |address: &str, who: &str| {
        for key in ["wrong", "", "client2", "clien"] {
            let error = Client::connect(address, key).unwrap_err();
            assert!(matches!(error, Error::Authentication { .. }), "{who}: {error:?}");
            assert_mentions(&error.to_string(), &["authentication failed"]);
        }
        Client::connect(address, KEY).unwrap();
    };
    let handle = manager();
    refused(&handle.address().to_string(), "Rust");
    for python in pythons() {
        let (_process, address) = python_manager(python);
        refused(&address, &python.to_string());
    }
}

/// A listener that does something else than a manager to whoever connects.
fn stranger(act: impl Fn(&mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.incoming().flatten().for_each(|mut stream| act(&mut stream)));
    address
}

#[test]
fn connect_to_no_manager_is_an_error_without_effect() {
    let hangs_up = stranger(|_| ());
    let error = Client::connect(hangs_up, KEY).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && !error.may_have_taken_effect(), "{error:?}");
    assert_mentions(&error.to_string(), &["cannot connect to"]);

    let frame =
        |payload: &[u8]| [&u32::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat();
    let says: [Vec<u8>; 4] = [
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        frame(b"hello"),
        frame(b"#CHALLENGE#short"),
        frame(&[b"#CHALLENGE#{sha3_256}".as_slice(), &[7; 40]].concat()),
    ];
    for bytes in says {
        let shown = bytes.escape_ascii().to_string();
        let address = stranger(move |stream| {
            stream.write_all(&bytes).unwrap();
            std::mem::forget(stream.try_clone());
        });
        let error = Client::builder(address, KEY).connect_timeout(SLACK).connect().unwrap_err();
        let refused = matches!(error, Error::Foreign { .. } | Error::Authentication { .. });
        assert!(refused, "{shown}: {error:?}");
        assert!(!error.may_have_taken_effect(), "{shown}: {error:?}");
    }
}

#[test]
fn connect_to_another_protocol_names_it_and_shows_its_first_bytes() {
    let cases: [(&[u8], &str); 5] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP; it sent \"HTTP/1.1 400"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH; it sent \"SSH-2.0-OpenSSH_9.2\\r\\n\""),
        (b"\x15\x03\x01\0\x02\x02\x46", "TLS; it sent \"\\x15\\x03\\x01"),
        (b"220 mail ESMTP\r\n", "another protocol; it sent \"220 mail ESMTP"),
        (b"\0\0\0\x05hello", "expected a challenge, got \"hello\""),
    ];
    for (bytes, shown) in cases {
        let address = stranger(move |stream| stream.write_all(bytes).unwrap());
        let error = Client::connect(address, KEY).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{shown}: {error:?}");
        assert_mentions(&error.to_string(), &["the peer speaks", shown]);
    }
}

#[test]
fn connect_to_silent_service_hits_greeting_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::builder(listener.local_addr().unwrap(), KEY).greeting_timeout(BRIEF);
    let begun = Instant::now();
    let error = client.connect().unwrap_err();
    assert!(begun.elapsed() >= BRIEF && begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    assert!(error.is_timeout() && !error.may_have_taken_effect(), "{error:?}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_mentions(&cause, &["sent nothing for 100ms", "a manager speaks first"]);
}

#[test]
fn connect_to_silent_service_is_not_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = || Client::builder(address, KEY).reconnect(100, Duration::ZERO);
    // One that sends the length of a challenge, and no challenge.
    let half = stranger(|stream| {
        stream.write_all(&[0, 0, 0, 50]).unwrap();
        thread::sleep(LONG);
    });
    for client in [
        client().greeting_timeout(BRIEF),
        client().connect_timeout(BRIEF),
        Client::builder(half, KEY).reconnect(100, Duration::ZERO).connect_timeout(BRIEF),
    ] {
        let begun = Instant::now();
        let error = client.connect().unwrap_err();
        assert!(error.is_timeout() && !error.may_have_taken_effect(), "{error:?}");
        assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    }
}

#[test]
fn connect_to_listener_without_accept_hits_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let begun = Instant::now();
    let error = Client::builder(address, KEY).connect_timeout(BRIEF).connect().unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert!(begun.elapsed() >= BRIEF && begun.elapsed() < SLACK, "{:?}", begun.elapsed());
}

/// CPython's end of the handshake, and then not another word.
#[test]
fn silence_after_handshake_hits_connect_timeout() {
    const CODE: &str = "
import sys
from multiprocessing.connection import Listener
listener = Listener(('127.0.0.1', 0), authkey=sys.argv[1].encode())
print('listening on %s:%d' % listener.address, flush=True)
connections = []
while True:
    connections.append(listener.accept())
";
    for python in pythons() {
        let mut process = run(python, CODE, &[KEY]);
        let address = process.address();
        let (say, word) = mpsc::channel();
        thread::spawn(move || {
            say.send(
                Client::builder(address, KEY).connect_timeout(Duration::from_secs(1)).connect(),
            )
        });
        let error = word.recv_timeout(LONG).expect("it gives up").unwrap_err();
        assert!(error.is_timeout() && !error.may_have_taken_effect(), "{python}: {error:?}");
    }
}

#[test]
fn slow_handshake_hits_connect_timeout() {
    let address = stranger(|stream| {
        while stream.write_all(&[0, 0, 0, 0]).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let begun = Instant::now();
    let error = Client::builder(address, KEY).connect_timeout(BRIEF).connect().unwrap_err();
    assert!(matches!(error, Error::TimedOut | Error::Foreign { .. }), "{error:?}");
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
}

#[test]
fn timeouts_of_duration_max_are_accepted() {
    let handle = manager();
    let client = Client::builder(handle.address(), KEY)
        .connect_timeout(Duration::MAX)
        .call_timeout(Duration::MAX)
        .connect()
        .unwrap();
    let tasks = client.queue("tasks").unwrap();
    tasks.put(1).unwrap();
    assert_eq!(tasks.get_timeout(Duration::MAX).unwrap(), Some(1.into()));
}

#[test]
fn get_timeout_of_duration_max_waits_at_every_manager() {
    against_every_manager(|client, _| {
        let tasks = client.queue("tasks").unwrap();
        let waiting = tasks.clone();
        let thread = blocked(move || waiting.get_timeout(Duration::MAX));
        tasks.put(1).unwrap();
        assert_eq!(thread.join().unwrap().unwrap(), Some(1.into()));
    });
}

// Calls that take their time.

/// Answers each call with the next number: the first one once it may.
#[derive(Clone)]
struct Slow(Arc<AtomicI64>, Monitor<bool>);

impl Slow {
    fn manager() -> (Self, ServerHandle) {
        let slow = Self(Arc::default(), Monitor::new(false));
        let (shared, other) = (Arc::new(slow.clone()), slow.clone());
        let manager = Manager::new(KEY).register("slow", move |_| shared.clone());
        let manager = manager.register("answer", move |call| other.answer(call));
        (slow, manager.bind("127.0.0.1:0").unwrap().start().unwrap())
    }

    fn answer(&self, call: &mut Call<'_>) -> Result<i64, Exception> {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        drop(self.1.wait(&mut call.wait(None), |may| *may || number > 0)?);
        Ok(number)
    }

    fn go_on(&self) {
        *self.1.lock() = true;
        self.1.notify_all();
    }
}

impl SharedObject for Slow {
    fn exposed(&self) -> Exposed {
        ["qsize"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        self.answer(call).map(Return::from)
    }
}

fn hasty(handle: &ServerHandle) -> ClientBuilder {
    Client::builder(handle.address(), KEY).call_timeout(BRIEF)
}

#[test]
fn call_after_timeout_uses_a_new_connection() {
    let (slow, handle) = Slow::manager();
    let client = hasty(&handle).connect().unwrap();
    let proxy = QueueProxy::from(client.create("slow", ()).unwrap());
    let begun = Instant::now();
    let error = proxy.len().unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert!(begun.elapsed() >= BRIEF && begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    slow.go_on();
    // The late answer, 0, is for nobody: each call gets its own.
    for number in 1..20 {
        assert_eq!(proxy.len().unwrap(), number);
    }
}

#[test]
fn create_after_timeout_uses_a_new_connection() {
    let (slow, handle) = Slow::manager();
    let client = hasty(&handle).connect().unwrap();
    let error = client.create("answer", ()).unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    slow.go_on();
    assert_eq!(client.create("answer", ()).unwrap().value().unwrap(), 1.into());
}

#[test]
fn get_waits_longer_than_call_timeout() {
    let handle = manager();
    let tasks = hasty(&handle).connect().unwrap().queue("tasks").unwrap();
    let begun = Instant::now();
    assert_eq!(tasks.get_timeout(3 * BRIEF).unwrap(), None);
    assert!(begun.elapsed() >= 3 * BRIEF);
    let getter = blocked({
        let tasks = tasks.clone();
        move || tasks.get()
    });
    assert_eq!(tasks.get_timeout(2 * BRIEF).unwrap(), None);
    assert!(!getter.is_finished());
    // Whichever connection gets it, the item is not lost.
    tasks.put(1).unwrap();
    assert_eq!(getter.join().unwrap().unwrap(), 1.into());
}

#[test]
fn call_timeout_applies_to_every_manager() {
    against_every_manager(|client, who| {
        let address = client.address();
        let hasty = Client::builder(address, KEY).call_timeout(SLACK).connect().unwrap();
        let queue = hasty.queue("Queue").unwrap();
        queue.put(1).unwrap();
        assert_eq!(queue.get_timeout(BRIEF).unwrap(), Some(1.into()), "{who}");
        assert_eq!(queue.get_timeout(BRIEF).unwrap(), None, "{who}");
        // Without a limit again, on the same connection.
        queue.put(2).unwrap();
        assert_eq!(queue.get().unwrap(), 2.into(), "{who}");
    });
}

// Threads.

#[test]
fn clones_in_many_threads_get_their_own_replies() {
    const THREADS: i64 = 8;
    against_every_manager(|client, who| {
        let start = Arc::new(Barrier::new(8));
        let shared = client.queue("Queue").unwrap();
        let threads: Vec<_> = (0..THREADS)
            .map(|t| {
                let (client, shared, start) = (client.clone(), shared.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    let own = client.queue("Queue").unwrap();
                    for i in 0..25 {
                        own.put(t * 1000 + i).unwrap();
                        shared.put(t * 1000 + i).unwrap();
                        assert_eq!(own.get().unwrap(), (t * 1000 + i).into());
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let mut got: Vec<i64> =
            (0..THREADS * 25).map(|_| shared.get().unwrap().to().unwrap()).collect();
        got.sort_unstable();
        let all = (0..THREADS).flat_map(|t| (0..25).map(move |i| t * 1000 + i));
        assert!(got.into_iter().eq(all), "{who}");
    });
}

#[test]
fn blocked_get_blocks_no_other_call() {
    against_every_manager(|client, who| {
        let queue = client.queue("Queue").unwrap();
        // More than the client keeps connections for.
        let getter = |_| {
            let queue = queue.clone();
            thread::spawn(move || queue.get().unwrap())
        };
        let count = if who == "Rust" { 24 } else { 4 };
        let mut getters: Vec<_> = (0..count).map(getter).collect();
        getters.push(blocked({
            let queue = queue.clone();
            move || queue.get().unwrap()
        }));
        let begun = Instant::now();
        assert_eq!(queue.len().unwrap(), 0);
        let other = client.queue("Queue").unwrap();
        other.put(1).unwrap();
        assert_eq!(other.get().unwrap(), 1.into());
        assert!(begun.elapsed() < SLACK, "{who}: {:?}", begun.elapsed());
        assert!(!getters.iter().any(JoinHandle::is_finished), "{who}");
        (0..=count).for_each(|i| queue.put(i).unwrap());
        let mut got: Vec<i64> =
            getters.into_iter().map(|getter| getter.join().unwrap().to().unwrap()).collect();
        got.sort_unstable();
        assert!(got.into_iter().eq(0..=count), "{who}");
    });
}

// Restarts.

#[test]
fn client_after_restart_of_manager_connects_again() {
    let first = manager();
    let address = first.address().to_string();
    let client = Client::connect(&address, KEY).unwrap();
    let tasks = client.queue("tasks").unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let tasks = tasks.clone();
            blocked(move || tasks.get())
        })
        .collect();
    tasks.put(1).unwrap();
    until("one got it", LONG, || waiting.iter().any(JoinHandle::is_finished));
    drop(first);
    let results = waiting.into_iter().map(|thread| thread.join().unwrap());
    let gone: Vec<_> = results.filter_map(Result::err).collect();
    assert_eq!(gone.len(), 2);
    assert!(gone.iter().all(Error::is_disconnected), "{gone:?}");
    for _ in 0..2 {
        assert!(tasks.put(2).is_err());
        assert!(client.number_of_objects().is_err());
    }

    let _second = manager_at(&address);
    tasks.put(3).unwrap();
    assert_eq!(tasks.get().unwrap(), 3.into());
    assert_eq!(client.number_of_objects().unwrap(), 0);
    assert_eq!(client.queue("tasks").unwrap().len().unwrap(), 0);
}

#[test]
fn drop_of_proxy_after_its_manager_returns_soon() {
    let handle = manager();
    let client = Client::connect(handle.address(), KEY).unwrap();
    let tasks = client.queue("tasks").unwrap();
    drop(handle);
    let begun = Instant::now();
    drop(tasks);
    assert!(begun.elapsed() < SLACK);
}

// Replies.

#[test]
fn reply_over_the_limit_is_an_error_that_names_it() {
    let (handle, limits) = (manager(), Limits::default().frame_size(1000));
    let client = Client::builder(handle.address(), KEY).limits(limits).connect().unwrap();
    let tasks = client.queue("tasks").unwrap();
    let plain = Client::connect(handle.address(), KEY).unwrap().queue("tasks").unwrap();
    let refused = || {
        let error = tasks.get().unwrap_err();
        assert!(matches!(error, Error::Limit { what: "frame size", max: 1000 }), "{error:?}");
        assert_mentions(&error.to_string(), &["frame size", "1000"]);
    };
    plain.put(vec![0_u8; 2000]).unwrap();
    refused();
    // The connection has gone with it, and the next one is in step.
    tasks.put(1).unwrap();
    assert_eq!(tasks.get().unwrap(), 1.into());

    // What the manager could not send whole is not lost.
    let large = Value::from(vec![0_u8; 32 << 20]);
    plain.put(large.clone()).unwrap();
    refused();
    assert_eq!(plain.get().unwrap(), large);
}

#[test]
fn value_beyond_the_limits_stays_opaque() {
    let (handle, limits) = (manager(), Limits::default().depth(3));
    let plain = Client::connect(handle.address(), KEY).unwrap().queue("tasks").unwrap();
    let nested = (0..10).fold(Value::None, |inner, _| Value::List(vec![inner]));
    plain.put(nested.clone()).unwrap();
    let limited = Client::builder(handle.address(), KEY).limits(limits).connect().unwrap();
    let limited = limited.queue("tasks").unwrap();
    let item = limited.get().unwrap();
    assert!(matches!(item, Value::Opaque(_)), "{item}");
    // Nothing is lost.
    limited.put(item).unwrap();
    assert_eq!(plain.get().unwrap(), nested);
}

// Exceptions.

#[test]
fn queue_exceptions_have_their_predicates() {
    let told = |error: &Error| {
        [error.is_empty(), error.is_full(), error.is_shut_down(), error.is_disconnected()]
    };
    against_every_manager(|client, who| {
        let queue = QueueProxy::from(client.create("Queue", (1,)).unwrap());
        let call = |method: &str| queue.proxy().call(method, ()).unwrap_err();
        assert_eq!(told(&call("get_nowait")), [true, false, false, false], "{who}");
        assert_eq!(queue.try_get().unwrap(), None, "{who}");
        queue.put(1).unwrap();
        let full = [queue.try_put(2), queue.put_timeout(2, BRIEF)].map(Result::unwrap_err);
        for error in full {
            assert!(error.is_full(), "{who}: {error}");
            let (shown, item) = (error.to_string(), error.into_inner());
            assert_eq!(item, 2.into(), "{who}: {shown}");
            let error = Error::from(queue.try_put(2).unwrap_err());
            assert_eq!(told(&error), [false, true, false, false], "{who}: {error}");
        }
        assert_eq!(queue.get().unwrap(), 1.into());
        queue.task_done().unwrap();
        let error = queue.task_done().unwrap_err();
        assert_eq!(told(&error), [false; 4], "{who}: {error}");
        assert!(!error.is_timeout());
        assert!(matches!(&error, Error::Exception(e) if e.is("builtins", "ValueError")), "{error}");
        assert_mentions(&error.to_string(), &["ValueError: task_done() called too many times"]);

        if queue.proxy().exposed().iter().any(|method| method == "shutdown") {
            queue.shutdown(false).unwrap();
            let errors = [queue.get().map(drop), queue.put(1), queue.try_get().map(drop)];
            for error in errors.map(Result::unwrap_err) {
                assert_eq!(told(&error), [false, false, true, false], "{who}: {error}");
            }
        }
    });
}

#[test]
fn proxies_use_every_object_of_python() {
    for python in pythons() {
        let (mut process, address) = python_manager(python);
        let client = Client::connect(address, KEY).unwrap();

        let list = client.create("list", ([1, 2],)).unwrap();
        list.call("append", ("three",)).unwrap();
        assert_eq!(list.call("__len__", ()).unwrap(), 3.into());
        assert_eq!(list.call("__getitem__", (-1,)).unwrap(), "three".into());
        assert_eq!(list.value().unwrap().to_string(), "[1, 2, 'three']");
        assert_eq!(list.repr().unwrap(), "[1, 2, 'three']");
        match list.call("__getitem__", (9,)) {
            Err(Error::Exception(error)) => assert!(error.is("builtins", "IndexError"), "{error}"),
            other => panic!("{other:?}"),
        }

        let pairs = Value::Dict(vec![("a".into(), 1.into())]);
        let dict = client.create("dict", Args::new().arg(pairs).kwarg("b", 2)).unwrap();
        assert_eq!(dict.value().unwrap().to_string(), "{'a': 1, 'b': 2}");
        match dict.call("__getitem__", ("c",)) {
            Err(Error::Exception(error)) => {
                assert_eq!(error, Exception::new("builtins", "KeyError", vec!["c".into()]));
            }
            other => panic!("{other:?}"),
        }

        // A result that stays in the manager.
        let keys = dict.call_proxy("__iter__", ()).unwrap();
        assert_eq!(client.number_of_objects().unwrap(), 3);
        assert_eq!(keys.call("__next__", ()).unwrap(), "a".into());
        assert_eq!(keys.call("__next__", ()).unwrap(), "b".into());
        match keys.call("__next__", ()) {
            Err(Error::Exception(error)) => assert!(error.is("builtins", "StopIteration")),
            other => panic!("{other:?}"),
        }

        match client.create("nothing", ()) {
            Err(Error::Remote { traceback: text }) => {
                assert_mentions(&text, &["KeyError", "'nothing'"]);
            }
            other => panic!("{other:?}"),
        }
        match list.call("unknown", ()) {
            Err(Error::Remote { traceback: text }) => assert_mentions(&text, &["'unknown'"]),
            other => panic!("{other:?}"),
        }
        match client.queue("Queue").unwrap().proxy().value() {
            Err(Error::Remote { traceback: text }) => assert_mentions(&text, &["pickle"]),
            other => panic!("{other:?}"),
        }

        drop((list, dict, keys));
        assert_eq!(client.number_of_objects().unwrap(), 0, "{python}");
        client.shutdown().unwrap();
        process.end(LONG).well();
    }
}

// Proxies.

#[test]
fn drop_of_last_proxy_removes_the_object() {
    against_every_manager(|client, who| {
        let queue = client.queue("Queue").unwrap();
        let (clone, other) = (queue.clone(), client.queue("Queue").unwrap());
        let debug = client.debug_info().unwrap();
        let [id, other_id] = [&queue, &other].map(|queue| queue.proxy().id().get(..8).unwrap());
        assert_mentions(&debug, &[id, other_id, "refcount=1"]);
        drop(queue);
        clone.put(1).unwrap();
        assert_eq!(client.number_of_objects().unwrap(), 2, "{who}");
        drop(clone);
        assert_eq!(client.number_of_objects().unwrap(), 1, "{who}");
        drop(other);
        assert_eq!(client.number_of_objects().unwrap(), 0, "{who}");
    });
}

#[test]
fn proxy_outlives_its_client() {
    against_every_manager(|client, who| {
        let own = Client::connect(client.address(), KEY).unwrap();
        let queue = own.queue("Queue").unwrap();
        drop(own);
        queue.put(1).unwrap();
        assert_eq!(queue.get().unwrap(), 1.into(), "{who}");
    });
}

// What is no plain data.

#[test]
fn opaque_value_comes_back_unchanged() {
    const CODE: &str = "
import datetime
import decimal
import sys
from multiprocessing.managers import BaseManager

class M(BaseManager):
    pass

M.register('tasks')
host, port = sys.argv[1].rsplit(':', 1)
m = M((host, int(port)), sys.argv[2].encode())
m.connect()
tasks = m.tasks()
loop = [1]
loop.append(loop)
day = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc)
items = [day, decimal.Decimal('1.10'), {'when': day, 'n': 1}, [day, day], loop, 1j, '\\ud800', range(3)]
for item in items:
    tasks.put(item)
tasks.join()
for item in items:
    back = tasks.get()
    assert type(back) is type(item), back
    assert repr(back) == repr(item), back
print('equal')
";
    let through = |address: &str, python: &Python| {
        let tasks = Client::connect(address, KEY).unwrap().queue("tasks").unwrap();
        let mut run = run(python, CODE, &[address, KEY]);
        let items: Vec<Value> = (0..8).map(|_| tasks.get().unwrap()).collect();
        assert!(matches!(items[0], Value::Opaque(_)), "{}", items[0]);
        assert_eq!(items[0].type_name(), "object");
        assert!(items[0].clone().to::<i64>().is_err());
        match &items[2] {
            Value::Dict(pairs) => {
                assert!(matches!(pairs[0].1, Value::Opaque(_)), "{}", pairs[0].1);
                assert_eq!(pairs[1].1, 1.into());
            }
            other => panic!("{other}"),
        }
        for item in items {
            tasks.put(item).unwrap();
        }
        // Those that were put back count too.
        (0..16).for_each(|_| tasks.task_done().unwrap());
        assert_eq!(run.end(LONG).well().stdout, ["equal"], "{python}");
    };
    let handle = manager();
    for python in pythons() {
        through(&handle.address().to_string(), python);
        let (_process, address) = python_manager(python);
        through(&address, python);
    }
}

// Calls.

/// Its methods' names are made at run time; each returns its arguments.
struct Pins(Vec<String>);

impl SharedObject for Pins {
    fn exposed(&self) -> Exposed {
        self.0.iter().collect()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        let mut all = Vec::new();
        for arg in call.positional() {
            all.push((String::new(), call.value(arg)?));
        }
        for (name, arg) in call.keywords() {
            // The error of a conversion becomes a TypeError.
            all.push((name.clone(), arg.to::<i64>()?.into()));
        }
        Ok(all.into())
    }
}

#[test]
fn arguments_arrive_in_every_form() {
    let manager = Manager::new(KEY).register("pins", |_| {
        Arc::new(Pins((0..3).map(|number| format!("pin_{number}")).collect()))
    });
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), KEY).unwrap();
    let pins = client.create("pins", ()).unwrap();
    assert_eq!(pins.exposed(), ["pin_0", "pin_1", "pin_2"]);
    let call = |args: Args| pins.call("pin_1", args).unwrap().to_string();
    assert_eq!(call(Args::new()), "[]");
    assert_eq!(call(Args::new().arg(1).kwarg("by", 5)), "[('', 1), ('by', 5)]");
    assert_eq!(pins.call("pin_0", ()).unwrap().to_string(), "[]");
    assert_eq!(pins.call("pin_0", (7,)).unwrap().to_string(), "[('', 7)]");
    assert_eq!(pins.call("pin_2", ("a", [1])).unwrap().to_string(), "[('', 'a'), ('', [1])]");
    let many: Vec<Value> = (0..20).map(Value::from).collect();
    let back: Vec<(String, i64)> = pins.call("pin_2", many.as_slice()).unwrap().to().unwrap();
    assert!(back.into_iter().map(|(_, number)| number).eq(0..20));

    let error = pins.call("pin_0", Args::new().kwarg("by", "five")).unwrap_err();
    let Error::Exception(exception) = error else { panic!("{error:?}") };
    assert_eq!(exception.to_string(), "TypeError: expected int, got str");
    let error = pins.call("pin_3", ()).unwrap_err();
    assert!(matches!(error, Error::Remote { .. }), "{error:?}");
}

#[test]
fn call_timeout_applies_unless_the_call_waits() {
    let (slow, handle) = Slow::manager();
    let proxy = hasty(&handle).connect().unwrap().create("slow", ()).unwrap();
    let error = proxy.call("qsize", ()).unwrap_err();
    assert!(matches!(error, Error::TimedOut), "{error:?}");
    *slow.1.lock() = false;
    slow.0.store(0, Ordering::SeqCst);
    let waiting = blocked(move || proxy.call_waiting("qsize", (), None));
    thread::sleep(2 * BRIEF);
    assert!(!waiting.is_finished());
    slow.go_on();
    assert_eq!(waiting.join().unwrap().unwrap(), 0.into());
}

#[test]
#[cfg(all(unix, feature = "sync"))]
fn drop_does_not_wait_for_a_manager_that_is_stopped() {
    use crate::support::Peer;
    use basemanager::sync::LockProxy;
    const LIMIT: Duration = Duration::from_millis(2500);
    let (process, address) = Peer::Rust.serve("sync_manager", &["127.0.0.1:0"]);
    let client = Client::connect(&address, "producer").unwrap();
    let proxies: Vec<_> = (0..5).map(|_| client.create("list", ()).unwrap()).collect();
    let lock = LockProxy::from(client.create("Lock", ()).unwrap());
    let guard = lock.lock().unwrap();
    let elapsed = |drop: &mut dyn FnMut()| {
        let begun = Instant::now();
        drop();
        begun.elapsed()
    };
    process.signal("STOP");
    let mut guard = Some(guard);
    let took = elapsed(&mut || drop(guard.take()));
    assert!(took < LIMIT, "{took:?}");
    // The first one waits, the others know.
    let mut proxies = proxies.into_iter();
    let last = proxies.next_back().unwrap();
    let took = elapsed(&mut || proxies.by_ref().for_each(drop));
    assert!(took < LIMIT, "{took:?}");
    let error = last.close().unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    let mut lock = Some(lock);
    let took = elapsed(&mut || drop(lock.take()));
    assert!(took < LIMIT, "{took:?}");
    process.signal("CONT");
}

#[test]
fn close_releases_the_object_and_reports_errors() {
    let handle = manager();
    let client = Client::connect(handle.address(), KEY).unwrap();
    let (queue, other) = (client.queue("Queue").unwrap(), client.queue("Queue").unwrap());
    let clone = queue.proxy().clone();
    assert_eq!(client.number_of_objects().unwrap(), 2);
    drop(queue);
    clone.close().unwrap();
    assert_eq!(client.number_of_objects().unwrap(), 1);
    let proxy = other.proxy().clone();
    proxy.close().unwrap();
    // `other` is a clone that still uses it.
    assert_eq!(other.len().unwrap(), 0);
    let last = other.proxy().clone();
    drop(other);
    handle.shutdown();
    assert!(handle.join_timeout(LONG));
    let error = last.close().unwrap_err();
    assert!(!error.is_timeout(), "{error:?}");
}

#[test]
fn authkey_comes_from_the_environment() {
    let name = "CARGO_PKG_NAME";
    assert_eq!(Authkey::from_env(name).unwrap().as_bytes(), env!("CARGO_PKG_NAME").as_bytes());
    let error = Authkey::from_env("NO_SUCH_VARIABLE").unwrap_err();
    assert_mentions(&error.to_string(), &["NO_SUCH_VARIABLE", "not set"]);
}
