//! The interface between the server and the objects that it shares: [`SharedObject`], the [`Call`] of one of its
//! methods, and the method's [`Return`].
//!
//! ```text
//!  request ──► Call ──► SharedObject::call ──► Return ──► reply ── written ──────────► delivered
//!                                                           └───── not written ─────► take_back
//! ```

pub(crate) mod call;
pub(crate) mod stored;

pub use call::{Call, ConnectionId};
pub use stored::{Element, Item, Stored};

pub use crate::wait::{Monitor, Wait, WaitError};

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::exception::Exception;
use crate::value::{IntoValue, Value, beginning};

/// An object whose methods clients call.
///
/// Connections call it concurrently, each on its own thread: the object locks its state. A method that blocks
/// does so with a [`Monitor`], which notices when the client disconnects or the manager shuts down.
///
/// # Panics
/// If a method panics, the call raises `RemoteError` in the client, and the manager goes on. A program built with
/// `panic = "abort"` ends instead, with all objects and queued items: there, a method must not panic, whatever its
/// arguments are. Read them with [`Pickle::to`](crate::Pickle::to) and [`Call::timeout`], which return an error for an
/// argument that does not fit.
///
/// ```
/// use std::sync::atomic::{AtomicI64, Ordering};
/// use basemanager::Exception;
/// use basemanager::object::{Call, Exposed, Return, SharedObject};
///
/// #[derive(Debug, Default)]
/// struct Counter(AtomicI64);
///
/// impl SharedObject for Counter {
///     fn exposed(&self) -> Exposed {
///         ["increment", "value"].into()
///     }
///
///     fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
///         match call.method() {
///             "increment" => {
///                 let ([], [by]) = call.args([], ["by"])?;
///                 let by: i64 = by.map_or(Ok(1), |by| by.to())?;
///                 Ok((self.0.fetch_add(by, Ordering::Relaxed) + by).into())
///             }
///             "value" => {
///                 call.no_args()?;
///                 Ok(self.0.load(Ordering::Relaxed).into())
///             }
///             _ => Err(call.no_such_method()),
///         }
///     }
/// }
/// ```
pub trait SharedObject: Any + Send + Sync {
    /// The methods that clients may call, by their Python names (`_exposed_` of a Python proxy type). Asked once for
    /// each object that a client gets a proxy for.
    ///
    /// Clients are not told of `__getattribute__`, `__setattr__` and `__delattr__`, because Python's `AutoProxy` would
    /// call them for its own attributes, without end. A proxy type that calls them by itself may do so.
    fn exposed(&self) -> Exposed;

    /// Methods that clients may call in addition to `exposed`, which are those of this object or of its registration.
    /// Defaults to none.
    fn also_exposed(&self, exposed: &[String]) -> Exposed {
        let _ = exposed;
        Exposed::default()
    }

    /// The methods whose results stay in the manager, and the typeids of the proxies that clients get instead
    /// (`_method_to_typeid_` of a Python proxy type). A registration can override them. Defaults to none.
    fn method_to_typeid(&self) -> HashMap<String, String> {
        HashMap::new()
    }

    /// Carries out one call.
    ///
    /// # Errors
    /// The exception that the client's call raises.
    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception>;

    /// Writes Python's `repr()` of the object, which `print(proxy)` shows. `_debug_info()` shows the first characters
    /// only: then `out` soon returns an error, and the rest need not be written.
    ///
    /// # Errors
    /// Those of `out`.
    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("<shared object>")
    }

    /// The approximate size of a copy of the object, in bytes. A call that would copy more than
    /// [`Limits::expansion`](crate::Limits::expansion) allows is refused. Defaults to 0, which is unknown.
    fn size(&self) -> usize {
        0
    }

    /// A copy of the object as plain data, for `proxy._getvalue()`. Objects that it names stay alive until the client
    /// can have read it, if the [`Element`] holds references to them. Elements that are made from a [`Value`] hold
    /// none.
    ///
    /// # Errors
    /// An exception if the object has no such copy, which is the default.
    fn value(&self) -> Result<Element, Exception> {
        let repr = beginning(usize::MAX, |out| self.repr(out));
        Err(Exception::type_error(format!("cannot copy {repr}")))
    }

    /// Takes back an item of [`Return::Item`] or [`Return::Items`] whose reply could not be written to this connection,
    /// or was written only in part. Called for the last item first. Defaults to dropping it.
    fn take_back(&self, item: Item, connection: ConnectionId) {
        let _ = (item, connection);
    }

    /// The reply with an item of [`Return::Item`] or [`Return::Items`] was written to this connection. The client has not
    /// necessarily read it. For each item, either this or [`take_back`](Self::take_back) is called, once; this for
    /// the first item first. Defaults to doing nothing.
    fn delivered(&self, item: &Item, connection: ConnectionId) {
        let _ = (item, connection);
    }

    /// Refuses new items, because the manager is about to shut down. Returns when the object has no items left, or at
    /// the deadline of `wait`. May be called again. Defaults to returning at once.
    fn drain(&self, wait: &mut Wait<'_>) {
        let _ = wait;
    }

    /// A connection has ended, and one of its calls had used [`Call::watch_connection`]. Defaults to doing nothing.
    fn disconnected(&self, connection: ConnectionId) {
        let _ = connection;
    }
}

