//! The log callback of the manager's owner. It is called on a thread of its own, so that a callback that blocks (on
//! a full pipe, for example) blocks neither the accept loop nor a client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use super::guarded;
use super::lifecycle::GRACE;
use crate::wait::{Monitor, Wait};

/// The most lines that are kept while the callback blocks. Further lines are dropped and counted.
const LINES: usize = 1024;

pub(crate) struct Logger {
    log: Box<dyn Fn(&str) + Send + Sync>,
    lines: Monitor<Lines>,
}

#[derive(Default)]
struct Lines {
    waiting: VecDeque<String>,
    dropped: usize,
    /// Whether the logging thread runs: it does while there are lines.
    running: bool,
}

impl Logger {
    pub(crate) fn new(log: impl Fn(&str) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { log: Box::new(log), lines: Monitor::new(Lines::default()) })
    }

    /// Hands a line to the logging thread, and starts it if it does not run.
    pub(super) fn write(self: &Arc<Self>, line: String) {
        let mut lines = self.lines.lock();
        if lines.waiting.len() == LINES {
            lines.dropped += 1;
            return;
        }
        lines.waiting.push_back(line);
        if std::mem::replace(&mut lines.running, true) {
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
        while let Some(line) = lines.waiting.pop_front() {
            if lines.waiting.is_empty() && lines.dropped > 0 {
                let count = std::mem::take(&mut lines.dropped);
                let text = format!("{count} log lines were dropped: the log is too slow");
                lines.waiting.push_back(text);
            }
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
    pub(super) fn flush(&self) {
        let _ = self.lines.wait(&mut Wait::new(Some(GRACE)), |lines| !lines.running);
    }
}
