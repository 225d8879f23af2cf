//! `work`: a command for each item.

mod command;

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use basemanager::{Client, Value};

use crate::connect::{Connect, queue};
use crate::failure::{EXCEPTION, Failure, one_line};
use crate::get::Source;
use crate::json::{self, Format};
use crate::signals::{self, Request};
use crate::snapshot::entry;
use command::{Outcome, Running};

/// A worker that waits for an item checks at this interval whether it should end.
const CHECK: Duration = Duration::from_millis(500);
/// The pause after a failed command; doubled after each further failure of the same worker.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause after a failed command.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Run a command for each item, with the item on its stdin
#[derive(clap::Args)]
#[command(after_help = "\
If the command exits with status 0, the item is done; otherwise it returns to the queue after a pause, which \
grows from 100 ms to 5 s with each failure. The command is killed shortly before the item's lease expires. \
After SIGTERM, SIGINT or SIGHUP, `work` takes no more items and lets running commands finish; a second SIGTERM \
or SIGINT kills them. Commands do not inherit MANAGER_AUTHKEY.

Example: basemanager work jobs -j 4 -- python3 handle.py")]
pub(crate) struct Work {
    /// Name of the queue
    queue: String,
    /// Maximum number of commands that run at the same time
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// Pass the bytes or text of the item, instead of JSON
    #[arg(long)]
    raw: bool,
    /// Accept a queue that is not at-least-once: an item whose command fails is lost
    #[arg(long)]
    at_most_once: bool,
    /// Command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

impl Work {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let client = self.connect.client()?;
        let source = self.source(&client)?;
        if !source.is_at_least_once() && !self.at_most_once {
            let queue = &self.queue;
            return Err(Failure::usage(format!(
                "{queue} is not an at-least-once queue, so an item whose command fails would be lost: serve it with \
                 `--queue {queue},at-least-once`, or accept that with --at-most-once"
            )));
        }
        let lease = lease(&client, &self.queue);
        let (ending, running) = (Arc::new(Ending::default()), Arc::new(Running::default()));
        let (end, commands) = (ending.clone(), running.clone());
        let act = move |request| {
            if request == Request::End {
                end.begin();
            }
        };
        signals::handle_with_abort(act, move || commands.kill_all())?;
        run_workers(self.jobs, &ending, || self.work(&client, lease, &ending, &running))
    }

    fn source(&self, client: &Client) -> Result<Source, Failure> {
        Ok(Source::new(queue(client, &self.queue)?))
    }

    fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }

    /// Takes items until the queue is shut down or the program is to end.
    fn work(
        &self,
        client: &Client,
        lease: Option<Duration>,
        ending: &Ending,
        running: &Running,
    ) -> Result<(), Failure> {
        let mut source = self.source(client)?;
        let mut pause = MIN_PAUSE;
        while !ending.has_begun() {
            let items = match source.take(1, Some(CHECK)) {
                Ok(items) => items,
                Err(error) if error.is_shut_down() => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let Some(item) = items.first() else { continue };
            let deadline = lease.and_then(|lease| Instant::now().checked_add(run_time(lease)));
            match running.run(self.command(), self.input(item), deadline) {
                Ok(Outcome::Done) => {
                    self.settle(&mut source, &items, 1)?;
                    pause = MIN_PAUSE;
                }
                Ok(Outcome::Failed(why)) => {
                    report(&format!("{}: {why}", self.program()));
                    let resume = Instant::now() + pause;
                    // Keep the item during the pause: otherwise it returns to the front of the queue, and stops the
                    // other workers in turn.
                    ending.sleep_until(deadline.map_or(resume, |deadline| deadline.min(resume)));
                    if source.is_at_least_once() {
                        self.settle(&mut source, &items, 0)?;
                    }
                    ending.sleep_until(resume);
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(error) => {
                    self.settle(&mut source, &items, 0)?;
                    let command = self.program();
                    return Err(Failure::usage(format!("cannot run {command}: {error}")));
                }
            }
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program());
        command.args(self.command.iter().skip(1)).env_remove("MANAGER_AUTHKEY");
        command
    }

    fn input(&self, item: &Value) -> Vec<u8> {
        let mut input = Vec::new();
        json::append_item(&mut input, item, if self.raw { Format::Raw } else { Format::Json });
        input
    }

    /// [`Source::settle`]; reports a ValueError of the manager: the lease has expired, and the queue has taken the
    /// item back already.
    fn settle(&self, source: &mut Source, items: &[Value], done: usize) -> Result<(), Failure> {
        match source.settle(items, done) {
            Err(Failure { status: EXCEPTION, message }) if message.contains("ValueError: ") => {
                report(&format!("{} ended too late: {message}", self.program()));
                Ok(())
            }
            result => result,
        }
    }
}

/// How long a command may run. At the end of the lease, another consumer gets the item: the command must be dead by
/// then.
fn run_time(lease: Duration) -> Duration {
    lease.saturating_sub((lease / 10).min(Duration::from_secs(1)))
}

/// Runs a worker on each of several threads until all return. If one fails or panics, ends the others.
fn run_workers(
    count: u16,
    ending: &Ending,
    worker: impl Fn() -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    let run = || {
        let result = panic::catch_unwind(AssertUnwindSafe(&worker));
        if !matches!(result, Ok(Ok(()))) {
            ending.begin();
        }
        result
    };
    let results = thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut results = Vec::new();
        for started in 0..count {
            match thread::Builder::new().spawn_scoped(scope, run) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    ending.begin();
                    results.push(Ok(Err(Failure::usage(format!(
                        "cannot start more than {started} workers (--jobs {count}): {error}"
                    )))));
                    break;
                }
            }
        }
        results.extend(threads.into_iter().map(|thread| thread.join().unwrap_or_else(Err)));
        results
    });
    for result in results {
        // The message of a panic has been printed.
        result.unwrap_or_else(|payload| panic::resume_unwind(payload))?;
    }
    Ok(())
}

/// Tells the workers to take no more items.
#[derive(Default)]
struct Ending {
    has_begun: Mutex<bool>,
    begun: Condvar,
}

impl Ending {
    fn begin(&self) {
        *self.lock() = true;
        self.begun.notify_all();
    }

    fn has_begun(&self) -> bool {
        *self.lock()
    }

    /// Sleeps until this time, or until the end begins.
    fn sleep_until(&self, time: Instant) {
        let left = time.saturating_duration_since(Instant::now());
        drop(self.begun.wait_timeout_while(self.lock(), left, |has_begun| !*has_begun));
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.has_begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints a line on stderr, which may be a terminal that was closed.
fn report(text: &str) {
    let _ = writeln!(io::stderr(), "basemanager: {}", one_line(text));
}

/// How long a consumer may keep an item, if the manager tells.
fn lease(client: &Client, queue: &str) -> Option<Duration> {
    let stats = client.create("stats", ()).ok()?.value().ok()?;
    let seconds = entry(entry(entry(&stats, "queues")?, queue)?, "lease")?.clone().to().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_killed_a_margin_before_the_lease_expires() {
        assert_eq!(run_time(Duration::from_secs(60)), Duration::from_secs(59));
        assert_eq!(run_time(Duration::from_secs(1)), Duration::from_millis(900));
        assert_eq!(run_time(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn panic_of_a_worker_ends_the_others_and_is_not_success() {
        let ending = Ending::default();
        let first = Mutex::new(true);
        let worker = || {
            assert!(!std::mem::take(&mut *first.lock().unwrap_or_else(PoisonError::into_inner)));
            ending.sleep_until(Instant::now() + Duration::from_secs(600));
            Ok(())
        };
        let started = Instant::now();
        let run = || run_workers(3, &ending, worker);
        assert!(panic::catch_unwind(AssertUnwindSafe(run)).is_err());
        assert!(started.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn end_interrupts_a_pause() {
        let ending = Ending::default();
        let started = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| ending.sleep_until(started + Duration::from_secs(600)));
            ending.begin();
        });
        assert!(ending.has_begun() && started.elapsed() < Duration::from_secs(300));
    }
}
