//! What a Rust client makes of the exceptions that a Python manager raises.

use std::process::Command;

use crate::support::{Process, Python, pythons};
use basemanager::{Client, Error, Exception, Limits, Value};

const KEY: &str = "producer";

/// A manager that raises `failures[name]`, and tells what Python shows of it.
const MANAGER: &str = r#"
import functools, sys, traceback
from multiprocessing.managers import BaseManager

class Keywords(Exception):
    def __init__(self, *, code, text):
        super().__init__(text)
        self.code, self.text = code, text
    def __reduce__(self):
        return functools.partial(Keywords, code=self.code, text=self.text), ()

class NewEx(Exception):
    def __new__(cls, *args, text=None):
        return super().__new__(cls, *args)
    def __init__(self, text=None):
        super().__init__(text)
        self.text = text
    def __reduce_ex__(self, protocol):
        import copyreg
        return copyreg.__newobj_ex__, (NewEx, (), {"text": self.text})

class Rebuilt(Exception):
    def __reduce__(self):
        return rebuild, (Rebuilt, self.args)

def rebuild(cls, args):
    return cls(*args)

class HoldsItself(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.context = {"error": self}

class Named(Exception):
    def __reduce__(self):
        return "NAMED"

NAMED = Named("named")

class Deep(Exception):
    pass

nested = []
for _ in range(250):
    nested = [nested]

failures = {
    "keywords": Keywords(code=7, text="the disk is full"),
    "new_ex": NewEx(text="the disk is full"),
    "rebuilt": Rebuilt("the disk is full"),
    "holds_itself": HoldsItself("the disk is full"),
    "deep": Deep("the disk is full", nested),
    "named": NAMED,
    "lower_case": __import__("struct").error("the disk is full"),
    "state": None,
    "key": KeyError("a"),
    "key_number": KeyError(7),
    "key_none": KeyError(),
    "key_two": KeyError("a", "b"),
    "value": ValueError("a"),
    "os": OSError(2, "No such file or directory"),
    "os_file": FileNotFoundError(2, "No such file or directory", "/tmp/none"),
    "os_files": PermissionError(13, "Permission denied", "/tmp/a", None, "/tmp/b"),
    "os_text": ConnectionResetError("gone"),
    "os_three": OSError(1, "odd", 5),
}
failures["state"] = ValueError("the disk is full")
failures["state"].code = 7
failures["lower_case"].cause = NAMED

class Failing:
    def fail(self, name):
        raise failures[name]
    def text(self, name):
        error = failures[name]
        return traceback.format_exception_only(type(error), error)[-1].strip()
    def names(self):
        return list(failures)

BaseManager.register("failing", Failing)
server = BaseManager(("127.0.0.1", 0), sys.argv[1].encode()).get_server()
print("listening on %s:%d" % server.address, flush=True)
server.serve_forever()
"#;

fn against_every_python(test: impl Fn(&Client, &Python)) {
    for python in pythons() {
        let mut command = Command::new(&python.path);
        let mut manager = Process::start(&python.to_string(), command.args(["-c", MANAGER, KEY]));
        test(&Client::connect(manager.address(), KEY).unwrap(), python);
    }
}

#[track_caller]
fn raised(client: &Client, name: &str) -> Exception {
    let failing = client.create("failing", ()).unwrap();
    match failing.call("fail", (name,)).unwrap_err() {
        Error::Exception(exception) => exception,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn exception_with_unusual_reduce_keeps_class_text_and_pickle() {
    against_every_python(|client, python| {
        let cases = [
            ("keywords", "Keywords"),
            ("new_ex", "NewEx"),
            ("rebuilt", "Rebuilt"),
            ("holds_itself", "HoldsItself"),
            ("deep", "Deep"),
        ];
        for (name, class) in cases {
            let exception = raised(client, name);
            assert!(exception.is("__main__", class), "{python}, {name}: {exception:?}");
            let shown = exception.to_string();
            assert!(shown.contains("the disk is full"), "{python}, {name}: {shown}");
            assert!(!shown.contains("opaque"), "{python}, {name}: {shown}");
            let Some(Value::Opaque(pickle)) = exception.args().last() else {
                panic!("{python}, {name}: {exception:?}");
            };
            assert!(pickle.to_bytes().windows(16).any(|part| part == b"the disk is full"));
        }
        let named = raised(client, "named");
        assert!(named.is("__main__", "NAMED"), "{python}: {named:?}");
        // These are called by their class, whatever else is theirs.
        assert!(raised(client, "lower_case").is("struct", "error"), "{python}");
        let expected = Exception::value_error("the disk is full");
        assert_eq!(raised(client, "state"), expected, "{python}");
        // Within narrow limits, too.
        let limits = Limits::default().depth(2);
        let client = Client::builder(client.address(), KEY).limits(limits).connect().unwrap();
        assert!(raised(&client, "deep").is("__main__", "Deep"), "{python}");
    });
}

#[test]
fn exception_text_is_the_last_line_of_python_s_traceback() {
    against_every_python(|client, python| {
        let failing = client.create("failing", ()).unwrap();
        let names = failing.call("names", ()).unwrap().to::<Vec<String>>().unwrap();
        for name in names.iter().skip_while(|name| *name != "key") {
            let text = failing.call("text", (name.as_str(),)).unwrap();
            let text = text.to::<String>().unwrap();
            let exception = raised(client, name);
            // These have a `__str__` that picks from their arguments; here, all are shown.
            let shown = if ["os", "os_file", "os_files", "os_three"].contains(&name.as_str()) {
                let args = Value::Tuple(exception.args().to_vec());
                format!("{}: {args}", exception.name())
            } else {
                text
            };
            assert_eq!(exception.to_string(), shown, "{python}, {name}");
        }
    });
}
