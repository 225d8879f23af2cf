//! Decides whether a request consists of plain data and proxies of this manager, before the manager unpickles it.
//!
//! A pickle names classes and functions, and calls them. `CPython`'s manager unpickles the requests of every client
//! that has its key. The guard simulates `CPython`'s unpickler without importing or calling anything, and allows only
//! known-safe forms:
//!
//! ```text
//!   plain data        set([..]), frozenset([..]), bytes(), bytearray(b'..'), slice(1, 2, None), range(0, 9, 1),
//!                     _codecs.encode('..', 'latin1')                                             in these forms only
//!   a token           Token.__new__(Token), and its state: (typeid, address, id)        with an allowed address
//!   a proxy           RebuildProxy(ListProxy, token, 'pickle', {})
//!                     RebuildProxy(AutoProxy, token, 'pickle', {'exposed': ('get', 'put')})
//!   allowed names     what [`Guard::allow`] adds
//! ```
//! A list of names is not enough: `multiprocessing.managers` reaches `os.system` through a dotted name, `CPython`
//! passes the names in `exposed` to `exec`, and a token makes the manager connect to the address in it.
//!
//! A request is a tuple `(id, method, args, kwargs)`, in protocol 2 to 5. Everything else is refused, including valid
//! pickles that `CPython`'s pickler would not write: a second `PROTO`, a memo key that is put twice or out of order, a
//! frame that ends within an operation, bytes after `STOP`.

mod forms;
mod pattern;
mod reader;
mod slot;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::net::Address;
use crate::pickle::machine::{Machine, Stack};
use crate::pickle::opcode as op;

use pattern::Pattern;
use reader::Reader;
use slot::Slot;

/// Checks that requests are made of plain data and proxies of this manager only. Replies are not checked: clients still
/// unpickle what other clients stored.
///
/// ```
/// use basemanager::tap::Guard;
/// let guard = Guard::new().address("127.0.0.1:5000")?.allow("decimal.Decimal")?;
///
/// let harmless = b"\x80\x04(N\x8c\x05dummy)}t.";
/// assert_eq!(guard.check(harmless), Ok(()));
///
/// let hostile = b"\x80\x04(N\x8c\x05dummycos\nsystem\n\x8c\x02id\x85R}t.";
/// assert!(guard.check(hostile).unwrap_err().contains("os.system is not allowed"));
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Guard {
    patterns: Vec<Pattern>,
    places: Vec<Place>,
    limits: Limits,
}

/// An address, as a token has it.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Tcp(String, u16),
    /// The path of a Unix socket, or the name of an abstract one after a NUL.
    Unix(String),
}

impl Guard {
    /// Allows plain data, and nothing else: without an [address](Guard::address), every proxy is refused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address that tokens may name: the guard's own, and the manager's.
    ///
    /// A token contains the address that its client connected to, and the manager connects to it. So add every name by
    /// which clients reach the guard, such as `localhost:5000` next to `127.0.0.1:5000`: they are compared as text, and
    /// never resolved. The manager must be able to connect to each of them. Proxies of other managers are refused.
    ///
    /// # Errors
    /// [`Error::Invalid`] if that is no address to which clients can connect.
    pub fn address(mut self, address: impl Into<Address>) -> Result<Self> {
        let address = address.into();
        address.check_target()?;
        self.places.push(match address.host_and_port() {
            Some((host, port)) => Place::Tcp(host.to_owned(), port),
            None => Place::Unix(address.python_path()),
        });
        Ok(self)
    }

    /// Allows the classes and functions of a pattern `MODULE.NAME`, such as `decimal.Decimal` or `numpy.*`.
    ///
    /// A pattern matches the name in the pickle, which is that of the defining module: `os.system` is pickled as
    /// `posix.system` (`nt.system` on Windows).
    ///
    /// `*` stands for any characters of a name. It does not match names that begin with an underscore, nor the name of
    /// a module of Python's standard library, such as `numpy.sys`. The module is compared exactly: `numpy.*` does not
    /// allow `numpy.linalg.norm`. No pattern matches a dotted attribute (module `numpy`, name `os.system`), nor a name
    /// in a pickle of protocol 2 or older, where Python may translate it to another one.
    ///
    /// The guard does not know what an allowed name does: a client may call it with any arguments, and set the state of
    /// the objects that it makes. Where the manager has a typeid that is registered without a callable, `create` with
    /// that typeid returns a proxy of its argument, and so a client may also call the methods of these objects. Prefer
    /// exact names. `numpy.*` includes `numpy.load`, which opens files on the manager's host.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the pattern has no module or no name, has a `*` in its module, or has one in
    /// the name and `builtins`, `_codecs` or `multiprocessing.managers` for its module.
    pub fn allow(mut self, pattern: &str) -> Result<Self> {
        self.patterns.push(Pattern::new(pattern)?);
        Ok(self)
    }

    /// The limits of one request. Defaults to [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Checks one request: a whole pickle, as it stands in a frame after the handshake.
    ///
    /// # Errors
    /// Returns why the request is refused.
    pub fn check(&self, payload: &[u8]) -> std::result::Result<(), String> {
        let checked = self.read(payload).and_then(|(reader, root)| reader.check_request(root));
        checked.map_err(reason)
    }

    /// Follows a pickle to its end, to the object that it makes.
    fn read<'a>(&'a self, payload: &'a [u8]) -> Result<(Reader<'a>, Slot)> {
        if payload.len() > self.limits.frame_size {
            return Err(Error::limit("frame size", self.limits.frame_size));
        }
        if payload.first() != Some(&op::PROTO) {
            return Err(refused(
                "the pickle does not begin with PROTO: protocols 0 and 1 are refused; use 2 to 5",
            ));
        }
        let (mut reader, mut stack) = (Reader::new(self, payload), Stack::default());
        let stop = Machine::whole(payload, &self.limits).run(&mut reader, &mut stack)? as usize;
        if stop + 1 != payload.len() {
            return Err(refused("bytes follow the end of the pickle"));
        }
        let root = reader.finish(&stack.slots)?;
        Ok((reader, root))
    }

    fn allows(&self, module: &str, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(module, name))
    }

    fn has_tcp(&self, host: &[u8], port: i32) -> bool {
        let is = |place: &Place| matches!(place, Place::Tcp(own, at) if own.as_bytes() == host && i32::from(*at) == port);
        self.places.iter().any(is)
    }

    fn has_unix(&self, path: &[u8]) -> bool {
        if path.is_empty() {
            return false;
        }
        self.places.iter().any(|place| matches!(place, Place::Unix(own) if own.as_bytes() == path))
    }

    /// The addresses of this manager, for a reason.
    fn places(&self) -> String {
        let places = self.places.iter().map(|place| match place {
            Place::Tcp(host, port) => format!("{host}:{port}"),
            Place::Unix(path) => path.replace('\0', "@"),
        });
        places.collect::<Vec<_>>().join(", ")
    }
}

fn reason(error: Error) -> String {
    match error {
        Error::Protocol { reason } => reason,
        error => error.to_string(),
    }
}

fn refused(reason: impl Into<String>) -> Error {
    Error::protocol(reason)
}

/// A name or address of a pickle, for a reason: at most 80 bytes of it.
fn shown(text: &[u8]) -> String {
    let (start, dots) = text.split_at_checked(80).map_or((text, ""), |(start, _)| (start, "..."));
    format!("{}{dots}", start.escape_ascii())
}
