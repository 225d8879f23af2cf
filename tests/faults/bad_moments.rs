//! What dies, ends or panics at a bad moment costs nobody else anything: no item, no reply, no object,
//! no address, no time.

use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::wire::{self, Wire, framed};
use crate::support::{Log, PATIENCE, TempDir, until};
use basemanager::object::{Call, ConnectionId, Exposed, Item, Return, SharedObject};
use basemanager::{Address, Client, Error, Exception, Manager, Queue, ServerHandle, Value};

const KEY: &str = "k3y-of-these-tests";

/// Tells of everything that happens to it, and panics on demand.
struct Probe {
    faulty: bool,
    events: Sender<&'static str>,
    /// What the method `gate` waits for.
    gate: Mutex<Receiver<()>>,
}

/// The other end of a probe.
struct Watcher {
    events: Receiver<&'static str>,
    gate: Sender<()>,
}

impl Watcher {
    #[track_caller]
    fn next(&self) -> &'static str {
        self.events.recv_timeout(PATIENCE).unwrap()
    }
}

fn probe(faulty: bool) -> (Arc<Probe>, Watcher) {
    let (say, events) = mpsc::channel();
    let (open, gate) = mpsc::channel();
    let probe = Probe { faulty, events: say, gate: Mutex::new(gate) };
    (Arc::new(probe), Watcher { events, gate: open })
}

impl Probe {
    fn pass_gate(&self) {
        self.tell("gate");
        self.gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    }

    fn tell(&self, event: &'static str) {
        // The test may have all it wants.
        let _ = self.events.send(event);
    }
}

