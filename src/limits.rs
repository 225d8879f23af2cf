//! Floor 0: what a peer may cost.

macro_rules! limits {
    ($($(#[doc = $doc:literal])* $name:ident: $default:expr;)*) => {
        /// How much of each resource one message may use. Every limit has an error that names it:
        /// [`Error::Limit`](crate::Error::Limit). None can be more than 4 GiB − 1.
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
            pub(crate) const NONE: Self = Self { $($name: u32::MAX as usize,)* };

            $($(#[doc = $doc])*
            #[must_use]
            pub fn $name(mut self, most: usize) -> Self {
                self.$name = most.min(u32::MAX as usize);
                self
            })*
        }
    };
}

limits! {
    /// The bytes of one message. Defaults to 256 MiB.
    frame_size: 256 << 20;

    /// The pickle operations of one message. Defaults to 100 million.
    operations: 100_000_000;

    /// The entries of a pickle's stack. Defaults to 1,048,576 (2²⁰), and so many elements a tuple or
    /// frozenset can have, less what lies below it. Lists, dicts and sets are pickled in batches of
    /// 1000, and can have more.
    stack: 1 << 20;

    /// The entries of a pickle's memo. Defaults to 10 million.
    memo: 10_000_000;

    /// How deep containers nest in a decoded [`Value`](crate::Value). Defaults to 200. What is only
    /// forwarded may nest deeper.
    depth: 200;

    /// The decimal digits of a decoded integer. Defaults to 4300, as `sys.set_int_max_str_digits`.
    digits: 4300;
}
