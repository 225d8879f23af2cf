//! Queues in Redis (or Valkey), which several managers share.
//!
//! | file | holds |
//! |---|---|
//! | `methods.rs` | the methods that clients call |
//! | `shared.rs` | a queue as this manager serves it, and its thread |
//! | `delivery.rs` | what becomes of the items that were taken |
//! | `store.rs`, `lua/` | the commands |
//! | `server.rs` | the connections |
//!
//! A queue `jobs` is two keys: the stream `basemanager:{jobs}:items`, and `basemanager:{jobs}:unfinished`, the number of items
//! that were put and are not done. An item is an entry of the stream until it is acknowledged. The stream has the consumer
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
//! A *delivery tag* is the id of an item and the number of the delivery, which Redis counts. Commands that acknowledge, requeue
//! or renew an item have its tag, and change nothing if the item was delivered again meanwhile. So a manager that was
//! paused cannot acknowledge an item that another one has delivered since, and managers need not coordinate.
//!
//! While a client has an item, its manager *renews* the item every 10 s. An item that was not renewed for 30 s, or for its lease if
//! that is shorter, is *idle*: any manager requeues it.
//!
//! | operation | commands | if the manager crashes, or loses its connection, in between |
//! |---|---|---|
//! | `put`, `put_many` | `put.lua`: compare with `maxsize`, `XADD`, `INCRBY` | nothing is in between. If the reply is lost, the call raises `ConnectionError`, and the items may have been put |
//! | `get` | 1. `take.lua`: `XPENDING` and `XCLAIM` of requeued items, then `XREADGROUP`; 2. the reply is written | the item becomes idle, and is requeued |
//! | `get` that waits | `XREADGROUP … BLOCK 1000`, then `take.lua`, repeatedly | the same. If the client is gone, the item is requeued at once |
//! | the same, plain queue | 3. `remove.lua`: `XACK`, `XDEL` | after 2: the item becomes idle, and is delivered again |
//! | `task_done`, at-least-once | `remove.lua`: compare the tag, `XACK`, `XDEL`, `DECRBY` | nothing is in between. If the reply is lost, the call raises `ConnectionError`, and can be repeated: it succeeds if the item is gone |
//! | `nack`; the consumer is gone | `mark.lua`: compare the tag, `XCLAIM` for `requeued` | the item becomes idle, and is requeued |
//! | the lease has expired; the manager is gone | `XPENDING … IDLE`, then `XCLAIM` for `requeued`, once a second while the queue is in use | nothing changes |
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
    /// The server of a URL: `redis://[user:password@]host[:port][/database]`, or `redis+unix:///path` for a Unix
    /// socket. Does not connect yet: Redis may start later.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a wrong URL.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self(Arc::new(Server::new(url)?)))
    }

    /// The queue `name` in this server. All managers that share it must use the same options: a manager with a shorter
    /// lease requeues items on which consumers of other managers still work. [`maxsize`](QueueOptions::maxsize) is compared
    /// with the items of all managers. Starts a thread, which ends when the queue was dropped.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if no thread can be started, [`Error::Invalid`](crate::Error::Invalid) if the name is empty or contains braces, or for the options
    /// [`max_bytes`](QueueOptions::max_bytes), because Redis has a bound of its own (`maxmemory`), and
    /// [`dead_letters`](QueueOptions::dead_letters), which moves items to a queue in memory: use
    /// [`RedisQueue::dead_letters`].
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

    /// Returns this queue as an [at-least-once](QueueOptions::at_least_once) queue that moves an item to another queue after it
    /// was delivered this many times without being acknowledged. A delivery counts if Redis did it, also if the manager did not
    /// get Redis's reply. The bound of the other queue does not apply. If the move fails, the item stays in this queue and is
    /// moved later. If the manager dies during the move, the other queue may get the item twice.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if the queue is its own dead-letter queue.
    pub fn dead_letters(self, deliveries: u32, to: &Self) -> Result<Self> {
        let Shared { server, name, options, .. } = &*self.0;
        if *name == to.0.name && server.is(&to.0.server) {
            return Err(Error::invalid("a queue cannot be its own dead-letter queue"));
        }
        let options = options.clone().at_least_once();
        Self::new(server.clone(), name, options, Some((deliveries.max(1), to.clone())))
    }

    /// The state of the queue. `items` and `unacknowledged` are about all managers; the totals and `waiting_getters` are about
    /// this manager. `bytes` is 0 and `oldest` is `None`, because they are not known.
    ///
    /// # Errors
    /// `ConnectionError` if Redis is unavailable.
    pub fn stats(&self) -> Result<QueueStats> {
        Ok(self.0.stats()?)
    }

    /// Shuts the queue down in this manager, as [`Queue::shutdown`](crate::Queue::shutdown) without `immediate`. Other managers
    /// go on.
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
