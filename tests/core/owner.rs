//! What the owner of a manager decides is enforced, whatever a client asks for.
//!
//! That an empty key is refused, and that only exposed methods can be called, is in `tests/core/manager.rs`.

use std::time::Duration;

use crate::support::{PATIENCE, Process, Python, python_client, pythons};
use basemanager::{Client, Error, Limits, Manager, Queue, ServerHandle};

const KEY: &str = "k3y-of-these-tests";

fn share(manager: Manager) -> (ServerHandle, Queue) {
    let queue = Queue::bounded(1);
    let shared = queue.clone();
    let manager = manager.register("queue", move |_| shared.clone());
    (manager.bind("127.0.0.1:0").unwrap().start().unwrap(), queue)
}

fn client(python: &Python, handle: &ServerHandle, key: &str) -> Process {
    let code = "m = connect('queue')\nq = m.queue()\nobey()";
    python_client(python, code, &handle.address().to_string(), key)
}

const SHUTDOWN: &str = "dispatch(m._Client(m._address, authkey=m._authkey), None, 'shutdown')";

#[test]
fn shutdown_by_a_client_needs_remote_shutdown() {
    let (handle, _) = share(Manager::new(KEY).remote_shutdown(false));
    let refusal = "PermissionError: clients may not shut this manager down";
    for python in pythons() {
        let mut client = client(python, &handle, KEY);
        let refused = client.ask(SHUTDOWN);
        assert!(refused.starts_with("multiprocessing.managers RemoteError"), "{python}: {refused}");
        assert!(refused.contains(refusal), "{python}: {refused}");
        assert_eq!(client.ask("q.qsize()"), "0", "{python}");
    }
    let client = Client::connect(handle.address(), KEY).unwrap();
    let refused = client.shutdown().unwrap_err().to_string();
    assert!(refused.contains(refusal), "{refused}");
    client.queue("queue").unwrap().put(1).unwrap();
    // Its owner may.
    handle.shutdown();
    assert!(handle.join_timeout(PATIENCE));

    for python in pythons() {
        let (handle, _) = share(Manager::new(KEY));
        assert_eq!(self::client(python, &handle, KEY).ask(SHUTDOWN), "None", "{python}");
        assert!(handle.join_timeout(PATIENCE), "{python}");
    }
}

#[test]
fn create_beyond_max_objects_is_refused() {
    let manager = Manager::new(KEY).max_objects(1).register("own", |_| Queue::new());
    let (handle, _) = share(manager);
    let client = Client::connect(handle.address(), KEY).unwrap();
    let shared = client.queue("queue").unwrap();
    let own = client.queue("own").unwrap();
    let refused = client.queue("own").unwrap_err().to_string();
    assert!(refused.contains("number of objects exceeds the limit of 1"), "{refused}");
    // One that is there already makes no more of them, and one that goes makes room.
    drop((shared, client.queue("queue").unwrap(), own));
    client.queue("own").unwrap().put(1).unwrap();
}

#[cfg(feature = "sync")]
#[test]
fn created_object_of_every_type_counts_for_max_objects() {
    let simple = ["Queue", "JoinableQueue", "Event", "Lock", "RLock", "Semaphore", "Condition"];
    for name in simple.into_iter().chain(["BoundedSemaphore", "list", "dict", "set", "Namespace"]) {
        let manager = Manager::new(KEY).register_sync_types().max_objects(3);
        let handle = manager.bind("127.0.0.1:0").unwrap().start().unwrap();
        let client = Client::connect(handle.address(), KEY).unwrap();
        let made: Vec<_> = (0..5).map(|_| client.create(name, ())).collect();
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 3, "{name}");
    }
}

#[test]
fn call_that_waits_ends_after_max_wait() {
    let (handle, queue) = share(Manager::new(KEY).max_wait(Duration::from_millis(100)));
    let too_long = "builtins TimeoutError (\"wait exceeded the manager's max_wait of 100ms\",)";
    for python in pythons() {
        let mut client = client(python, &handle, KEY);
        for call in ["q.get()", "q.get(True, 3600)"] {
            assert_eq!(client.ask(call), too_long, "{python}: {call}");
        }
        // What is within the bound ends as ever.
        assert_eq!(client.ask("q.get(True, 0.01)"), "_queue Empty ()", "{python}");
        assert_eq!(client.ask("q.put(1)"), "None", "{python}");
        for call in ["q.put(2)", "q.put(2, timeout=3600)", "q.join()"] {
            assert_eq!(client.ask(call), too_long, "{python}: {call}");
        }
        assert_eq!(client.ask("q.put(2, timeout=0.01)"), "queue Full ()", "{python}");
        assert_eq!(client.ask("q.get()"), "1", "{python}");
        assert_eq!(client.ask("q.task_done()"), "None", "{python}");
        assert_eq!(client.ask("q.join()"), "None", "{python}");
    }
    // The owner's own calls are its own affair.
    let waiting = queue.clone();
    let waiter = std::thread::spawn(move || waiting.get());
    let remote = Client::connect(handle.address(), KEY).unwrap().queue("queue").unwrap();
    assert!(remote.join().is_ok());
    queue.put(3).unwrap();
    assert_eq!(waiter.join().unwrap().unwrap(), 3.into());
}