impl SharedObject for Probe {
    fn exposed(&self) -> Exposed {
        ["gate", "hand_out", "watch"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "gate" => {
                self.pass_gate();
                Ok(().into())
            }
            "hand_out" => {
                let ([item], []) = call.args(["item"], [])?;
                Ok(Return::Item(call.item(item)))
            }
            "watch" => {
                call.watch_connection();
                Ok(().into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn take_back(&self, _: Item, _: ConnectionId) {
        self.tell("take_back");
        assert!(!self.faulty, "the fault of take_back()");
    }

    fn disconnected(&self, _: ConnectionId) {
        self.tell("disconnected");
        assert!(!self.faulty, "the fault of disconnected()");
    }
}

fn start(manager: Manager) -> ServerHandle {
    manager.bind("127.0.0.1:0").unwrap().start().unwrap()
}

/// A manager of one queue.
fn queued() -> (ServerHandle, Queue) {
    let queue = Queue::new();
    (start(Manager::new(KEY).share("queue", &queue)), queue)
}

fn raw(handle: &ServerHandle) -> Wire {
    Wire::accepted(&handle.address().to_string(), KEY)
}

/// The id of a shared object.
fn id(handle: &ServerHandle, typeid: &str) -> String {
    Wire::create(&handle.address().to_string(), KEY, typeid)
}

/// A call as it goes over the wire.
fn request(object: &str, method: &str, args: &[u8]) -> Vec<u8> {
    framed(&wire::request(Some(object), method, args))
}

/// The end of a process that was connected, known to the manager's host when this returns.
fn die(raw: Wire, handle: &ServerHandle) {
    drop(raw);
    // Many packets of another connection later.
    Client::connect(handle.address(), KEY).unwrap();
}

/// A connection that has a reply in store, unread: its end is a reset, so that writing to it fails.
fn careless(handle: &ServerHandle, object: &str) -> Wire {
    let mut raw = raw(handle);
    raw.send(&request(&id(handle, object), "__repr__", b"").repeat(2));
    // Both replies went out as one.
    raw.reply().unwrap();
    raw
}

// Consumers.

#[test]
fn death_of_pipelining_consumer_loses_no_item() {
    let (handle, queue) = queued();
    let client = Client::connect(handle.address(), KEY).unwrap();
    let tasks = client.queue("queue").unwrap();
    for gets in [1, 20, 400, 2000] {
        let mut consumer = raw(&handle);
        let get = request(tasks.proxy().id(), "get", b"").repeat(gets);
        consumer.send(&[request(tasks.proxy().id(), "qsize", b""), get].concat());
        // This reply is sent when the first get has found nothing.
        assert_eq!(consumer.reply().unwrap().1, 0.into());
        die(consumer, &handle);
        (1..=3).for_each(|item| tasks.put(item).unwrap());
        assert_eq!(queue.len(), 3, "{gets} gets");
        let got = [(); 3].map(|()| tasks.get_timeout(PATIENCE).unwrap().unwrap());
        assert_eq!(got, [1, 2, 3].map(Value::from), "{gets} gets");
    }
}

/// More than the manager reads behind a call that waits.
fn pipelined_too_much(handle: &ServerHandle) -> Vec<u8> {
    let queue = id(handle, "queue");
    let behind = request(&queue, "qsize", b"").repeat(80_000);
    assert!(behind.len() > 3 << 19);
    [request(&queue, "get", b""), behind].concat()
}

#[test]
fn get_of_client_that_pipelined_too_much_and_died_takes_no_item() {
    let (handle, queue) = queued();
    let tasks = Client::connect(handle.address(), KEY).unwrap().queue("queue").unwrap();
    let mut consumer = raw(&handle);
    consumer.send(&pipelined_too_much(&handle));
    die(consumer, &handle);
    (1..=3).for_each(|item| tasks.put(item).unwrap());
    assert_eq!(queue.len(), 3);
    let got = [(); 3].map(|()| tasks.get_timeout(PATIENCE).unwrap().unwrap());
    assert_eq!(got, [1, 2, 3].map(Value::from));
}

#[test]
fn client_that_pipelines_too_much_is_told_why_it_is_closed() {
    let queue = Queue::new();
    let shared = queue.clone();
    let (manager, log) = Log::of(Manager::new(KEY));
    let handle = start(manager.register("queue", move |_| shared.clone()));
    let tasks = Client::connect(handle.address(), KEY).unwrap().queue("queue").unwrap();
    let mut consumer = raw(&handle);
    consumer.send(&pipelined_too_much(&handle));
    let limit = "number of bytes pipelined behind a blocked call exceeds the limit of 1048576";
    log.until(limit);
    // Nothing is taken, and nothing of what was behind is answered.
    // Windows drops the reply with what the manager has not read.
    if let Some(reply) = consumer.read().or_else(|| cfg!(unix).then(Vec::new)) {
        let reply = String::from_utf8_lossy(&reply);
        for part in ["#ERROR", "ConnectionAbortedError", limit] {
            assert!(reply.contains(part), "{reply}");
        }
    }
    assert!(consumer.read().is_none());
    tasks.put(1).unwrap();
    assert_eq!(tasks.get_timeout(PATIENCE).unwrap(), Some(1.into()));
    // Up to the limit all is answered.
    let mut consumer = raw(&handle);
    let id = id(&handle, "queue");
    let behind = request(&id, "qsize", b"").repeat(10_000);
    consumer.send(&[request(&id, "get", b""), behind].concat());
    tasks.put(2).unwrap();
    assert_eq!(consumer.reply().unwrap().1, 2.into());
    for _ in 0..10_000 {
        assert_eq!(consumer.reply().unwrap().1, 0.into());
    }
}

#[test]
fn half_of_the_next_request_delays_no_reply() {
    let (handle, queue) = queued();
    let tasks = Client::connect(handle.address(), KEY).unwrap().queue("queue").unwrap();
    let mut consumer = raw(&handle);
    let id = tasks.proxy().id();
    let get = [request(id, "qsize", b""), request(id, "get", b"")].concat();
    let long = vec![b'z'; 30_000];
    let item = [&b"B"[..], &30_000_u32.to_le_bytes(), &long].concat();
    let next = request(id, "put", &item);
    for half in [1, 4, 5, 2000, 20_000, next.len() - 1] {
        let (first, rest) = next.split_at(half);
        consumer.send(&get);
        assert_eq!(consumer.reply().unwrap().1, 0.into());
        consumer.send(first);
        tasks.put("item").unwrap();
        let reply = consumer.reply().map(|(_, item)| item);
        assert_eq!(reply, Some("item".into()), "{half} bytes had arrived");
        consumer.send(rest);
        assert_eq!(consumer.reply().unwrap().0, "#RETURN");
        assert_eq!(queue.get().unwrap(), long.clone().into());
    }
}

#[test]
fn immediate_shutdown_requeues_nothing() {
    let queue = Queue::new();
    let (probe, watcher) = probe(false);
    let handle = start(Manager::new(KEY).share("queue", &queue).share("probe", &probe));
    queue.put("item").unwrap();

    let mut consumer = careless(&handle, "queue");
    let calls = [("queue", "get"), ("probe", "gate")];
    let calls = calls.map(|(object, method)| request(&id(&handle, object), method, b""));
    consumer.send(&calls.concat());
    assert_eq!(watcher.next(), "gate");
    // The item has left, and its reply waits for that of the gate.
    assert!(queue.is_empty());
    queue.shutdown(true);
    die(consumer, &handle);
    let (say, word) = mpsc::channel();
    let joining = queue.clone();
    thread::spawn(move || {
        joining.join();
        let _ = say.send(());
    });
    watcher.gate.send(()).unwrap();
    assert_eq!(word.recv_timeout(PATIENCE), Ok(()), "join() hangs");
    assert!(queue.is_empty());
    assert!(matches!(queue.try_get(), Err(error) if error.is_shut_down()));
}

// Objects.

#[test]
fn object_dropped_last_by_its_process_is_gone() {
    let kept: Arc<Mutex<Vec<Arc<Probe>>>> = Arc::default();
    let keeps = kept.clone();
    let handle = start(Manager::new(KEY).register("probe", move |_| {
        let (probe, _) = probe(false);
        keeps.lock().unwrap().push(probe.clone());
        probe
    }));
    let client = Client::connect(handle.address(), KEY).unwrap();
    for _ in 0..20 {
        let proxy = client.create("probe", ()).unwrap();
        proxy.call("watch", ()).unwrap();
    }
    assert_eq!(client.number_of_objects().unwrap(), 0);
    let weak: Vec<_> = kept.lock().unwrap().drain(..).map(|kept| Arc::downgrade(&kept)).collect();
    assert_eq!(weak.len(), 20);
    assert_eq!(weak.iter().filter(|probe| probe.upgrade().is_some()).count(), 0);
}

/// An object whose end is a fault.
struct Fragile(Arc<Probe>);

impl SharedObject for Fragile {
    fn exposed(&self) -> Exposed {
        ["another", "gate"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "another" => Ok(Return::Shared(Arc::new(Self(self.0.clone())))),
            _ => self.0.call(call),
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.0.pass_gate();
        out.write_str("fragile")
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("the fault of drop()");
    }
}

#[test]
fn panic_in_drop_adds_no_reply() {
    let (probe, watcher) = probe(false);
    let handle =
        start(Manager::new(KEY).register("fragile", move |_| Arc::new(Fragile(probe.clone()))));
    let client = Client::connect(handle.address(), KEY).unwrap();
    for method in ["gate", "__repr__"] {
        let proxy = client.create("fragile", ()).unwrap();
        let mut raw = raw(&handle);
        raw.send(&request(proxy.id(), method, b""));
        assert_eq!(watcher.next(), "gate");
        // Now only the call holds it.
        drop(proxy);
        assert_eq!(client.number_of_objects().unwrap(), 0);
        watcher.gate.send(()).unwrap();
        assert_eq!(raw.reply().unwrap().0, "#RETURN", "{method}");
        raw.send(&request("nothing", "get", b""));
        let (_, why) = raw.reply().unwrap();
        assert!(why.to::<String>().unwrap().contains("no object has the id 'nothing'"));
    }
    // The result that cannot be sent is such an object, too.
    let proxy = client.create("fragile", ()).unwrap();
    let mut raw = raw(&handle);
    raw.send(&request(proxy.id(), "another", b"").repeat(2));
    (0..2).for_each(|_| watcher.gate.send(()).unwrap());
    raw.send(&request("nothing", "get", b""));
    let replies = [(); 3].map(|()| raw.reply().unwrap().1.to_string());
    assert!(replies[2].contains("no object has the id 'nothing'"), "{replies:?}");
}

#[test]
fn panic_in_disconnected_skips_no_other_object() {
    let ((first, first_told), (second, second_told)) = (probe(true), probe(false));
    let handle = start(Manager::new(KEY).share("first", &first).share("second", &second));
    for order in [["first", "second"], ["second", "first"]] {
        let mut raw = raw(&handle);
        for object in order {
            raw.send(&request(&id(&handle, object), "watch", b""));
            assert_eq!(raw.reply().unwrap().0, "#RETURN");
        }
        drop(raw);
        assert_eq!([first_told.next(), second_told.next()], ["disconnected"; 2], "{order:?}");
    }
    Client::connect(handle.address(), KEY).unwrap();
}

#[test]
fn panic_in_take_back_skips_no_item() {
    let (probe, watcher) = probe(true);
    let handle = start(Manager::new(KEY).share("probe", &probe));
    let mut consumer = careless(&handle, "probe");
    let id = id(&handle, "probe");
    let items = request(&id, "hand_out", b"N").repeat(3);
    consumer.send(&[items, request(&id, "gate", b"")].concat());
    // All have been handed out, and no reply has been sent.
    assert_eq!(watcher.next(), "gate");
    die(consumer, &handle);
    watcher.gate.send(()).unwrap();
    for _ in 0..3 {
        assert_eq!(watcher.next(), "take_back");
    }
    // Had the panics met, the process would have been aborted.
    Client::connect(handle.address(), KEY).unwrap();
}

#[cfg(feature = "sync")]
#[test]
fn lost_acquire_releases_the_lock_unless_another_has_it() {
    for taken_over in [false, true] {
        let (probe, watcher) = probe(false);
        let lock = basemanager::sync::Lock::new();
        let handle = start(Manager::new(KEY).share("lock", &lock).share("probe", &probe));
        let mut consumer = careless(&handle, "probe");
        let calls = [("probe", "watch"), ("lock", "acquire"), ("probe", "gate")];
        consumer.send(
            &calls.map(|(object, method)| request(&id(&handle, object), method, b"")).concat(),
        );
        // It has acquired the lock, and does not know.
        assert_eq!(watcher.next(), "gate");
        assert!(lock.is_locked());
        if taken_over {
            lock.release().unwrap();
            assert!(lock.acquire(None));
        }
        die(consumer, &handle);
        watcher.gate.send(()).unwrap();
        assert_eq!(watcher.next(), "disconnected");
        assert_eq!(lock.is_locked(), taken_over);
    }
}

#[cfg(feature = "sync")]
#[test]
fn lost_acquire_of_a_semaphore_is_undone() {
    for bounded in [false, true] {
        let (probe, watcher) = probe(false);
        let (semaphore, bound) =
            (basemanager::sync::Semaphore::new(1), basemanager::sync::BoundedSemaphore::new(1));
        let shared = if bounded { Return::from(&bound) } else { Return::from(&semaphore) };
        let handle = start(Manager::new(KEY).share("semaphore", shared).share("probe", &probe));
        let mut consumer = careless(&handle, "probe");
        let calls = [("probe", "watch"), ("semaphore", "acquire"), ("probe", "gate")];
        consumer.send(
            &calls.map(|(object, method)| request(&id(&handle, object), method, b"")).concat(),
        );
        assert_eq!(watcher.next(), "gate");
        // Another one's news, of which the one who dies takes none.
        if bounded { bound.release(1) } else { semaphore.release(1) }.unwrap();
        die(consumer, &handle);
        watcher.gate.send(()).unwrap();
        assert_eq!(watcher.next(), "disconnected");
        let now = Some(Duration::ZERO);
        let taken =
            (0..5).filter(|_| if bounded { bound.acquire(now) } else { semaphore.acquire(now) });
        assert_eq!(taken.count(), if bounded { 1 } else { 2 });
    }
}

// Managers.

/// With time to spare for a slow machine, below what a client that was just handed an object may take.
const AT_ONCE: Duration = Duration::from_millis(900);

#[test]
fn shutdown_with_a_fresh_proxy_ends_at_once() {
    let (handle, _) = queued();
    let _tasks = Client::connect(handle.address(), KEY).unwrap().queue("queue").unwrap();
    handle.shutdown();
    assert!(handle.join_timeout(AT_ONCE));
}

#[test]
fn panic_in_initializer_frees_the_address() {
    let directory = TempDir::new();
    let path = directory.path("manager");
    let mut addresses = vec!["127.0.0.1:0".into()];
    addresses.extend(cfg!(unix).then_some(Address::from(&path)));
    for address in addresses.iter().cycle().take(100) {
        let server = Manager::new(KEY).bind(address).unwrap();
        let bound = server.address().clone();
        let error = server.start_with(|| panic!("the initializer's fault")).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains("initializer"), "{error}");
        Manager::new(KEY).bind(bound).unwrap();
    }
}

#[cfg(unix)]
mod taken_over {
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::support::until;

    fn start(path: &str) -> ServerHandle {
        Manager::new(KEY).bind(path).unwrap().start().unwrap()
    }

    #[test]
    fn shutdown_after_loss_of_the_path_ends() {
        let directory = TempDir::new();
        let path = directory.path("manager");
        let first = start(&path);
        fs::remove_file(&path).unwrap();
        let _second = start(&path);
        first.shutdown();
        assert!(first.join_timeout(PATIENCE));
        first.join().unwrap();
        Client::connect(&path, KEY).unwrap();
    }

    #[test]
    fn shutdown_after_loss_of_the_path_keeps_the_other_socket() {
        let directory = TempDir::new();
        let (path, moved) = (directory.path("manager"), directory.path("moved"));
        let first = start(&path);
        fs::rename(&path, &moved).unwrap();
        let _second = start(&path);
        first.shutdown();
        first.join().unwrap();
        // Its listener ends when somebody finds the way to it.
        until("the first no longer listens", PATIENCE, || {
            let refused = UnixStream::connect(&moved).map_err(|error| error.kind());
            refused.is_err_and(|error| error == ErrorKind::ConnectionRefused)
        });
        Client::connect(&path, KEY).unwrap();
    }

    #[test]
    fn server_that_never_served_keeps_the_other_socket() {
        let directory = TempDir::new();
        let path = directory.path("manager");
        let first = Manager::new(KEY).bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = start(&path);
        drop(first);
        Client::connect(&path, KEY).unwrap();
        drop(second);
        assert!(!fs::exists(&path).unwrap(), "its own is removed");
    }
}

#[test]
fn create_while_the_manager_stops_raises_eof_error() {
    let manager = Manager::new(KEY).register("tasks", |_| Queue::new());
    let manager = manager.register("close", |call| call.shut_down_manager());
    let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
    let client = Client::connect(handle.address(), KEY).unwrap();
    // A second passes before the manager closes, because this client does not take its reference.
    Wire::create(&handle.address().to_string(), KEY, "close");
    until("create is refused", PATIENCE, || match client.create("tasks", ()) {
        Ok(_) => false,
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("EOFError: the manager has been shut down"), "{text}");
            true
        }
    });
}
