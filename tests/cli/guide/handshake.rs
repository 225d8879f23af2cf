//! "The handshake": computed by hand, and refused.

use super::Page;
use super::one_put::{LEGACY, RECORDING};
use super::tapped::{
    by_client, by_manager, frames, free_address, hex, in_python, replace_addresses, replay, run,
    serve, start,
};
use crate::support::{PATIENCE, Process, Python, newest_python, pythons};

/// A manager of the program.
fn manager(address: &str, options: &str) -> Process {
    serve(&format!("export MANAGER_AUTHKEY=producer\nbasemanager serve {address} {options}"))
}

/// A manager of `CPython`'s.
pub(super) fn cpython(python: &Python, address: &str) -> Process {
    let mut manager = start(python, &CPYTHON.replace("ADDRESS", &in_python(address)));
    assert_eq!(manager.line(), "listening");
    manager
}

const CPYTHON: &str = "
from multiprocessing.managers import BaseManager
from queue import Queue
tasks = Queue()
BaseManager.register('task_queue', lambda: tasks)
server = BaseManager(ADDRESS, b'producer').get_server()
print('listening', flush=True)
server.serve_forever()
";

/// Connects as soon as somebody listens.
const CLIENT: &str = "
import time
from multiprocessing.managers import BaseManager
while True:
    try:
        BaseManager(ADDRESS, b'producer').connect()
        break
    except ConnectionRefusedError:
        time.sleep(0.01)
    except Exception as error:
        print(type(error).__name__)
        break
";

/// Two attacks without the key, and one with it. Each line is what comes back last.
const ATTACKS: &str = "
import hmac
from multiprocessing.connection import Client

def connect():
    connection = Client(ADDRESS)
    return connection, connection.recv_bytes()[11:]

# Replay.
connection, message = connect()
connection.send_bytes(bytes.fromhex('RECORDED'))
print(connection.recv_bytes())
# Reflection, before the key is proved: there is no answer but the verdict.
connection, message = connect()
connection.send_bytes(b'#CHALLENGE#' + message)
print(connection.recv_bytes())
# Reflection, after it.
connection, message = connect()
response = b'{sha256}' + hmac.digest(b'producer', message, 'sha256')
connection.send_bytes(response)
print(connection.recv_bytes())
connection.send_bytes(b'#CHALLENGE#' + message)
try:
    print(connection.recv_bytes() == response)
except EOFError:
    print('closed')
";

/// A false manager that two clients connect to: the challenge of one is answered by the other. Prints the verdict.
const REFLECTION: &str = "
import os
from multiprocessing.connection import Listener
listener = Listener(ADDRESS)
print('listening', flush=True)
one = listener.accept()
one.send_bytes(b'#CHALLENGE#{sha256}' + os.urandom(40))
one.recv_bytes()
one.send_bytes(b'#WELCOME#')
challenge = one.recv_bytes()
other = listener.accept()
other.send_bytes(challenge)
one.send_bytes(other.recv_bytes())
print(one.recv_bytes())
";

/// A relay that sends the client a challenge of 20 bytes in place of the manager's. Prints the length of the response,
/// and the manager's verdict.
const DOWNGRADE: &str = "
from multiprocessing.connection import Client, Listener
listener = Listener(ADDRESS)
print('listening', flush=True)
client, manager = listener.accept(), Client(MANAGER)
client.send_bytes(b'#CHALLENGE#' + manager.recv_bytes()[-20:])
response = client.recv_bytes()
manager.send_bytes(response)
print(len(response), manager.recv_bytes())
";

