//! What a peer may cost.

use std::cell::Cell;

use crate::error::{Error, Result};

/// The most bytes that a client may send behind a call that waits. The manager reads them to find out whether
/// the client is still there, which shows only at the end of the stream.
pub(crate) const PIPELINED: usize = 1 << 20;

macro_rules! limits {
    ($($(#[doc = $doc:literal])* $name:ident: $default:expr, up to $most:expr;)*) => {
        /// How much of each resource one message may use. Every limit has an error that names it:
        /// [`Error::Limit`](crate::Error::Limit). None can be more than 4 GiB − 1, which is all that
        /// positions in a message can be.
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
            /// For what has been within limits already.
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

/// The deepest nesting that a limit can allow. Whatever goes over a value does so by recursion: a
/// connection's stack holds 700 levels of the hungriest, and a little is added to what a limit has passed.
pub(crate) const DEEPEST: usize = 500;

const MOST: usize = u32::MAX as usize;

limits! {
    /// The bytes of one message. Defaults to 256 MiB.
    frame_size: 256 << 20, up to MOST;

    /// The pickle operations of one message. Defaults to 100 million.
    operations: 100_000_000, up to MOST;

    /// The entries of a pickle's stack. Defaults to 1,048,576 (2²⁰), and so many elements a tuple or
    /// frozenset can have, less what lies below it. Lists, dicts and sets are pickled in batches of
    /// 1000, and can have more.
    stack: 1 << 20, up to MOST;

    /// The entries of a pickle's memo. Defaults to 10 million.
    memo: 10_000_000, up to MOST;

    /// How deep containers nest in a decoded [`Value`](crate::Value), and in what a container stores.
    /// Defaults to 200, and is at most 500: more would overflow the stack of a connection's thread.
    /// What is only forwarded may nest deeper.
    depth: 200, up to DEEPEST;

    /// The bytes of memory that may become of one message, beyond 16 times its own size. What is
    /// referred to many times is opened as often, and a call can make much of little:
    /// `list(range(10**9))`, `l *= 10**9`, `l.extend(l)`. What would pass it is refused before it is
    /// made; Python sees a `MemoryError`. What a container holds in all is not limited. Defaults to
    /// 256 MiB.
    expansion: 256 << 20, up to MOST;
}

/// Every message may become so many times its own size.
const PROPORTION: usize = 16;

/// The bytes that may still become of one message: all that is made of it spends from here.
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

    /// Allows so many bytes to be made.
    pub(crate) fn spend(&self, bytes: usize) -> Result<()> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or(Error::limit(Self::NAME, self.most))?);
        Ok(())
    }

    /// Gives back what was spent on something that came to nothing.
    pub(crate) fn attempt<T>(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.left.get();
        make().inspect_err(|_| self.left.set(before))
    }
}
