//! Security: the guard in front of CPython's manager.

use std::fs;
use std::process::Command;

use super::Page;
use super::tapped::{in_python, replace_addresses, run, serve, start};
use crate::support::{PATIENCE, Process, Python, TempDir, pythons};

/// Assigns a slice of a shared array. Prints `None`, or the reason of a refusal.
const SLICE: &str = "
from multiprocessing.managers import RemoteError, SyncManager
import array
manager = SyncManager(ADDRESS, b'producer')
manager.connect()
numbers = manager.Array('i', [1, 2, 3])
try:
    numbers[0:2] = array.array('i', [4, 5])
    print(numbers[0], numbers[2])
except RemoteError as error:
    print(str(error).split(': ')[1])
";

/// Starts a block in Python in a directory, and returns the process after its first line.
fn serve_in(dir: &TempDir, python: &Python, code: &str) -> Process {
    let mut command = Command::new(&python.path);
    command.args(["-c", code]).current_dir(dir.path("."));
    let mut manager = Process::start(&python.to_string(), &mut command);
    assert_eq!(manager.line(), "listening");
    manager
}

#[test]
fn guard_of_the_page_refuses_what_cpython_would_run() {
    let mut page = Page::open("security.md");
    let (address, tap) = replace_addresses(&mut page);
    page.diagram();
    // Tunnels to other hosts.
    assert!(page.next("sh").contains("ssh -N -L"));
    page.diagram();
    let (guard, attack, output) = (page.next("sh"), page.next("python"), page.next("text"));
    let manager = page.next("python");
    page.end();
    let output: Vec<&str> = output.lines().collect();
    let with_key = "multiprocessing.current_process().authkey = b\"producer\"";
    assert!(manager.contains(with_key));
    let slice = SLICE.replace("ADDRESS", &in_python(&tap));
    let guard = guard.trim_end();
    let allow = " --allow array.array --allow array._array_reconstructor";
    for python in pythons() {
        let dir = TempDir::new();
        let has_run = || fs::exists(dir.path("created")).unwrap();
        {
            let _manager = serve_in(&dir, python, &manager);
            let _guard = serve(guard);
            assert_eq!(run(python, &attack), output, "{python}");
            assert!(!has_run(), "{python}");
            assert!(run(python, &slice)[0].ends_with(" is not allowed"), "{python}");
        }
        {
            let _manager = serve_in(&dir, python, &manager);
            let _guard = serve(&format!("{guard}{allow}"));
            assert_eq!(run(python, &slice), ["4 3"], "{python}");
        }
        // Without the guard, and without the key of the process.
        let _manager = serve_in(&dir, python, &manager.replace(with_key, ""));
        let _tap = serve(guard.strip_suffix(" --guard").unwrap());
        let ended = start(python, &attack).end(PATIENCE);
        assert!(has_run(), "{python}");
        assert!(ended.stderr.contains("AuthenticationError"), "{python}: {}", ended.stderr);
        let direct = attack.replace(&in_double_quotes(&tap), &in_double_quotes(&address));
        fs::remove_dir(dir.path("created")).unwrap();
        start(python, &direct).end(PATIENCE);
        assert!(has_run(), "{python}: a client that connects directly");
    }
}

fn in_double_quotes(address: &str) -> String {
    in_python(address).replace('\'', "\"")
}
