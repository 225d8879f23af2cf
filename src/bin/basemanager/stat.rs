//! `stat` and `watch`: tables of the queues.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use basemanager::{Client, Value};

use crate::connect::Connect;
use crate::failure::{Failure, is_missing, one_line};
use crate::snapshot::entry;
use crate::{json, print, units};

/// Show the state of the queues and of the manager
#[derive(clap::Args)]
#[command(after_help = "\
Example: basemanager stat --json | jq .queues.task_queue.items")]
pub(crate) struct Stat {
    /// Name of a queue; all queues if left out
    queue: Option<String>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Show the state of the queues at intervals, with rates
#[derive(clap::Args)]
#[command(after_help = "\
Example: basemanager watch --interval 5s")]
pub(crate) struct Watch {
    /// Name of a queue; all queues if left out
    queue: Option<String>,
    /// Time between updates
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    interval: Duration,
    #[command(flatten)]
    connect: Connect,
}

/// The columns: title, and key in the statistics of a queue.
const COLUMNS: [(&str, &str); 10] = [
    ("ITEMS", "items"),
    ("BYTES", "bytes"),
    ("UNACKED", "unacked"),
    ("WAITING", "waiting"),
    ("PUTS", "puts"),
    ("GETS", "gets"),
    ("DONE", "done"),
    ("REDELIVERED", "redelivered"),
    ("DEAD", "dead"),
    ("OLDEST", "oldest"),
];

impl Stat {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let stats = fetch(&self.connect.client()?, self.queue.as_deref())?;
        if self.json {
            let mut text = Vec::new();
            json::append_item(&mut text, &stats, json::Format::Json);
            return print(&text).map(drop);
        }
        print(table(&stats, None).as_bytes()).map(drop)
    }
}

impl Watch {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let client = self.connect.client()?;
        let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[J" } else { "" };
        let mut last: Option<(Instant, Value)> = None;
        loop {
            let (now, stats) = (Instant::now(), fetch(&client, self.queue.as_deref())?);
            let before = last.as_ref().map(|(then, stats)| (now - *then, stats));
            if !print(format!("{clear}{}\n", table(&stats, before)).as_bytes())? {
                return Ok(());
            }
            last = Some((now, stats));
            thread::sleep(self.interval.max(Duration::from_millis(50)));
        }
    }
}

/// The statistics of a manager, of all queues or one; of another manager than `basemanager serve` only what its queue
/// itself tells.
fn fetch(client: &Client, queue: Option<&str>) -> Result<Value, Failure> {
    let mut stats = match client.create("stats", ()) {
        Ok(stats) => stats.value()?,
        Err(error) if is_missing(&error) => {
            let Some(name) = queue else {
                return Err(Failure::usage(
                    "this manager has no typeid 'stats' that lists its queues: name a queue",
                ));
            };
            let items = client.queue(name)?.len()?;
            let queue = Value::Dict(vec![("items".into(), items.into())]);
            let queues = Value::Dict(vec![(name.into(), queue)]);
            return Ok(Value::Dict(vec![("queues".into(), queues)]));
        }
        Err(error) => return Err(error.into()),
    };
    if let (Some(name), Value::Dict(entries)) = (queue, &mut stats) {
        for (key, value) in entries {
            if let (Some("queues"), Value::Dict(queues)) = (key.as_str(), value) {
                queues.retain(|(queue, _)| queue.as_str() == Some(name));
                if queues.is_empty() {
                    return Err(Failure::usage(format!("the manager has no queue {name:?}")));
                }
            }
        }
    }
    Ok(stats)
}

/// A table; a number that the manager does not tell is `-`.
fn table(stats: &Value, before: Option<(Duration, &Value)>) -> String {
    let mut head = vec!["QUEUE".to_owned()];
    head.extend(COLUMNS.map(|(title, _)| title.to_owned()));
    head.extend(before.iter().flat_map(|_| ["PUTS/S".to_owned(), "GETS/S".to_owned()]));
    let mut rows = vec![head];
    let Some(Value::Dict(queues)) = entry(stats, "queues") else { return String::new() };
    for (name, queue) in queues {
        let name = name.as_str().unwrap_or_default();
        let mut row = vec![one_line(name)];
        row.extend(COLUMNS.map(|(_, key)| cell(key, entry(queue, key))));
        if let Some((time, before)) = before {
            let before = entry(before, "queues").and_then(|queues| entry(queues, name));
            row.extend(["puts", "gets"].map(|key| {
                rate(entry(queue, key), before.and_then(|queue| entry(queue, key)), time)
            }));
        }
        rows.push(row);
    }
    let mut text = aligned(&rows);
    text.push_str(&summary(stats));
    text
}

fn cell(key: &str, value: Option<&Value>) -> String {
    match value {
        None | Some(Value::None) => "-".to_owned(),
        Some(value) if key == "bytes" => {
            value.clone().to().map_or_else(|_| "-".to_owned(), units::bytes)
        }
        Some(Value::Float(seconds)) => format!("{seconds:.0} s"),
        Some(value) => value.to_string(),
    }
}

fn rate(now: Option<&Value>, before: Option<&Value>, time: Duration) -> String {
    let number = |value: Option<&Value>| value.and_then(|value| value.clone().to::<f64>().ok());
    match (number(now), number(before)) {
        (Some(now), Some(before)) => format!("{:.0}", (now - before) / time.as_secs_f64()),
        _ => "-".to_owned(),
    }
}

/// Names to the left, numbers to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(row.len(), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &Vec<String>| {
        let cells =
            row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    rows.iter().map(line).collect()
}

fn summary(stats: &Value) -> String {
    let text = |key| entry(stats, key).map_or_else(|| "-".to_owned(), Value::to_string);
    if entry(stats, "version").is_none() {
        return "not a manager of `basemanager serve`: it tells no more than this\n".to_owned();
    }
    let memory = entry(stats, "memory").and_then(|memory| memory.clone().to::<u64>().ok());
    let memory = memory.map_or_else(|| "-".to_owned(), units::bytes);
    let uptime: f64 =
        entry(stats, "uptime").and_then(|uptime| uptime.clone().to().ok()).unwrap_or(0.0);
    format!(
        "\nversion {}, up {uptime:.0} s, {} connections, {} rejected handshakes, {} objects, {memory} of memory\n",
        entry(stats, "version").and_then(Value::as_str).unwrap_or("-"),
        text("connections"),
        text("rejected"),
        text("objects"),
    )
}
