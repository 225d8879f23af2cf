//! `serve`: a manager.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

#[cfg(feature = "redis")]
use basemanager::Redis;
use basemanager::{Address, BoundListener, Manager, Queue, QueueStats, Registration, Server};
use clap::ArgAction;

use crate::connect::{key_from_environment, read_or_create_key};
use crate::engine::Engine;
use crate::failure::{Failure, one_line};
use crate::signals::{self, Request};
use crate::snapshot::{Entry, Queues, State};
use crate::spec::Spec;
use crate::{metrics, units};

/// Run a manager
#[derive(clap::Args)]
#[command(after_help = "\
Each --queue is a typeid. Clients reach it by that name, or any queue by `queue(NAME)`, which creates \
the queue if it is missing. In Python:
  BaseManager.register(\"task_queue\"); BaseManager.register(\"queue\")
  manager.task_queue().put(7); manager.queue(\"emails\").put(\"hello\")

--queue may be repeated. TIME is 500ms, 30s, 5m, 2h or 1d; SIZE is 65536, 64K, 64M or 2G. `lease` and `dead` \
imply `at-least-once`. After `deliveries` (default 5) without success, an item moves to the queue `dead`.

Example: basemanager serve :5000 --queue jobs,at-least-once,lease=60s,deliveries=5,dead=failed")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct Serve {
    /// Address to listen on: host:port, :port for all interfaces, or the path of a Unix socket
    address: Option<String>,
    /// NAME[,maxsize=N][,max-bytes=SIZE][,at-least-once][,lease=TIME][,deliveries=N][,dead=NAME]
    #[arg(long = "queue", value_name = "QUEUE", default_value = "task_queue")]
    queues: Vec<Spec>,
    /// Maximum number of queues, including those that clients create by name
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_queues: usize,
    /// Store all queues in this Redis or Valkey server (7.0 or newer), where other managers with the same key, address and
    /// queues share them: redis://[user:password@]host[:port][/database] or redis+unix:///path
    #[cfg(feature = "redis")]
    #[arg(long, value_name = "URL", env = "BASEMANAGER_REDIS", hide_env_values = true)]
    redis: Option<String>,
    /// Also share the types of Python's SyncManager
    #[arg(long)]
    sync_types: bool,
    /// Do not let clients shut the manager down
    #[arg(long)]
    no_close: bool,
    /// On shutdown, give consumers this long to empty the queues
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration)]
    drain: Duration,
    /// Maximum number of open connections
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    max_connections: usize,
    /// Serve Prometheus metrics over HTTP at ADDRESS/metrics
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// Permissions of the Unix socket's file, in octal
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = mode)]
    socket_mode: u32,
    /// Refuse HMAC-MD5, with which Python 3.11 and older authenticate
    #[arg(long)]
    no_md5: bool,
    /// Serve on the listening socket passed as standard input (socket activation)
    #[arg(long, conflicts_with = "address")]
    listen_stdin: bool,
    /// File that holds the key; created with a random key if missing
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Log nothing
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Also log statistics every minute
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

/// The address without another.
const DEFAULT: &str = "127.0.0.1:5000";

/// Typeids that are not queues.
const RESERVED: [&str; 3] = ["queue", "stats", "close"];

/// The error of a setting.
fn usage(error: basemanager::Error) -> Failure {
    Failure::usage(Failure::from(error).message)
}

fn log(line: &str) {
    // A log that nobody reads stops nothing.
    let _ = writeln!(io::stderr(), "{line}");
}

