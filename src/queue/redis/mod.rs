//! Queues in Redis (or Valkey), which several managers share.
//!
//! | file | holds |
//! |---|---|
//! | `methods.rs` | the methods that clients call |
//! | `shared.rs` | what this manager knows of a queue's items |
//! | `store.rs`, `lua/` | the commands |
//! | `server.rs` | the connections |
//!
//! A queue `jobs` is two keys: the stream `basemanager:{jobs}:items`, and `basemanager:{jobs}:unfinished`, the number of
//! items that are not done. An item is an entry of the stream, until it is acknowledged. The stream has the consumer group
//! `managers`, which remembers the items that were taken: when, and how often. The group has two consumers: `taken` for
//! the items that somebody has, and `free` for those that came back, which are taken before all others.
//!
//! ```text
//!  put ──► new ──────────────────► taken ──────────────────────► removed
//!                                  │   ▲     task_done; plain queue: reply written
//!   nack, consumer gone, not used  ▼   │
//!   for the idle time              free┘
//! ```
//!
//! Each delivery of an item has a number: Redis counts them. A call that acknowledges or returns an item names the number,
//! and changes nothing if the item was delivered again since. So a manager that was held up cannot harm, and no manager
//! has to know what others do.
//!
//! | operation | commands | if the manager crashes, or loses its connection, in between |
//! |---|---|---|
//! | `put`, `put_many` | `put.lua`: compare with `maxsize`, `XADD`, `INCRBY` | nothing in between. If the reply is lost, the call raises `ConnectionError`, and the items may have been put |
//! | `get` | 1. `take.lua`: `XPENDING` and `XCLAIM` of free items, `XREADGROUP`; 2. the reply is written | the item is taken, and nobody uses it: it becomes free |
//! | `get` that waits | `XREADGROUP … BLOCK 1000`, then `take.lua`, and again | the same. If the client is gone by then, the item is released |
//! | plain queue | 3. `remove.lua`: `XACK`, `XDEL` | after 2: the item becomes free, and is delivered again |
//! | `task_done`, at-least-once | `remove.lua`: compare the number, `XACK`, `XDEL`, `DECRBY` | nothing in between. If the reply is lost, the call raises `ConnectionError`; calling it again succeeds |
//! | `nack`, consumer gone | `mark.lua`: compare the number, `XCLAIM` for `free` | before: it becomes free because nobody uses it |
//! | lease over, manager gone | `XAUTOCLAIM` for `free` of what nobody used for the idle time, once a second while the queue is used | nothing changes |
//! | consumer takes longer | `mark.lua`, every 10 s: `XCLAIM` makes the item used again | the item becomes free |
//! | dead letter | 1. `put.lua` on the other queue; 2. `remove.lua` here | after 1: this is repeated, so a dead letter can come twice, and is not lost |
//! | `join` | `GET`, again and again | nothing changes |
//!
//! The idle time is the lease, but at most 30 s.

mod methods;
mod server;
mod shared;
mod store;

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use super::{QueueOptions, QueueStats};
use crate::error::{Error, Result};
use crate::object::Return;
use crate::wait::lock;
use server::{Server, is_unavailable};
use shared::Shared;

/// How often there is a look at what to repeat and to keep.
const TICK: Duration = Duration::from_secs(1);

/// A Redis or Valkey server, version 7.0 or newer, or a cluster, for queues that several managers share. Clones use the same
/// connections.
///
/// ```no_run
/// use std::time::Duration;
/// use basemanager::{Manager, Queue, Redis};
/// let redis = Redis::new("redis://127.0.0.1/")?;
/// let failed = redis.queue("failed", Queue::options())?;
/// let jobs = redis.queue("jobs", Queue::options().lease(Duration::from_secs(60)))?;
/// let jobs = jobs.dead_letters(5, &failed)?;
/// let manager = Manager::new("secret").share("jobs", &jobs).share("failed", &failed);
/// manager.bind("0.0.0.0:5000")?.serve_forever()?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone)]
pub struct Redis(Arc<Hub>);

/// What the queues of one server share.
struct Hub {
    server: Arc<Server>,
    queues: Mutex<Vec<Weak<Shared>>>,
}

/// A queue in Redis: [`Redis::queue`]. Clones refer to the same queue.
///
/// It is for sharing: the process of the manager puts and gets as all others do, with a [`Client`](crate::Client).
/// Clients call the same methods as those of a [`Queue`](crate::Queue), and each item is the same bytes. The page
/// `guide::redis` tells what such a queue promises, and what happens when Redis is down.
#[derive(Clone)]
pub struct RedisQueue(Arc<Shared>);