#[test]
fn page_computes_and_refuses_what_it_says() {
    let Some(newest) = newest_python() else { return };
    let mut page = Page::open("handshake.md");
    let (address, tap) = replace_addresses(&mut page);
    page.diagram();
    let shown = replay(RECORDING, "-v");
    page.excerpt(shown.iter().map(String::as_str));
    let recorded = frames(RECORDING);
    let (challenge, response) = (&recorded[&by_manager(1)][0], &recorded[&by_client(1)][0]);

    let by_hand = page.next("python");
    for part in [&challenge[19..], &response[8..]] {
        assert!(by_hand.contains(&format!("\"{}\")", hex(part).replace(' ', ""))), "{by_hand}");
    }
    let (live, printed) = (page.next("python"), page.next("text"));
    let printed: Vec<&str> = printed.lines().collect();
    let impostor = page.next("python");
    // Reflection, and the relay.
    page.diagram();
    page.diagram();
    let legacy = replay(LEGACY, "-v");
    page.excerpt(legacy.iter().map(String::as_str));
    let guess = page.next("python");
    page.end();
    assert_eq!(run(newest, &(by_hand.clone() + &guess)), ["True", "the key is producer"]);

    let serving = manager(&address, "");
    for python in pythons() {
        assert_eq!(run(python, &by_hand), ["True"], "{python}");
        assert_eq!(run(python, &live), printed, "{python}");
    }
    let recorded = hex(response).replace(' ', "");
    let attacks = ATTACKS.replace("ADDRESS", &in_python(&address)).replace("RECORDED", &recorded);
    let failure = "b'#FAILURE#'";
    assert_eq!(run(newest, &attacks), [failure, failure, "b'#WELCOME#'", "closed"]);
    let client = CLIENT.replace("ADDRESS", &in_python(&tap));
    let downgrade = DOWNGRADE.replace("ADDRESS", &in_python(&tap));
    let downgrade = downgrade.replace("MANAGER", &in_python(&address));
    let cannot_force_md5 = || {
        let mut relay = start(newest, &downgrade);
        assert_eq!(relay.line(), "listening");
        let _client = start(newest, &client);
        assert_eq!(relay.end(PATIENCE).well().stdout, [format!("16 {failure}")]);
    };
    cannot_force_md5();
    drop(serving);

    for python in pythons() {
        if python.version >= [3, 12, 0] {
            let _serving = cpython(python, &address);
            cannot_force_md5();
            assert_eq!(run(newest, &live), printed, "a manager of {python}");
            let answers = run(newest, &attacks);
            assert_eq!(answers, [failure, failure, "b'#WELCOME#'", "True"], "{python}");
        }
        let mut impostor = start(newest, &impostor);
        assert_eq!(run(python, &client), ["AuthenticationError"], "{python}");
        assert_eq!(impostor.end(PATIENCE).well().stdout, [failure], "{python}");

        let mut impostor = start(newest, &REFLECTION.replace("ADDRESS", &in_python(&tap)));
        assert_eq!(impostor.line(), "listening");
        let _clients = [start(python, &client), start(python, &client)];
        assert_eq!(impostor.end(PATIENCE).well().stdout, ["b'#WELCOME#'"], "{python}");
    }
}

#[test]
fn old_and_new_programs_understand_each_other() {
    let digest = |python: &Python| if python.version < [3, 12, 0] { "md5" } else { "sha256" };
    let connect = |python: &Python, address: &str, digest: &str| {
        let tap_address = free_address();
        let mut tap = serve(&format!("basemanager tap {tap_address} {address}"));
        let proved = run(python, &CLIENT.replace("ADDRESS", &in_python(&tap_address)));
        assert_eq!(proved, [""; 0], "{python}");
        tap.signal("TERM");
        let lines = tap.end(PATIENCE).well().stdout;
        let expected = format!("key proved both ways, {digest}");
        assert!(lines.iter().any(|line| line.contains(&expected)), "{python}: {lines:?}");
    };
    let [Some(oldest), Some(newest)] = [pythons().first(), pythons().last()] else { return };
    let address = free_address();
    let serving = manager(&address, "");
    for python in pythons() {
        connect(python, &address, digest(python));
    }
    drop(serving);
    for (one, other) in [(oldest, newest), (newest, oldest)] {
        let _serving = cpython(one, &address);
        connect(other, &address, digest(oldest));
    }
    let _serving = manager(&address, "--no-md5");
    let client = CLIENT.replace("ADDRESS", &in_python(&address));
    for python in pythons() {
        let expected: &[&str] =
            if digest(python) == "md5" { &["AuthenticationError"] } else { &[] };
        assert_eq!(run(python, &client), expected, "{python}");
    }
}
