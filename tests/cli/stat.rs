//! `stat` and `watch`.

use crate::Served;
use crate::support::{PATIENCE, until};

#[test]
fn table_and_json_show_each_queue() {
    let served = Served::new(&["--queue", "jobs,at-least-once,lease=60s", "--queue", "task_queue"]);
    served.ok(&["put", "jobs", "1", "2", "3"]);
    served.ok(&["get", "jobs"]);
    let table = served.ok(&["stat"]);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[1]), ("jobs", "2"), "{table}");
    assert!(
        table.contains("QUEUE") && table.contains("OLDEST") && table.contains("version"),
        "{table}"
    );
    let json = served.ok(&["stat", "jobs", "--json"]);
    for part in [
        "\"items\": 2",
        "\"puts\": 3",
        "\"gets\": 1",
        "\"done\": 1",
        "\"lease\": 60.0",
        "\"version\": ",
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }
    assert!(!json.contains("task_queue"), "only the queue that was asked for: {json}");
    assert!(served.run(&["stat", "nothing"]).failed(2).contains("no queue"));
}

#[test]
fn age_of_the_oldest_item_grows() {
    let served = Served::new(&[]);
    let json = served.ok(&["stat", "--json"]);
    assert!(json.contains("\"oldest\": null"), "{json}");
    served.ok(&["put", "task_queue", "1"]);
    until("the item is some seconds old", PATIENCE, || {
        let json = served.ok(&["stat", "--json"]);
        let age = json.split("\"oldest\": ").nth(1).unwrap().split(',').next().unwrap();
        age.parse::<f64>().is_ok_and(|age| age > 1.0)
    });
    served.ok(&["get", "task_queue"]);
    assert!(served.ok(&["stat", "--json"]).contains("\"oldest\": null"));
}

#[test]
fn watch_shows_rates() {
    let served = Served::new(&[]);
    let mut watch = served.start(&["watch", "--interval", "200ms"]);
    let first = watch.line();
    assert!(first.starts_with("QUEUE"), "{first}");
    until("a second table has rates", PATIENCE, || watch.line().contains("PUTS/S"));
    drop(served);
    watch.end(PATIENCE).with(3);
}
