//! What connections and items cost, and whether many of them slow anything down.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::connection::{Connection, Language};
use crate::flows::{Shape, count, script};
use crate::load::{median, round};
use crate::pickle::Arg;
use crate::server::Server;

/// Connections that only are there, made by so many threads at once, and how many a second.
fn idle_connections(server: &Server, number: usize) -> Result<(Vec<TcpStream>, f64)> {
    const THREADS: usize = 4;
    let (begin, address) = (Instant::now(), server.address.as_str());
    let connect = |thread| {
        let mine = (thread..number).step_by(THREADS);
        mine.map(|_| Ok(Connection::open(address, Language::Manager)?.into_idle()))
            .collect::<Result<Vec<_>>>()
    };
    let connections = thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| scope.spawn(move || connect(thread)));
        let threads: Vec<_> = threads.collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread failed")?);
        joined.collect::<Result<Vec<_>>>()
    })?;
    Ok((connections.into_iter().flatten().collect(), number as f64 / begin.elapsed().as_secs_f64()))
}

/// Operations a second of 8 connections on each manager's queue as it is, in rounds.
fn speeds<const N: usize>(
    servers: [&Server; N],
    rounds: usize,
    time: Duration,
) -> Result<Vec<[f64; N]>> {
    let mut sides = Vec::new();
    for server in servers {
        let work = server.prepare(Arg::Int(7))?;
        sides.push((server.connect_all(8, 1)?, script(server, &work, Shape::Turn)));
    }
    let mut one_round = || {
        let mut rates = [0.0; N];
        for ((workers, script), rate) in sides.iter_mut().zip(&mut rates) {
            *rate = round(workers, script, time)?.rate;
        }
        Ok(rates)
    };
    (0..rounds).map(|_| one_round()).collect()
}

/// Puts so many items.
fn fill(server: &Server, items: usize) -> Result<()> {
    const BURST: usize = 1000;
    let put = server.put(&server.prepare(Arg::Int(7))?);
    let (burst, mut connection) = (put.repeat(BURST), server.connect()?);
    for _ in 0..items / BURST {
        connection.send(&burst)?;
        connection.replies(BURST)?;
    }
    connection.send(&put.repeat(items % BURST))?;
    connection.replies(items % BURST)
}

/// How many connections of 10,000 there can be: each takes a file descriptor on either side.
fn most_connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    soft.unwrap_or(1024).saturating_sub(200).min(10_000)
}

pub(crate) fn idle(rounds: usize, time: Duration) -> Result<Vec<[String; 2]>> {
    let (server, empty) = (Server::manager()?, Server::manager()?);
    // What the first connections cost is the process's own.
    speeds([&server], 1, time)?;
    let before = server.child.resident()?;
    let number = most_connections();
    let (connections, a_second) = idle_connections(&server, number)?;
    let each = (server.child.resident()? - before) / number as f64 / 1024.0;
    let rates = speeds([&server, &empty], rounds, time)?;
    let ratio = median(rates.iter().map(|[among, alone]| among / alone));
    drop(connections);
    let name = format!("idle: {} connections that do nothing", count(number as f64));
    Ok(vec![
        [name, format!("{each:.1} KiB each")],
        ["idle: connecting them".to_owned(), format!("{} a second", count(a_second))],
        [
            "idle: 8 others put and get among them".to_owned(),
            format!("{ratio:.2} × as fast as with a manager that has none"),
        ],
    ])
}

pub(crate) fn memory(items: usize) -> Result<[String; 2]> {
    let server = Server::manager()?;
    fill(&server, 1000)?;
    let (before, begin) = (server.child.resident()?, Instant::now());
    fill(&server, items)?;
    let rate = items as f64 / begin.elapsed().as_secs_f64();
    let each = (server.child.resident()? - before) / items as f64;
    Ok([
        format!("memory: a queue of {} small items", count(items as f64)),
        format!("{each:.1} bytes each, put at {} a second", count(rate)),
    ])
}

/// The table of growth.
pub(crate) fn table(rounds: usize, time: Duration, most_items: usize) -> Result<String> {
    let mut lines = vec![
        "| connections | manager, ops/s | MiB | echo, ops/s | ÷ echo |".to_owned(),
        "|--:|--:|--:|--:|--:|".to_owned(),
    ];
    let (manager, echo) = (Server::manager()?, Server::echo()?);
    let work = manager.prepare(Arg::Int(7))?;
    for number in [1, 8, 64, 512, 4096, 10_000].map(|number| most_connections().min(number)) {
        // Of thousands, each needs its time.
        let time = time.max(Duration::from_micros(200) * u32::try_from(number)?);
        let (mut rates, mut resident) = ([Vec::new(), Vec::new()], 0.0);
        for _ in 0..rounds {
            for (server, rates) in [&manager, &echo].into_iter().zip(&mut rates) {
                let mut workers = server.connect_all(number, 1)?;
                let script = script(server, &work, Shape::Turn);
                rates.push(round(&mut workers, &script, time)?.rate);
                resident = f64::max(resident, manager.child.resident()? / f64::from(1 << 20));
            }
        }
        let ratio = median(rates[0].iter().zip(&rates[1]).map(|(own, other)| own / other));
        let [own, other] = rates.map(|rates| count(median(rates)));
        let number = count(number as f64);
        lines.push(format!("| {number} | {own} | {resident:.1} | {other} | {ratio:.2} |"));
        eprint!(".");
    }
    lines.push("\n| items in the queue | 8 connections, ops/s | MiB |\n|--:|--:|--:|".to_owned());
    let server = Server::manager()?;
    let mut there = 0;
    for items in [1, 1000, 100_000, 1_000_000, 10_000_000].map(|items| most_items.min(items)) {
        fill(&server, items - there)?;
        there = items;
        let rate = median(speeds([&server], rounds, time)?.into_iter().flatten());
        let resident = server.child.resident()? / f64::from(1 << 20);
        lines.push(format!("| {} | {} | {resident:.1} |", count(items as f64), count(rate)));
        eprint!(".");
    }
    Ok(lines.join("\n"))
}
