//! `work`: a command for each item.

use std::io::{self, ErrorKind, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use basemanager::{Client, Value};

use crate::connect::Connect;
use crate::failure::Failure;
use crate::get::Source;
use crate::json::{self, Format};
use crate::signals::{self, Request};
use crate::snapshot::entry;

/// How long a worker waits for an item before it looks whether it should end.
const LOOK: Duration = Duration::from_millis(500);

/// Run a command for each item, with the item on its stdin
#[derive(clap::Args)]
#[command(after_help = "\
If the command exits with status 0, the item is done; otherwise it returns to the queue. The command is killed
when the item's lease expires. After SIGTERM, `work` takes no more items and lets running commands finish.

Example: basemanager work jobs -j 4 -- python3 handle.py")]
pub(crate) struct Work {
    /// Name of the queue
    queue: String,
    /// Maximum number of commands that run at the same time
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    jobs: usize,
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
        let source = Source::new(client.queue(&self.queue)?);
        if !source.is_at_least_once() && !self.at_most_once {
            let queue = &self.queue;
            return Err(Failure::usage(format!(
                "{queue} is not an at-least-once queue, so an item whose command fails would be lost: serve it with \
                 `--queue {queue},at-least-once`, or accept that with --at-most-once"
            )));
        }
        let lease = lease(&client, &self.queue);
        let ending = Arc::new(AtomicBool::new(false));
        let end = ending.clone();
        signals::handle(move |request| {
            if request == Request::End {
                end.store(true, Ordering::Relaxed);
            }
        })?;
        let results = thread::scope(|scope| {
            let worker = || {
                let result = self.work(&client, lease, &ending);
                if result.is_err() {
                    // One that cannot go on ends all.
                    ending.store(true, Ordering::Relaxed);
                }
                result
            };
            let workers: Vec<_> = (0..self.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        results.into_iter().filter_map(Result::ok).collect()
    }

    fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }

    /// Takes items until the queue is shut down or the program is to end.
    fn work(
        &self,
        client: &Client,
        lease: Option<Duration>,
        ending: &AtomicBool,
    ) -> Result<(), Failure> {
        let mut source = Source::new(client.queue(&self.queue)?);
        while !ending.load(Ordering::Relaxed) {
            let items = match source.take(1, Some(LOOK)) {
                Ok(items) => items,
                Err(error) if error.is_shut_down() => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let Some(item) = items.first() else { continue };
            let deadline = lease.map(|lease| Instant::now() + lease);
            match self.run_command(item, deadline) {
                Ok(Outcome::Done) => source.settle(&items, 1)?,
                Ok(Outcome::Failed(why)) => {
                    eprintln!("basemanager: {}: {why}", self.program());
                    if source.is_at_least_once() {
                        source.settle(&items, 0)?;
                    }
                }
                // The queue has taken the item back already.
                Ok(Outcome::TooLate) => {
                    eprintln!("basemanager: {} was killed: the lease ended", self.program());
                    source = Source::new(client.queue(&self.queue)?);
                }
                Err(error) => {
                    source.settle(&items, 0)?;
                    let command = self.program();
                    return Err(Failure::usage(format!("cannot run {command}: {error}")));
                }
            }
        }
        Ok(())
    }

    fn run_command(&self, item: &Value, deadline: Option<Instant>) -> io::Result<Outcome> {
        let mut command = Command::new(self.program());
        command.args(self.command.iter().skip(1)).stdin(Stdio::piped());
        // In a group of its own: Ctrl-C ends this program, which lets the command finish.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let mut input = Vec::new();
        json::append_item(&mut input, item, if self.raw { Format::Raw } else { Format::Json });
        let stdin = child.stdin.take();
        // On a thread of its own: the command may not read, and outlive its lease.
        let writer = thread::spawn(move || match stdin {
            Some(mut stdin) => stdin.write_all(&input),
            None => Ok(()),
        });
        let outcome = wait(&mut child, deadline)?;
        match writer.join() {
            // A command need not read its input.
            Ok(Err(error)) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => Ok(outcome),
        }
    }
}

/// How a command ended.
enum Outcome {
    Done,
    Failed(String),
    /// The lease of its item ended before.
    TooLate,
}

/// Waits for a command, and kills it at the deadline.
fn wait(child: &mut Child, deadline: Option<Instant>) -> io::Result<Outcome> {
    let Some(deadline) = deadline else { return child.wait().map(outcome) };
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(outcome(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            kill(child)?;
            return Ok(Outcome::TooLate);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn outcome(status: std::process::ExitStatus) -> Outcome {
    if status.success() { Outcome::Done } else { Outcome::Failed(status.to_string()) }
}

/// Kills a command, and what it started.
fn kill(child: &mut Child) -> io::Result<()> {
    if cfg!(unix) {
        // std can kill a process, but not its group.
        let group = format!("-{}", child.id());
        let kill =
            Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        if kill.is_ok_and(|status| status.success()) {
            return child.wait().map(drop);
        }
    }
    child.kill()?;
    child.wait().map(drop)
}

/// How long a consumer may keep an item, if the manager tells.
fn lease(client: &Client, queue: &str) -> Option<Duration> {
    let stats = client.create("stats", ()).ok()?.value().ok()?;
    let seconds = entry(entry(entry(&stats, "queues")?, queue)?, "lease")?.clone().to().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
