//! The page on proxies.

use super::Page;
use super::reader::{Reader, with_numbered_ids};
use super::tapped::{in_python, replace_addresses};
use crate::support::{PATIENCE, newest_python, python_client, pythons};

/// A client of Python's manager that behaves otherwise than the page says of this one.
const STORED_ONCE: &str = "
outer, inner = manager.list(), manager.list(['x'])
data = pickle.dumps(inner)
outer.append(inner)
del outer[:], outer, inner
print(manager._number_of_objects(), repr(manager._debug_info()))
try:
    print(pickle.loads(data))
except RemoteError:
    print('freed')
";

/// A manager of `CPython`, with the key of its process.
const PYTHONS_MANAGER: &str = "
import multiprocessing
from multiprocessing.managers import SyncManager
multiprocessing.current_process().authkey = b'producer'
server = SyncManager(('127.0.0.1', 0), b'producer').get_server()
print('listening on 127.0.0.1:%d' % server.address[1], flush=True)
server.serve_forever()
";

struct Proxies {
    serve: String,
    program: String,
    printed: String,
    tap: String,
    dies: String,
    looks: String,
    left: String,
}

impl Proxies {
    /// Reads the page; returns the manager's address too.
    fn read() -> (Self, String) {
        let mut page = Page::open("proxies.md");
        let (manager, _) = replace_addresses(&mut page);
        let serve = page.next("sh");
        let (mut program, mut printed) = (String::new(), String::new());
        for part in 1..=5 {
            program += &page.next("python");
            printed += &page.next("text");
            if part == 2 {
                page.diagram();
            }
        }
        page.diagram();
        let (tap, dies) = (page.next("sh"), page.next("python"));
        let (looks, left) = (page.next("python"), page.next("text"));
        page.end();
        let printed = printed.replace(&in_python("127.0.0.1:5000"), &in_python(&manager));
        (Self { serve, program, printed, tap, dies, looks, left }, manager)
    }
}

/// An address in a program.
fn quoted(address: &str) -> String {
    in_python(address).replace('\'', "\"")
}

fn numbered(text: &str) -> String {
    with_numbered_ids(text.trim_end(), &mut Vec::new())
}

#[test]
fn program_prints_what_the_page_shows() {
    for python in pythons() {
        let (page, _) = Proxies::read();
        let reader = Reader::new(python);
        let _manager = reader.serve(&page.serve);
        let program = format!("{}{STORED_ONCE}", page.program);
        let printed = reader.python(&program).end(PATIENCE).well().stdout.join("\n");
        let shown = format!("{}\n0 ''\nfreed", page.printed.trim_end());
        assert_eq!(numbered(&printed), numbered(&shown), "{python}");
    }
}

#[test]
fn pythons_manager_does_not_count_what_containers_hold_and_never_frees_it() {
    for python in pythons() {
        let (page, shown) = Proxies::read();
        let mut manager = python_client(python, PYTHONS_MANAGER, "", "");
        let address = manager.address();
        let program = page.program.replace(&quoted(&shown), &quoted(&address));
        let program = format!("{program}{STORED_ONCE}");
        let printed = Reader::new(python).python(&program).end(PATIENCE).well().stdout;
        let end = ["1 ['x']", "2 ['x']", "1", "0 ''", "['x']"];
        assert_eq!(printed[printed.len() - end.len()..], end, "{python}");
        let count = page.printed.lines().count() + 2;
        // The traceback of its `KeyError` has a line of that name, too.
        assert_eq!(printed.len(), count, "{python}: {printed:?}");
        let id = printed[0].trim().split_once(':').unwrap().0;
        let error = printed.iter().find(|line| line.starts_with("KeyError")).unwrap();
        assert_eq!(error.len(), format!("KeyError: '{id}'").len(), "{python}: {error}");
    }
}

#[test]
fn killed_client_leaves_its_object_behind() {
    let Some(python) = newest_python() else { return };
    let (page, _) = Proxies::read();
    let reader = Reader::new(python);
    let _manager = reader.serve(&page.serve);
    let (exit, del) = ("os._exit(0)", "del words\nos._exit(0)");
    assert!(page.dies.contains(exit));
    let polite = page.dies.replace(exit, del);
    for (program, decrefs) in [(&page.dies, 1), (&polite, 2)] {
        let mut tap = reader.serve(&page.tap);
        reader.python(program).end(PATIENCE).well();
        tap.signal("INT");
        let lines = tap.end(PATIENCE).well().stdout;
        let count = lines.iter().filter(|line| line.contains("decref(list) ← None")).count();
        assert_eq!(count, decrefs, "{lines:?}");
        let left = reader.python(&page.looks).end(PATIENCE).well().stdout;
        assert_eq!(numbered(&left.join("\n")), numbered(&page.left), "{program}");
    }
}
