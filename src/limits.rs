//! The resources that a message of a peer may use.

use std::cell::Cell;

use crate::error::{Error, Result};

/// The most bytes that a client may pipeline behind a call that waits. The manager buffers them to find the end of the
/// stream, which shows that the client has disconnected.
pub(crate) const PIPELINED: usize = 1 << 20;

macro_rules! limits {
    ($($(#[doc = $doc:literal])* $name:ident: $default:expr, up to $most:expr;)*) => {
        /// The resources that one message may use. The error of each limit names it:
        /// [`Error::Limit`](crate::Error::Limit). No limit can exceed 4 GiB − 1, because positions in a message have
        /// 32 bits.
        ///
        /// ```
        /// use basemanager::Limits;
        /// let limits = Limits::default().frame_size(1 << 20);
        /// ```
        #[derive(Clone, Copy, Debug)]
        pub struct Limits {
            $(pub(crate) $name: usize,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// For a message that was within limits before.
            pub(crate) const NONE: Self = Self { $($name: $most,)* };

            $($(#[doc = $doc])*
            #[must_use]
            pub fn $name(mut self, most: usize) -> Self {
                self.$name = most.min($most);
                self
            })*
        }
    };
}

/// The largest [`Limits::depth`]. Functions that walk a value are recursive. A connection's stack holds 700 levels of the
/// largest frames, and an object may wrap a value that has passed the limit in a few more.
pub(crate) const DEEPEST: usize = 500;

const MOST: usize = u32::MAX as usize;

limits! {
    /// The bytes of one message. Defaults to 256 MiB.
    frame_size: 256 << 20, up to MOST;

    /// The pickle operations of one message. Defaults to 100 million.
    operations: 100_000_000, up to MOST;

    /// The entries of a pickle's stack. Defaults to 1,048,576 (2²⁰). It limits the elements of a tuple or frozenset,
    /// which are all on the stack at once. Lists, dicts and sets are pickled in batches of 1000, and can be longer.
    stack: 1 << 20, up to MOST;

    /// The entries of a pickle's memo. Defaults to 10 million.
    memo: 10_000_000, up to MOST;

    /// The nesting of containers in a decoded [`Value`](crate::Value), and in a value that a container stores. Defaults to
    /// 200, and is at most 500: deeper values would overflow the stack of a connection's thread. An item that is only
    /// forwarded may nest deeper.
    depth: 200, up to DEEPEST;

    /// The memory that may be allocated for one message, in bytes, in addition to 16 times the size of the message. A
    /// small message can need much memory: an object with many references is decoded once for each, and a call can ask
    /// for a large result, such as `list(range(10**9))`, `l *= 10**9` or `l.extend(l)`. A larger allocation is refused before
    /// it is made, and Python sees a `MemoryError`. The total size of a container is not limited. Defaults to 256 MiB.
    expansion: 256 << 20, up to MOST;
}

/// A message may take this many times its size in memory, in addition to [`Limits::expansion`].
const PROPORTION: usize = 16;

/// The bytes that may still be allocated for one message.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    left: Cell<usize>,
    most: usize,
}

impl Budget {
    /// The name of the limit.
    pub(crate) const NAME: &str = "expansion";

    pub(crate) fn new(message: usize, limits: &Limits) -> Self {
        let left = message.saturating_mul(PROPORTION).saturating_add(limits.expansion);
        Self { left: left.into(), most: limits.expansion }
    }

    /// Charges an allocation, before it is made.
    pub(crate) fn spend(&self, bytes: usize) -> Result<()> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or(Error::limit(Self::NAME, self.most))?);
        Ok(())
    }

    /// Returns the charges of an attempt that fails.
    pub(crate) fn attempt<T>(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.left.get();
        make().inspect_err(|_| self.left.set(before))
    }
}
