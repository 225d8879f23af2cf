//! The arguments of a call of Python.

use super::Value;

/// Arguments for [`Client::create`](crate::Client::create), [`Proxy::call`](crate::Proxy::call) and
/// [`Pickle::instance`](crate::Pickle::instance).
///
/// `()` is no argument, a tuple of up to 12 is one positional argument each, a slice of values is any number of
/// them, and [`Args`] also has keyword arguments.
///
/// ```no_run
/// use basemanager::value::Args;
/// # let client = basemanager::Client::connect("127.0.0.1:5000", "producer")?;
/// let list = client.create("list", ())?;
/// list.call("append", (7,))?;
/// list.call("insert", (0, "first"))?;
/// list.call("sort", Args::new().kwarg("reverse", true))?;
/// # Ok::<(), basemanager::Error>(())
/// ```
pub trait IntoArgs {
    /// Passes the positional and the keyword arguments to `call`, and returns its result.
    fn with_args<R>(self, call: impl FnOnce(&[Value], &[(String, Value)]) -> R) -> R;
}

/// Positional and keyword arguments, added one by one. Python's `f(1, by=5)` is:
///
/// ```
/// use basemanager::value::Args;
/// let args = Args::new().arg(1).kwarg("by", 5);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Args {
    positional: Vec<Value>,
    keywords: Vec<(String, Value)>,
}

impl Args {
    /// No arguments.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more argument, before others.
    pub(crate) fn prepend(first: &str, args: impl IntoArgs) -> Self {
        args.with_args(|args, kwargs| Self {
            positional: [&[first.into()], args].concat(),
            keywords: kwargs.to_vec(),
        })
    }

    /// Adds a positional argument.
    pub fn arg(mut self, value: impl Into<Value>) -> Self {
        self.positional.push(value.into());
        self
    }

    /// Adds a keyword argument.
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.keywords.push((name.into(), value.into()));
        self
    }
}

impl IntoArgs for Args {
    fn with_args<R>(self, call: impl FnOnce(&[Value], &[(String, Value)]) -> R) -> R {
        call(&self.positional, &self.keywords)
    }
}

impl IntoArgs for &[Value] {
    fn with_args<R>(self, call: impl FnOnce(&[Value], &[(String, Value)]) -> R) -> R {
        call(self, &[])
    }
}

impl IntoArgs for () {
    fn with_args<R>(self, call: impl FnOnce(&[Value], &[(String, Value)]) -> R) -> R {
        call(&[], &[])
    }
}
