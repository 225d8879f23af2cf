//! What `tap` shows of the frames that pass, and what it keeps of them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, SystemTime};

use basemanager::tap::{
    Event, Exchange, Exchanges, Frame, Frames, Handshake, Kind, Read, Recorder, Recording,
    RelayHandle,
};

use super::lines::Lines;
use super::{NO_OVERWRITE, Tap, json, usage};
use crate::failure::Failure;

/// A call that waits longer than this has a line of its own before its reply comes.
const WAITING: Duration = Duration::from_secs(1);
/// How often calls that wait are looked for.
const INTERVAL: Duration = Duration::from_millis(250);
/// The most frames in a page, and the most bytes of their payloads.
const PAGE: (usize, usize) = (20_000, 64 << 20);

/// Shows frames as the options say, and keeps them for the recording and the page.
pub(super) struct View {
    out: BufWriter<io::Stdout>,
    style: Style,
    calls_only: bool,
    exchanges: Exchanges,
    recorder: Option<Recorder>,
    page: Option<Page>,
    /// Whether stdout failed. The relay goes on without it.
    is_silent: bool,
}

enum Style {
    Lines(Lines),
    Json(SystemTime),
}

/// The frames for a page.
struct Page {
    file: File,
    frames: Vec<Frame>,
    bytes: usize,
    /// How many frames there was no room for.
    left_out: u64,
}

impl View {
    pub(super) fn new(
        tap: &Tap,
        start: SystemTime,
        recorder: Option<Recorder>,
    ) -> Result<Self, Failure> {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let color = io::stdout().is_terminal() && !is_set("NO_COLOR");
        let style = if tap.json {
            Style::Json(start)
        } else {
            Style::Lines(Lines { start, color, verbose: tap.verbose })
        };
        Ok(Self {
            out: BufWriter::new(io::stdout()),
            style,
            calls_only: tap.calls,
            exchanges: Exchanges::new(),
            recorder,
            page: tap.html.as_deref().map(Page::create).transpose()?,
            is_silent: false,
        })
    }

    /// Shows the frames of a recording.
    pub(super) fn replay(&mut self, mut recording: Recording) -> Result<(), Failure> {
        let mut last = Duration::ZERO;
        let shown = (|| {
            for frame in recording.by_ref() {
                let frame = frame.map_err(usage)?;
                last = last.max(frame.time);
                self.waiting(frame.time, WAITING)?;
                self.show(frame)?;
            }
            self.waiting(last, Duration::ZERO)?;
            self.flush()
        })();
        if recording.is_truncated() {
            eprintln!(
                "basemanager: the recording is truncated: its last, incomplete frame was skipped"
            );
        }
        ended(shown)
    }

    /// Shows frames as they come, until the relay stops.
    pub(super) fn follow(&mut self, frames: &Frames, relay: &RelayHandle) -> Result<(), Failure> {
        let mut failed = Ok(());
        loop {
            match self.show_all(frames, relay) {
                Err(failure) if failure.message != BROKEN_PIPE && !self.is_silent => {
                    eprintln!("basemanager: {}; the relay goes on", failure.message);
                    self.is_silent = true;
                    failed = Err(failure);
                }
                shown => return ended(shown).and(failed),
            }
        }
    }

    fn show_all(&mut self, frames: &Frames, relay: &RelayHandle) -> Result<(), Failure> {
        let mut looked = Duration::ZERO;
        loop {
            match frames.recv_timeout(INTERVAL) {
                Ok(frame) => self.show(frame)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
            if relay.elapsed().saturating_sub(looked) >= INTERVAL {
                looked = relay.elapsed();
                self.waiting(looked, WAITING)?;
            }
            if frames.is_empty() {
                self.flush()?;
            }
        }
    }

    fn show(&mut self, frame: Frame) -> Result<(), Failure> {
        if let Some(Err(error)) = self.recorder.as_mut().map(|recorder| recorder.write(&frame)) {
            self.stop_recording(&error.into());
        }
        let read = self.exchanges.read(&frame);
        let shown = self.show_read(&frame, &read);
        if let Some(page) = &mut self.page {
            page.add(frame);
        }
        shown
    }

    fn show_read(&mut self, frame: &Frame, read: &Read) -> Result<(), Failure> {
        if let Style::Lines(lines) = &self.style
            && lines.verbose > 0
            && !self.is_silent
        {
            written(lines.frame(&mut self.out, frame, &read.meaning))?;
        }
        read.exchanges.iter().try_for_each(|exchange| self.event(exchange))
    }

    /// Shows the calls that have waited for so long.
    fn waiting(&mut self, now: Duration, at_least: Duration) -> Result<(), Failure> {
        for exchange in self.exchanges.waiting(now, at_least) {
            self.event(&exchange)?;
        }
        Ok(())
    }

    fn event(&mut self, exchange: &Exchange) -> Result<(), Failure> {
        let is_hidden = match &exchange.event {
            Event::Call(call) => call.is_housekeeping() && !call.outcome.is_failure(),
            Event::Handshake(Handshake::Proved(_), _) | Event::Opened(_) | Event::Closed => true,
            _ => false,
        };
        if self.is_silent || self.calls_only && is_hidden {
            return Ok(());
        }
        written(match &self.style {
            Style::Lines(lines) => lines.event(&mut self.out, exchange),
            Style::Json(start) => json::event(&mut self.out, *start, exchange),
        })
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if let Some(Err(error)) = self.recorder.as_mut().map(Recorder::flush) {
            self.stop_recording(&error.into());
        }
        if self.is_silent { Ok(()) } else { written(self.out.flush()) }
    }

    /// Stops recording. The relay goes on: clients depend on it.
    fn stop_recording(&mut self, failure: &Failure) {
        self.recorder = None;
        eprintln!(
            "basemanager: the recording ends here, and the relay goes on: {}",
            failure.message
        );
    }

    /// Writes the page, if there is to be one.
    pub(super) fn write_page(self) -> Result<(), Failure> {
        let Some(mut page) = self.page else { return Ok(()) };
        if let (1.., Some(last)) = (page.left_out, page.frames.last()) {
            let text = format!(
                "{} more frames were relayed; the page has no room for them",
                page.left_out
            );
            page.frames.push(Frame { kind: Kind::Note(text), ..last.clone() });
        }
        let text = basemanager::tap::html::page(&page.frames);
        page.file.write_all(text.as_bytes()).map_err(Failure::stream("cannot write the page"))
    }
}

impl Page {
    /// Creates the file, which only its owner can read.
    fn create(path: &Path) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|error| {
            let exists = error.kind() == ErrorKind::AlreadyExists;
            let failure = Failure::stream(&format!("cannot create {}", path.display()))(error);
            if exists { failure.hint(NO_OVERWRITE) } else { failure }
        })?;
        Ok(Self { file, frames: Vec::new(), bytes: 0, left_out: 0 })
    }

    fn add(&mut self, frame: Frame) {
        let size = frame.kind.bytes().len();
        if self.frames.len() >= PAGE.0 || self.bytes + size > PAGE.1 {
            self.left_out += 1;
            return;
        }
        self.bytes += size;
        self.frames.push(frame);
    }
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::unmet(BROKEN_PIPE)),
        result => result.map_err(Failure::stream("cannot write to standard output")),
    }
}

/// A reader that closed the pipe has seen enough.
fn ended(shown: Result<(), Failure>) -> Result<(), Failure> {
    match shown {
        Err(failure) if failure.message == BROKEN_PIPE => Ok(()),
        shown => shown,
    }
}

const BROKEN_PIPE: &str = "stdout was closed";
