//! A round: some threads, each with a connection or two, do the same over and over for a time.

use std::sync::RwLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::connection::Connection;

const STACK: usize = 128 * 1024;

/// What a thread does, by which of its connections.
#[derive(Clone)]
pub(crate) enum Step {
    Send(usize, Vec<u8>),
    /// Reads so many replies.
    Read(usize, usize),
}

/// How fast it went.
pub(crate) struct Round {
    /// Requests with their replies, a second.
    pub(crate) rate: f64,
    /// From the last byte sent to a reply, in nanoseconds.
    pub(crate) latencies: Vec<u64>,
}

/// One round. `workers` has the connections of each thread.
pub(crate) fn round(
    workers: &mut [Vec<Connection>],
    script: &[Step],
    time: Duration,
) -> Result<Round> {
    let gate = RwLock::new(());
    let closed = gate.write().map_err(|_| "a thread failed")?;
    thread::scope(|scope| {
        let gate = &gate;
        let threads = workers.iter_mut().map(|connections| {
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || {
                drop(gate.read());
                work(connections, script, time)
            })
        });
        let threads = threads.collect::<std::io::Result<Vec<_>>>();
        // Before they begin: among hundreds of threads this one may not run again for long.
        let (begin, mut operations, mut latencies) = (Instant::now(), 0, Vec::new());
        drop(closed);
        for thread in threads? {
            let (count, times) = thread.join().map_err(|_| "a thread failed")??;
            operations += count;
            latencies.extend(times);
        }
        // Until the last thread has its last reply.
        Ok(Round { rate: operations as f64 / begin.elapsed().as_secs_f64(), latencies })
    })
}

/// How many operations a thread did, and how long each took.
fn work(
    connections: &mut [Connection],
    script: &[Step],
    time: Duration,
) -> Result<(usize, Vec<u64>)> {
    let (mut operations, mut latencies) = (0, Vec::new());
    let begin = Instant::now();
    let mut sent = begin;
    while begin.elapsed() < time {
        for step in script {
            match step {
                Step::Send(to, bytes) => {
                    sent = Instant::now();
                    connections[*to].send(bytes)?;
                }
                Step::Read(from, count) => {
                    connections[*from].replies(*count)?;
                    latencies.push(u64::try_from(sent.elapsed().as_nanos())?);
                    operations += count;
                }
            }
        }
    }
    Ok((operations, latencies))
}

/// The middle, or any other part, of some numbers; 0 of none.
pub(crate) fn quantile(mut numbers: Vec<f64>, part: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let at = (numbers.len().saturating_sub(1) as f64 * part).round() as usize;
    numbers.get(at).copied().unwrap_or_default()
}

pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    quantile(numbers.into_iter().collect(), 0.5)
}
