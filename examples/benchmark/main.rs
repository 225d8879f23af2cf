//! How fast the manager is: next to a server that only moves the bytes, to Redis and to CPython's
//! manager, as far as they are found, in one run on this machine.
//!
//! `cargo run --release --example benchmark [--quick] [WORK…]`; `PYTHON` names the Python to use.
//!
//! ```text
//!  main        what is run, and the tables      child    the processes that are measured
//!  server      the four servers                 echo     the one that only moves bytes
//!  connection  the client, the same for all     pickle   what it asks managers
//!  load        a round of threads               flows    the works that all servers do
//!  python      unmodified Python clients        growth   many connections, many items
//!  shared      managers that share a Redis
//!  wire        the handshake                    program  the commands put and get
//! ```
//! An operation is a request with its reply. The servers take turns, round by round; a figure is the
//! median of the rounds, a ratio the median of the rounds' ratios.

#![allow(clippy::indexing_slicing, reason = "a benchmark that is wrong may stop")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "statistics"
)]

mod child;
mod connection;
mod echo;
mod flows;
mod growth;
mod load;
mod pickle;
mod program;
mod python;
mod server;
#[cfg(feature = "redis")]
mod shared;
#[path = "../../tests/support/wire.rs"]
mod wire;

use std::env;
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Duration;

use flows::FLOWS;
use server::Server;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

const KEY: &str = "benchmark";
/// How long anything may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Unmodified Python clients: a work, and their number.
const PYTHONS: [(&str, usize); 3] = [("python1", 1), ("python2", 2), ("python8", 8)];
/// Works that are not done by all servers.
const OTHERS: [&str; 8] =
    ["connect", "batch", "redis", "program", "tap", "idle", "memory", "growth"];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let result = match &args[..] {
        [flag, role, rest @ ..] if flag == "--role" => match (role.as_str(), rest) {
            ("echo", []) => echo::serve(),
            ("manager", []) => server::serve(basemanager::Queue::new()),
            #[cfg(feature = "redis")]
            ("redis-manager", [address]) => shared::serve(address),
            ("guard", [program, rest @ ..]) => child::guard(program, rest),
            _ => Err(format!("no role {role:?}").into()),
        },
        _ => with_all_descriptors(&args).unwrap_or_else(|| run(&args)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benchmark: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this program again with as many open files as are allowed, if they are not.
fn with_all_descriptors(args: &[String]) -> Option<Result<()>> {
    const DONE: &str = "BENCHMARK_DESCRIPTORS";
    if env::var_os(DONE).is_some() || !cfg!(target_os = "linux") {
        return None;
    }
    let script = "ulimit -S -n \"$(ulimit -H -n)\"; exec \"$0\" \"$@\"";
    let again = || {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(env::current_exe()?).args(args).env(DONE, "1");
        Ok(if command.status()?.success() { Ok(()) } else { Err("it failed") }?)
    };
    Some(again())
}

fn run(args: &[String]) -> Result<()> {
    let names = FLOWS.iter().map(|flow| flow.name).chain(PYTHONS.map(|(name, _)| name));
    let names: Vec<&str> = names.chain(OTHERS).collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let chosen: Vec<&String> = args.iter().filter(|arg| *arg != "--quick").collect();
    if let Some(unknown) = chosen.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("no work {unknown:?}; there are: {}", names.join(", ")).into());
    }
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| *chosen == name);
    let (rounds, time, items) = if quick {
        (3, Duration::from_millis(100), 1_000_000)
    } else {
        (7, Duration::from_millis(500), 10_000_000)
    };
    let plan = (rounds, time);

    let python = python::find();
    match &python {
        Some((_, version)) => eprintln!("CPython {version}"),
        None => eprintln!("no Python 3.12 or later: nothing of it is measured"),
    }
    let mut cpython = python.as_ref().map(|(python, _)| Server::cpython(python)).transpose()?;
    let found = Command::new("redis-server").arg("--version").output();
    let redis = if found.is_ok() { Some(Server::redis(None)?) } else { None };
    match &found {
        Ok(output) => eprintln!("{}", String::from_utf8_lossy(&output.stdout).trim()),
        Err(_) => eprintln!("no redis-server: it is not measured"),
    }

    let mut rows = Vec::new();
    let mut others = Vec::new();
    let mut servers = [Some(Server::manager()?), Some(Server::echo()?), redis, cpython.take()];
    for flow in FLOWS.iter().filter(|flow| wanted(flow.name)) {
        eprint!("{} ", flow.name);
        rows.push(flows::measure(flow, &servers, rounds, time)?);
        eprintln!();
    }
    if let (Some((python, _)), [Some(own), .., Some(other)]) = (&python, &servers) {
        for (name, clients) in PYTHONS.into_iter().filter(|(name, _)| wanted(name)) {
            eprint!("{name} ");
            rows.push(python::turns(name, clients, python, [own, other], plan)?);
            eprintln!();
        }
        if wanted("connect") {
            eprint!("connect ");
            others.push(python::connect(python, [own, other], plan)?);
            eprintln!();
        }
        if wanted("batch") {
            eprint!("batch ");
            others.push(python::batch(python, own, plan)?);
            eprintln!();
        }
    }
    #[cfg(feature = "redis")]
    if let (Some((python, _)), [Some(own), ..]) = (&python, &servers)
        && wanted("redis")
        && found.is_ok()
    {
        eprint!("redis ");
        others.extend(shared::turns(python, own, plan)?);
        eprintln!();
    }
    #[cfg(not(feature = "redis"))]
    if wanted("redis") {
        eprintln!("no queues in Redis: build it with --features redis to measure them");
    }
    servers = Default::default();
    drop(servers);
    let is_wanted = wanted("program") || wanted("tap");
    match program::find().filter(|_| is_wanted) {
        Some(program) => {
            if wanted("program") {
                eprint!("program ");
                others.push(program::put_get(&program, rounds, items / 10)?);
                eprintln!();
            }
            if wanted("tap") {
                eprint!("tap ");
                others.extend(flows::relayed(&program, rounds, time)?);
                eprintln!();
            }
        }
        None if is_wanted => {
            eprintln!("no program: build it with --features cli to measure it");
        }
        None => {}
    }
    if wanted("idle") {
        eprintln!("idle");
        others.extend(growth::idle(rounds, time)?);
    }
    if wanted("memory") {
        eprintln!("memory");
        others.push(growth::memory(items)?);
    }
    if !rows.is_empty() {
        println!(
            "| work | manager, ops/s | echo | Redis | CPython | p50, µs | p99, µs | ÷ echo \
             | ÷ Redis | ÷ CPython |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n{}\n",
            rows.join("\n")
        );
    }
    if !others.is_empty() {
        let rows = others.iter().map(|[what, figure]| format!("| {what} | {figure} |\n"));
        println!("| | |\n|---|---|\n{}", rows.collect::<String>());
    }
    if wanted("growth") {
        eprint!("growth ");
        let table = growth::table(if quick { 1 } else { 3 }, time, items)?;
        eprintln!();
        println!("{table}");
    }
    Ok(())
}

/// Tells whoever started this process where it listens.
fn say_address(address: &str) -> Result<()> {
    println!("listening on {address}");
    Ok(std::io::stdout().flush()?)
}
