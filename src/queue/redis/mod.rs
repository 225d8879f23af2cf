//! Queues in Redis (or Valkey), which several managers share.
//!
//! | file | holds |
//! |---|---|
//! | `methods.rs` | the methods that clients call |
//! | `shared.rs` | the state of a queue in this manager, waiting, and the thread that renews items |
//! | `delivery.rs` | acknowledging and requeueing delivered items, and dead letters |
//! | `store.rs`, `lua/` | commands and scripts |
//! | `server.rs` | connections and their errors |
//!
//! A queue `jobs` is stored in two keys: the stream `basemanager:{jobs}:items`, and the counter `basemanager:{jobs}:unfinished`,
//! the number of items for which `task_done` was not called. An item is an entry of the stream until it is acknowledged. The stream has the consumer
//! group `managers`, which remembers when and how often each item was delivered. The group has two consumers:
//! `unacknowledged` for items that were delivered, and `requeued` for those that can be delivered again, before all others.
//!
//! ```text
//!           take.lua                         remove.lua: task_done;
//!                                            plain queue: reply written
//!  put ──► new ───────────► unacknowledged ──────────────────────────► removed
//!                           │     ▲
//!   nack, consumer gone,    ▼     │ take.lua
//!   idle                    requeued
//! ```
//!
//! A *delivery tag* is the id of an item and its delivery count, which Redis keeps. Commands with which a manager acknowledges,
//! returns or renews an item of its clients carry the tag, and change nothing if the item has been redelivered since. So a manager that was paused
//! cannot acknowledge an item that another manager has redelivered, and managers need no coordination.
//!
//! While a client has an item, its manager *renews* the item every 10 s, unless the lease is 30 s or less. An item whose lease has
//! expired, or that was not renewed for 30 s, is *idle*: the next `get` or `qsize` on any manager requeues it.
//!
//! | operation | commands | if the manager crashes, or loses its connection, in between |
//! |---|---|---|
//! | `put`, `put_many` | `put.lua`: compare with `maxsize`, `XADD`, `INCRBY` | atomic. If the reply is lost, the call raises `ConnectionError`, and the items may have been put |
//! | `get` | 1. `take.lua`: `XPENDING` and `XCLAIM` of requeued items, then `XREADGROUP`; 2. the reply is written | the item becomes idle, and is requeued |
//! | `get` that waits | `XREADGROUP … BLOCK` of 1 s, then `take.lua`, repeatedly | the same. If the client is gone, the item is requeued at once |
//! | the same, plain queue | 3. `remove.lua`: `XACK`, `XDEL` | after 2: the item becomes idle, and is delivered again |
//! | `task_done`, at-least-once | `remove.lua`: compare the tag, `XACK`, `XDEL`, `DECRBY` | atomic. If the reply is lost, the call raises `ConnectionError`, and can be repeated: it succeeds if the item is gone |
//! | `nack`; the consumer is gone | `mark.lua`: compare the tag, `XCLAIM` for `requeued` | the item becomes idle, and is requeued |
//! | the lease has expired; the manager is gone | `XPENDING … IDLE`, then `XCLAIM` for `requeued`, at most once a second, by `get` and `qsize`; more often if the lease is shorter | nothing changes |
//! | renewal | `mark.lua`: compare the tag, `XCLAIM … IDLE` | the item becomes idle, and is requeued |
//! | dead letter, moved by the thread of the queue | 1. `put.lua` on the other queue; 2. `remove.lua` here | after 1: the move is repeated, and the dead-letter queue has the item twice |
//! | `join` | `GET`, repeatedly | nothing changes |

mod delivery;
mod methods;
mod server;
mod shared;
mod store;

use std::fmt;
use std::sync::Arc;

use super::{QueueOptions, QueueStats};
use crate::error::{Error, Result};
use crate::object::Return;
use server::Server;
use shared::Shared;

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
pub struct Redis(Arc<Server>);

