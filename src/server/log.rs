//! The owner's log, called on a thread of its own: one that blocks, such as a full pipe, blocks neither
//! the accept loop nor a client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use super::{GRACE, guarded};
use crate::wait::{Monitor, Wait};

/// Receives what goes wrong, a line each.
pub(crate) type Log = Box<dyn Fn(&str) + Send + Sync>;

/// The lines that wait for the log at most; further ones are dropped and counted.
const LINES: usize = 1024;

pub(super) struct Logger {
    log: Log,
    lines: Monitor<Lines>,
}

#[derive(Default)]
struct Lines {
    waiting: VecDeque<String>,
    dropped: usize,
    /// The logging thread, which exists while there are lines.
    running: bool,
}

impl Lines {
    fn next(&mut self) -> Option<String> {
        self.waiting.pop_front().or_else(|| match std::mem::take(&mut self.dropped) {
            0 => None,
            count => Some(format!("{count} log lines were dropped: the log is too slow")),
        })
    }
}

impl Logger {
    pub(super) fn new(log: Log) -> Arc<Self> {
        Arc::new(Self { log, lines: Monitor::new(Lines::default()) })
    }

    /// Hands a line to the logging thread.
    pub(super) fn write(self: &Arc<Self>, line: String) {
        let mut lines = self.lines.lock();
        if lines.waiting.len() < LINES {
            lines.waiting.push_back(line);
        } else {
            lines.dropped += 1;
        }
        drop(lines);
        self.start();
    }

    fn start(self: &Arc<Self>) {
        let mut lines = self.lines.lock();
        if lines.waiting.is_empty() || std::mem::replace(&mut lines.running, true) {
            return;
        }
        drop(lines);
        let logger = self.clone();
        let thread = thread::Builder::new().name("basemanager-log".to_owned());
        if thread.spawn(move || logger.run()).is_err() {
            // Out of threads: the next line tries again.
            self.lines.lock().running = false;
        }
    }

    fn run(&self) {
        let mut lines = self.lines.lock();
        while let Some(line) = lines.next() {
            drop(lines);
            // A log that panics is its owner's affair, and no connection's.
            let _ = guarded(|| (self.log)(&line));
            lines = self.lines.lock();
        }
        lines.running = false;
        drop(lines);
        self.lines.notify_all();
    }

    /// Waits for the lines to be logged, but not for a log that blocks.
    pub(super) fn flush(self: &Arc<Self>) {
        self.start();
        let _ = self.lines.wait(&mut Wait::new(Some(GRACE)), |lines| !lines.running);
    }
}
