//! `put`: items from the command line or from stdin.

use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use basemanager::{Error, QueueProxy, Value};
use indicatif::{ProgressBar, ProgressStyle};

use crate::connect::{Connect, queue};
use crate::failure::{Failure, UNMET};
use crate::{json, units};

/// The most items, and about the most bytes, that one request puts.
const BATCH: (usize, usize) = (1000, 256 * 1024);

/// Put items into a queue
#[derive(clap::Args)]
#[command(after_help = "\
An item that is not valid JSON is put as text. Without ITEM arguments, each line of stdin is one item.

Example: seq 100 | basemanager put task_queue")]
pub(crate) struct Put {
    /// Name of the queue
    queue: String,
    /// Items to put; without any, they are read from stdin
    #[arg(value_name = "ITEM", conflicts_with_all = ["null", "raw"], allow_negative_numbers = true)]
    items: Vec<String>,
    /// Items on stdin end with a NUL byte instead of a newline
    #[arg(long, conflicts_with = "raw")]
    null: bool,
    /// Put all of stdin as one item, of type bytes
    #[arg(long)]
    raw: bool,
    /// Wait at most this long (such as 30s) in each request while the queue is full; 0 does not wait
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    connect: Connect,
}

impl Put {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let items = self.items.iter().map(|item| json::parse(item));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        let client = self.connect.client()?;
        let mut sink = Sink {
            queue: queue(&client, &self.queue)?,
            timeout: self.timeout,
            count: 0,
            progress: ProgressBar::hidden(),
        };
        if !items.is_empty() {
            return sink.put(items);
        }
        if self.raw {
            let mut bytes = Vec::new();
            io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .map_err(Failure::stream("standard input"))?;
            return sink.put(vec![Value::Bytes(bytes)]);
        }
        sink.progress = progress();
        let result = sink.put_lines(if self.null { 0 } else { b'\n' });
        sink.progress.finish();
        result
    }
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{pos} items, {per_sec}, {elapsed}");
    let bar = ProgressBar::no_length();
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

struct Sink {
    queue: QueueProxy,
    timeout: Option<Duration>,
    count: usize,
    progress: ProgressBar,
}

impl Sink {
    /// Puts what stdin has, in batches; a line is not held back to wait for others.
    fn put_lines(&mut self, end: u8) -> Result<(), Failure> {
        let mut stdin = BufReader::with_capacity(64 * 1024, io::stdin());
        let (mut batch, mut bytes, mut line) = (Vec::new(), 0, Vec::new());
        for number in 1_usize.. {
            line.clear();
            let read = stdin.read_until(end, &mut line);
            if read.map_err(Failure::stream("standard input"))? == 0 {
                break;
            }
            if line.pop_if(|last| *last == end).is_some() && end == b'\n' {
                line.pop_if(|last| *last == b'\r');
            }
            bytes += line.len();
            let text = std::str::from_utf8(&line).map_err(|_| {
                Failure::usage(format!(
                    "item {number} of stdin is not UTF-8: use --raw to put stdin as bytes"
                ))
            });
            batch.push(match text.and_then(json::parse) {
                Ok(item) => item,
                Err(failure) => {
                    self.put(batch)?;
                    return Err(self.after_some(failure));
                }
            });
            if batch.len() == BATCH.0 || bytes >= BATCH.1 || !stdin.buffer().contains(&end) {
                self.put(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        self.put(batch)
    }

    /// Puts all items, or reports how many were put.
    fn put(&mut self, items: Vec<Value>) -> Result<(), Failure> {
        if self.queue.proxy().exposes("put_many") {
            return self.put_batch(items);
        }
        if let Some(timeout) = self.timeout {
            for item in items {
                let put = self.queue.put_timeout(item, timeout);
                self.counted(put.map(|()| 1).map_err(Error::from))?;
            }
            return Ok(());
        }
        for put in self.queue.put_each(items) {
            self.counted(put.map(|()| 1))?;
        }
        Ok(())
    }

    fn put_batch(&mut self, mut items: Vec<Value>) -> Result<(), Failure> {
        let timeout: Value = self.timeout.map(|timeout| timeout.as_secs_f64()).into();
        while !items.is_empty() {
            let args = (items.clone(), timeout.clone());
            let put = self.queue.proxy().call_waiting("put_many", args, self.timeout);
            let put = self.counted(put.and_then(Value::to::<usize>))?;
            items.drain(..put.min(items.len()));
        }
        Ok(())
    }

    fn counted(&mut self, put: Result<usize, Error>) -> Result<usize, Failure> {
        match put {
            Ok(count) => {
                self.count += count;
                self.progress.inc(count as u64);
                Ok(count)
            }
            Err(error) if error.is_full() => {
                Err(self.after_some(Failure { status: UNMET, message: "the queue is full".into() }))
            }
            Err(error) => Err(self.after_some(error.into())),
        }
    }

    fn after_some(&self, failure: Failure) -> Failure {
        match self.count {
            0 => failure,
            count => failure.hint(&format!("{count} items were put before")),
        }
    }
}
