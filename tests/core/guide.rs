//! The guide names the test of each promise.

use std::fs;

#[test]
fn tests_of_promises_exist() {
    let page = fs::read_to_string("src/guide/promises.md").unwrap();
    let cells =
        page.lines().filter_map(|line| line.trim_end().strip_suffix('|')?.rsplit('|').next());
    let names: Vec<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        // BINARY::MODULE or BINARY::MODULE::TEST.
        let mut parts = name.split("::");
        let mut part = || parts.next().unwrap_or_default();
        let path = format!("tests/{}/{}.rs", part(), part());
        let source = fs::read_to_string(path).unwrap_or_default();
        let test = format!("fn {}", part());
        assert!(source.contains("#[test]") && source.contains(&test), "no test `{name}`");
    }
}