/// The names of an object's methods, made from an array or an iterator of names.
///
/// ```
/// use basemanager::object::Exposed;
/// let known_at_build_time: Exposed = ["get", "put"].into();
/// let made_at_run_time: Exposed = (0..3).map(|number| format!("pin_{number}")).collect();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Exposed(pub(crate) Vec<String>);

impl<T: Into<String>, const N: usize> From<[T; N]> for Exposed {
    fn from(names: [T; N]) -> Self {
        names.into_iter().collect()
    }
}

impl<T: Into<String>> FromIterator<T> for Exposed {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

/// What a method, or a registered callable, returns.
///
/// Every [`IntoValue`] converts into a copy, and a handle or an `Arc` of a shared object into a proxy.
#[derive(Debug)]
#[non_exhaustive]
pub enum Return {
    /// A value, of which the client gets a copy. The objects that it names live until the client has had time to take
    /// references of its own.
    Element(Element),
    /// An item, sent as it is stored. See [`SharedObject::delivered`] and [`SharedObject::take_back`].
    Item(Item),
    /// A list of such items.
    Items(Vec<Item>),
    /// An object that stays in the manager. The client gets a proxy.
    ///
    /// A method can return one if `method_to_typeid` names the method.
    Shared(Arc<dyn SharedObject>),
}

impl fmt::Debug for dyn SharedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repr(f)
    }
}

impl Return {
    /// The result as an object, for which clients get a proxy.
    pub(crate) fn into_object(self) -> Arc<dyn SharedObject> {
        match self {
            Self::Shared(object) => object,
            Self::Element(element) => Arc::new(Plain(element)),
            Self::Item(item) => Arc::new(Plain(item.map(Value::Opaque))),
            Self::Items(items) => {
                let items: Vec<_> = items.into_iter().map(|item| item.map(Value::Opaque)).collect();
                Arc::new(Plain(items.iter().collect::<Stored<_>>().map(Value::List)))
            }
        }
    }
}

/// A value as an object: `_getvalue()` of its proxy returns a copy.
struct Plain(Element);

impl SharedObject for Plain {
    fn exposed(&self) -> Exposed {
        Exposed::default()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        Err(call.no_such_method())
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{}", *self.0)
    }

    fn size(&self) -> usize {
        stored::size(&self.0)
    }

    fn value(&self) -> Result<Element, Exception> {
        Ok(self.0.clone())
    }
}

impl<T: SharedObject> From<Arc<T>> for Return {
    fn from(object: Arc<T>) -> Self {
        Self::Shared(object)
    }
}

impl<T: SharedObject> From<&Arc<T>> for Return {
    fn from(object: &Arc<T>) -> Self {
        object.clone().into()
    }
}

/// A count from Python as a `usize`: a negative one becomes 0, one that is too large becomes the largest.
pub(crate) fn saturated(count: i64) -> usize {
    usize::try_from(count.max(0)).unwrap_or(usize::MAX)
}

impl<T: IntoValue> From<T> for Return {
    fn from(value: T) -> Self {
        Self::Element(Element::own(value.into()))
    }
}

/// The result of a registered callable: anything that is `Into<Return>`, or a `Result` of it. `?` turns an
/// [`Error`](crate::Error) into an exception. Cannot be implemented outside this crate.
pub trait IntoReturn {
    /// The result of the call.
    ///
    /// # Errors
    /// The exception that the callable raised.
    #[doc(hidden)]
    fn into_return(self, _: Sealed) -> Result<Return, Exception>;
}

/// Other crates cannot make one.
#[derive(Debug)]
pub struct Sealed(());

impl Sealed {
    pub(crate) const TOKEN: Self = Self(());
}

impl<T: Into<Return>> IntoReturn for T {
    fn into_return(self, _: Sealed) -> Result<Return, Exception> {
        Ok(self.into())
    }
}

impl<T: Into<Return>> IntoReturn for Result<T, Exception> {
    fn into_return(self, _: Sealed) -> Result<Return, Exception> {
        self.map(Into::into)
    }
}