/// A queue in Redis: [`Redis::queue`]. Clones refer to the same queue.
///
/// Pass it to [`Manager::share`](crate::Manager::share), or return it from a callable. Clients call the same methods as
/// those of a [`Queue`](crate::Queue), and get the same items. The type itself has no `put` or `get`: the manager's own
/// process uses a [`Client`](crate::Client), too. The page `guide::redis` says what such a queue guarantees, and what happens when
/// Redis is down.
#[derive(Clone)]
pub struct RedisQueue(Arc<Shared>);

impl Redis {
    /// Creates a handle for the server at a URL: `redis://[user:password@]host[:port][/database]`, or
    /// `redis+unix:///path` for a Unix socket. Does not connect yet: Redis may start later.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a wrong URL.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self(Arc::new(Server::new(url)?)))
    }

    /// Returns the queue `name` on this server. All managers that share it must use the same options: a manager with a shorter
    /// lease requeues items on which consumers of other managers still work. [`maxsize`](QueueOptions::maxsize) is compared
    /// with the items of all managers. Starts a thread, which runs until the last clone is dropped.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if the name is empty or contains braces, or if an option is not supported:
    /// [`max_bytes`](QueueOptions::max_bytes) (use Redis's `maxmemory`) or [`dead_letters`](QueueOptions::dead_letters)
    /// (use [`RedisQueue::dead_letters`]). [`Error::Io`](crate::Error::Io) if the thread cannot be started.
    pub fn queue(&self, name: &str, options: QueueOptions) -> Result<RedisQueue> {
        if options.max_bytes > 0 {
            return Err(Error::invalid(
                "max_bytes is not supported by queues in Redis, which has the setting maxmemory",
            ));
        }
        if options.dead_letters.is_some() {
            return Err(Error::invalid(
                "the dead letters of a queue in Redis need another queue in Redis: RedisQueue::dead_letters",
            ));
        }
        RedisQueue::new(self.0.clone(), name, options, None)
    }
}

impl RedisQueue {
    fn new(
        server: Arc<Server>,
        name: &str,
        options: QueueOptions,
        dead_letters: Option<(u32, Self)>,
    ) -> Result<Self> {
        let queue = Arc::new(Shared::new(server, name, options, dead_letters)?);
        Shared::start(Arc::downgrade(&queue)).map_err(Error::io("start a thread"))?;
        Ok(Self(queue))
    }

    /// Returns a handle of this queue that is [at-least-once](QueueOptions::at_least_once), and moves an item to another
    /// queue after this many deliveries (at least 1) without acknowledgement. A delivery counts even if Redis's reply to the manager
    /// was lost. The `maxsize` of the other queue is ignored. A failed move is repeated: then the other queue may get the item
    /// twice.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if the queue is its own dead-letter queue, and
    /// [`Error::Io`](crate::Error::Io) if the thread of the queue cannot be started.
    pub fn dead_letters(self, deliveries: u32, to: &Self) -> Result<Self> {
        let Shared { store, name, options, .. } = &*self.0;
        if *name == to.0.name && store.server.is(&to.0.store.server) {
            return Err(Error::invalid("a queue cannot be its own dead-letter queue"));
        }
        let options = options.clone().at_least_once();
        Self::new(store.server.clone(), name, options, Some((deliveries.max(1), to.clone())))
    }

    /// Returns statistics of the queue. `items` and `unacknowledged` count the items of all managers; the totals and
    /// `waiting_getters` are those of this manager. `bytes` is always 0, and `oldest` always `None`.
    ///
    /// # Errors
    /// [`Error::Exception`](crate::Error::Exception) with a `ConnectionError` if Redis is unavailable, or a `RuntimeError` if
    /// it refuses the command.
    pub fn stats(&self) -> Result<QueueStats> {
        Ok(self.0.stats()?)
    }

    /// Shuts the queue down in this manager only, like `Queue::shutdown(false)`.
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
