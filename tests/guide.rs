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
        let (file, test) = name.split_once("::").unwrap_or((name, ""));
        let source = fs::read_to_string(format!("tests/{file}.rs")).unwrap_or_default();
        assert!(source.contains(&format!("fn {test}")), "no test `{name}`");
    }
}
