//! `get`: takes items and prints them. An item that could not be written goes back to the queue.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use basemanager::{Client, Consumer, Error, Limits, Pickle, QueueProxy, Value};

use crate::connect::{Connect, queue};
use crate::failure::Failure;
use crate::json::{self, Format};
use crate::units;

/// The most items that one request takes.
const BATCH: usize = 1000;
/// How long putting an item back may wait for room.
const PUT_BACK: Duration = Duration::from_secs(5);

/// Take items from a queue, and print them
#[derive(clap::Args)]
#[command(after_help = "\
Prints each item as JSON, or as the call that makes it if JSON cannot represent it. Waits while the queue is empty. \
An item that cannot be written goes back to the queue; to the end of a plain one.

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
        if let Some(file) = &self.pickle {
            return self.save(&client, file);
        }
        let mut source = Source::new(queue(&client, &self.queue)?);
        let format = match (self.repr, self.raw) {
            (true, _) => Format::Repr,
            (_, true) => Format::Raw,
            _ => Format::Json,
        };
        let mut out = json::stdout().map_err(Failure::stream("standard output"))?;
        let mut left = if self.follow { usize::MAX } else { self.number };
        // A reader may want no more than the first items.
        let mut batch = 1;
        while left > 0 {
            let items = match source.take(left.min(batch), self.timeout) {
                Ok(items) if items.is_empty() => return Err(self.timed_out()),
                Ok(items) => items,
                Err(error) if self.follow && error.is_shut_down() => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let shown = items.iter().take_while(|item| json::has_text(item)).count();
            let (written, result) =
                json::write_items(&mut out, items.get(..shown).unwrap_or_default(), format);
            left = left.saturating_sub(written);
            source.settle(&items, written)?;
            match result {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                result => result.map_err(Failure::stream("standard output"))?,
            }
            if shown < items.len() {
                return Err(Failure::usage(
                    "the next item has no text: save it with --pickle FILE",
                ));
            }
            batch = (batch * 2).min(BATCH);
        }
        Ok(())
    }

    fn timed_out(&self) -> Failure {
        match self.timeout {
            Some(Duration::ZERO) => Failure::unmet(format!("{} is empty", self.queue)),
            _ => Failure::unmet(format!("no item came from {} in time", self.queue)),
        }
    }

    /// Saves an item unopened.
    fn save(&self, client: &Client, file: &Path) -> Result<(), Failure> {
        // With this limit, a client opens no container.
        let limits = Limits::default().depth(0);
        let unopening = self.connect.builder()?.limits(limits).connect()?;
        let proxy = Value::from(queue(client, &self.queue)?.proxy());
        let Some(proxy) = unopening.proxy_of(&proxy)? else {
            return Err(Failure::usage("the manager made no proxy"));
        };
        let mut source = Source::new(proxy.into());
        let items = source.take(1, self.timeout)?;
        let Some(item) = items.first() else { return Err(self.timed_out()) };
        let pickle = match item {
            Value::Opaque(pickle) => pickle.clone(),
            value => Pickle::encode(value)?,
        };
        let result = fs::write(file, pickle.to_bytes());
        source.settle(&items, usize::from(result.is_ok()))?;
        result.map_err(|error| Failure::usage(format!("cannot write {}: {error}", file.display())))
    }
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
        Self {
            consumer: queue.consumer(),
            is_at_least_once: queue.proxy().exposes("nack"),
            has_batches: queue.proxy().exposes("get_many"),
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
        // The items of a batch would share one lease.
        if self.has_batches && !self.is_at_least_once && max > 1 {
            return self.consumer.get_many(max, timeout);
        }
        Ok(match timeout {
            None => vec![self.consumer.get()?],
            Some(timeout) => self.consumer.get_timeout(timeout)?.into_iter().collect(),
        })
    }

    /// Marks the first `done` of the items that were taken as done, and returns the rest to the queue: to the front
    /// of an at-least-once queue, to the end of another.
    pub(crate) fn settle(&mut self, items: &[Value], done: usize) -> Result<(), Failure> {
        let (done, rest) = items.split_at(done);
        if self.is_at_least_once {
            let nacked = rest.iter().rev().try_for_each(|_| self.consumer.nack());
            let settled =
                nacked.and_then(|()| done.iter().try_for_each(|_| self.consumer.task_done()));
            return settled
                .map_err(|error| Failure::from(error).hint("the item will be delivered again"));
        }
        for (put, item) in rest.iter().enumerate() {
            self.queue.put_timeout(item.clone(), PUT_BACK).map_err(|error| {
                let lost = rest.len() - put;
                Failure::from(Error::from(error))
                    .hint(&format!("{lost} items that were not written could not go back"))
            })?;
        }
        Ok(())
    }
}
