//! "Pickle as a language": what runs where, and an item on its way.

use std::fs;
use std::process::Command;

use super::Page;
use super::tapped::{
    by_client, by_manager, comparable, frames, hex, in_python, listing, replace_addresses, run,
    serve, start, tapped,
};
use crate::support::{PATIENCE, Process, Python, TempDir, newest_python, pythons};

/// A recording of the page's program with two puts, with Python 3.13.
const RECORDING: &str = "tests/data/splice.tap";

/// Lists the operations of an item in a request, without `MEMOIZE`.
const OPERATIONS: &str = "
import pickle, pickletools
message = pickle.dumps((Item(),), protocol=4)
for operation, argument, _ in pickletools.genops(message):
    name, code = operation.name, ord(operation.code)
    if name == 'SHORT_BINUNICODE':
        print(f' {code:x} {len(argument):02x} …   {name} {argument!r}')
    elif name != 'MEMOIZE':
        print(f' {code:x}        {name}')
";

/// Puts an item, and shows the reply with it.
const STORED: &str = "
from multiprocessing.connection import Client
from multiprocessing.managers import BaseManager
BaseManager.register('task_queue')
manager = BaseManager(ADDRESS, b'producer')
manager.connect()
tasks = manager.task_queue()
tasks.put(['put', 'bob', 'bob'])
connection = Client(ADDRESS, authkey=b'producer')
connection.send((None, 'accept_connection', ('test',), {}))
connection.recv()
connection.send((tasks._token.id, 'get', (), {}))
print(connection.recv_bytes().hex(' '))
";

/// Runs a program in an empty directory; returns whether that has the file afterwards.
fn creates_file(python: &Python, code: &str) -> bool {
    let dir = TempDir::new();
    let mut command = Command::new(&python.path);
    command.args(["-c", code]).current_dir(dir.path("."));
    Process::start(&python.to_string(), &mut command).end(PATIENCE).well();
    has_file(&dir)
}

fn has_file(dir: &TempDir) -> bool {
    fs::exists(dir.path("created.txt")).unwrap()
}

#[test]
fn pickles_run_and_move_as_the_page_says() {
    let Some(newest) = newest_python() else { return };
    let mut page = Page::open("pickle.md");
    let (address, tap) = replace_addresses(&mut page);
    let dumps = page.next("python");
    page.excerpt(run(newest, &dumps).iter().map(String::as_str));
    // The stack.
    page.diagram();
    let machine = page.next("python");
    let count = "import pickletools; print(len(pickletools.opcodes))";
    for python in pythons() {
        assert_eq!(run(python, &machine), ["['ann', 'ann', 7]"], "{python}");
        assert_eq!(run(python, count), ["68"], "{python}");
    }

    let (cpython, put) = (page.next("python"), page.next("python"));
    let class = &put[put.find("class Item").unwrap()..put.find("BaseManager.register").unwrap()];
    let operations = run(newest, &format!("{class}{OPERATIONS}"));
    let shown = page.next("text");
    assert_eq!(shown.lines().count(), 7);
    // `PROTO` and `FRAME` come before the item, and the rest of the message after it.
    for (row, operation) in shown.lines().zip(&operations[2..]) {
        assert!(row.starts_with(&format!("{operation} ")), "{row}: {operations:#?}");
    }
    let (manager, get) = (page.next("sh"), page.next("python"));
    let get = format!("{}\n{get}", put.trim_end().rsplit_once('\n').unwrap().0);
    for python in pythons() {
        let dir = TempDir::new();
        let mut command = Command::new(&python.path);
        command.args(["-c", &cpython]).current_dir(dir.path("."));
        let mut manager = Process::start(&python.to_string(), &mut command);
        assert_eq!(manager.line(), "listening");
        assert!(!creates_file(python, &put), "{python}");
        assert!(has_file(&dir), "{python}");
    }
    let dir = TempDir::new();
    let in_dir = format!("cd {}\n{manager}", dir.path("."));
    let serving = serve(&in_dir);
    for python in pythons() {
        assert!(!creates_file(python, &put), "{python}");
        assert!(creates_file(python, &get), "{python}");
        assert!(!has_file(&dir), "{python}");
    }
    drop(serving);

    let program = page.next("python");
    let listing = listing(RECORDING);
    page.excerpt(listing.iter().map(String::as_str));
    page.excerpt(listing.iter().map(String::as_str));
    let recorded = frames(RECORDING);
    let relay = format!("basemanager tap {tap} {address}");
    for python in pythons() {
        let (_, today) = tapped(python, &program, &manager, &relay);
        let (today, recorded) = (comparable(&today), comparable(&recorded));
        for side in [by_client(5), by_manager(5)] {
            assert_eq!(today[&side][3..], recorded[&side][3..], "{python}");
        }
    }
    let serving = serve(&manager);
    let stored = run(newest, &STORED.replace("ADDRESS", &in_python(&address))).remove(0);
    let (put, reply) = (&recorded[&by_client(5)][5], &recorded[&by_manager(5)][6]);
    let bytes = page.next("text");
    let rows = bytes.lines().skip(1).zip([
        (" in the request", hex(put)),
        (" in the queue", stored),
        (" in the reply", hex(reply)),
    ]);
    for (row, (name, message)) in rows {
        let item = row.strip_prefix(name).unwrap().split_whitespace().collect::<Vec<_>>();
        assert!(item.len() > 12 && message.contains(&item.join(" ")), "{row}: {message}");
    }

    let exercise = page.next("python");
    page.end();
    let counts = |python| -> Vec<String> {
        run(python, &exercise)[0].split(' ').map(str::to_owned).collect()
    };
    for python in pythons() {
        let [request, reply, equal] = &counts(python)[..] else { panic!("{python}") };
        assert!(request.parse::<u32>().unwrap() > 1, "{python}");
        assert_eq!([reply, equal], ["0", "True"], "{python}");
    }
    drop(serving);
    let mut manager = start(newest, &cpython);
    manager.line();
    let counted = counts(newest);
    assert!(counted[1].parse::<u32>().unwrap() > 1 && counted[2] == "True", "{counted:?}");
}
