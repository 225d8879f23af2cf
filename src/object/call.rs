//! One call of a method: its name, its arguments, and who calls.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::SharedObject;
use super::stored::{Element, Held, Item, ObjectRef, ObjectRefs, ObjectTable};
use crate::error::Error;
use crate::exception::Exception;
use crate::limits::Budget;
use crate::pickle::Pickle;
use crate::value::Value;
use crate::wait::{Caller, Wait};
#[cfg(feature = "sync")]
use crate::wire::message::PickledProxy;
use crate::wire::message::{Request, Token};

/// Tells one connection from another; never used twice by a manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u64);

/// Who calls: a client, known by its connection, or a thread of this process.
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

/// A call's view of its connection and manager.
pub(crate) trait Context: Caller {
    fn connection(&self) -> ConnectionId;
    /// Shuts the manager down once the call's reply is sent.
    fn shut_down_manager(&self);
    /// Calls the object's `disconnected` when the connection ends.
    fn watch(&mut self, object: Weak<dyn SharedObject>);
    fn objects(&self) -> Arc<dyn ObjectTable>;
}

/// A call that a client made, of a [`SharedObject`](crate::object::SharedObject)'s method or of a registered
/// callable.
pub struct Call<'a> {
    request: &'a Request,
    method: &'a str,
    args: &'a [Pickle],
    context: &'a mut dyn Context,
    /// The called object; `None` for a registered callable.
    called: Option<&'a Arc<dyn SharedObject>>,
    /// The references taken so far, by id: a call counts an object once, however often it names it.
    taken: RefCell<BTreeMap<String, Arc<ObjectRef>>>,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments = self.args.len();
        f.debug_struct("Call").field("method", &self.method).field("args", &arguments).finish()
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        request: &'a Request,
        method: &'a str,
        args: &'a [Pickle],
        context: &'a mut dyn Context,
        called: Option<&'a Arc<dyn SharedObject>>,
    ) -> Self {
        Self { request, method, args, context, called, taken: RefCell::default() }
    }

    /// The method's name; for a registered callable, its typeid.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The connection that the call came by.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.context.connection()
    }

    /// Shuts the manager down. This call's reply is still sent.
    pub fn shut_down_manager(&self) {
        self.context.shut_down_manager();
    }

    /// Calls [`SharedObject::disconnected`](crate::object::SharedObject::disconnected) of the called object once, when
    /// this connection ends. Does nothing in a registered callable, which has no object yet.
    pub fn watch_connection(&mut self) {
        if let Some(called) = self.called {
            self.context.watch(Arc::downgrade(called));
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
        Wait::of(&mut *self.context, timeout)
    }

    /// An argument as an element to keep, with a hold on the objects that it names. What has no tree
    /// within the limits stays unopened.
    #[must_use]
    pub fn element(&self, arg: &Pickle) -> Element {
        self.held(self.kept(arg))
    }

    /// An argument as an item to keep, unopened, with a hold on the objects that it names.
    #[must_use]
    pub fn item(&self, arg: &Pickle) -> Item {
        let data = arg.clone();
        let tokens = if self.request.names_objects { Token::all(&data) } else { Vec::new() };
        Held { data, references: self.references(&tokens) }
    }

    /// The items of an argument, a list or a tuple, to be kept unopened each.
    ///
    /// # Errors
    /// `TypeError` if it is something else, `ValueError` if it passes a limit.
    pub(crate) fn items(&self, arg: &Pickle) -> Result<Vec<Item>, Exception> {
        let all = self.item(arg);
        let Request { budget, limits, .. } = self.request;
        let items = all.elements(budget, limits).map_err(unusable)?;
        let items = items.ok_or_else(|| {
            let text = format!("{}() takes a list, a tuple or a range", self.method);
            Exception::type_error(text)
        })?;
        // What one of them names, all keep.
        let held = |data| Held { data, references: all.references.clone() };
        Ok(items.into_iter().map(held).collect())
    }

    /// A value made of an argument, or a part of one, as an element to keep, with a hold on the objects that
    /// it names.
    ///
    /// # Errors
    /// `ValueError` if it nests deeper than [`Limits::depth`](crate::Limits::depth): what is made of values
    /// that are kept already could grow without end.
    #[cfg(feature = "sync")]
    pub(crate) fn hold(&self, data: Value) -> Result<Element, Exception> {
        let depth = self.request.limits.depth;
        if !data.fits(depth) {
            return Err(unusable(Error::limit("nesting depth", depth)));
        }
        Ok(self.held(data))
    }

    fn held(&self, data: Value) -> Element {
        let mut tokens = Vec::new();
        if self.request.names_objects {
            Token::all_in(&data, &mut tokens);
        }
        Held { data, references: self.references(&tokens) }
    }

    /// The object of this manager that an argument, a proxy, stands for.
    #[cfg(feature = "sync")]
    pub(crate) fn object(&self, proxy: &Value) -> Option<Arc<dyn SharedObject>> {
        let Value::Opaque(proxy) = proxy else { return None };
        self.context.objects().get(&PickledProxy::read(proxy)?.token.id)
    }

    /// Allows the call to make so many bytes beyond what its message spells out, such as a list from a
    /// number: to be asked before they are allocated.
    ///
    /// # Errors
    /// `MemoryError`: [`Limits::expansion`](crate::Limits::expansion).
    #[cfg(feature = "sync")]
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), Exception> {
        self.request.budget.spend(bytes).map_err(unusable)
    }

    fn references(&self, tokens: &[Token]) -> ObjectRefs {
        if tokens.is_empty() {
            return ObjectRefs::default();
        }
        let objects = self.context.objects();
        let mut taken = self.taken.borrow_mut();
        let reference = |token: &Token| {
            if let Some(reference) = taken.get(&token.id) {
                return Some(reference.clone());
            }
            let reference = Arc::new(ObjectRef::new(&objects, &token.id)?);
            taken.insert(token.id.clone(), reference.clone());
            Some(reference)
        };
        tokens.iter().filter_map(reference).collect()
    }

    /// Assigns the arguments to parameters, by place or by name, as Python does: first those that are required,
    /// then those that are `None` when left out.
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
    /// `TypeError` if an argument is missing, given twice or unknown, or if there are too many.
    pub fn args<const R: usize, const O: usize>(
        &self,
        required: [&str; R],
        optional: [&str; O],
    ) -> Result<([&'a Pickle; R], [Option<&'a Pickle>; O]), Exception> {
        let (max, given) = (R + O, self.args.len());
        if given > max {
            return Err(self.wrong(format_args!("takes at most {max} arguments, {given} given")));
        }
        for (at, (name, _)) in self.request.kwargs.iter().enumerate() {
            let place = required.iter().chain(&optional).position(|known| known == name);
            let earlier = self.request.kwargs.iter().take(at).any(|(other, _)| other == name);
            match place {
                None => return Err(self.wrong(format_args!("has no argument '{name}'"))),
                Some(place) if place < given || earlier => {
                    return Err(self.wrong(format_args!("got argument '{name}' twice")));
                }
                Some(_) => {}
            }
        }
        let find = |place: usize, name: &str| {
            let named = || self.request.kwargs.iter().find(|(given, _)| given == name);
            self.args.get(place).or_else(|| named().map(|(_, value)| value))
        };
        let missing = required.iter().enumerate().find(|(at, name)| find(*at, name).is_none());
        if let Some((_, name)) = missing {
            return Err(self.wrong(format_args!("is missing the argument '{name}'")));
        }
        // None is missing, so that none is replaced here.
        let mut places = 0..;
        let mut next = |name: &str| places.next().and_then(|place| find(place, name));
        let required = required.map(|name| next(name).unwrap_or(&NONE));
        Ok((required, optional.map(next)))
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
        self.args
    }

    /// The keyword arguments, for a method that takes any.
    #[must_use]
    pub fn keywords(&self) -> &'a [(String, Pickle)] {
        &self.request.kwargs
    }

    /// An argument as a value, within the manager's limits. A `bool`, `int` or `float` of `NumPy` is the plain
    /// number; to keep it as it is, use [`Call::element`].
    ///
    /// # Errors
    /// `ValueError` if it passes a limit, `MemoryError` if that is what may become of the message.
    pub fn value(&self, arg: &Pickle) -> Result<Value, Exception> {
        self.decode(arg).map(Value::into_plain).map_err(unusable)
    }

    /// An argument as [`Call::element`] keeps it, to be compared with such.
    pub(crate) fn kept(&self, arg: &Pickle) -> Value {
        self.decode(arg).unwrap_or_else(|_| Value::Opaque(arg.clone()))
    }

    fn decode(&self, arg: &Pickle) -> Result<Value, Error> {
        arg.decode_within(&self.request.budget, &self.request.limits)
    }

    /// Whether Python takes an argument for true; `default` if it was left out.
    ///
    /// # Errors
    /// As [`Call::value`].
    pub fn is_true(&self, arg: Option<&Pickle>, default: bool) -> Result<bool, Exception> {
        arg.map_or(Ok(default), |arg| Ok(self.value(arg)?.truthy()))
    }

    /// A timeout in seconds that a client gave, or `None`, for ever, if it was left out or is Python's `None`.
    /// [`Duration::from_secs_f64`] must not be given a client's number: it panics if that is negative, not a
    /// number, or too large.
    ///
    /// ```
    /// use basemanager::Exception;
    /// use basemanager::object::{Call, Monitor, Return};
    ///
    /// /// `wait(timeout=None)`: whether it came true in time.
    /// fn wait(truth: &Monitor<bool>, call: &mut Call<'_>) -> Result<Return, Exception> {
    ///     let ([], [timeout]) = call.args([], ["timeout"])?;
    ///     let timeout = call.timeout(timeout)?;
    ///     let came = truth.wait(&mut call.wait(timeout), |truth| *truth)?;
    ///     Ok(came.is_some().into())
    /// }
    /// ```
    ///
    /// # Errors
    /// What Python raises: `TypeError` if it is no number, `ValueError` if it is negative or not a number
    /// (nan), `OverflowError` if it is infinite or more than 292 years.
    pub fn timeout(&self, arg: Option<&Pickle>) -> Result<Option<Duration>, Exception> {
        let value = arg.map_or(Ok(Value::None), |arg| self.value(arg))?;
        if value.is_none() {
            return Ok(None);
        }
        let name = value.type_name();
        let seconds = value.to::<f64>();
        let refusal = |_| Exception::type_error(format!("a timeout is a number, not '{name}'"));
        let seconds = seconds.map_err(refusal)?;
        if seconds < 0.0 {
            return Err(Exception::value_error("'timeout' must be a non-negative number"));
        }
        duration(seconds).map(Some)
    }

    /// The exception for a method that `exposed` names but `call` does not know.
    #[must_use]
    pub fn no_such_method(&self) -> Exception {
        Exception::attribute_error(format!("there is no method '{}'", self.method))
    }

    fn wrong(&self, what: fmt::Arguments<'_>) -> Exception {
        Exception::type_error(format!("{}() {what}", self.method))
    }
}

/// Python's `None`.
static NONE: Pickle = Pickle::none();

/// Seconds as a time; less than none is none.
///
/// # Errors
/// `ValueError` for nan, `OverflowError` for more than `CPython` can count.
pub(crate) fn duration(seconds: f64) -> Result<Duration, Exception> {
    /// What `CPython` counts in nanoseconds, 63 bits of them.
    const MOST: f64 = 9_223_372_036.0;
    if seconds.is_nan() {
        return Err(Exception::value_error("Invalid value NaN (not a number)"));
    }
    if seconds > MOST {
        let text = "timestamp out of range for C PyTime_t";
        return Err(Exception::builtin("OverflowError", text));
    }
    Ok(Duration::from_secs_f64(seconds.max(0.0)))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err passes")]
fn unusable(error: Error) -> Exception {
    let memory = matches!(error, Error::Limit { what: Budget::NAME, .. });
    Exception::builtin(if memory { "MemoryError" } else { "ValueError" }, error.to_string())
}
