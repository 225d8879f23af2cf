//! Floor 0: what a peer may cost.

/// How much of each resource one message may use. Every limit has an error that names it:
/// [`Error::Limit`](crate::Error::Limit).
///
/// ```
/// use basemanager::Limits;
/// let limits = Limits::default().frame_size(1 << 20);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub(crate) frame_size: usize,
    pub(crate) operations: usize,
    pub(crate) stack: usize,
    pub(crate) memo: usize,
    pub(crate) depth: usize,
    pub(crate) digits: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_size: 256 << 20,
            operations: 100_000_000,
            stack: 10_000_000,
            memo: 10_000_000,
            depth: 200,
            digits: 4300,
        }
    }
}

impl Limits {
    /// The bytes of one message. Defaults to 256 MiB; at most 4 GiB − 1.
    #[must_use]
    pub fn frame_size(mut self, bytes: usize) -> Self {
        self.frame_size = bytes.min(u32::MAX as usize);
        self
    }

    /// The pickle operations of one message. Defaults to 100 million.
    #[must_use]
    pub fn operations(mut self, count: usize) -> Self {
        self.operations = count;
        self
    }

    /// The entries of a pickle's stack. Defaults to 10 million.
    #[must_use]
    pub fn stack(mut self, entries: usize) -> Self {
        self.stack = entries;
        self
    }

    /// The entries of a pickle's memo. Defaults to 10 million.
    #[must_use]
    pub fn memo(mut self, entries: usize) -> Self {
        self.memo = entries;
        self
    }

    /// How deep containers nest in a decoded [`Value`](crate::Value). Defaults to 200. What is only
    /// forwarded may nest deeper.
    #[must_use]
    pub fn depth(mut self, levels: usize) -> Self {
        self.depth = levels;
        self
    }

    /// The decimal digits of a decoded integer. Defaults to 4300, as `sys.set_int_max_str_digits`.
    #[must_use]
    pub fn digits(mut self, count: usize) -> Self {
        self.digits = count;
        self
    }
}

impl Limits {
    /// For what has been within limits already.
    pub(crate) const NONE: Self = Self {
        frame_size: usize::MAX,
        operations: usize::MAX,
        stack: usize::MAX,
        memo: usize::MAX,
        depth: usize::MAX,
        digits: usize::MAX,
    };
}
