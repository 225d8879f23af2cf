//! One call of a method: its name, its arguments and its caller.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::SharedObject;
use super::stored::{Element, Item, ObjectRef, ObjectRefs, ObjectTable, Stored};
use crate::error::Error;
use crate::exception::Exception;
use crate::limits::Budget;
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::{Caller, Wait};
#[cfg(feature = "sync")]
use crate::wire::message::PickledProxy;
use crate::wire::message::{Request, Token};

/// The number of a connection; a manager never reuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u64);

/// The owner of what a call took, such as an item: a client's connection, or a thread of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    Connection(ConnectionId),
    Thread(ThreadId),
}

impl Owner {
    pub(crate) fn this_thread() -> Self {
        Self::Thread(thread::current().id())
    }

    pub(crate) fn of(call: &Call<'_>) -> Self {
        Self::Connection(call.connection())
    }
}

/// A connection, and what its calls have asked for.
pub(crate) struct Context {
    pub(crate) connection: ConnectionId,
    pub(crate) objects: Arc<dyn ObjectTable>,
    /// The objects whose `disconnected` is called when the connection ends, by address.
    pub(crate) watched: HashMap<usize, Weak<dyn SharedObject>>,
    /// The manager shuts down once the reply is sent.
    pub(crate) shutdown_requested: Cell<bool>,
}

impl Context {
    pub(crate) fn new(connection: ConnectionId, objects: Arc<dyn ObjectTable>) -> Self {
        Self { connection, objects, watched: HashMap::new(), shutdown_requested: Cell::default() }
    }

    fn watch(&mut self, object: Weak<dyn SharedObject>) {
        if self.watched.len() == self.watched.capacity() {
            self.watched.retain(|_, watched| watched.strong_count() > 0);
        }
        // As long as the weak reference is kept, no other object gets this address.
        self.watched.entry(object.as_ptr().cast::<()>() as usize).or_insert(object);
    }
}