#[test]
fn max_wait_of_zero_ends_waits_at_once() {
    let (handle, queue) = share(Manager::new(KEY).max_wait(Duration::ZERO));
    let remote = Client::connect(handle.address(), KEY).unwrap().queue("queue").unwrap();
    let too_long = |error: Error| error.to_string().contains("TimeoutError");
    assert!(too_long(remote.get().unwrap_err()));
    assert_eq!(remote.try_get().unwrap(), None);
    queue.put(1).unwrap();
    assert!(too_long(remote.join().unwrap_err()));
    assert!(too_long(remote.put(2).unwrap_err()));
    assert!(remote.try_put(2).unwrap_err().is_full());
}

#[test]
#[cfg(feature = "sync")]
fn condition_wait_beyond_max_wait_reacquires_its_lock() {
    let manager = Manager::new(KEY).max_wait(Duration::from_millis(100)).register_sync_types();
    let (handle, _) = share(manager);
    for python in pythons() {
        let code = "c = connect('Condition').Condition()\nobey()";
        let mut client = python_client(python, code, &handle.address().to_string(), KEY);
        assert_eq!(client.ask("c.acquire()"), "True", "{python}");
        let refused = client.ask("c.wait()");
        assert!(refused.starts_with("builtins TimeoutError"), "{python}: {refused}");
        assert_eq!(client.ask("c.release()"), "None", "{python}");
    }
}

#[test]
fn limits_hold_for_clients_that_proved_the_key() {
    let limits = Limits::default().frame_size(2000).operations(200).stack(100).depth(10);
    let (handle, queue) = share(Manager::new(KEY).limits(limits));
    for python in pythons() {
        let mut client = client(python, &handle, KEY);
        for (call, limit) in [
            ("q.put(b'x' * 3000)", "frame size exceeds the limit of 2000"),
            ("q.put([[1] for _ in range(60)])", "operations exceeds the limit of 200"),
            ("q.put(list(range(120)))", "stack size exceeds the limit of 100"),
            // An item is not opened; an argument of the queue's own is.
            ("q.get([[[[[[[[[[[[]]]]]]]]]]]])", "nesting depth exceeds the limit of 10"),
        ] {
            let refused = client.ask(call);
            assert!(refused.contains(limit), "{python}: {call}: {refused}");
            // That cost this call alone.
            assert_eq!(client.ask("q.put(1)"), "None", "{python}");
            assert_eq!(queue.get().unwrap(), 1.into(), "{python}");
        }
    }
}

#[test]
fn empty_key_is_accepted_if_the_owner_allows_it() {
    let (handle, _) = share(Manager::new("").allow_empty_authkey(true));
    Client::connect(handle.address(), "").unwrap();
    assert!(Client::connect(handle.address(), "another").is_err());
    for python in pythons() {
        assert_eq!(client(python, &handle, "").ask("q.qsize()"), "0", "{python}");
    }
}

#[cfg(target_os = "linux")]
mod socket {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::process::Command;

    use super::*;
    use crate::support::{TempDir, example, say};

    /// A directory where anybody may make and remove files.
    fn open_to_all() -> TempDir {
        let directory = TempDir::new();
        fs::set_permissions(directory.path("."), fs::Permissions::from_mode(0o777)).unwrap();
        directory
    }

    fn serve(path: &str, manager: Manager) -> ServerHandle {
        let queue = Queue::new();
        let manager = manager.register("close", |_| 7).register("queue", move |_| queue.clone());
        manager.bind(path).unwrap().start().unwrap()
    }

    #[test]
    fn socket_has_the_mode_that_its_owner_chose() {
        let directory = open_to_all();
        let path = directory.path("manager");
        let modes = [0o600, 0o660, 0o666, 0o700].map(Some);
        for mode in [None].into_iter().chain(modes) {
            let manager = Manager::new(KEY);
            let manager = mode.map_or(Manager::new(KEY), |mode| manager.socket_mode(mode));
            let handle = serve(&path, manager);
            let found = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(found, mode.unwrap_or(0o600));
            Client::connect(handle.address(), KEY).unwrap();
        }
    }

    /// Even one who knows the key.
    #[test]
    fn socket_keeps_other_users_out() {
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            return say("skipped: only root may run a program as another user");
        }
        let directory = open_to_all();
        let (path, program) = (directory.path("manager"), directory.path("close"));
        fs::copy(example("close"), &program).unwrap();
        let close = || {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &program, &path]);
            command.env("MANAGER_AUTHKEY", KEY);
            Process::start("close, as nobody", &mut command).end(PATIENCE)
        };
        let handle = serve(&path, Manager::new(KEY));
        let refused = close().with(1);
        assert!(refused.stderr.contains("Permission denied"), "{refused:?}");
        drop(handle);
        let _handle = serve(&path, Manager::new(KEY).socket_mode(0o666));
        close().well();
    }
}
