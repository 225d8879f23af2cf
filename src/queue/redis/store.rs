//! What a queue asks of Redis. The scripts in `lua/` run atomically.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use redis::{Connection, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation};

use super::server::{Node, Server};
use crate::error::Error;
use crate::limits::Limits;
use crate::object::stored::Item;
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::lock;

/// The consumer group.
const GROUP: &str = "managers";

/// The consumer of the items that were delivered.
const UNACKNOWLEDGED: &str = "unacknowledged";

/// The consumer of the items that can be delivered again.
const REQUEUED: &str = "requeued";

/// The most items that one command handles.
pub(super) const CHUNK: usize = 1000;

/// The keys of one queue, on their node of the cluster.
pub(super) struct Store {
    pub(super) server: Arc<Server>,
    node: Mutex<Node>,
    items: String,
    unfinished: String,
}

/// An item that was taken.
pub(super) struct Found {
    pub(super) tag: Tag,
    pub(super) item: Item,
}

/// A delivery tag: the id of the item's entry in the stream, and the number of the delivery, from 1 on. Once the item was
/// delivered again, commands with the old tag change nothing. A delivery whose reply was not written does not count: the next
/// one has the same number, and nobody has the tag of the former.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) id: String,
    pub(super) times: u32,
}

/// What became of a command with a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// Nothing: the item was delivered again.
    DeliveredAgain,
    /// Nothing: the item was removed already.
    Gone,
}

/// The number of items that can be taken, and of those that were delivered and not acknowledged.
pub(super) struct Counts {
    pub(super) ready: usize,
    pub(super) unacknowledged: usize,
}

/// The names and values in an entry.
type Fields = Vec<Vec<u8>>;

/// For each stream, its name and entries.
type Streams = Option<Vec<(String, Vec<(String, Fields)>)>>;

macro_rules! scripts {
    ($($name:ident: $flags:literal $($file:literal)+;)*) => {
        $(static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!("#!lua", $flags, "\n" $(, include_str!(concat!("lua/", $file, ".lua")))+))
        });)*
    };
}

// A Redis that is out of memory refuses puts only, and the first command on a new queue.
scripts! {
    PUT: "" "counts" "put";
    TAKE: " flags=allow-oom" "take";
    MARK: " flags=allow-oom" "mark";
    REMOVE: " flags=allow-oom" "remove";
    TASK_DONE: " flags=allow-oom" "task_done";
    PEEK: " flags=no-writes" "peek";
    COUNTS: " flags=no-writes" "counts" "return_counts";
}

impl Store {
    pub(super) fn new(server: Arc<Server>, name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.contains(['{', '}']) {
            let text = format!(
                "queue name {name:?}: in Redis, it cannot be empty or contain '{{' or '}}'"
            );
            return Err(Error::invalid(text));
        }
        // The part in braces decides the node of a cluster: the same for both keys.
        let key = |part: &str| format!("basemanager:{{{name}}}:{part}");
        let (items, unfinished) = (key("items"), key("unfinished"));
        Ok(Self { server, node: Mutex::default(), items, unfinished })
    }

    /// Appends the first items, up to as many as a queue of `maxsize` has room for, and returns their number.
    pub(super) fn put(&self, items: &[Vec<u8>], maxsize: usize) -> RedisResult<usize> {
        self.script(&PUT, |script| {
            script.arg(maxsize).arg(items);
        })
    }

    /// Takes up to `max` items; none after `bytes` bytes.
    pub(super) fn take(&self, max: usize, bytes: usize) -> RedisResult<Vec<Found>> {
        let found: Vec<(String, Fields, u32)> = self.script(&TAKE, |script| {
            script.arg(max).arg(bytes);
        })?;
        let found = found
            .into_iter()
            .map(|(id, fields, times)| Found { tag: Tag { id, times }, item: item(fields) });
        Ok(found.collect())
    }

    /// Takes an item that was never taken, and waits in Redis for up to `time`.
    pub(super) fn take_new(&self, time: Duration) -> RedisResult<Option<Found>> {
        let mut read = redis::cmd("XREADGROUP");
        // 0 would block forever.
        read.arg("GROUP")
            .arg(GROUP)
            .arg(UNACKNOWLEDGED)
            .arg("COUNT")
            .arg(1)
            .arg("BLOCK")
            .arg(millis(time).max(1));
        read.arg("STREAMS").arg(&self.items).arg(">");
        let streams: Streams = self.run(|connection| read.query(connection))?;
        let entry = streams.and_then(|mut streams| streams.pop()?.1.pop());
        Ok(entry.map(|(id, fields)| Found { tag: Tag { id, times: 1 }, item: item(fields) }))
    }

    /// Requeues items that were not renewed for this time. If managers renew them, not after an outage: then other
    /// managers may not have had time to do so.
    pub(super) fn requeue_idle(&self, idle: Duration, are_renewed: bool) -> RedisResult<()> {
        let mut find = redis::cmd("XPENDING");
        find.arg(&self.items).arg(GROUP).arg("IDLE").arg(millis(idle)).arg("-").arg("+");
        find.arg(CHUNK).arg(UNACKNOWLEDGED);
        loop {
            let found: Vec<(String, String, u64, u32)> = self.run(|connection| {
                // Whether there was an outage is known once there is a connection.
                if are_renewed && !self.is_steady() {
                    return Ok(Vec::new());
                }
                find.query(connection)
            })?;
            if found.is_empty() {
                return Ok(());
            }
            let mut claim = redis::cmd("XCLAIM");
            // Not those that were renewed meanwhile.
            claim.arg(&self.items).arg(GROUP).arg(REQUEUED).arg(millis(idle));
            for (id, ..) in &found {
                claim.arg(id);
            }
            claim.arg("JUSTID");
            self.run(|connection| claim.exec(connection))?;
            if found.len() < CHUNK {
                return Ok(());
            }
        }
    }

