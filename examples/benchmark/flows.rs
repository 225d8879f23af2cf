//! The works that all servers do, round by round in turn.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::load::{Round, Step, median, quantile, round};
use crate::pickle::Arg;
use crate::server::{Item, Server, Work};

pub(crate) struct Flow {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    connections: usize,
    shape: Shape,
    item: Item,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// Each connection puts, and then gets.
    Turn,
    /// Each sends so many requests at once, to put and to get in turn.
    Pipeline(usize),
    /// One half asks to get before the other half puts, so that who puts finds somebody who waits. A
    /// thread has two connections, and there is always one who waits for each item.
    Handover,
}

const fn flow(
    name: &'static str,
    about: &'static str,
    connections: usize,
    shape: Shape,
    item: Item,
) -> Flow {
    Flow { name, about, connections, shape, item }
}

pub(crate) const FLOWS: [Flow; 9] = [
    flow("turn1", "put and get in turn, 1 connection", 1, Shape::Turn, Arg::Int(7)),
    flow("turn8", "the same, 8 connections", 8, Shape::Turn, Arg::Int(7)),
    flow("turn64", "the same, 64 connections", 64, Shape::Turn, Arg::Int(7)),
    flow("pipeline", "64 requests in flight, 8 connections", 8, Shape::Pipeline(64), Arg::Int(7)),
    flow("handover8", "put to a waiting get, 8 connections", 8, Shape::Handover, Arg::Int(7)),
    flow("handover64", "the same, 64 connections", 64, Shape::Handover, Arg::Int(7)),
    flow("bytes64k", "64 KiB of bytes, 4 connections", 4, Shape::Turn, Arg::Bytes(64 << 10)),
    flow("bytes1m", "1 MiB of bytes, 4 connections", 4, Shape::Turn, Arg::Bytes(1 << 20)),
    flow(
        "list100k",
        "a list of 100,000 integers, 1 connection",
        1,
        Shape::Turn,
        Arg::List(100_000),
    ),
];

/// What a thread does for a server.
pub(crate) fn script(server: &Server, work: &Work, shape: Shape) -> Vec<Step> {
    let (put, get) = (server.put(work), server.get(work, shape == Shape::Handover));
    match shape {
        Shape::Turn => {
            vec![Step::Send(0, put), Step::Read(0, 1), Step::Send(0, get), Step::Read(0, 1)]
        }
        Shape::Pipeline(depth) => {
            vec![Step::Send(0, [put, get].concat().repeat(depth / 2)), Step::Read(0, depth)]
        }
        Shape::Handover => {
            vec![Step::Send(1, get), Step::Send(0, put), Step::Read(0, 1), Step::Read(1, 1)]
        }
    }
}

/// Measures a work on all servers, of which the first is this crate's; gives a row of the table:
/// operations a second of each, latencies of the first, its ratios to the others.
pub(crate) fn measure(
    flow: &Flow,
    servers: &[Option<Server>; 4],
    rounds: usize,
    time: Duration,
) -> Result<String> {
    let Some(manager) = &servers[0] else { return Err("there is no manager".into()) };
    let work = manager.prepare(flow.item)?;
    let each = if flow.shape == Shape::Handover { 2 } else { 1 };
    let mut sides = Vec::new();
    for (at, server) in servers.iter().enumerate() {
        let Some(server) = server else { continue };
        let workers = server.connect_all(flow.connections / each, each)?;
        sides.push((at, server.name, workers, script(server, &work, flow.shape)));
    }
    let mut rates: [Vec<f64>; 4] = Default::default();
    let mut latencies = Vec::new();
    for _ in 0..rounds {
        for (at, name, workers, script) in &mut sides {
            let done = round(workers, script, time);
            let done: Round = done.map_err(|why| format!("{}, {name}: {why}", flow.name))?;
            rates[*at].push(done.rate);
            if *at == 0 {
                latencies.extend(done.latencies.iter().map(|nanos| *nanos as f64 / 1000.0));
            }
        }
        eprint!(".");
    }

    let cell = |numbers: Vec<f64>, show: fn(f64) -> String| match numbers[..] {
        [] => "–".to_owned(),
        _ => show(median(numbers)),
    };
    let mut cells = vec![format!("{}: {}", flow.name, flow.about)];
    cells.extend(rates.iter().map(|rates| cell(rates.clone(), count)));
    for part in [0.5, 0.99] {
        cells.push(format!("{:.0}", quantile(latencies.clone(), part)));
    }
    for others in &rates[1..] {
        // Of the same round, for the machine may be slower in another.
        let ratios = rates[0].iter().zip(others).map(|(own, other)| own / other);
        cells.push(cell(ratios.collect(), |ratio| format!("{ratio:.2}")));
    }
    Ok(format!("| {} |", cells.join(" | ")))
}

/// What a relay adds to each operation of one connection; a row for each of these items.
pub(crate) fn relayed(program: &Path, rounds: usize, time: Duration) -> Result<Vec<[String; 2]>> {
    let manager = Server::manager()?;
    let tap = manager.tapped(program, &[], "through `basemanager tap`")?;
    let guard = manager.tapped(program, &["--guard"], "with `--guard`")?;
    let mut rows = Vec::new();
    for (what, item) in [("an integer", Arg::Int(7)), ("64 KiB of bytes", Arg::Bytes(64 << 10))] {
        let work = manager.prepare(item)?;
        let mut figures = [("direct", vec![]), (tap.name, vec![]), (guard.name, vec![])];
        for _ in 0..rounds {
            for (server, (_, latencies)) in [&manager, &tap, &guard].iter().zip(&mut figures) {
                let mut workers = server.connect_all(1, 1)?;
                let done = round(&mut workers, &script(server, &work, Shape::Turn), time)?;
                latencies.push(median(done.latencies.iter().map(|nanos| *nanos as f64 / 1000.0)));
            }
            eprint!(".");
        }
        let figures =
            figures.map(|(name, latencies)| format!("{name} {:.0} µs", median(latencies)));
        rows.push([format!("tap: put and get of {what}, p50"), figures.join(", ")]);
    }
    Ok(rows)
}

/// A number with commas.
pub(crate) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
