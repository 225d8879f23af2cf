//! `get`: takes items and prints them. An item that could not be written goes back to the queue.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use basemanager::{Consumer, Pickle, QueueProxy, Value};

use crate::connect::Connect;
use crate::failure::Failure;
use crate::json::{self, Format};
use crate::units;

/// The most items that one request takes.
const BATCH: usize = 1000;

/// Take items from a queue, and print them
#[derive(clap::Args)]
#[command(after_help = "\
Prints each item as JSON, or as Python's repr if JSON cannot represent it. Waits while the queue is empty.

Example: basemanager get task_queue --follow | while read -r item; do echo \"$item\"; done")]
pub(crate) struct Get {
    /// Name of the queue
    queue: String,
    /// Number of items
    #[arg(short, long, value_name = "N", default_value_t = 1, conflicts_with = "follow")]
    number: usize,
    /// Print items as they arrive, until the queue is shut down
    #[arg(long)]
    follow: bool,
    /// Wait at most this long (such as 30s) for each item; 0 does not wait
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    timeout: Option<Duration>,
    /// Print Python's repr instead of JSON
    #[arg(long, conflicts_with = "raw")]
    repr: bool,
    /// Print the bytes or text of the items without separators
    #[arg(long)]
    raw: bool,
    /// Save one item, pickled, instead of printing it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["follow", "number", "repr", "raw"])]
    pickle: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
}

impl Get {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let client = self.connect.client()?;
        let mut source = Source::new(client.queue(&self.queue)?);
        if let Some(file) = &self.pickle {
            return self.save(&mut source, file);
        }
        let format = match (self.repr, self.raw) {
            (true, _) => Format::Repr,
            (_, true) => Format::Raw,
            _ => Format::Json,
        };
        let mut out = json::stdout()?;
        let mut left = if self.follow { usize::MAX } else { self.number };
        while left > 0 {
            let items = match source.take(left.min(BATCH), self.timeout) {
                Ok(items) if items.is_empty() => return Err(self.timed_out()),
                Ok(items) => items,
                Err(error) if self.follow && error.is_shut_down() => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let (written, result) = json::write_items(&mut out, &items, format);
            left = left.saturating_sub(written);
            source.settle(&items, written)?;
            match result {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                result => result?,
            }
        }
        Ok(())
    }

    fn timed_out(&self) -> Failure {
        match self.timeout {
            Some(Duration::ZERO) => Failure::unmet(format!("{} is empty", self.queue)),
            _ => Failure::unmet(format!("no item came from {} in time", self.queue)),
        }
    }

    fn save(&self, source: &mut Source, file: &Path) -> Result<(), Failure> {
        let items = source.take(1, self.timeout)?;
        let Some(item) = items.first() else { return Err(self.timed_out()) };
        let pickle = match item {
            Value::Opaque(pickle) => pickle.clone(),
            value => Pickle::encode(value)?,
        };
        let result = write_new(file, &pickle.to_bytes());
        source.settle(&items, usize::from(result.is_ok()))?;
        result.map_err(|error| Failure::usage(format!("cannot write {}: {error}", file.display())))
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)?;
    File::open(path)?.sync_all()
}

/// A queue of either kind to take from.
pub(crate) struct Source {
    queue: QueueProxy,
    consumer: Consumer,
    is_at_least_once: bool,
    has_batches: bool,
}

impl Source {
    pub(crate) fn new(queue: QueueProxy) -> Self {
        let exposes = |method: &str| queue.proxy().exposed().iter().any(|name| name == method);
        Self {
            consumer: queue.consumer(),
            is_at_least_once: exposes("nack"),
            has_batches: exposes("get_many"),
            queue,
        }
    }

    pub(crate) fn is_at_least_once(&self) -> bool {
        self.is_at_least_once
    }

    /// Takes up to `max` items, and waits for the first; none when the time is up.
    pub(crate) fn take(
        &mut self,
        max: usize,
        timeout: Option<Duration>,
    ) -> basemanager::Result<Vec<Value>> {
        if self.has_batches && max > 1 {
            return self.consumer.get_many(max, timeout);
        }
        Ok(match timeout {
            None => vec![self.consumer.get()?],
            Some(timeout) => self.consumer.get_timeout(timeout)?.into_iter().collect(),
        })
    }

    /// Marks the first `done` of the items that were taken as done, and returns the rest to the queue: to the front
    /// of an at-least-once queue, to the end of another.
    pub(crate) fn settle(&mut self, items: &[Value], done: usize) -> basemanager::Result<()> {
        let (done, rest) = items.split_at(done);
        if self.is_at_least_once {
            rest.iter().rev().try_for_each(|_| self.consumer.nack())?;
            return done.iter().try_for_each(|_| self.consumer.task_done());
        }
        rest.iter().try_for_each(|item| self.queue.put(item.clone()))
    }
}
