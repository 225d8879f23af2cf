//! `tap`: shows the calls between clients and a manager.

mod help;
mod json;
mod lines;
mod view;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use basemanager::tap::{Guard, Recorder, Recording, Relay};
use basemanager::{Address, Error};
use clap::ArgAction;

use crate::failure::Failure;
use crate::signals::{self, Request};
use help::HELP;
use view::View;

/// After an error about a file that exists.
const NO_OVERWRITE: &str = "existing files are not overwritten: choose another name";
/// How long the relay may take to end.
const GRACE: Duration = Duration::from_millis(250);
/// The longest request that the guard checks.
const GUARDED: u64 = 64 << 20;

/// Show the calls between clients and a manager
#[derive(clap::Args)]
#[command(
    after_help = "\
See --help for what the lines mean, and for the fields of --json.

Example: basemanager tap 127.0.0.1:6000 127.0.0.1:5000",
    after_long_help = HELP
)]
pub(crate) struct Tap {
    /// Address to listen on: host:port, :port for all interfaces, or the path of a Unix socket
    #[arg(required_unless_present = "replay")]
    listen: Option<String>,
    /// Address of the manager
    #[arg(required_unless_present = "replay")]
    manager: Option<String>,
    /// Hide reference counting, connection setup and successful handshakes
    #[arg(long, conflicts_with = "verbose")]
    calls: bool,
    /// Explain each frame; -vv also disassembles each pickle
    #[arg(short, action = ArgAction::Count)]
    verbose: u8,
    /// Print a JSON object for each event, one a line
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
    /// Also save all frames to FILE (mode 0600), which must not exist
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    save: Option<PathBuf>,
    /// Show a saved recording; no LISTEN or MANAGER
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "manager", "guard"])]
    replay: Option<PathBuf>,
    /// On exit, write an HTML page of all frames to FILE, which must not exist
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Forward only requests made of plain data and proxies of this manager. Replies are not checked: clients still
    /// unpickle what other clients stored
    #[arg(long)]
    guard: bool,
    /// Let --guard pass a class or function: MODULE.NAME, or MODULE.* for all public names. May be repeated; prefer
    /// exact names, because clients may call them with any arguments
    #[arg(long, value_name = "PATTERN", requires = "guard")]
    allow: Vec<String>,
    /// Also accept proxies that name this address: another name by which clients reach LISTEN, such as localhost:6000.
    /// May be repeated
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
        let mut view = View::new(self, recording.start(), None)?;
        view.replay(recording)?;
        view.write_page()
    }

    fn relay(&self, listen: &str, manager: &str) -> Result<(), Failure> {
        // In whole microseconds, as a recording has it.
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start =
            UNIX_EPOCH + Duration::from_micros(u64::try_from(start.as_micros()).unwrap_or(0));
        let (relay, frames) = Relay::bind(listen, manager)?;
        let (own, other) = (relay.address(), Address::from(manager));
        if *own == other || local_names(own).contains(&other) {
            return Err(Failure::usage(format!(
                "LISTEN and MANAGER are both {manager}; the tap would connect to itself"
            )));
        }
        let relay = self.guarded(relay, manager)?;
        let create = |file| {
            Recorder::create(file, start).map_err(|error| match &error {
                Error::Io { source, .. } if source.kind() == ErrorKind::AlreadyExists => {
                    usage(error).hint(NO_OVERWRITE)
                }
                _ => usage(error),
            })
        };
        let recorder = self.save.as_ref().map(create).transpose()?;
        let mut view = View::new(self, start, recorder)?;
        if let Some(file) = &self.save {
            eprintln!(
                "basemanager: {} will contain all items unencrypted, and handshakes that allow an offline guess of a \
                 weak authkey; its mode is 0600",
                file.display()
            );
        }
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
        let thread = std::thread::Builder::new().name("tap".to_owned()).spawn(|| relay.run())?;
        let shown = view.follow(&frames, &handle);
        handle.stop();
        drop(frames);
        // All connections have ended. Without its socket file, the thread cannot be woken: see `RelayHandle::stop`.
        let deadline = Instant::now() + GRACE;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        shown?;
        view.write_page()
    }

    /// Adds the guard, if there is one.
    fn guarded(&self, relay: Relay, manager: &str) -> Result<Relay, Failure> {
        if !self.guard {
            return Ok(relay);
        }
        let mut guard = Guard::new().address(relay.address())?.address(manager)?;
        let aliases = local_names(relay.address()).into_iter().chain(local_names(&manager.into()));
        for address in aliases.chain(self.known_as.iter().map(Address::from)) {
            guard = guard.address(address).map_err(usage)?;
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
