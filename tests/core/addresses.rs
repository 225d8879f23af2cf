//! The addresses that a manager listens on and a client connects to, as Python writes them and as text.

use std::process;

use crate::support::{self, Process, TempDir, pythons};
use basemanager::{Address, Client, Error, Manager, Queue, ServerHandle};

const KEY: &str = "producer";

fn serve(address: impl Into<Address>) -> ServerHandle {
    let queue = Queue::new();
    let manager = Manager::new(KEY).register("tasks", move |_| queue.clone());
    manager.bind(address).unwrap().start().unwrap()
}

fn invalid(result: Result<impl std::fmt::Debug, Error>, parts: &[&str]) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
}

/// A Python program with `BaseManager` for an address that is given as an expression.
fn python_with(python: &support::Python, address: &str, code: &str) -> Process {
    const HEAD: &str = "
import queue, sys
from multiprocessing.managers import BaseManager
class M(BaseManager): pass
address = eval(sys.argv[1])
";
    let mut command = process::Command::new(&python.path);
    let code = format!("{HEAD}{code}");
    Process::start(&python.to_string(), command.args(["-c", &code, address]))
}

const PYTHON_CLIENT: &str = "
M.register('tasks')
m = M(address, b'producer')
m.connect()
q = m.tasks()
q.put(5)
print(q.get(), repr(q._token.address), flush=True)
";

const PYTHON_MANAGER: &str = "
tasks = queue.Queue()
M.register('tasks', callable=lambda: tasks)
server = M(address, b'producer').get_server()
print('listening', flush=True)
server.serve_forever()
";

#[test]
fn listen_without_a_host_is_on_all_interfaces() {
    for text in [":0", "0.0.0.0:0"] {
        let handle = serve(text);
        let bound = handle.address().to_string();
        let port = bound.strip_prefix("0.0.0.0:").unwrap();
        for host in ["127.0.0.1", "127.0.0.2", "localhost"] {
            Client::connect(format!("{host}:{port}"), KEY).unwrap();
        }
        for python in pythons() {
            let address = format!("('', {port})");
            let mut client = python_with(python, &address, PYTHON_CLIENT);
            assert!(client.line().starts_with("5 "), "{python}");
        }
        // The port is free again, and can be named.
        drop(handle);
        assert_eq!(serve(format!(":{port}").as_str()).address().to_string(), bound);
    }
}

#[test]
fn connect_to_an_address_for_listening_names_the_fix() {
    let _handle = serve(":0");
    for text in [":5000", "0.0.0.0:5000", "[::]:5000"] {
        invalid(Client::connect(text, KEY), &[text, "all addresses", "such as 127.0.0.1:5000"]);
    }
    invalid(
        Client::connect("127.0.0.1:0", KEY),
        &["127.0.0.1:0", "port 0", "the port that it chose"],
    );
}

#[cfg(unix)]
#[test]
fn over_long_socket_path_is_refused_with_both_lengths() {
    let directory = TempDir::new();
    let most = if cfg!(target_os = "linux") { 107 } else { 103 };
    let path = |length: usize| {
        let start = directory.path("");
        format!("{start}{}", "x".repeat(length - start.len()))
    };
    let parts = [format!("at most {most} bytes"), format!("this one {}", most + 1)];
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    invalid(Manager::new(KEY).bind(path(most + 1)), &parts);
    invalid(Client::connect(path(most + 1), KEY), &parts);
    let handle = serve(path(most));
    Client::connect(handle.address(), KEY).unwrap();
    if cfg!(target_os = "linux") {
        invalid(Manager::new(KEY).bind(format!("@{}", "x".repeat(108))), &parts);
        let name = "x".repeat(107 - process::id().to_string().len());
        serve(format!("@{}{name}", process::id()));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn abstract_socket_serves_clients_of_either_language() {
    let name = format!("basemanager-test-{}", process::id());
    let text = format!("@{name}");
    let handle = serve(text.as_str());
    assert_eq!(handle.address().to_string(), text);
    assert!(matches!(Manager::new(KEY).bind(text.as_str()), Err(Error::Io { .. })));
    for same in [text.clone(), format!("\0{name}")] {
        let client = Client::connect(same, KEY).unwrap();
        client.queue("tasks").unwrap().put(1).unwrap();
        assert_eq!(client.queue("tasks").unwrap().get().unwrap(), 1.into());
    }
    for python in pythons() {
        let mut client = python_with(python, &format!(r"'\0{name}'"), PYTHON_CLIENT);
        assert_eq!(client.line(), format!(r"5 '\x00{name}'"), "{python}");
    }
    // Nothing is left behind.
    drop(handle);
    drop(serve(text.as_str()));
    for python in pythons() {
        let mut manager = python_with(python, &format!(r"'\0{name}'"), PYTHON_MANAGER);
        assert_eq!(manager.line(), "listening", "{python}");
        let tasks = Client::connect(text.as_str(), KEY).unwrap().queue("tasks").unwrap();
        tasks.put(1).unwrap();
        assert_eq!(tasks.get().unwrap(), 1.into());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn prepared_abstract_listener_serves_clients_of_either_language() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("basemanager-test-prepared-{}", process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager::new(KEY).share("tasks", Queue::new());
    let server = manager.bind_listener(UnixListener::bind_addr(&address).unwrap()).unwrap();
    let handle = server.start().unwrap();
    assert_eq!(handle.address().to_string(), format!("@{name}"));
    Client::connect(handle.address(), KEY).unwrap().queue("tasks").unwrap().put(1).unwrap();
    for python in pythons() {
        let mut client = python_with(python, &format!(r"'\0{name}'"), PYTHON_CLIENT);
        assert!(client.line().ends_with(&format!(r"'\x00{name}'")), "{python}");
    }
}

#[cfg(all(target_os = "linux", feature = "sync"))]
const STORE_PROXY: &str = "
import multiprocessing
from multiprocessing.managers import SyncManager
multiprocessing.current_process().authkey = b'producer'
m = SyncManager(address, b'producer')
m.connect()
outer = m.list()
outer.append(m.list([7]))
print(outer[0][0], repr(outer[0]._token.address), flush=True)
";

/// A proxy that is stored names the manager as Python does.
#[cfg(all(target_os = "linux", feature = "sync"))]
#[test]
fn abstract_socket_is_written_with_a_nul_in_tokens() {
    let name = format!("basemanager-test-tokens-{}", process::id());
    let manager = Manager::new(KEY).register_sync_types();
    let handle = manager.bind(format!("@{name}")).unwrap().start().unwrap();
    let client = Client::connect(handle.address(), KEY).unwrap();
    let outer = client.create("list", ()).unwrap();
    let inner = client.create("list", ()).unwrap();
    outer.call("append", (&inner,)).unwrap();
    for python in pythons() {
        let mut client = python_with(python, &format!(r"'\0{name}'"), STORE_PROXY);
        assert_eq!(client.line(), format!(r"7 '\x00{name}'"), "{python}");
    }
    let first = outer.call("__getitem__", (0,)).unwrap();
    assert!(client.proxy_of(&first).unwrap().is_some());
}