/// A call that a client made, of a [`SharedObject`](crate::object::SharedObject)'s method or of a registered
/// callable.
pub struct Call<'a> {
    request: &'a Request,
    context: &'a mut Context,
    caller: &'a mut dyn Caller,
    /// The called object; `None` for a registered callable.
    object: Option<&'a Arc<dyn SharedObject>>,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("method", &self.method()).finish_non_exhaustive()
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        request: &'a Request,
        context: &'a mut Context,
        caller: &'a mut dyn Caller,
        object: Option<&'a Arc<dyn SharedObject>>,
    ) -> Self {
        Self { request, context, caller, object }
    }

    /// The method's name; for a registered callable, its typeid.
    #[must_use]
    pub fn method(&self) -> &'a str {
        &self.request.method
    }

    /// The connection on which the call arrived.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.context.connection
    }

    /// Shuts the manager down once this call's reply is sent.
    pub fn shut_down_manager(&self) {
        self.context.shutdown_requested.set(true);
    }

    /// Calls [`SharedObject::disconnected`](crate::object::SharedObject::disconnected) of the called object once, when
    /// this connection ends. Does nothing in a registered callable, which has no object yet.
    pub fn watch_connection(&mut self) {
        if let Some(object) = self.object {
            self.context.watch(Arc::downgrade(object));
        }
    }

    /// [`Call::watch_connection`] for another object, which the called one uses.
    #[cfg(feature = "sync")]
    pub(crate) fn watch_connection_for(&mut self, object: Weak<dyn SharedObject>) {
        self.context.watch(object);
    }

    /// How long a [`Monitor`](crate::object::Monitor) waits for this call: at most `timeout`, and only as long as the
    /// client stays connected. `None` is no timeout.
    #[must_use]
    pub fn wait(&mut self, timeout: Option<Duration>) -> Wait<'_> {
        Wait::of(&mut *self.caller, timeout)
    }

    /// An argument as an element to store, with references to the objects that it names. An argument that cannot be
    /// decoded within the limits stays pickled.
    #[must_use]
    pub fn element(&self, arg: &Pickle) -> Element {
        self.with_references(self.kept(arg))
    }

    /// An argument as an item to store, pickled as it arrived, with references to the objects that it names.
    #[must_use]
    pub fn item(&self, arg: &Pickle) -> Item {
        let references = self.references(|tokens| tokens.extend(Token::all(arg)));
        Stored { data: arg.clone(), references }
    }

    /// The items of an argument, a list or a tuple, each pickled as it arrived.
    ///
    /// # Errors
    /// `TypeError` if it is something else, `ValueError` if it exceeds a limit.
    pub(crate) fn items(&self, arg: &Pickle) -> Result<Vec<Item>, Exception> {
        // Each item refers to all objects that the argument names.
        let Stored { data, references } = self.item(arg);
        let Request { budget, limits, .. } = self.request;
        let items = data.elements(budget, limits).map_err(exceeded)?;
        let items = items.ok_or_else(|| self.wrong("takes a list, a tuple or a range"))?;
        Ok(items.into_iter().map(|data| Stored { data, references: references.clone() }).collect())
    }

    /// A value made from arguments and stored elements, as an element to store, with references to the objects that
    /// it names.
    ///
    /// # Errors
    /// `ValueError` if it nests deeper than [`Limits::depth`](crate::Limits::depth): a value that contains a stored
    /// element, and is stored in turn, could otherwise nest without end.
    #[cfg(feature = "sync")]
    pub(crate) fn hold(&self, data: Value) -> Result<Element, Exception> {
        let depth = self.request.limits.depth;
        if !data.fits(depth) {
            return Err(exceeded(Error::limit("nesting depth", depth)));
        }
        Ok(self.with_references(data))
    }

    fn with_references(&self, data: Value) -> Element {
        let references = self.references(|tokens| Token::all_in(&data, tokens));
        Stored { data, references }
    }

    fn references(&self, find: impl FnOnce(&mut Vec<Token>)) -> ObjectRefs {
        let mut tokens = Vec::new();
        if self.request.names_objects {
            find(&mut tokens);
        }
        let reference = |token: Token| ObjectRef::new(&self.context.objects, token.id);
        tokens.into_iter().filter_map(reference).map(Arc::new).collect()
    }

    /// The object of this manager that an argument, a proxy, stands for.
    #[cfg(feature = "sync")]
    pub(crate) fn object(&self, proxy: &Value) -> Option<Arc<dyn SharedObject>> {
        let Value::Opaque(proxy) = proxy else { return None };
        self.context.objects.get(&PickledProxy::read(proxy)?.token.id)
    }

    /// Charges the request's budget for this many bytes, before they are allocated: for a result that can be much larger
    /// than its request, such as a list multiplied by a number.
    ///
    /// # Errors
    /// `MemoryError`: [`Limits::expansion`](crate::Limits::expansion).
    #[cfg(feature = "sync")]
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), Exception> {
        self.request.budget.spend(bytes).map_err(exceeded)
    }

    /// Assigns the arguments to parameters, by position or by keyword, as Python does: the required parameters come
    /// first, then the optional ones.
    ///
    /// ```
    /// use basemanager::Exception;
    /// use basemanager::object::Call;
    ///
    /// /// `move(x, y, speed=1)`
    /// fn move_to(call: &mut Call<'_>) -> Result<i64, Exception> {
    ///     let ([x, y], [speed]) = call.args(["x", "y"], ["speed"])?;
    ///     let speed = speed.map_or(Ok(1), |speed| speed.to::<i64>())?;
    ///     Ok((x.to::<i64>()? + y.to::<i64>()?) * speed)
    /// }
    /// ```
    ///
    /// # Errors
    /// `TypeError` if an argument is missing, unknown or given twice, or if there are too many.
    pub fn args<const R: usize, const O: usize>(
        &self,
        required: [&str; R],
        optional: [&str; O],
    ) -> Result<([&'a Pickle; R], [Option<&'a Pickle>; O]), Exception> {
        let Request { args, kwargs, .. } = self.request;
        let (max, given) = (R + O, args.len());
        if given > max {
            return Err(self.wrong(&format!("takes at most {max} arguments, {given} given")));
        }
        for (name, _) in kwargs {
            match required.iter().chain(&optional).position(|known| known == name) {
                None => return Err(self.wrong(&format!("has no argument '{name}'"))),
                Some(place) if place < given => {
                    return Err(self.wrong(&format!("got argument '{name}' twice")));
                }
                Some(_) => {}
            }
        }
        let mut places = 0..;
        let mut next = |name: &str| {
            let named = || kwargs.iter().rfind(|(given, _)| given == name);
            let positional = places.next().and_then(|place: usize| args.get(place));
            positional.or_else(|| named().map(|(_, value)| value))
        };
        let mut missing = None;
        let required = required.map(|name| {
            next(name).unwrap_or_else(|| {
                missing.get_or_insert(name);
                &NONE
            })
        });
        match missing {
            Some(name) => Err(self.wrong(&format!("is missing the argument '{name}'"))),
            None => Ok((required, optional.map(next))),
        }
    }

    /// Refuses arguments.
    ///
    /// # Errors
    /// `TypeError` if there are any.
    pub fn no_args(&self) -> Result<(), Exception> {
        self.args([], []).map(|([], [])| ())
    }

    /// The positional arguments, for a method that takes any number.
    #[must_use]
    pub fn positional(&self) -> &'a [Pickle] {
        &self.request.args
    }

    /// The keyword arguments, for a method that takes any.
    #[must_use]
    pub fn keywords(&self) -> &'a [(String, Pickle)] {
        &self.request.kwargs
    }

    /// An argument as a value, decoded within the manager's limits. A `bool`, `int` or `float` of `NumPy` becomes the
    /// plain number; [`Call::element`] keeps it as it is.
    ///
    /// # Errors
    /// `ValueError` if it exceeds a limit, `MemoryError` if that is [`Limits::expansion`](crate::Limits::expansion).
    pub fn value(&self, arg: &Pickle) -> Result<Value, Exception> {
        self.decode(arg).map(Value::into_plain).map_err(exceeded)
    }

    /// An argument as [`Call::element`] stores it, for a comparison with stored elements.
    pub(crate) fn kept(&self, arg: &Pickle) -> Value {
        self.decode(arg).unwrap_or_else(|_| Value::Opaque(arg.clone()))
    }

    fn decode(&self, arg: &Pickle) -> Result<Value, Error> {
        arg.decode_within(&self.request.budget, &self.request.limits)
    }

    /// The truth value of an argument, as Python's `bool()` returns it; `default` if it was left out.
    ///
    /// # Errors
    /// As [`Call::value`].
    pub fn is_true(&self, arg: Option<&Pickle>, default: bool) -> Result<bool, Exception> {
        arg.map_or(Ok(default), |arg| Ok(self.value(arg)?.truthy()))
    }

    /// A timeout in seconds. `None`, which is no timeout, if the argument was left out or is Python's `None`.
    ///
    /// Do not pass a client's number to [`Duration::from_secs_f64`]: that panics if the number is negative, not a
    /// number, or too large.
    ///
    /// ```
    /// use basemanager::Exception;
    /// use basemanager::object::{Call, Monitor, Return};
    ///
    /// /// `wait(timeout=None)`: returns whether the state became true in time.
    /// fn wait(truth: &Monitor<bool>, call: &mut Call<'_>) -> Result<Return, Exception> {
    ///     let ([], [timeout]) = call.args([], ["timeout"])?;
    ///     let timeout = call.timeout(timeout)?;
    ///     let state = truth.wait(&mut call.wait(timeout), |truth| *truth)?;
    ///     Ok(state.is_some().into())
    /// }
    /// ```
    ///
    /// # Errors
    /// As in Python: `TypeError` if it has another type, `ValueError` if it is negative or NaN, `OverflowError` if it is
    /// more than 292 years.
    pub fn timeout(&self, arg: Option<&Pickle>) -> Result<Option<Duration>, Exception> {
        let Some(arg) = arg else { return Ok(None) };
        let value = self.value(arg)?;
        if value.is_none() {
            return Ok(None);
        }
        let refused = format!("expected a timeout in seconds, got '{}'", value.type_name());
        let seconds: f64 = value.to().map_err(|_| Exception::type_error(refused))?;
        if seconds < 0.0 {
            return Err(Exception::value_error("'timeout' must be a non-negative number"));
        }
        duration(seconds).map(Some)
    }

    /// The exception for a method that `exposed` names but `call` does not know.
    #[must_use]
    pub fn no_such_method(&self) -> Exception {
        Exception::attribute_error(format!("there is no method '{}'", self.method()))
    }

    fn wrong(&self, problem: &str) -> Exception {
        Exception::type_error(format!("{}() {problem}", self.method()))
    }
}

/// Python's `None`.
static NONE: Pickle = Pickle::none();

/// Seconds as a duration; a negative number is zero.
///
/// # Errors
/// `ValueError` for NaN, `OverflowError` for more than `CPython` can count.
pub(crate) fn duration(seconds: f64) -> Result<Duration, Exception> {
    /// `CPython` counts nanoseconds in 63 bits.
    const MAX: f64 = 9_223_372_036.0;
    if seconds.is_nan() {
        return Err(Exception::value_error("Invalid value NaN (not a number)"));
    }
    if seconds > MAX {
        let text = "timestamp out of range for C PyTime_t";
        return Err(Exception::builtin("OverflowError", text));
    }
    Ok(Duration::from_secs_f64(seconds.max(0.0)))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn exceeded(error: Error) -> Exception {
    let memory = matches!(error, Error::Limit { what: Budget::NAME, .. });
    Exception::builtin(if memory { "MemoryError" } else { "ValueError" }, error.to_string())
}