impl Redis {
    /// The server of a URL: `redis://[user:password@]host[:port][/database]`, or `redis+unix:///path` for a Unix
    /// socket. Does not connect yet: Redis may start later.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a wrong URL, [`Error::Io`](crate::Error::Io) if no thread can be
    /// started.
    pub fn new(url: &str) -> Result<Self> {
        let server = Arc::new(Server::new(url)?);
        let hub = Arc::new(Hub { server, queues: Mutex::default() });
        let weak = Arc::downgrade(&hub);
        let run = move || {
            while let Some(hub) = weak.upgrade() {
                hub.tick();
                drop(hub);
                thread::sleep(TICK);
            }
        };
        let started = thread::Builder::new().name("redis".to_owned()).spawn(run);
        started.map_err(Error::io("start a thread"))?;
        Ok(Self(hub))
    }

    /// The queue `name` in this server. Managers that share it should use the same options, except
    /// [`maxsize`](QueueOptions::maxsize), which bounds the puts of this manager.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if the name is empty or contains braces, or for the options
    /// [`max_bytes`](QueueOptions::max_bytes), because Redis has a bound of its own (`maxmemory`), and
    /// [`dead_letters`](QueueOptions::dead_letters), which moves items to a queue in memory: use
    /// [`RedisQueue::dead_letters`].
    pub fn queue(&self, name: &str, options: QueueOptions) -> Result<RedisQueue> {
        if options.max_bytes > 0 {
            return Err(Error::invalid("max_bytes is not for queues in Redis: see its maxmemory"));
        }
        if options.dead_letters.is_some() {
            return Err(Error::invalid(
                "dead letters of a queue in Redis go to a queue in Redis: see RedisQueue::dead_letters",
            ));
        }
        self.0.add(name, options, None)
    }
}

impl Hub {
    fn add(
        self: &Arc<Self>,
        name: &str,
        options: QueueOptions,
        dead_letters: Option<(u32, RedisQueue)>,
    ) -> Result<RedisQueue> {
        let queue = Arc::new(Shared::new(self.clone(), name, options, dead_letters)?);
        let mut queues = lock(&self.queues);
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(&queue));
        Ok(RedisQueue(queue))
    }

    /// Repeats what failed, and keeps the items that consumers have.
    fn tick(&self) {
        self.server.close_unused();
        let queues = lock(&self.queues).clone();
        for queue in queues.iter().filter_map(Weak::upgrade) {
            // If Redis is down for one queue, it is for the others, too. What it refuses, it refuses only here.
            if queue.tick().is_err_and(|error| is_unavailable(&error)) {
                return;
            }
        }
    }
}

impl RedisQueue {
    /// The same queue, made [at-least-once](QueueOptions::at_least_once), which moves an item to another queue after it
    /// was delivered this many times without being acknowledged. The bound of the other queue does not apply. A dead
    /// letter may come twice, if its manager dies just then. If the other queue refuses it, it stays in this one,
    /// and is moved later.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if the queue is its own dead-letter queue.
    pub fn dead_letters(&self, deliveries: u32, to: &Self) -> Result<Self> {
        if Arc::ptr_eq(&self.0.hub, &to.0.hub) && self.0.name == to.0.name {
            return Err(Error::invalid("dead letters: a queue cannot hold its own"));
        }
        let dead_letters = Some((deliveries.max(1), to.clone()));
        let options = self.0.options.clone().at_least_once();
        self.0.hub.add(&self.0.name, options, dead_letters)
    }

    /// The state of the queue. The numbers of items are those in Redis; the totals, and the number of waiting clients, are
    /// those of this manager. Sizes and ages are not known.
    ///
    /// # Errors
    /// `ConnectionError` if Redis is unavailable.
    pub fn stats(&self) -> Result<QueueStats> {
        Ok(self.0.stats()?)
    }

    /// Shuts the queue down in this manager: from now on, `put` raises `queue.ShutDown`, and so does `get` once the queue
    /// is empty. Other managers go on.
    pub fn shutdown(&self) {
        self.0.refuse_puts();
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may contain a password.
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisQueue").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl From<RedisQueue> for Return {
    fn from(queue: RedisQueue) -> Self {
        Self::Shared(queue.0)
    }
}

impl From<&RedisQueue> for Return {
    fn from(queue: &RedisQueue) -> Self {
        queue.clone().into()
    }
}
