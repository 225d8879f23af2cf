//! `tap`: what passes between clients and a manager.

mod json;
mod lines;

use std::fs::OpenOptions;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use basemanager::tap::{
    Event, Exchanges, Frame, Frames, Guard, Kind, Recorder, Recording, Relay, RelayHandle,
};
use basemanager::{Address, Error};
use clap::ArgAction;

use crate::failure::Failure;
use crate::signals::{self, Request};
use lines::Lines;

/// A call that waits longer than this has a line of its own before its reply comes.
const WAITING: Duration = Duration::from_secs(1);
/// How often calls that wait are looked for.
const INTERVAL: Duration = Duration::from_millis(250);
/// The most frames in a page, and the most bytes of their payloads.
const PAGE: (usize, usize) = (20_000, 64 << 20);
/// The longest request that the guard checks.
const GUARDED: u64 = 64 << 20;

/// Show what passes between clients and a manager
#[derive(clap::Args)]
#[command(after_help = "\
Clients connect to LISTEN, and the relay to MANAGER. It needs no key, and passes all bytes unchanged; either side may be
Python or Rust. Times are UTC. Ctrl-C ends it. A line is one call with its reply: \"waited\" marks a call that was
blocked, and \"… waiting\" one that still is.

A recording, and a page, hold items in clear, and handshakes from which a weak key can be guessed.

Examples: basemanager tap 127.0.0.1:6000 127.0.0.1:5000
          basemanager tap 127.0.0.1:6000 127.0.0.1:5000 --calls --save session.tap
          basemanager tap --replay session.tap -vv | less")]
pub(crate) struct Tap {
    /// Address for clients: host:port, or the path of a Unix socket
    #[arg(required_unless_present = "replay")]
    listen: Option<String>,
    /// Address of the manager
    #[arg(required_unless_present = "replay")]
    manager: Option<String>,
    /// Show only calls: no reference counting, and no handshakes that succeed
    #[arg(long)]
    calls: bool,
    /// Explain each frame; twice: list every byte
    #[arg(short, action = ArgAction::Count)]
    verbose: u8,
    /// Print a line of JSON for each event
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
    /// Record all frames in a new file, which only you can read
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    save: Option<PathBuf>,
    /// Show a recording, instead of relaying
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "manager", "guard"])]
    replay: Option<PathBuf>,
    /// At the end, write a page that shows all frames in a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Refuse each request that would make a Python manager run code
    #[arg(long)]
    guard: bool,
    /// Let the guard allow a class or function, such as decimal.Decimal
    #[arg(long, value_name = "PATTERN", requires = "guard")]
    allow: Vec<String>,
    /// Further address by which clients know the guard, such as localhost:6000
    #[arg(long, value_name = "ADDRESS", requires = "guard")]
    known_as: Vec<String>,
}

impl Tap {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match (&self.replay, &self.listen, &self.manager) {
            (Some(file), ..) => self.replay(file),
            (_, Some(listen), Some(manager)) => self.relay(listen, manager),
            _ => Err(Failure::usage("tap needs LISTEN and MANAGER, or --replay FILE")),
        }
    }

    fn replay(&self, file: &Path) -> Result<(), Failure> {
        let recording = Recording::open(file).map_err(usage)?;
        let mut view = View::new(self, recording.start(), None);
        let mut last = Duration::ZERO;
        let shown = (|| {
            for frame in recording {
                let frame = frame?;
                last = last.max(frame.time);
                view.waiting(frame.time, WAITING)?;
                view.show(frame)?;
            }
            view.waiting(last, Duration::ZERO)?;
            view.flush()
        })();
        ended(shown)?;
        view.write_page()
    }

    fn relay(&self, listen: &str, manager: &str) -> Result<(), Failure> {
        // In whole microseconds, as a recording has it.
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start =
            UNIX_EPOCH + Duration::from_micros(u64::try_from(start.as_micros()).unwrap_or(0));
        let create = |file| Recorder::create(file, start).map_err(usage);
        let recorder = self.save.as_ref().map(create).transpose()?;
        if let Some(file) = &self.save {
            eprintln!(
                "basemanager: {} will hold items in clear, and handshakes from which a weak key can be guessed; \
                 only you can read it",
                file.display()
            );
        }
        let (relay, frames) = Relay::bind(listen, manager)?;
        let (own, other) = (relay.address(), Address::from(manager));
        if *own == other || local_names(own).contains(&other) {
            return Err(Failure::usage(format!("LISTEN and MANAGER are both {manager}")));
        }
        let relay = self.guarded(relay, manager)?;
        let listening = format!("listening on {}", relay.address());
        let handle = relay.handle();
        let stop = handle.clone();
        signals::handle(move |request| {
            if request == Request::End {
                stop.stop();
            }
        })?;
        // Programs read JSON from stdout.
        if self.json {
            eprintln!("{listening}");
        } else {
            crate::print(format!("{listening}\n").as_bytes())?;
        }
        let mut view = View::new(self, start, recorder);
        let thread = std::thread::Builder::new().name("tap".to_owned()).spawn(|| relay.run())?;
        let shown = view.follow(&frames, &handle);
        handle.stop();
        drop(frames);
        // All connections have ended. Without its socket file, the thread cannot be woken: see `RelayHandle::stop`.
        let deadline = Instant::now() + INTERVAL;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        ended(shown)?;
        view.write_page()
    }

    /// Adds the guard, if there is one.
    fn guarded(&self, relay: Relay, manager: &str) -> Result<Relay, Failure> {
        if !self.guard {
            return Ok(relay);
        }
        let mut guard = Guard::new().address(relay.address()).address(manager);
        let aliases = local_names(relay.address()).into_iter().chain(local_names(&manager.into()));
        for address in aliases.chain(self.known_as.iter().map(Address::from)) {
            guard = guard.address(address);
        }
        for pattern in &self.allow {
            guard = guard.allow(pattern).map_err(usage)?;
        }
        Ok(relay.check(GUARDED, move |request| guard.check(request)))
    }
}

/// The other names of an address of this host, by which clients here may know it.
fn local_names(address: &Address) -> Vec<Address> {
    let text = address.to_string();
    let Some((host, port)) = text.rsplit_once(':') else { return Vec::new() };
    let names: &[&str] = match host {
        "127.0.0.1" => &["localhost"],
        "localhost" => &["127.0.0.1"],
        "" | "0.0.0.0" => &["127.0.0.1", "localhost", "0.0.0.0"],
        _ => &[],
    };
    names.iter().map(|name| Address::from(format!("{name}:{port}"))).collect()
}

/// A file that the command line names is wrong.
fn usage(error: Error) -> Failure {
    Failure::usage(Failure::from(error).message)
}

/// A reader that closed the pipe has seen enough.
fn ended(shown: Result<(), Failure>) -> Result<(), Failure> {
    match shown {
        Err(failure) if failure.message == BROKEN_PIPE => Ok(()),
        shown => shown,
    }
}

const BROKEN_PIPE: &str = "stdout was closed";

/// Shows frames as the options say, and keeps them for the recording and the page.
struct View {
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
    fn new(tap: &Tap, start: SystemTime, recorder: Option<Recorder>) -> Self {
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

    /// Shows frames as they come, until the relay stops.
    fn follow(&mut self, frames: &Frames, relay: &RelayHandle) -> Result<(), Failure> {
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

    fn event(&mut self, exchange: &basemanager::tap::Exchange) -> Result<(), Failure> {
        use basemanager::tap::Handshake;
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

    fn write_page(self) -> Result<(), Failure> {
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
