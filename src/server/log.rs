//! The log callback of the manager's owner. It is called on a thread of its own, so that a callback that blocks (on
//! a full pipe, for example) blocks neither the accept loop nor a client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use super::{GRACE, guarded};
use crate::wait::{Monitor, Wait};

/// Called with each line.
pub(crate) type Log = Box<dyn Fn(&str) + Send + Sync>;

/// The most lines that are kept while the callback blocks. Further lines are dropped and counted.
const LINES: usize = 1024;

pub(super) struct Logger {
    log: Log,
    lines: Monitor<Lines>,
}

#[derive(Default)]
struct Lines {
    waiting: VecDeque<String>,
    dropped: usize,
    /// Whether the logging thread runs: it does while there are lines.
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
            // A panic of the callback must not end the logging.
            let _ = guarded(|| (self.log)(&line));
            lines = self.lines.lock();
        }
        lines.running = false;
        drop(lines);
        self.lines.notify_all();
    }

    /// Waits until all lines are logged, or a short time if the callback blocks.
    pub(super) fn flush(self: &Arc<Self>) {
        self.start();
        let _ = self.lines.wait(&mut Wait::new(Some(GRACE)), |lines| !lines.running);
    }
}
