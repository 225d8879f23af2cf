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

/// Makes, or finds, the object with a name.
type Named = Box<dyn Fn(&str) -> Result<Arc<dyn SharedObject>, Exception> + Send + Sync + 'static>;

/// The registrations by typeid.
pub(crate) type Registry = BTreeMap<String, Arc<Registration>>;

/// A registered typeid: its callable, and the methods that its objects expose.
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
    /// Makes, or finds, the object with a name, which its id contains.
    pub(crate) named: Option<Named>,
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
    /// Calls `callable` for each `create`. The other settings have Python's defaults.
    pub fn new<F, R>(callable: F) -> Self
    where
        F: Fn(&mut Call<'_>) -> R + Send + Sync + 'static,
        R: IntoReturn,
    {
        Self {
            callable: Box::new(move |call| callable(call).into_return(Sealed::TOKEN)),
            shared: None,
            named: None,
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

    /// Shares one object for each name: `create` takes the name, and `callable` finds or makes the object. It must
    /// return the same object each time, because the manager may call it again for the same name.
    ///
    /// The id contains the name. So a client's proxy still works after a restart, as with
    /// [`Manager::share`](crate::Manager::share): the manager calls `callable` to find the object again.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use std::sync::Mutex;
    /// use basemanager::value::Args;
    /// use basemanager::{Client, Manager, Queue, QueueProxy, Registration};
    /// let queues = Mutex::new(HashMap::<String, Queue>::new());
    /// let named = Registration::named(move |name| {
    ///     Ok(queues.lock().unwrap().entry(name.to_owned()).or_default().clone())
    /// });
    /// let server = Manager::new("key").register_with("queue", named).bind("127.0.0.1:0")?;
    /// let handle = server.start()?;
    /// let client = Client::connect(handle.address(), "key")?;
    /// let emails = QueueProxy::from(client.create("queue", ("emails",))?);
    /// emails.put("hello")?;
    /// # assert_eq!(QueueProxy::from(client.create("queue", ("emails",))?).len()?, 1);
    /// # assert_eq!(QueueProxy::from(client.create("queue", Args::new().kwarg("name", "b"))?).len()?, 0);
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    pub fn named<F, R>(callable: F) -> Self
    where
        F: Fn(&str) -> Result<R, Exception> + Send + Sync + 'static,
        R: Into<Return>,
    {
        let named = Arc::new(move |name: &str| Ok(callable(name)?.into().into_object()));
        let create = named.clone();
        let callable = move |call: &mut Call<'_>| create(&name_of(call)?).map(Return::Shared);
        Self { named: Some(Box::new(move |name| named(name))), ..Self::new(callable) }
    }

    /// The methods that clients may call. Defaults to [`SharedObject::exposed`]. Clients may always call the methods of
    /// [`SharedObject::also_exposed`] too.
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

/// Reads the name, the only argument of `create` for a [`Registration::named`].
pub(super) fn name_of(call: &Call<'_>) -> Result<String, Exception> {
    let ([name], []) = call.args(["name"], [])?;
    Ok(name.to()?)
}
