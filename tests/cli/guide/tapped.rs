//! A manager behind a tap, as the pages start them, and what a recording holds.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;

use basemanager::tap::{Kind, Recording, Sender};

use super::{Page, shell};
use crate::support::{PATIENCE, Process, Python, TempDir, own_address};

/// An address where nobody listens, and no other test will.
pub(super) fn free_address() -> String {
    TcpListener::bind(own_address()).unwrap().local_addr().unwrap().to_string()
}

/// Uses free ports in place of the ports that the pages show. Returns the addresses of the manager and the tap.
pub(super) fn replace_addresses(page: &mut Page) -> (String, String) {
    let (manager, tap) = (free_address(), free_address());
    page.replace_address("127.0.0.1:5000", &manager);
    page.replace_address("127.0.0.1:6000", &tap);
    (manager, tap)
}

/// An address in Python's notation.
pub(super) fn in_python(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    format!("('{host}', {port})")
}

/// Starts a server with a block of a page, whose last line is its command.
pub(super) fn serve(block: &str) -> Process {
    let (before, command) = block.trim_end().rsplit_once('\n').unwrap_or(("", block.trim_end()));
    let mut process = Process::start(command, &mut shell(&format!("{before}\nexec {command}")));
    assert!(process.line().starts_with("listening on "), "{block}");
    process
}

/// Starts a block in Python.
pub(super) fn start(python: &Python, code: &str) -> Process {
    Process::start(&python.to_string(), Command::new(&python.path).args(["-c", code]))
}

/// Runs a block in Python; returns its output.
#[track_caller]
pub(super) fn run(python: &Python, code: &str) -> Vec<String> {
    start(python, code).end(PATIENCE).well().stdout
}

/// Runs a block in Python against a manager, through a tap. Returns what the tap printed, and the frames.
#[track_caller]
pub(super) fn tapped(
    python: &Python,
    code: &str,
    manager: &str,
    tap: &str,
) -> (Vec<String>, Frames) {
    let dir = TempDir::new();
    let file = dir.path("recording");
    let (_manager, mut tap) = (serve(manager), serve(&format!("{} --save {file}", tap.trim_end())));
    run(python, code);
    tap.signal("TERM");
    let lines = tap.end(PATIENCE).well().stdout;
    (lines, frames(&file))
}

/// The lines that the tap prints of a recording.
pub(super) fn replay(recording: &str, options: &str) -> Vec<String> {
    let command = format!("exec basemanager tap --replay {recording} {options}");
    Process::start("tap", &mut shell(&command)).end(PATIENCE).well().stdout
}

/// The same, without the remarks of `-vv`.
pub(super) fn listing(recording: &str) -> Vec<String> {
    let mut width = usize::MAX;
    let mut lines = Vec::new();
    for line in replay(recording, "-vv") {
        // The remark begins in the same column in all lines of a listing.
        if line.trim_start().starts_with("offset ") {
            width = line.find("remark").unwrap();
        } else if !line.starts_with("     ") {
            width = usize::MAX;
        }
        let mut shown: String = line.chars().take(width).collect();
        // An operand that was too long for its column, and moved the remark.
        if shown.chars().count() == width
            && !shown.ends_with(' ')
            && let Some((operation, _)) = line.split_once('…')
        {
            shown = format!("{operation}…");
        }
        lines.push(shown.trim_end().to_owned());
    }
    lines
}

/// The payloads that each side of each connection sent.
pub(super) type Frames = BTreeMap<(u64, bool), Vec<Vec<u8>>>;

/// Whose frames: an index of [`Frames`].
pub(super) const fn by_client(connection: u64) -> (u64, bool) {
    (connection, true)
}

pub(super) const fn by_manager(connection: u64) -> (u64, bool) {
    (connection, false)
}

/// Reads a recording.
pub(super) fn frames(recording: &str) -> Frames {
    let mut frames = Frames::new();
    for frame in Recording::open(recording).unwrap() {
        let frame = frame.unwrap();
        if let Kind::Payload { bytes, .. } = frame.kind {
            let side = (frame.connection, frame.sender == Sender::Client);
            frames.entry(side).or_default().push(bytes);
        }
    }
    frames
}

/// Frames without what differs from one run to the next: the random bytes of handshakes, ids, and the version of the
/// pickle format, which is 5 from Python 3.14 on.
pub(super) fn comparable(frames: &Frames) -> BTreeMap<(u64, bool), Vec<String>> {
    let comparable = |frames: &Vec<Vec<u8>>| {
        let (handshake, messages) = frames.split_at(frames.len().min(3));
        let handshake = handshake.iter().map(|frame| {
            let fixed: &[&[u8]] =
                &[b"#CHALLENGE#{sha256}", b"#CHALLENGE#", b"{sha256}", b"#WELCOME#"];
            let fixed = fixed.iter().find(|fixed| frame.starts_with(fixed)).copied();
            let fixed = fixed.unwrap_or_default().escape_ascii();
            format!("{fixed}, {} bytes", frame.len())
        });
        let messages = messages.iter().map(|frame| {
            let mut frame = frame.clone();
            assert!(matches!(frame[..2], [0x80, 4 | 5]), "{}", frame.escape_ascii());
            frame[1] = 4;
            for at in 2..frame.len().saturating_sub(32) {
                if frame[at - 2..at] == [0x8c, 32] {
                    frame[at..at + 32].fill(b'_');
                }
            }
            hex(&frame)
        });
        handshake.chain(messages).collect()
    };
    frames.iter().map(|(side, frames)| (*side, comparable(frames))).collect()
}

/// Bytes as Python's `bytes.hex(" ")` shows them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