    /// Whether there was no outage lately.
    pub(super) fn is_steady(&self) -> bool {
        self.server.is_steady(&lock(&self.node))
    }

    /// Lets an outage be noticed, if no command would notice it.
    pub(super) fn ping(&self) -> RedisResult<()> {
        let must_ping = self.server.must_ping(&lock(&self.node));
        if must_ping { self.run(|connection| redis::cmd("PING").exec(connection)) } else { Ok(()) }
    }

    /// Renews items: resets the idle time of each to the given value.
    pub(super) fn renew(&self, items: &[(Tag, Duration)]) -> RedisResult<Vec<Outcome>> {
        let marks = items.iter().map(|(tag, idle)| (tag, tag.times, *idle));
        self.mark(UNACKNOWLEDGED, marks)
    }

    /// Requeues items, each with its number of deliveries.
    pub(super) fn requeue(&self, items: &[(Tag, u32)]) -> RedisResult<Vec<Outcome>> {
        self.mark(REQUEUED, items.iter().map(|(tag, times)| (tag, *times, Duration::ZERO)))
    }

    fn mark<'a>(
        &self,
        consumer: &str,
        items: impl Iterator<Item = (&'a Tag, u32, Duration)>,
    ) -> RedisResult<Vec<Outcome>> {
        let outcomes = self.script(&MARK, |script| {
            script.arg(consumer);
            for (tag, times, idle) in items {
                script.arg(&tag.id).arg(tag.times).arg(times).arg(millis(idle));
            }
        })?;
        Ok(read(outcomes))
    }

    /// The item that was delivered with this tag; `None` if it is gone.
    pub(super) fn item(&self, tag: &Tag) -> RedisResult<Option<Item>> {
        let mut range = redis::cmd("XRANGE");
        range.arg(&self.items).arg(&tag.id).arg(&tag.id);
        let entries: Vec<(String, Fields)> = self.run(|connection| range.query(connection))?;
        Ok(entries.into_iter().next().map(|(_, fields)| item(fields)))
    }

    /// Removes items.
    pub(super) fn remove(&self, items: &[Tag], are_done: bool) -> RedisResult<Vec<Outcome>> {
        let outcomes = self.script(&REMOVE, |script| {
            script.arg(u8::from(are_done));
            for tag in items {
                script.arg(&tag.id).arg(tag.times);
            }
        })?;
        Ok(read(outcomes))
    }

    /// Counts an item that was removed already as done; `false` if all were.
    pub(super) fn task_done(&self) -> RedisResult<bool> {
        self.script(&TASK_DONE, |_| ())
    }

    pub(super) fn counts(&self) -> RedisResult<Counts> {
        let (ready, unacknowledged) = self.script(&COUNTS, |_| ())?;
        Ok(Counts { ready, unacknowledged })
    }

    /// The number of items that were put and are not done.
    pub(super) fn unfinished(&self) -> RedisResult<usize> {
        let count: Option<usize> =
            self.run(|connection| redis::cmd("GET").arg(&self.unfinished).query(connection))?;
        Ok(count.unwrap_or(0))
    }

    /// Copies up to `max` items; none after `bytes` bytes.
    pub(super) fn peek(&self, max: usize, bytes: usize) -> RedisResult<Vec<Item>> {
        let found: Vec<Fields> = self.script(&PEEK, |script| {
            script.arg(max).arg(bytes);
        })?;
        Ok(found.into_iter().map(item).collect())
    }

    fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        args: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> RedisResult<T> {
        let mut invocation = script.prepare_invoke();
        invocation.key(&self.items).key(&self.unfinished);
        args(&mut invocation);
        self.run(|connection| invocation.invoke(connection))
    }

    /// Runs commands. If they fail because the queue is new, or its keys were deleted, makes the consumer group, and runs
    /// them again: they do nothing before they fail.
    fn run<T>(&self, commands: impl Fn(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        self.server.run(&self.node, |connection| match commands(connection) {
            Err(error) if error.code() == Some("NOGROUP") => {
                self.create_group(connection)?;
                commands(connection)
            }
            result => result,
        })
    }

    /// Items that are in the stream already are for the group.
    fn create_group(&self, connection: &mut Connection) -> RedisResult<()> {
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(&self.items).arg(GROUP).arg("0").arg("MKSTREAM");
        create.exec(connection).or_else(|error: RedisError| match error.code() {
            // Another manager was faster.
            Some("BUSYGROUP") => Ok(()),
            _ => Err(error),
        })
    }
}

fn read(outcomes: Vec<u8>) -> Vec<Outcome> {
    let outcome = |number| match number {
        0 => Outcome::DeliveredAgain,
        1 => Outcome::Done,
        _ => Outcome::Gone,
    };
    outcomes.into_iter().map(outcome).collect()
}

/// The item in an entry. If it is not a valid pickle, because another program put it, it becomes `bytes`.
fn item(fields: Fields) -> Item {
    let bytes = fields.into_iter().nth(1).unwrap_or_default();
    let pickle = Pickle::from_bytes(&bytes, &Limits::NONE);
    pickle.or_else(|_| Pickle::encode(&Value::Bytes(bytes))).unwrap_or(Pickle::none()).into()
}

fn millis(time: Duration) -> u64 {
    // Redis counts in 64 bits with a sign.
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(u64::MAX >> 2)
}
