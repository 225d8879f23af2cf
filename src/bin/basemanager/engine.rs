//! Where the queues of a served manager are: in its memory, or in Redis.

// Without the feature, there is one kind only, which cannot fail.
#![cfg_attr(
    not(feature = "redis"),
    allow(clippy::unused_self, clippy::unnecessary_wraps, irrefutable_let_patterns)
)]

use basemanager::object::Return;
use basemanager::{Queue, QueueOptions, QueueStats, Result};
#[cfg(feature = "redis")]
use basemanager::{Redis, RedisQueue};

/// Makes queues.
pub(crate) struct Engine {
    /// Without a server, queues are in memory.
    #[cfg(feature = "redis")]
    pub(crate) redis: Option<Redis>,
}

/// A queue that is served.
#[derive(Clone)]
pub(crate) enum Served {
    Memory(Queue),
    #[cfg(feature = "redis")]
    Redis(RedisQueue),
}

impl Engine {
    /// Makes a queue. `dead` is the maximum number of deliveries, and the queue for dead letters.
    pub(crate) fn queue(
        &self,
        name: &str,
        options: QueueOptions,
        dead: Option<(u32, Served)>,
    ) -> Result<Served> {
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            let queue = redis.queue(name, options)?;
            return Ok(Served::Redis(match dead {
                Some((deliveries, Served::Redis(dead))) => queue.dead_letters(deliveries, &dead)?,
                _ => queue,
            }));
        }
        let _ = name;
        Ok(Served::Memory(match dead {
            Some((deliveries, Served::Memory(dead))) => {
                options.dead_letters(deliveries, &dead).build()
            }
            _ => options.build(),
        }))
    }
}

impl Served {
    pub(crate) fn stats(&self) -> Result<QueueStats> {
        match self {
            Self::Memory(queue) => Ok(queue.stats()),
            #[cfg(feature = "redis")]
            Self::Redis(queue) => queue.stats(),
        }
    }

    /// Makes every `put` through this manager raise `queue.ShutDown` from now on.
    pub(crate) fn refuse_puts(&self) {
        match self {
            Self::Memory(queue) => queue.shutdown(false),
            #[cfg(feature = "redis")]
            Self::Redis(queue) => queue.shutdown(),
        }
    }

    /// Whether its statistics tell the size and the age of its items, the age from the first look at them.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }
}

impl From<Served> for Return {
    fn from(queue: Served) -> Self {
        match queue {
            Served::Memory(queue) => queue.into(),
            #[cfg(feature = "redis")]
            Served::Redis(queue) => queue.into(),
        }
    }
}
