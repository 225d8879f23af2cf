//! A manager whose queues are in Redis. Start several, each on a port of its own: their clients share the queues.
//!
//! `cargo run --release --features redis --example redis_manager [ADDRESS [URL [LEASE]]]`. URL defaults to
//! `redis://127.0.0.1/`. LEASE is in seconds, and defaults to 60.

mod common;

use std::env;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use basemanager::{Error, Manager, Queue, Redis, Result};

fn run() -> Result<()> {
    let url = env::args().nth(2).unwrap_or_else(|| "redis://127.0.0.1/".to_owned());
    let lease = env::args().nth(3).map_or(Ok(60), |text| text.parse());
    let lease = lease.map_err(|error| Error::conversion(format!("LEASE: {error}")))?;
    let redis = Redis::new(&url)?;
    let failed = redis.queue("failed", Queue::options())?;
    // If a manager dies, the others deliver the items of its consumers again.
    let jobs = redis.queue("jobs", Queue::options().lease(Duration::from_secs(lease)))?;
    let server = Manager::new(common::authkey())
        .share("jobs", jobs.dead_letters(5, &failed)?)
        .share("failed", failed)
        .register("close", |call| call.shut_down_manager())
        .drain_timeout(Duration::from_secs(5))
        .log(|event| eprintln!("{event}"))
        .bind(common::address())?;
    println!("listening on {}", server.address());
    // A program that waits for this line may read it through a pipe.
    let _ = std::io::stdout().flush();
    server.serve_forever()
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("redis_manager: {}", common::explain(&error));
            ExitCode::FAILURE
        }
    }
}