impl Serve {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let engine = Engine {
            #[cfg(feature = "redis")]
            redis: self.redis.as_deref().map(Redis::new).transpose().map_err(usage)?,
        };
        let queues = Queues { by_name: self.queues(&engine)?, ..Queues::default() };
        let state = Arc::new(State {
            queues: Mutex::new(queues),
            handle: OnceLock::new(),
            started: Instant::now(),
            max_queues: self.max_queues,
            engine,
        });
        let signalled = state.clone();
        // Without a drain, calls that wait end with the manager (EOFError), and not with their queue (ShutDown).
        let drains = !self.drain.is_zero();
        signals::handle(move |request| {
            if drains || request == Request::RefusePuts {
                signalled.refuse_puts();
            }
            match (request, signalled.handle.get()) {
                (Request::RefusePuts, _) => {}
                (Request::End, Some(handle)) => handle.shutdown(),
                (Request::End, None) => std::process::exit(0),
            }
        })?;
        let server = self.bind(&state)?;
        let metrics = match &self.metrics {
            Some(address) => Some(metrics::serve(address, state.clone())?),
            None => None,
        };
        let address = server.address().clone();
        let _ = state.handle.set(server.start()?);
        // The program that started this one may have closed its end.
        let _ = writeln!(io::stdout(), "listening on {address}");
        if let Some(address) = metrics {
            let _ = writeln!(io::stdout(), "metrics at http://{address}/metrics");
        }
        let _ = io::stdout().flush();
        self.wait(&state);
        Ok(())
    }

    /// Waits for the end, and dates the items of the queues meanwhile.
    fn wait(&self, state: &State) {
        let Some(handle) = state.handle.get() else { return };
        for second in 1_u64.. {
            if handle.join_timeout(Duration::from_secs(1)) {
                return;
            }
            for (name, entry) in state.all() {
                let is_logged = self.verbose > 0 && second.is_multiple_of(60);
                if !is_logged && !entry.queue.is_in_memory() {
                    continue;
                }
                let found = entry.queue.stats();
                if is_logged {
                    let text = match found {
                        Ok(QueueStats { items, puts, gets, .. }) => {
                            format!("{items} items, {puts} puts, {gets} gets")
                        }
                        Err(error) => one_line(&error.to_string()),
                    };
                    log(&format!("{}: {text}", one_line(&name)));
                }
            }
        }
    }

    fn bind(&self, state: &Arc<State>) -> Result<Server, Failure> {
        let key = match &self.key_file {
            Some(file) => read_or_create_key(file)?,
            None => key_from_environment()?,
        };
        let mut manager = Manager::new(key)
            .drain_timeout(self.drain)
            .max_connections(self.max_connections)
            .socket_mode(self.socket_mode)
            .legacy_md5(!self.no_md5)
            .remote_shutdown(!self.no_close);
        if self.sync_types {
            manager = manager.register_sync_types();
        }
        for (name, entry) in state.all() {
            manager = manager.share(name, entry.queue);
        }
        let (by_name, reported) = (state.clone(), state.clone());
        manager = manager
            .register_with("queue", Registration::named(move |name| by_name.queue(name)))
            .register("stats", move |_| reported.to_value());
        if !self.no_close {
            let closed = state.clone();
            manager = manager.register("close", move |call| {
                closed.refuse_puts();
                call.shut_down_manager();
            });
        }
        if !self.quiet {
            manager = manager.log(log);
        }
        if self.listen_stdin {
            return Ok(manager.bind_listener(listener_from_stdin()?)?);
        }
        let address = self.address.clone().or_else(|| env::var("BASEMANAGER_ADDRESS").ok());
        let address = Address::from(address.unwrap_or_else(|| DEFAULT.to_owned()));
        // Whatever the reason, it is not that no manager answers.
        manager.bind(address).map_err(usage)
    }

    /// Makes the queues; those for dead letters first.
    fn queues(&self, engine: &Engine) -> Result<BTreeMap<String, Entry>, Failure> {
        let mut made = BTreeMap::new();
        let mut left: Vec<&Spec> = self.queues.iter().collect();
        for spec in &left {
            for name in [Some(&spec.name), spec.dead.as_ref()].into_iter().flatten() {
                let is_type = self.sync_types && name.starts_with(|c: char| c.is_uppercase());
                let is_type =
                    is_type || self.sync_types && ["list", "dict", "set"].contains(&name.as_str());
                if RESERVED.contains(&name.as_str()) || is_type {
                    return Err(Failure::usage(format!("a queue cannot be called {name:?}")));
                }
            }
            if left.iter().filter(|other| other.name == spec.name).count() > 1 {
                return Err(Failure::usage(format!("--queue {} is there twice", spec.name)));
            }
        }
        while !left.is_empty() {
            let before = left.len();
            let is_next = |spec: &Spec, left: &[&Spec]| {
                spec.dead.as_ref().is_none_or(|dead| left.iter().all(|other| other.name != *dead))
            };
            if let Some(next) = left.iter().position(|spec| is_next(spec, &left)) {
                let spec = left.remove(next);
                if let Some(dead) = spec.dead.as_ref().filter(|dead| !made.contains_key(*dead)) {
                    let queue = engine.queue(dead, Queue::options(), None).map_err(usage)?;
                    made.insert(dead.clone(), Entry { queue, lease: None });
                }
                let dead = spec.dead.as_ref().and_then(|dead| made.get(dead));
                let queue =
                    spec.build(engine, dead.map(|dead| dead.queue.clone())).map_err(usage)?;
                made.insert(spec.name.clone(), Entry { queue, lease: spec.lease });
            }
            if left.len() == before {
                return Err(Failure::usage("queues are the dead letters of one another"));
            }
        }
        Ok(made)
    }
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("expected octal permissions such as 660".to_owned()),
    }
}

/// The socket that a service manager passed as standard input.
#[cfg(unix)]
fn listener_from_stdin() -> Result<BoundListener, Failure> {
    use std::os::fd::AsFd;
    let no_socket = |error: io::Error| {
        Failure::usage(format!("standard input is not a listening socket: {error}"))
    };
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(no_socket)?;
    let socket = socket2::Socket::from(socket);
    let address = socket.local_addr().map_err(no_socket)?;
    if !socket.is_listener().map_err(no_socket)? {
        return Err(Failure::usage("standard input is a socket that does not listen"));
    }
    // A service manager may have made it non-blocking.
    socket.set_nonblocking(false).map_err(no_socket)?;
    if address.is_unix() {
        return Ok(std::os::unix::net::UnixListener::from(socket).into());
    }
    Ok(std::net::TcpListener::from(socket).into())
}

#[cfg(not(unix))]
fn listener_from_stdin() -> Result<BoundListener, Failure> {
    Err(Failure::usage("--listen-stdin needs Unix"))
}
