//! The state of a served manager, as one dict: what the typeid `stats` returns, and the metrics page shows.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use basemanager::{Exception, Queue, ServerHandle, Value};

use crate::engine::{Engine, Served};

/// The queues of a manager by name, and what else is reported.
pub(crate) struct State {
    pub(crate) queues: Mutex<Queues>,
    /// Set once the manager runs.
    pub(crate) handle: OnceLock<ServerHandle>,
    pub(crate) started: Instant,
    pub(crate) max_queues: usize,
    pub(crate) engine: Engine,
}

/// The queues by name.
#[derive(Default)]
pub(crate) struct Queues {
    pub(crate) by_name: BTreeMap<String, Entry>,
    /// Every `put` raises `queue.ShutDown`, also into queues that are made from now on.
    pub(crate) refuse_puts: bool,
}

/// The longest name of a queue, in bytes.
pub(crate) const MAX_NAME: usize = 255;

/// How long statistics may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) queue: Served,
    pub(crate) lease: Option<Duration>,
}

impl State {
    /// The queue of this name, which is created on first use.
    pub(crate) fn queue(&self, name: &str) -> Result<Served, Exception> {
        let mut queues = self.lock();
        if let Some(entry) = queues.by_name.get(name) {
            return Ok(entry.queue.clone());
        }
        if queues.by_name.len() >= self.max_queues {
            let max = self.max_queues;
            return Err(Exception::runtime_error(format!(
                "there are {max} queues already, which is the limit of --max-queues"
            )));
        }
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(Exception::value_error(format!(
                "the name of a queue has 1 to {MAX_NAME} bytes, not {}",
                name.len()
            )));
        }
        let queue = self.engine.queue(name, Queue::options(), None)?;
        if queues.refuse_puts {
            queue.refuse_puts();
        }
        queues.by_name.insert(name.to_owned(), Entry { queue: queue.clone(), lease: None });
        Ok(queue)
    }

    pub(crate) fn all(&self) -> Vec<(String, Entry)> {
        self.lock().by_name.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    /// Makes every `put` raise `queue.ShutDown` from now on.
    pub(crate) fn refuse_puts(&self) {
        let mut queues = self.lock();
        queues.refuse_puts = true;
        queues.by_name.values().for_each(|entry| entry.queue.refuse_puts());
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dict that the typeid `stats` returns.
    pub(crate) fn to_value(&self) -> Value {
        let seconds = |time: Option<Duration>| Value::from(time.map(|time| time.as_secs_f64()));
        let started = Instant::now();
        let queues = self.all().into_iter().map(|(name, Entry { queue, lease })| {
            // Unknown while Redis is unavailable. If it does not even answer, not every queue asks.
            let may_ask = started.elapsed() < PATIENCE;
            let stats = may_ask.then(|| queue.stats().ok()).flatten();
            let known = stats.as_ref();
            let bytes = known.filter(|_| queue.is_in_memory()).map(|stats| stats.bytes);
            let stats = dict([
                ("items", known.map(|stats| stats.items).into()),
                ("bytes", bytes.into()),
                ("unacked", known.map(|stats| stats.unacknowledged).into()),
                ("waiting", known.map(|stats| stats.waiting_getters).into()),
                ("puts", known.map(|stats| stats.puts).into()),
                ("gets", known.map(|stats| stats.gets).into()),
                ("done", known.map(|stats| stats.done).into()),
                ("redelivered", known.map(|stats| stats.redelivered).into()),
                ("dead", known.map(|stats| stats.dead).into()),
                ("oldest", seconds(known.and_then(|stats| stats.oldest))),
                ("lease", seconds(lease)),
            ]);
            (Value::from(name), stats)
        });
        let queues = Value::Dict(queues.collect());
        let server = self.handle.get().map(ServerHandle::stats).unwrap_or_default();
        dict([
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("uptime", self.started.elapsed().as_secs_f64().into()),
            ("connections", server.connections.into()),
            ("rejected", server.rejected.into()),
            ("objects", server.objects.into()),
            ("memory", memory().into()),
            ("queues", queues),
        ])
    }
}

fn dict<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Dict(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// The resident memory of this process in bytes, where the system tells.
fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Reads an entry of a dict with keys of `str`.
pub(crate) fn entry<'a>(dict: &'a Value, key: &str) -> Option<&'a Value> {
    let Value::Dict(entries) = dict else { return None };
    entries.iter().find_map(|(name, value)| (name.as_str() == Some(key)).then_some(value))
}
