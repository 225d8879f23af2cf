//! The registered typeids.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::exception::Exception;
use crate::object::call::Call;
use crate::object::{IntoReturn, Return, Sealed, SharedObject};

/// Makes, or finds, the object for a client's `create`.
pub(crate) type Callable =
    Box<dyn Fn(&mut Call<'_>) -> Result<Return, Exception> + Send + Sync + 'static>;

/// The registrations by typeid.
pub(crate) type Registry = BTreeMap<String, Arc<Registration>>;

/// A registered typeid: a callable, and which methods its objects expose.
///
/// CPython: the arguments of `BaseManager.register`.
///
/// ```
/// use basemanager::{Manager, Queue, Registration};
/// let inbox = Queue::new();
/// let manager = Manager::new("secret")
///     .register_with("inbox", Registration::shared(&inbox).exposed(["put", "qsize"]));
/// ```
pub struct Registration {
    pub(crate) callable: Callable,
    /// The one object that the callable returns.
    pub(crate) shared: Option<Arc<dyn SharedObject>>,
    pub(crate) exposed: Option<Vec<String>>,
    pub(crate) method_to_typeid: HashMap<String, String>,
    pub(crate) create_method: bool,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("exposed", &self.exposed)
            .field("method_to_typeid", &self.method_to_typeid)
            .field("create_method", &self.create_method)
            .finish_non_exhaustive()
    }
}

impl Registration {
    /// Calls this callable for each `create`, with Python's defaults for the rest.
    pub fn new<F, R>(callable: F) -> Self
    where
        F: Fn(&mut Call<'_>) -> R + Send + Sync + 'static,
        R: IntoReturn,
    {
        Self {
            callable: Box::new(move |call| callable(call).into_return(Sealed::TOKEN)),
            shared: None,
            exposed: None,
            method_to_typeid: HashMap::new(),
            create_method: true,
        }
    }

    /// Shares one object with all clients, as [`Manager::share`](crate::Manager::share) registers it.
    pub fn shared(object: impl Into<Return>) -> Self {
        let object = object.into().into_object();
        let shared = object.clone();
        let callable = move |call: &mut Call<'_>| {
            call.no_args()?;
            Ok::<_, Exception>(Return::Shared(shared.clone()))
        };
        Self { shared: Some(object), ..Self::new(callable) }
    }

    /// The methods that clients may call. Defaults to [`SharedObject::exposed`]. The methods of
    /// [`SharedObject::also_exposed`] are added.
    #[must_use]
    pub fn exposed<T: Into<String>>(mut self, methods: impl IntoIterator<Item = T>) -> Self {
        self.exposed = Some(methods.into_iter().map(Into::into).collect());
        self
    }

    /// The methods whose results stay in the manager, with the typeid of the proxy that the client gets instead.
    /// Defaults to [`SharedObject::method_to_typeid`].
    #[must_use]
    pub fn method_to_typeid<M: Into<String>, T: Into<String>>(
        mut self,
        typeids: impl IntoIterator<Item = (M, T)>,
    ) -> Self {
        let typeids = typeids.into_iter().map(|(method, typeid)| (method.into(), typeid.into()));
        self.method_to_typeid = typeids.collect();
        self
    }

    /// Whether clients may create objects of this typeid. Defaults to `true`. With `false`, the typeid is only used
    /// for the results of methods ([`method_to_typeid`](Self::method_to_typeid)).
    #[must_use]
    pub fn create_method(mut self, allowed: bool) -> Self {
        self.create_method = allowed;
        self
    }
}
