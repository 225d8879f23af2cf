//! The reference pages.

use super::Page;

#[test]
fn pages_without_code() {
    Page::open("walk.md").end();
    Page::open("promises.md").end();
    Page::open("limits.md").end();
    Page::open("differences.md").end();
}

#[test]
fn commands_of_the_reference_pages() {
    let mut security = Page::open("security.md");
    security.diagram();
    // Tunnels to other hosts.
    assert!(security.next("sh").contains("ssh -N -L"));
    security.end();
    let mut speed = Page::open("speed.md");
    assert!(speed.next("sh").contains("--example benchmark"));
    speed.end();
    let mut python = Page::open("python.md");
    // `sync_manager` is an example, which CI runs.
    assert!(python.next("sh").contains("--example sync_manager"));
    python.end();
}
