//! The same random calls of `CPython`'s own `SyncManager` and of the example `sync_manager`, made by an unmodified
//! Python client: results and exception classes agree, except for the differences that the guide lists.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Peer, Python, pythons, say, snippet};

const GUIDE: &str = include_str!("../../src/guide/differences.md");

/// The calls of each type, for each interpreter.
const CALLS: &str = "1200";

/// The environment variable of another seed.
const SEED: &str = "BASEMANAGER_SEED";

/// A row of the table.
struct Difference<'a> {
    place: &'a str,
    versions: &'a str,
    cpython: &'a str,
    ours: &'a str,
}

impl Difference<'_> {
    fn explains(&self, python: &Python, place: &str, cpython: &str, ours: &str) -> bool {
        self.includes(python.version[1])
            && matches(self.place, place)
            && matches(self.cpython, cpython)
            && matches(self.ours, ours)
    }

    /// Whether it is about Python 3 of this minor version.
    fn includes(&self, minor: u32) -> bool {
        let (first, last) = self.versions.split_once('-').unwrap_or((self.versions, self.versions));
        let number = |version: &str| version.strip_prefix("3.")?.parse::<u32>().ok();
        match (number(first), number(last)) {
            (Some(first), Some(last)) => (first..=last).contains(&minor),
            _ => true,
        }
    }
}

/// Whether a text is as the pattern, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).filter_map(|at| text.get(at..)).any(|text| matches(rest, text))
        }),
    }
}

fn table() -> Vec<Difference<'static>> {
    let rows = GUIDE.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let rows = rows.skip(1).filter(|row| row.len() > 1);
    rows.map(|row| match *row {
        [place, versions, cpython, ours, _] => Difference { place, versions, cpython, ours },
        _ => panic!("a row of {} columns: {row:?}", row.len()),
    })
    .collect()
}

#[test]
fn random_calls_end_as_in_cpython() {
    let table = table();
    let (_server, address) = Peer::Rust.serve("sync_manager", &["127.0.0.1:0"]);
    let (pythons, next) = (pythons(), AtomicUsize::new(0));
    let (wrong, used) = (Mutex::new(BTreeMap::new()), Mutex::new(BTreeSet::new()));
    let run = || {
        while let Some(python) = pythons.get(next.fetch_add(1, Ordering::Relaxed)) {
            let seed = env::var(SEED).unwrap_or_else(|_| python.version[1].to_string());
            let args = [&address, "producer", &seed, CALLS];
            let mut client = snippet(python, "differential.py", &args);
            let output = client.end(Duration::from_secs(80)).well().stdout;
            let (calls, lines) = output.split_last().unwrap();
            say(&format!("{python}: {calls}, {} known or new differences", lines.len()));
            for line in lines {
                let columns: Vec<&str> = line.split('\t').collect();
                let [place, call, cpython, ours] = *columns else { panic!("{line:?}") };
                let explains = |row: &Difference<'_>| row.explains(python, place, cpython, ours);
                if let Some(row) = table.iter().position(explains) {
                    used.lock().unwrap().insert(row);
                    continue;
                }
                let text = format!("{call}\n  CPython: {cpython}\n  here:    {ours}");
                let mut wrong = wrong.lock().unwrap();
                wrong.entry(format!("{python}: {place}")).or_insert_with(Vec::new).push(text);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(run);
        }
    });
    for (at, row) in table.iter().enumerate() {
        let asked = pythons.iter().any(|python| row.includes(python.version[1]));
        if asked && !used.lock().unwrap().contains(&at) {
            say(&format!("not met: {} | {} | {}", row.place, row.cpython, row.ours));
        }
    }
    let wrong = wrong.into_inner().unwrap();
    let show = |(place, calls): (&String, &Vec<String>)| {
        format!("{place}: {} differences, the first: {}", calls.len(), calls[0])
    };
    assert!(wrong.is_empty(), "{}", wrong.iter().map(show).collect::<Vec<_>>().join("\n"));
}

#[test]
fn pattern_matches_with_stars() {
    assert!(matches("a*c*", "abcc"));
    assert!(matches("*", ""));
    assert!(!matches("a*c", "abd"));
    assert!(!matches("a", "ab"));
}
