//! "One put": the page quotes a recording of Python 3.13, and Python does the same today.
//!
//! To record again: run the commands and the program of the page, with `--save tests/data/one_put.tap`.

use super::tapped::{
    by_client, comparable, frames, hex, listing, replace_addresses, replay, run, tapped,
};
use super::{Page, shell};
use crate::support::{PATIENCE, Process, newest_python, pythons};

pub(super) const RECORDING: &str = "tests/data/one_put.tap";
/// The same with Python 3.11, in the MD5 dialect.
pub(super) const LEGACY: &str = "tests/data/legacy.tap";

#[test]
fn page_shows_the_recording_and_what_each_python_does() {
    let Some(newest) = newest_python() else { return };
    let mut page = Page::open("one_put.md");
    replace_addresses(&mut page);
    let program = page.next("python");
    let (manager, tap) = (page.next("sh"), page.next("sh"));
    page.excerpt(replay(RECORDING, "").iter().map(String::as_str));
    // The connections.
    page.diagram();

    let recorded = frames(RECORDING);
    let dummy = &recorded[&by_client(1)][3];
    let printed = run(newest, &page.next("python"));
    assert_eq!(printed, [format!("00 00 00 {:02x} {}", dummy.len(), hex(dummy))]);
    page.excerpt(printed.iter().map(String::as_str));
    let first = Process::start("grep", &mut shell(&page.next("sh"))).end(PATIENCE).well().stdout;
    assert_eq!(first, page.next("text").lines().collect::<Vec<_>>());
    assert_eq!(recorded.values().map(Vec::len).sum::<usize>(), 50);
    let listing = listing(RECORDING);
    page.excerpt(listing.iter().map(String::as_str));
    page.excerpt(listing.iter().map(String::as_str));

    for python in pythons() {
        let (_, today) = tapped(python, &program, &manager, &tap);
        let recording = if python.version < [3, 12, 0] { LEGACY } else { RECORDING };
        assert_eq!(comparable(&today), comparable(&frames(recording)), "{python}, {recording}");
    }

    let program = program + &page.next("python");
    let (lines, _) = tapped(newest, &program, &manager, &tap);
    for call in page.next("text").lines() {
        assert!(lines.iter().any(|line| line.contains(call)), "{call}: {lines:#?}");
    }
    page.end();
}
