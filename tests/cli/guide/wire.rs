//! "The wire": what the page says of each message.

use super::Page;
use super::handshake::cpython;
use super::tapped::{in_python, replace_addresses, run, serve};
use crate::support::wire::{Wire, framed};
use crate::support::{newest_python, pythons};

/// Proves no key. What comes after the verdict.
const REFUSED: &str = "
from multiprocessing.connection import Client
connection = Client(ADDRESS)
connection.recv_bytes()
connection.send_bytes(b'{sha256}' + bytes(32))
print(connection.recv_bytes())
try:
    print(connection.recv()[0])
except EOFError:
    print('closed')
";

#[test]
fn manager_replies_as_the_page_says() {
    let Some(newest) = newest_python() else { return };
    let mut page = Page::open("wire.md");
    let (address, _) = replace_addresses(&mut page);
    // The order of the messages, and the length of a frame.
    page.diagram();
    page.diagram();
    let program = page.next("python");
    let replies = page.next("text");
    let replies: Vec<&str> = replies.lines().collect();
    page.end();
    let refused = REFUSED.replace("ADDRESS", &in_python(&address));

    let serving = serve(&format!(
        "export MANAGER_AUTHKEY=producer\nbasemanager serve {address} --queue task_queue"
    ));
    for python in pythons() {
        assert_eq!(run(python, &program), replies, "{python}");
    }
    assert_eq!(run(newest, &refused), ["b'#FAILURE#'", "closed"]);
    frames_are_refused(&address);
    drop(serving);

    for python in pythons() {
        let _manager = cpython(python, &address);
        assert_eq!(run(newest, &program), replies, "a manager of {python}");
        assert_eq!(run(newest, &refused), ["b'#FAILURE#'", "#TRACEBACK"], "{python}");
    }
}

/// The table of frames.
fn frames_are_refused(address: &str) {
    let key = "producer";
    let mut wire = Wire::unauthenticated(address);
    wire.read().unwrap();
    wire.send(&framed(&[b'x'; 257]));
    assert_eq!(wire.read(), None);

    // The manager does not wait for the rest of a frame that is too long.
    let mut wire = Wire::accepted(address, key);
    wire.send(&[0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(wire.reply().unwrap().0, "#TRACEBACK");
    wire.send(b"skipped");
    drop(wire);

    let mut wire = Wire::accepted(address, key);
    wire.send(&[0xff, 0xff, 0xff, 0xfe]);
    assert_eq!(wire.reply().unwrap().0, "#TRACEBACK");
    assert_eq!(wire.read(), None);

    let mut wire = Wire::accepted(address, key);
    wire.send(&[0, 0, 0, 9, b'x']);
    wire.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(wire.read(), None);
}
