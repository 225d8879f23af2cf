//! What a manager owes its owner and its clients, Rust and Python: the registry, the life of objects,
//! errors, addresses, limits, and an orderly end.

use std::fmt;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::wire::Wire;
use crate::support::{
    Process, TempDir, alone, assert_mentions, blocked, own_address, python_client, pythons, say,
    until,
};
use basemanager::object::{Call, Exposed, Monitor, Return, SharedObject};
use basemanager::value::Args;
use basemanager::{
    Authkey, Client, Error, Exception, Limits, Manager, Pickle, Proxy, Queue, Registration, Server,
    ServerHandle, Value,
};

const KEY: &str = "k3y-of-these-tests";
/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);
/// How soon a manager's end is over.
const END: Duration = Duration::from_secs(2);

/// Does on demand what an object may do, and counts its own end.
struct Probe {
    dropped: Arc<AtomicUsize>,
    /// Never becomes true.
    wanted: Monitor<bool>,
    child: Option<Arc<Self>>,
}

impl Probe {
    fn new(dropped: &Arc<AtomicUsize>) -> Self {
        Self { dropped: dropped.clone(), wanted: Monitor::new(false), child: None }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl SharedObject for Probe {
    fn exposed(&self) -> Exposed {
        ["child", "echo", "fail", "hold", "kept", "panic", "wait"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            "echo" => arguments(call).map(Return::from),
            "child" => Ok(Arc::new(Self::new(&self.dropped)).into()),
            "kept" => Ok(self.child.clone().expect("a child").into()),
            "fail" => {
                let ([module, name, args], []) = call.args(["module", "name", "args"], [])?;
                let [module, name] = [module, name].map(Pickle::to::<String>);
                let args = args.to::<Vec<Value>>()?;
                Err(Exception::new(module?, name?, args))
            }
            "hold" => {
                let state = self.wanted.lock();
                panic!("under the lock: {state}");
            }
            "panic" => panic!("a method's fault"),
            "wait" => {
                let wait = self.wanted.wait(&mut call.wait(None), |wanted| *wanted);
                Ok(wait?.is_some().into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("<Probe>")
    }
}

/// What a call brought: `(args, kwargs)`.
fn arguments(call: &Call<'_>) -> Result<Value, Exception> {
    let args: Result<_, _> = call.positional().iter().map(|arg| call.value(arg)).collect();
    let kwargs = call.keywords().iter();
    let kwargs = kwargs.map(|(name, arg)| Ok((Value::from(name.as_str()), call.value(arg)?)));
    let kwargs: Result<_, Exception> = kwargs.collect();
    Ok(Value::Tuple(vec![Value::Tuple(args?), Value::Dict(kwargs?)]))
}

fn start(manager: Manager) -> ServerHandle {
    manager.bind("127.0.0.1:0").unwrap().start().unwrap()
}

fn client(handle: &ServerHandle) -> Client {
    Client::connect(handle.address(), KEY).unwrap()
}

/// A manager with a probe for whoever asks, and a client of it.
fn probed() -> (ServerHandle, Client, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let flag = dropped.clone();
    let handle = start(Manager::new(KEY).register("probe", move |_| Arc::new(Probe::new(&flag))));
    let client = client(&handle);
    (handle, client, dropped)
}

/// The text of what the manager could not do.
#[track_caller]
fn remote<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Remote { traceback: text }) => text,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn exception<T: std::fmt::Debug>(result: Result<T, Error>) -> Exception {
    match result {
        Err(Error::Exception(exception)) => exception,
        other => panic!("{other:?}"),
    }
}

/// Runs a program with every interpreter, all at once; each must print these lines and nothing else.
#[track_caller]
fn pythons_print(handle: &ServerHandle, code: &str, lines: &[&str]) {
    let address = handle.address().to_string();
    let runs: Vec<_> =
        pythons().iter().map(|one| (one, python_client(one, code, &address, KEY))).collect();
    for (python, mut run) in runs {
        let ended = run.end(LONG).well();
        assert_eq!(ended.stdout, lines, "{python}");
        assert_eq!(ended.stderr, "", "{python}");
    }
}

// The registry.

#[test]
fn arguments_reach_the_callable() {
    let handle = start(Manager::new(KEY).register("call", |call| arguments(call)));
    let client = client(&handle);
    let none: Value = client.create("call", ()).unwrap().value().unwrap();
    assert_eq!(none.to_string(), "((), {})");
    let some =
        client.create("call", Args::new().arg(1).arg("a").kwarg("k", 2).kwarg("l", Value::None));
    assert_eq!(some.unwrap().value().unwrap().to_string(), "((1, 'a'), {'k': 2, 'l': None})");
    pythons_print(
        &handle,
        "m = connect('call')\nshow(m.call()._getvalue)\nshow(m.call(1, 'a', k=2, l=None)._getvalue)",
        &["((), {})", "((1, 'a'), {'k': 2, 'l': None})"],
    );
}

#[test]
fn arguments_reach_the_method() {
    let (handle, client, _) = probed();
    let probe = client.create("probe", ()).unwrap();
    let some = probe.call("echo", Args::new().arg(1).arg([2, 3]).kwarg("k", "x")).unwrap();
    assert_eq!(some.to_string(), "((1, [2, 3]), {'k': 'x'})");
    pythons_print(
        &handle,
        "p = connect('probe').probe()\nshow(p.echo)\nshow(p.echo, 1, [2, 3], k='x')",
        &["((), {})", "((1, [2, 3]), {'k': 'x'})"],
    );
}

#[test]
fn object_that_a_callable_returns_again_keeps_its_id() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let probe = Arc::new(Probe::new(&dropped));
    let handle = start(Manager::new(KEY).register("probe", move |_| probe.clone()));
    let client = client(&handle);
    let one = client.create("probe", ()).unwrap();
    let two = client.create("probe", ()).unwrap();
    assert_eq!(one.id(), two.id());
    assert_eq!(client.number_of_objects().unwrap(), 1);
    drop((one, two));
    // Nobody refers to it, yet it is there.
    assert_eq!(client.number_of_objects().unwrap(), 0);
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    client.create("probe", ()).unwrap().call("echo", ()).unwrap();
    drop(handle);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn object_without_proxies_is_dropped() {
    let (_handle, client, dropped) = probed();
    let one = client.create("probe", ()).unwrap();
    let two = client.create("probe", ()).unwrap();
    assert_ne!(one.id(), two.id());
    assert_eq!(client.number_of_objects().unwrap(), 2);
    let clone = one.clone();
    drop(one);
    assert_eq!(client.number_of_objects().unwrap(), 2);
    clone.call("echo", ()).unwrap();
    drop(clone);
    assert_eq!(client.number_of_objects().unwrap(), 1);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    two.call("echo", ()).unwrap();
    drop(two);
    assert_eq!(client.number_of_objects().unwrap(), 0);
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
}

#[test]
fn object_without_python_proxies_is_dropped() {
    let code = "
import pickle
from multiprocessing import current_process
current_process().authkey = sys.argv[2].encode()
m = connect('probe')
p = m.probe()
q = pickle.loads(pickle.dumps(p))
show(q.echo)
show(m._number_of_objects)
del p
show(m._number_of_objects)
show(q.echo)
print('refcount=1' in m._debug_info(), '<Probe>' in m._debug_info())
del q
show(m._number_of_objects)
";
    for one in pythons() {
        let (handle, _client, dropped) = probed();
        let ended = python_client(one, code, &handle.address().to_string(), KEY).end(LONG).well();
        let expected = ["((), {})", "1", "1", "((), {})", "True True", "0"];
        assert_eq!(ended.stdout, expected, "{one}");
        assert_eq!(dropped.load(Ordering::SeqCst), 1, "{one}");
    }
}

#[test]
fn plain_value_of_a_callable_is_a_proxy_of_it() {
    let handle = start(Manager::new(KEY).register("add", |call| {
        let ([a, b], []) = call.args(["a", "b"], [])?;
        let (a, b): (i64, i64) = (a.to()?, b.to()?);
        Ok::<_, Exception>(a + b)
    }));
    let client = client(&handle);
    let sum = client.create("add", Args::new().arg(1).kwarg("b", 2)).unwrap();
    assert_eq!(sum.value().unwrap(), 3.into());
    assert_eq!(sum.repr().unwrap(), "3");
    assert!(sum.exposed().is_empty());
    drop(sum);
    assert_eq!(client.number_of_objects().unwrap(), 0);
    pythons_print(
        &handle,
        "m = connect('add')\nshow(m.add(1, b=2)._getvalue)\nprint(str(m.add(1, 2)))",
        &["3", "3"],
    );
}

#[test]
fn second_registration_replaces_the_first() {
    let manager = Manager::new(KEY)
        .register_with("which", Registration::new(|_| "first").create_method(false))
        .register("which", |_| "second");
    let handle = start(manager);
    let which = client(&handle).create("which", ()).unwrap();
    assert_eq!(which.value().unwrap(), "second".into());
}

#[test]
fn only_exposed_methods_may_be_called() {
    let (inbox, all) = (Queue::new(), Queue::new());
    let inboxes = Registration::new(move |_| inbox.clone()).exposed(["put", "qsize", "sing"]);
    let manager = Manager::new(KEY).register_with("inbox", inboxes);
    let handle = start(manager.register("all", move |_| all.clone()));
    let client = client(&handle);
    let inbox = client.create("inbox", ()).unwrap();
    assert_eq!(inbox.exposed(), ["put", "qsize", "sing"]);
    inbox.call("put", (1,)).unwrap();
    let refused = remote(inbox.call("get", ()));
    assert_mentions(
        &refused,
        &["method 'get' of 'inbox' object is not in exposed={'put', 'qsize', 'sing'}"],
    );
    assert_eq!(inbox.call("qsize", ()).unwrap(), 1.into());
    // What every object answers is not for the registration to forbid.
    inbox.repr().unwrap();
    // Exposed, but the object knows of no such thing.
    let missing = exception(inbox.call("sing", ()));
    assert!(missing.is("builtins", "AttributeError") || missing.is("builtins", "TypeError"));
    assert!(client.create("all", ()).unwrap().exposed().iter().any(|name| name == "get"));

    let code = "
q = connect('inbox').inbox()
print([name for name in dir(type(q)) if name[0] != '_'])
show(q.qsize)
show(getattr, q, 'get', 'no get')
try:
    q._callmethod('get')
except RemoteError as error:
    print('is not in exposed={' in str(error))
";
    pythons_print(&handle, code, &["['put', 'qsize', 'sing']", "1", "'no get'", "True"]);
}

fn with_children() -> (ServerHandle, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut family = Probe::new(&dropped);
    family.child = Some(Arc::new(Probe::new(&dropped)));
    let family = Arc::new(family);
    let parent = Registration::new(move |_| family.clone())
        .method_to_typeid([("child", "child"), ("kept", "kept")]);
    let child = Registration::new(|_| ()).exposed(["echo"]).create_method(false);
    let manager = Manager::new(KEY).register_with("parent", parent).register_with("child", child);
    (start(manager.register("kept", |_| "something else")), dropped)
}

#[test]
fn method_to_typeid_returns_a_proxy() {
    let (handle, dropped) = with_children();
    let client = client(&handle);
    let parent = client.create("parent", ()).unwrap();
    let child = parent.call_proxy("child", ()).unwrap();
    assert_eq!(child.exposed(), ["echo"]);
    assert_eq!(child.call("echo", (1,)).unwrap().to_string(), "((1,), {})");
    remote(child.call("child", ()));
    assert_eq!(client.number_of_objects().unwrap(), 2);
    drop(parent);
    child.call("echo", ()).unwrap();
    drop(child);
    assert_eq!(client.number_of_objects().unwrap(), 0);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);

    // The same object again keeps its id.
    let parent = client.create("parent", ()).unwrap();
    let kept = [0, 1].map(|_| parent.call_proxy("kept", ()).unwrap());
    assert_eq!(kept[0].id(), kept[1].id());
    assert_eq!(client.number_of_objects().unwrap(), 2);
    drop(kept);
    assert_eq!(client.number_of_objects().unwrap(), 1);

    // A wrong guess at what comes back is an error, and keeps nothing alive.
    let guess = parent.call("child", ()).unwrap_err();
    assert_mentions(&guess.to_string(), &["child()", "call_proxy"]);
    let guess = parent.call_proxy("echo", ()).unwrap_err();
    assert_mentions(&guess.to_string(), &["echo()", "tuple"]);
    assert_eq!(client.number_of_objects().unwrap(), 1);
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
}

#[test]
fn method_to_typeid_returns_a_proxy_in_python() {
    let code = "
M.register('child')
m = connect()
M.register('parent', method_to_typeid={'child': 'child', 'kept': 'kept'})
M.register('kept')
parent = m.parent()
child = parent.child()
print(type(child).__name__, [name for name in dir(type(child)) if name[0] != '_'])
show(child.echo, 1)
show(m._number_of_objects)
del child
show(m._number_of_objects)
kept = parent.kept()
show(kept.echo, 2)
";
    let lines = ["AutoProxy[child] ['echo']", "((1,), {})", "2", "1", "((2,), {})"];
    // One after the other, for they count objects.
    for one in pythons() {
        let (handle, _) = with_children();
        let ended = python_client(one, code, &handle.address().to_string(), KEY).end(LONG).well();
        assert_eq!(ended.stdout, lines, "{one}");
    }
}

#[test]
fn shared_result_without_typeid_is_an_error() {
    let (_handle, client, dropped) = probed();
    let probe = client.create("probe", ()).unwrap();
    let text = remote(probe.call("child", ()));
    assert_mentions(&text, &["<Probe>", "child()", "method_to_typeid"]);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    probe.call("echo", ()).unwrap();
}

#[test]
fn typeid_without_create_method_cannot_be_created() {
    let (handle, _) = with_children();
    let text = remote(client(&handle).create("child", ()));
    assert_mentions(&text, &["KeyError", "'child'", "there are: kept, parent"]);
    pythons_print(
        &handle,
        "m = connect('child')
try:
    m.child()
except RemoteError as error:
    print('there are: kept, parent' in str(error))",
        &["True"],
    );
}

// Errors.

#[test]
fn error_about_unknown_name_lists_the_known_ones() {
    let queue = Queue::new();
    let manager = Manager::new(KEY)
        .register("tasks", move |_| queue.clone())
        .register("add", |call| call.args(["a", "b"], []).map(|([_, _], [])| ()));
    let handle = start(manager);
    let client = client(&handle);

    let text = remote(client.create("task", ()));
    assert_mentions(&text, &["KeyError", "'task'", "there are: add, tasks"]);
    let text = remote(client.create("add", (1,)));
    assert_mentions(&text, &["TypeError: add() is missing the argument 'b'"]);
    let text = remote(client.create("add", Args::new().arg(1).arg(2).kwarg("c", 3)));
    assert_mentions(&text, &["TypeError: add() has no argument 'c'"]);
    let text = remote(client.create("add", Args::new().arg(1).arg(2).kwarg("b", 3)));
    assert_mentions(&text, &["TypeError: add() got argument 'b' twice"]);

    let queue = client.create("tasks", ()).unwrap();
    let text = remote(queue.call("push", ()));
    let exposed = "in exposed={'empty', 'full', 'get', 'get_nowait', 'join', 'put',";
    assert_mentions(&text, &["'push'", exposed]);
    let error = exception(queue.call("put", ()));
    assert!(error.is("builtins", "TypeError"));
    assert_mentions(&error.to_string(), &["put() is missing the argument 'item'"]);
    let error = exception(queue.call("get", Args::new().kwarg("timeout", -1)));
    assert!(error.is("builtins", "ValueError"));
    let error = exception(queue.call("get", (true, "soon")));
    assert!(error.is("builtins", "TypeError"));
    // The connection is as good as ever.
    queue.call("put", (1,)).unwrap();
    assert_eq!(queue.call("get", ()).unwrap(), 1.into());
}

#[test]
fn python_error_names_what_is_unknown() {
    let code = "
m = connect('probe')
def text(function, *args):
    conn = m._Client(m.address, authkey=m._authkey)
    try:
        return dispatch(conn, None, function, args)
    except RemoteError as error:
        return str(error)
print(\"KeyError: no object has the id 'nobody'\" in text('incref', 'nobody'))
print(\"KeyError: no object has the id 'nobody'\" in text('decref', 'nobody'))
print(\"KeyError: no object has the id 'nobody'\" in text('get_methods', Token('t', None, 'nobody')))
print(\"'explode' unrecognized\" in text('explode'), 'create, debug_info' in text('explode'))
print(\"'explode' unrecognized\" in text('explode', 1), \"'' unrecognized\" in text('', 1, 2))
print('TypeError' in text('incref'), 'TypeError' in text('dummy', 1), 'TypeError' in text('create'))
print('TypeError' in text('create', 1), 'TypeError' in text('get_methods', 1))
p = m.probe()
print(sorted(text('get_methods', p._token)) == sorted(p._exposed_) == sorted(set(p._exposed_)))
print(text('dummy'), text('number_of_objects'))
p._id = 'nobody'
try:
    p._callmethod('echo')
except RemoteError as error:
    print(\"no object has the id 'nobody'\" in str(error))
";
    let lines = [
        "True",
        "True",
        "True",
        "True True",
        "True True",
        "True True True",
        "True True",
        "True",
        "None 1",
        "True",
    ];
    for one in pythons() {
        let (handle, _client, _) = probed();
        let ended = python_client(one, code, &handle.address().to_string(), KEY).end(LONG).well();
        assert_eq!(ended.stdout, lines, "{one}");
    }
}

#[test]
fn exception_of_a_method_keeps_class_and_arguments() {
    let (handle, client, _) = probed();
    let probe = client.create("probe", ()).unwrap();
    let classes: [(&str, &str, Vec<Value>); 5] = [
        ("builtins", "KeyError", vec!["missing".into()]),
        ("builtins", "ValueError", vec!["bad".into(), 2.into()]),
        ("builtins", "StopIteration", vec![]),
        ("decimal", "InvalidOperation", vec![Value::Tuple(vec![1.into(), Value::None])]),
        ("my.own.module", "Outer.Inner", vec!["text".into()]),
    ];
    for (module, name, args) in classes {
        let given = (module, name, Value::List(args.clone()));
        let raised = exception(probe.call("fail", given));
        assert_eq!(raised, Exception::new(module, name, args));
    }
    let code = "
p = connect('probe').probe()
show(p.fail, 'builtins', 'KeyError', ['missing'])
show(p.fail, 'builtins', 'ValueError', ['bad', 2])
show(p.fail, 'builtins', 'StopIteration', [])
show(p.fail, 'decimal', 'InvalidOperation', [(1, None)])
show(p.fail, 'json.decoder', 'JSONDecodeError', ['oops', 'doc', 0])
show(p.fail, 'queue', 'Full', [])
show(p.fail, '_queue', 'Empty', [])
show(p.echo)
";
    let lines = [
        "builtins KeyError ('missing',)",
        "builtins ValueError ('bad', 2)",
        "builtins StopIteration ()",
        "decimal InvalidOperation ((1, None),)",
        "json.decoder JSONDecodeError ('oops: line 1 column 1 (char 0)',)",
        "queue Full ()",
        "_queue Empty ()",
        "((), {})",
    ];
    pythons_print(&handle, code, &lines);
}

#[test]
fn exception_of_a_callable_is_a_remote_error() {
    let handle = start(Manager::new(KEY).register("never", |_| {
        Err::<(), _>(Exception::new("builtins", "KeyError", vec!["not today".into()]))
    }));
    let client = client(&handle);
    assert_mentions(&remote(client.create("never", ())), &["KeyError: ", "not today"]);
    assert_eq!(client.number_of_objects().unwrap(), 0);
}

#[test]
fn panic_in_a_method_fails_its_call_only() {
    let (flag, probe) = (AtomicBool::new(true), Arc::new(Probe::new(&Arc::default())));
    let handle = start(Manager::new(KEY).register("probe", move |_| {
        assert!(!flag.swap(false, Ordering::SeqCst), "a callable's fault");
        probe.clone()
    }));
    let client = client(&handle);
    assert_mentions(&remote(client.create("probe", ())), &["panicked", "a callable's fault"]);

    let probe = client.create("probe", ()).unwrap();
    let waiting = blocked({
        let probe = probe.clone();
        move || probe.call("wait", ())
    });
    assert_mentions(&remote(probe.call("panic", ())), &["panicked", "a method's fault"]);
    assert_mentions(&remote(probe.call("hold", ())), &["under the lock"]);
    probe.call("echo", ()).unwrap();
    assert!(!waiting.is_finished());
    // The lock is no worse for it.
    let again = blocked({
        let probe = probe.clone();
        move || probe.call("wait", ())
    });
    pythons_print(
        &handle,
        "p = connect('probe').probe()
try:
    p.panic()
except RemoteError as error:
    print(\"a method's fault\" in str(error))
show(p.echo)",
        &["True", "((), {})"],
    );
    drop(handle);
    for thread in [waiting, again] {
        assert!(thread.join().unwrap().unwrap_err().is_disconnected());
    }
}

// Addresses.

#[cfg(unix)]
#[test]
fn private_address_is_private_and_removed_at_the_end() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};

    let queue = Queue::new();
    let server =
        Manager::new(KEY).register("tasks", move |_| queue.clone()).bind_private().unwrap();
    let path = PathBuf::from(server.address().to_string());
    let directory = path.parent().unwrap().to_owned();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    assert_eq!((mode(&path), mode(&directory)), (0o600, 0o700));
    assert_ne!(server.address(), Manager::new(KEY).bind_private().unwrap().address());

    let handle = server.start().unwrap();
    let tasks = client(&handle).queue("tasks").unwrap();
    tasks.put(1).unwrap();
    pythons_print(
        &handle,
        "q = connect('tasks').tasks()\nshow(q.put, 1)\nprint(q._token.address == sys.argv[1])",
        &["None", "True"],
    );
    drop(handle);
    assert!(!path.exists() && !directory.exists());
}

#[cfg(unix)]
#[test]
fn server_that_never_served_removes_its_socket() {
    let server = Manager::new(KEY).bind_private().unwrap();
    let path = PathBuf::from(server.address().to_string());
    assert!(path.exists());
    drop(server);
    assert!(!path.parent().unwrap().exists());
}

#[cfg(unix)]
#[test]
fn socket_file_is_removed_at_the_end_and_a_stale_one_reused() {
    use std::os::unix::fs::PermissionsExt;

    let directory = TempDir::new();
    let path = directory.path("manager");
    let handle = Manager::new(KEY).bind(&path).unwrap().start().unwrap();
    assert_eq!(handle.address().to_string(), path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    client(&handle);
    drop(handle);
    assert!(!PathBuf::from(&path).exists());

    // std leaves the file behind, as a killed manager does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(PathBuf::from(&path).exists());
    let handle = Manager::new(KEY).bind(&path).unwrap().start().unwrap();
    client(&handle);
}

#[cfg(unix)]
#[test]
fn bind_to_address_in_use_names_it() {
    let directory = TempDir::new();
    let (tcp, unix) = ("127.0.0.1:0".to_owned(), directory.path("manager"));
    for address in [tcp, unix] {
        let handle = Manager::new(KEY).bind(&address).unwrap().start().unwrap();
        let error = Manager::new(KEY).bind(handle.address()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert_mentions(&error.to_string(), &["listen on", &handle.address().to_string()]);
        assert_mentions(&std::error::Error::source(&error).unwrap().to_string(), &["in use"]);
        client(&handle);
    }
}

#[cfg(unix)]
#[test]
fn bind_to_ordinary_file_leaves_it_alone() {
    let directory = TempDir::new();
    let path = directory.path("notes");
    fs::write(&path, "important").unwrap();
    let error = Manager::new(KEY).bind(&path).unwrap_err();
    assert_mentions(&error.to_string(), &[&path]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "important");
}

#[test]
fn bind_to_malformed_address_is_invalid() {
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:port"] {
        let error = Manager::new(KEY).bind(address).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert_mentions(&error.to_string(), &[address]);
    }
    let error = Manager::new(KEY).bind("/no/such/directory/socket").unwrap_err();
    assert_mentions(&error.to_string(), &["/no/such/directory/socket"]);
}

#[test]
fn manager_listens_on_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        return say("skipped: no IPv6 here");
    }
    let queue = Queue::new();
    let manager = Manager::new(KEY).register("tasks", move |_| queue.clone());
    let handle = manager.bind("[::1]:0").unwrap().start().unwrap();
    assert!(handle.address().to_string().starts_with("[::1]:"));
    client(&handle).queue("tasks").unwrap().put(1).unwrap();
}

#[test]
fn manager_on_unspecified_address_serves_and_ends() {
    let handle = Manager::new(KEY).bind("0.0.0.0:0").unwrap().start().unwrap();
    let address = handle.address().to_string().replace("0.0.0.0", "127.0.0.1");
    Client::connect(address, KEY).unwrap();
    handle.shutdown();
    assert!(handle.join_timeout(END));
}

// Keys.

#[test]
fn empty_key_is_refused() {
    for key in [Authkey::from(""), Authkey::from(Vec::new())] {
        let error = Manager::new(key).bind("127.0.0.1:0").unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert_mentions(&error.to_string(), &["authkey"]);
    }
}

#[test]
fn manager_without_key_takes_that_of_the_environment() {
    let key = Authkey::process().unwrap();
    assert_eq!(key.as_bytes(), Authkey::process().unwrap().as_bytes());
    assert_eq!(key.as_bytes().len(), 32);
    let others = thread::spawn(|| Authkey::process().unwrap()).join().unwrap();
    assert_eq!(key.as_bytes(), others.as_bytes());

    let server = Manager::default().bind("127.0.0.1:0").unwrap();
    assert_eq!(server.authkey().as_bytes(), key.as_bytes());
    let handle = server.start().unwrap();
    assert_eq!(handle.authkey().as_bytes(), key.as_bytes());
    Client::connect(handle.address(), key.as_bytes()).unwrap();
    assert!(matches!(Client::connect(handle.address(), KEY), Err(Error::Authentication { .. })));
}

#[test]
fn debug_never_shows_a_key() {
    let shown = |text: String| {
        assert!(!text.contains("k3y"), "{text}");
        // Nor its bytes.
        assert!(!text.replace(' ', "").contains("107,51,121"), "{text}");
    };
    let queue = Queue::new();
    let manager = Manager::new(KEY).register("tasks", move |_| queue.clone());
    shown(format!("{manager:?} {:#?}", Authkey::from(KEY)));
    let server = manager.bind("127.0.0.1:0").unwrap();
    shown(format!("{server:?}"));
    let handle = server.start().unwrap();
    shown(format!("{handle:?}"));
    let connector = Client::builder(handle.address(), KEY);
    shown(format!("{connector:?}"));
    let client = connector.connect().unwrap();
    let tasks = client.queue("tasks").unwrap();
    shown(format!("{client:?} {tasks:?} {:?}", tasks.proxy()));
    let error = Client::connect(handle.address(), "k3y-of-others").unwrap_err();
    shown(format!("{error:?} {error}"));
}

// Serving, and its end.

/// Serves on a thread, and says when that is over.
fn serve(server: Server) -> JoinHandle<Result<(), Error>> {
    thread::spawn(move || server.serve_forever())
}

#[test]
fn client_that_connects_before_serving_is_served() {
    let server = Manager::new(KEY).register("answer", |_| 42).bind("127.0.0.1:0").unwrap();
    let address = server.address().clone();
    let early = blocked(move || Client::connect(address, KEY).unwrap());
    let serving = serve(server);
    let client = early.join().unwrap();
    assert_eq!(client.create("answer", ()).unwrap().value().unwrap(), 42.into());
    client.shutdown().unwrap();
    serving.join().unwrap().unwrap();
}

#[test]
fn start_runs_the_initializer_first() {
    let (ready, log) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let seen = ready.clone();
    let server = Manager::new(KEY).register("ready", move |_| seen.load(Ordering::SeqCst));
    let server = server.bind("127.0.0.1:0").unwrap();
    let address = server.address().clone();
    let early = blocked(move || {
        let ready = Client::connect(address, KEY).unwrap().create("ready", ()).unwrap();
        ready.value().unwrap()
    });
    let done = log.clone();
    let handle = server
        .start_with(move || {
            assert!(!early.is_finished());
            ready.store(true, Ordering::SeqCst);
            done.store(true, Ordering::SeqCst);
            thread::spawn(move || assert_eq!(early.join().unwrap(), true.into()));
        })
        .unwrap();
    assert!(log.load(Ordering::SeqCst), "start_with came back before the initializer had run");
    let ready = client(&handle).create("ready", ()).unwrap();
    assert_eq!(ready.value().unwrap(), true.into());
}

#[test]
fn shutdown_twice_is_allowed() {
    let handle = start(Manager::new(KEY));
    let address = handle.address().clone();
    assert!(!handle.join_timeout(Duration::from_millis(20)));
    client(&handle);
    handle.shutdown();
    handle.shutdown();
    assert!(handle.join_timeout(END));
    assert!(handle.join_timeout(Duration::ZERO));
    handle.shutdown();
    handle.join().unwrap();
    assert!(Client::connect(address, KEY).is_err());
}

#[test]
fn dropping_the_handle_ends_the_manager() {
    let handle = start(Manager::new(KEY));
    let address = handle.address().clone();
    let client = client(&handle);
    drop(handle);
    assert!(TcpStream::connect(address.to_string()).is_err());
    assert!(client.number_of_objects().is_err());
}

#[test]
fn shutdown_by_a_client_ends_the_manager() {
    let handle = start(Manager::new(KEY));
    client(&handle).shutdown().unwrap();
    assert!(handle.join_timeout(END));
    handle.join().unwrap();
    for one in pythons() {
        let handle = start(Manager::new(KEY));
        let code = "m = connect()\nconn = m._Client(m.address, authkey=m._authkey)\n\
                    print(dispatch(conn, None, 'shutdown'))";
        let ended = python_client(one, code, &handle.address().to_string(), KEY).end(LONG).well();
        assert_eq!(ended.stdout, ["None"], "{one}");
        assert!(handle.join_timeout(END), "{one}");
    }
}

/// A manager whose `close` ends it, as a program would have it.
fn closable() -> Server {
    let queue = Queue::new();
    Manager::new(KEY)
        .register("tasks", move |_| queue.clone())
        .register("close", |call| call.shut_down_manager())
        .bind("127.0.0.1:0")
        .unwrap()
}

#[test]
fn shutdown_by_a_callable_answers_its_client() {
    let server = closable();
    let address = server.address().clone();
    let serving = serve(server);
    let client = Client::connect(address, KEY).unwrap();
    let begun = Instant::now();
    client.create("close", ()).unwrap();
    serving.join().unwrap().unwrap();
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
}

#[test]
fn shutdown_by_a_callable_answers_a_python_client() {
    for one in pythons() {
        let server = closable();
        let address = server.address().to_string();
        let serving = serve(server);
        let code =
            "m = connect('close', 'tasks')\nq = m.tasks()\nq.put(1)\nm.close()\nprint('closed')";
        let ended = python_client(one, code, &address, KEY).end(LONG).well();
        assert_eq!((ended.stdout, ended.stderr.as_str()), (vec!["closed".to_owned()], ""), "{one}");
        let begun = Instant::now();
        serving.join().unwrap().unwrap();
        assert!(begun.elapsed() < END, "{one}: {:?}", begun.elapsed());
    }
}

#[test]
fn shutdown_wakes_calls_that_wait() {
    let (queue, full, probe) =
        (Queue::new(), Queue::bounded(1), Arc::new(Probe::new(&Arc::default())));
    full.put(0).unwrap();
    let server = Manager::new(KEY)
        .register("queue", move |_| queue.clone())
        .register("full", move |_| full.clone())
        .register("probe", move |_| probe.clone())
        .bind("127.0.0.1:0")
        .unwrap();
    let address = server.address().clone();
    let serving = serve(server);
    let client = Client::connect(&address, KEY).unwrap();
    let (queue, full) = (client.queue("queue").unwrap(), client.queue("full").unwrap());
    let probe = client.create("probe", ()).unwrap();

    // The Python ones first: they take longer to get there.
    let code = "q = connect('queue').queue()\nprint('waits', flush=True)\nshow(q.get)";
    let mut consumers: Vec<_> =
        pythons().iter().map(|one| python_client(one, code, &address.to_string(), KEY)).collect();
    for consumer in &mut consumers {
        assert_eq!(consumer.line(), "waits");
    }
    until("they wait", LONG, || consumers.iter().all(Process::is_asleep));
    let waiting = vec![
        blocked({
            let queue = queue.clone();
            move || queue.get().map(drop)
        }),
        blocked({
            let queue = queue.clone();
            move || queue.get_timeout(LONG).map(drop)
        }),
        blocked({
            let full = full.clone();
            move || full.put(1)
        }),
        blocked({
            let full = full.clone();
            move || full.put_timeout(1, LONG).map_err(Error::from)
        }),
        blocked({
            let full = full.clone();
            move || full.join()
        }),
        blocked(move || probe.call("wait", ()).map(drop)),
    ];
    let begun = Instant::now();
    client.shutdown().unwrap();
    for call in waiting {
        let error = call.join().unwrap().unwrap_err();
        assert!(error.is_disconnected(), "{error:?}");
        assert!(!error.is_empty() && !error.is_full() && !error.is_timeout(), "{error:?}");
        assert_mentions(&error.to_string(), &["the manager has been shut down"]);
    }
    serving.join().unwrap().unwrap();
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
    for mut consumer in consumers {
        let ended = consumer.end(END).well();
        assert_eq!(ended.stdout, ["builtins EOFError ('the manager has been shut down',)"]);
    }
    // Later calls find nobody.
    assert!(queue.len().is_err());
}

/// On every system: not all wake a read when its socket is shut down.
#[test]
fn shutdown_ends_threads_that_wait_for_a_request_or_a_handshake() {
    let token = Arc::new(());
    let held = Arc::downgrade(&token);
    let manager = Manager::new(KEY).handshake_timeout(LONG * 2).register("held", move |_| {
        let _ = &token;
    });
    let handle = start(manager);
    let _idle = client(&handle).create("held", ()).unwrap();
    let address = handle.address().to_string();
    let mut idle = Wire::accepted(&address, KEY);
    let mut half = Wire::accepted(&address, KEY);
    half.send(b"\0\0\0\x10half");
    let mut stranger = Wire::unauthenticated(&address);
    stranger.read().unwrap();
    let begun = Instant::now();
    handle.shutdown();
    handle.join().unwrap();
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
    until("no thread holds the manager", LONG / 3, || held.upgrade().is_none());
    assert!([&mut idle, &mut half, &mut stranger].iter_mut().all(|raw| raw.read().is_none()));
}

/// The names of this process's threads that a manager started.
#[cfg(target_os = "linux")]
fn manager_threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("basemanager")).collect()
}

/// It looks at the threads of its own process.
#[cfg(target_os = "linux")]
#[test]
fn shutdown_ends_all_threads() {
    if !alone("manager::shutdown_ends_all_threads") {
        return;
    }
    let queue = Queue::new();
    let handle = start(Manager::new(KEY).register("queue", move |_| queue.clone()));
    let client = client(&handle);
    let queue = client.queue("queue").unwrap();
    let getters: Vec<_> = (0..5)
        .map(|_| {
            let queue = queue.clone();
            blocked(move || queue.get())
        })
        .collect();
    let silent: Vec<_> =
        (0..5).map(|_| TcpStream::connect(handle.address().to_string()).unwrap()).collect();
    until("each has its thread", LONG, || manager_threads().len() == 2 + 5 + 5);
    // Whoever leaves takes the thread along.
    drop(silent);
    until("the silent ones have gone", LONG, || manager_threads().len() == 2 + 5);
    handle.shutdown();
    handle.join().unwrap();
    until("all have gone", END, || manager_threads().is_empty());
    for getter in getters {
        assert!(getter.join().unwrap().unwrap_err().is_disconnected());
    }
}

// Restarts.

/// A manager with one shared queue, and one for each client that asks, at a given address.
fn restarted(address: &str) -> ServerHandle {
    Manager::new(KEY)
        .share("queue", Queue::new())
        .register("new", |_| Queue::new())
        .bind(address)
        .unwrap()
        .start()
        .unwrap()
}

#[test]
fn proxy_outlives_a_restart() {
    let directory = TempDir::new();
    let addresses = [own_address(), directory.path("manager")];
    for address in addresses.iter().take(if cfg!(unix) { 2 } else { 1 }) {
        let first = restarted(address);
        let address = first.address().to_string();
        let client = client(&first);
        let queue = client.queue("queue").unwrap();
        let clone = queue.clone();
        let new = client.queue("new").unwrap();
        queue.put("before").unwrap();
        new.put("before").unwrap();
        drop(first);
        assert!(queue.len().is_err());

        let second = restarted(&address);
        // It is another queue, under the same id.
        assert_eq!(queue.len().unwrap(), 0);
        clone.put("after").unwrap();
        assert_eq!(client.queue("queue").unwrap().get().unwrap(), "after".into());
        // What was not to last is gone: its id names nothing else.
        let text = remote(new.len());
        assert_mentions(&text, &["KeyError", new.proxy().id()]);
        drop((queue, clone, new));
        assert_eq!(client.number_of_objects().unwrap(), 0);
        drop(second);
    }
}

#[test]
fn python_proxy_outlives_a_restart() {
    let code = "
import pickle
from multiprocessing import current_process
current_process().authkey = sys.argv[2].encode()
q = connect('queue').queue()
kept = pickle.dumps(q)
print('connected', flush=True)
while True:
    try:
        q.qsize()
    except (OSError, EOFError):
        break
    time.sleep(0.01)
print('gone', flush=True)
sys.stdin.readline()
again = pickle.loads(kept)
# The thread keeps the connection that broke, for every proxy.
again._connect()
again.put('again')
q.put('after')
print(q.qsize(), again.qsize())
";
    for one in pythons() {
        let first = restarted(&own_address());
        let address = first.address().to_string();
        let mut run = python_client(one, code, &address, KEY);
        assert_eq!(run.line(), "connected", "{one}");
        drop(first);
        assert_eq!(run.line(), "gone", "{one}");
        let _second = restarted(&address);
        // Not before: who connects where no manager listens may get the port itself.
        run.tell("go on");
        assert_eq!(run.end(LONG).well().stdout, ["2 2"], "{one}");
    }
}

// Limits.

#[test]
fn handshake_timeout_of_duration_max_is_accepted() {
    let handle = start(Manager::new(KEY).handshake_timeout(Duration::MAX));
    client(&handle);
}

#[test]
fn log_that_panics_disturbs_no_client() {
    let handle = start(Manager::new(KEY).log(|line| panic!("{line}")));
    for _ in 0..3 {
        assert!(Client::connect(handle.address(), "wrong").is_err());
    }
    client(&handle);
}

#[test]
fn oversized_frame_is_refused_and_its_connection_goes_on() {
    let queue = Queue::new();
    let limits = Limits::default().frame_size(1000);
    let handle = start(Manager::new(KEY).share("queue", &queue).limits(limits));
    let queue = client(&handle).queue("queue").unwrap();
    queue.put(vec![0_u8; 900]).unwrap();
    for size in [2000; 50].into_iter().chain([8 << 20]) {
        let text = remote(queue.put(vec![0_u8; size]));
        assert_mentions(&text, &["frame size exceeds the limit of 1000"]);
        assert_eq!(queue.len().unwrap(), 1);
    }
}

#[test]
fn proxies_are_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Proxy>();
    check::<Client>();
    check::<ServerHandle>();
    check::<Queue>();
    check::<Error>();
}

#[test]
fn timeout_argument_refuses_what_python_refuses() {
    let read = |call: &mut Call<'_>| {
        let ([], [timeout]) = call.args([], ["timeout"])?;
        let timeout = call.timeout(timeout)?;
        Ok(Value::from(timeout.map(|timeout| timeout.as_secs_f64())))
    };
    let handle = start(Manager::new(KEY).register("read", read));
    let client = client(&handle);
    assert!(client.create("read", ()).unwrap().value().unwrap().is_none());
    for (timeout, seconds) in [
        (Value::None, Value::None),
        (0.into(), 0.0.into()),
        (true.into(), 1.0.into()),
        (2.5.into(), 2.5.into()),
        (9_223_372_036_i64.into(), 9_223_372_036.0.into()),
    ] {
        let read = client.create("read", Args::new().kwarg("timeout", timeout)).unwrap();
        assert_eq!(read.value().unwrap(), seconds);
    }
    for (timeout, class) in [
        ((-1).into(), "ValueError"),
        (f64::NAN.into(), "ValueError"),
        (f64::NEG_INFINITY.into(), "ValueError"),
        ((-(1_i128 << 100)).into(), "ValueError"),
        (f64::INFINITY.into(), "OverflowError"),
        (1e10.into(), "OverflowError"),
        ((1_i128 << 100).into(), "OverflowError"),
        ("1".into(), "TypeError"),
        ([1].into(), "TypeError"),
    ] {
        let text = remote(client.create("read", (Value::clone(&timeout),)));
        assert!(text.contains(class), "{timeout}: {text}");
    }
}
