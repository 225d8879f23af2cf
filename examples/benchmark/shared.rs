//! Managers whose queue is in Redis, next to one with a queue in memory, and to clients that use Redis themselves.

use std::ffi::OsString;
use std::time::Duration;

use basemanager::{Queue, Redis};

use crate::Result;
use crate::flows::count;
use crate::load::median;
use crate::python::rounds;
use crate::server::{self, Server};

/// The numbers of Python clients.
const CLIENTS: [usize; 2] = [1, 8];

/// A manager on this Redis, as what is measured.
pub(crate) fn serve(address: &str) -> Result<()> {
    let redis = Redis::new(&format!("redis://{address}/"))?;
    server::serve(redis.queue("task_queue", Queue::options())?)
}

/// Python clients that put and get in turn; what is to be said of them.
pub(crate) fn turns(
    python: &OsString,
    memory: &Server,
    plan: (usize, Duration),
) -> Result<Vec<[String; 2]>> {
    let name = format!("basemanager-benchmark-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir(&directory)?;
    let rows = turns_in(&directory.display().to_string(), python, memory, plan);
    std::fs::remove_dir_all(&directory)?;
    rows
}

fn turns_in(
    directory: &str,
    python: &OsString,
    memory: &Server,
    plan: (usize, Duration),
) -> Result<Vec<[String; 2]>> {
    let redis = Server::redis(Some(directory))?;
    let managers = [Server::on_redis(&redis)?, Server::on_redis(&redis)?];
    let [one, other] = &managers;
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let sides: [(&str, &[&Server]); 4] =
            [("turn", &[memory]), ("turn", &[one]), ("turn", &[one, other]), ("redis", &[&redis])];
        let figures = rounds(sides, clients, python, plan)?.map(|rounds| {
            // A turn is two operations.
            count(2.0 * median(rounds.iter().map(|[rate, _]| *rate)))
        });
        let [memory, one, two, direct] = figures;
        rows.push([
            format!("redis: put and get in turn, Python clients: {clients}"),
            format!(
                "operations a second: a queue in memory {memory}; in Redis through one manager {one}, \
                 through two {two}; clients that use Redis directly {direct}"
            ),
        ]);
    }
    Ok(rows)
}
