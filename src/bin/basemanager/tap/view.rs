//! What `tap` shows of the frames that pass, and what it keeps of them.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, SystemTime};

use basemanager::tap::{
    Event, Exchange, Exchanges, Frame, Frames, Handshake, Kind, Recorder, Recording, RelayHandle,
};

use super::Tap;
use super::json;
use super::lines::Lines;
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
}

enum Style {
    Lines(Lines),
    Json(SystemTime),
}

/// The frames for a page.
struct Page {
    file: PathBuf,
    frames: Vec<Frame>,
    bytes: usize,
    /// How many frames there was no room for.
    left_out: u64,
}

impl View {
    pub(super) fn new(tap: &Tap, start: SystemTime, recorder: Option<Recorder>) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let color = io::stdout().is_terminal() && !is_set("NO_COLOR");
        let style = if tap.json {
            Style::Json(start)
        } else {
            Style::Lines(Lines { start, color, verbose: tap.verbose })
        };
        let page =
            |file: &PathBuf| Page { file: file.clone(), frames: Vec::new(), bytes: 0, left_out: 0 };
        Self {
            out: BufWriter::new(io::stdout()),
            style,
            calls_only: tap.calls,
            exchanges: Exchanges::new(),
            recorder,
            page: tap.html.as_ref().map(page),
        }
    }

    /// Shows the frames of a recording.
    pub(super) fn replay(&mut self, recording: Recording) -> Result<(), Failure> {
        let mut last = Duration::ZERO;
        let shown = (|| {
            for frame in recording {
                let frame = frame?;
                last = last.max(frame.time);
                self.waiting(frame.time, WAITING)?;
                self.show(frame)?;
            }
            self.waiting(last, Duration::ZERO)?;
            self.flush()
        })();
        ended(shown)
    }

    /// Shows frames as they come, until the relay stops.
    pub(super) fn follow(&mut self, frames: &Frames, relay: &RelayHandle) -> Result<(), Failure> {
        ended(self.show_all(frames, relay))
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
        if let Style::Lines(lines) = &self.style
            && lines.verbose > 0
        {
            written(lines.frame(&mut self.out, &frame, &read.meaning))?;
        }
        for exchange in &read.exchanges {
            self.event(exchange)?;
        }
        if let Some(page) = &mut self.page {
            page.add(frame);
        }
        Ok(())
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
            Event::Call(call) => call.is_housekeeping(),
            Event::Handshake(Handshake::Proved(_), _) | Event::Opened(_) | Event::Closed => true,
            _ => false,
        };
        if self.calls_only && is_hidden {
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
        written(self.out.flush())
    }

    /// The clients need the relay more than anybody needs the recording.
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
            let text =
                format!("{} more frames passed; the page has no room for them", page.left_out);
            page.frames.push(Frame { kind: Kind::Note(text), ..last.clone() });
        }
        let text = basemanager::tap::html::page(&page.frames);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&page.file).and_then(|mut file| {
            // Of a file that existed, too.
            #[cfg(unix)]
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            file.write_all(text.as_bytes())
        });
        written.map_err(|error| {
            Failure::usage(format!("cannot write {}: {error}", page.file.display()))
        })
    }
}

impl Page {
    fn add(&mut self, frame: Frame) {
        let size = match &frame.kind {
            Kind::Payload { bytes, .. } | Kind::Foreign(bytes) => bytes.len(),
            _ => 0,
        };
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
        result => Ok(result?),
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
