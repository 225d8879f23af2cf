//! Python exceptions, as data.
//!
//! A shared object's method raises an [`Exception`], the wire carries it, and the client that called finds it in
//! [`Error::Exception`](crate::Error::Exception).

use std::borrow::Cow;
use std::fmt;

use crate::value::Value;

/// A Python exception as data: the module and name of its class, and its arguments.
///
/// ```
/// use basemanager::Exception;
/// let error = Exception::value_error("'timeout' must be a non-negative number");
/// assert_eq!(error.to_string(), "ValueError: 'timeout' must be a non-negative number");
/// assert_eq!((error.module(), error.name()), ("builtins", "ValueError"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    module: Cow<'static, str>,
    name: Cow<'static, str>,
    args: Vec<Value>,
}

impl Exception {
    /// An exception of any class, which a Python client must be able to import: it looks the class up when the
    /// reply arrives.
    pub fn new(
        module: impl Into<Cow<'static, str>>,
        name: impl Into<Cow<'static, str>>,
        args: Vec<Value>,
    ) -> Self {
        Self { module: module.into(), name: name.into(), args }
    }

    /// A built-in exception with one text argument.
    pub fn builtin(name: &'static str, text: impl Into<String>) -> Self {
        Self::new("builtins", name, vec![Value::Str(text.into())])
    }

    /// `ValueError`: an argument of the right type has an invalid value.
    pub fn value_error(text: impl Into<String>) -> Self {
        Self::builtin("ValueError", text)
    }

    /// `TypeError`: an argument is missing, unexpected or of the wrong type.
    pub fn type_error(text: impl Into<String>) -> Self {
        Self::builtin("TypeError", text)
    }

    /// `KeyError`: a mapping has no such key.
    pub fn key_error(key: impl Into<Value>) -> Self {
        Self::new("builtins", "KeyError", vec![key.into()])
    }

    /// `AttributeError`: there is no such method.
    pub fn attribute_error(text: impl Into<String>) -> Self {
        Self::builtin("AttributeError", text)
    }

    /// `RuntimeError`: the operation is impossible now.
    pub fn runtime_error(text: impl Into<String>) -> Self {
        Self::builtin("RuntimeError", text)
    }

    /// `queue.Empty`, pickled as `_queue.Empty`, as `CPython` does.
    #[must_use]
    pub const fn empty() -> Self {
        Self { module: Cow::Borrowed("_queue"), name: Cow::Borrowed("Empty"), args: Vec::new() }
    }

    /// `queue.Full`.
    #[must_use]
    pub const fn full() -> Self {
        Self { module: Cow::Borrowed("queue"), name: Cow::Borrowed("Full"), args: Vec::new() }
    }

    /// `queue.ShutDown`, which Python has since 3.13.
    #[must_use]
    pub const fn shut_down() -> Self {
        Self { module: Cow::Borrowed("queue"), name: Cow::Borrowed("ShutDown"), args: Vec::new() }
    }

    /// The module that defines the class, such as `builtins` or `queue`.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The class's qualified name, such as `ValueError`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The exception's `args`.
    ///
    /// An exception whose `__reduce__` calls something else than its class is not rebuilt: then the arguments are
    /// the texts in its pickle, joined, and the pickle itself ([`Value::Opaque`]).
    #[must_use]
    pub fn args(&self) -> &[Value] {
        &self.args
    }

    /// Whether the exception is of exactly this class; the class hierarchy is unknown here.
    #[must_use]
    pub fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }
}

impl fmt::Display for Exception {
    /// As the last line of a Python traceback; but `OSError`, and classes with a `__str__` of their own, show their
    /// arguments.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.module != "builtins" {
            write!(f, "{}.", self.module)?;
        }
        f.write_str(&self.name)?;
        match self.args.as_slice() {
            [] => Ok(()),
            [Value::Str(text)] | [Value::Str(text), Value::Opaque(_)]
                if !self.is("builtins", "KeyError") =>
            {
                write!(f, ": {text}")
            }
            [value] => write!(f, ": {value}"),
            args => write!(f, ": {}", Value::Tuple(args.to_vec())),
        }
    }
}

impl std::error::Error for Exception {}
