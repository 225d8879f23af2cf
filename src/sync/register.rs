//! What Python's `SyncManager` registers.

use crate::exception::Exception;
use crate::manager::Manager;
use crate::queue::Queue;
use crate::server::Registration;
use crate::sync::{
    array::Array,
    barrier::Barrier,
    condition::Condition,
    dict::Dict,
    event::Event,
    list::List,
    lock::{Lock, RLock},
    namespace::Namespace,
    semaphore::{BoundedSemaphore, Semaphore},
    set::Set,
    value::SharedValue,
};

impl Manager {
    /// Registers the typeids of Python's `SyncManager`: `Queue`, `JoinableQueue`, `Event`, `Lock`, `RLock`,
    /// `Semaphore`, `BoundedSemaphore`, `Condition`, `Barrier`, `list`, `dict`, `set`, `Value`, `Array` and
    /// `Namespace`. Each `create` makes a new object.
    ///
    /// `Pool` raises `NotImplementedError`, since it would run Python functions inside the manager.
    ///
    /// ```
    /// use basemanager::{Client, Manager};
    /// use basemanager::sync::DictProxy;
    /// use basemanager::value::Args;
    /// let server = Manager::new("key").register_sync_types().bind("127.0.0.1:0")?;
    /// let handle = server.start()?;
    /// let client = Client::connect(handle.address(), "key")?;
    /// let dict: DictProxy = client.create("dict", Args::new().kwarg("a", 1))?.into();
    /// assert_eq!(dict.get("a")?, Some(1.into()));
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// To register one type only: `manager.register("dict", Dict::from_call)`.
    #[must_use]
    pub fn register_sync_types(self) -> Self {
        self.register("Queue", Queue::from_call)
            .register("JoinableQueue", Queue::from_call)
            .register("Event", Event::from_call)
            .register("Lock", Lock::from_call)
            .register("RLock", RLock::from_call)
            .register("Semaphore", Semaphore::from_call)
            .register("BoundedSemaphore", BoundedSemaphore::from_call)
            .register("Condition", Condition::from_call)
            .register("Barrier", Barrier::from_call)
            .register("list", List::from_call)
            .register_with(
                "dict",
                Registration::new(Dict::from_call).method_to_typeid([("__iter__", "Iterator")]),
            )
            .register("set", Set::from_call)
            .register("Value", SharedValue::from_call)
            .register("Array", Array::from_call)
            .register("Namespace", Namespace::from_call)
            .register("Pool", |_| {
                let text = "a pool would run Python functions, which this manager does not";
                Err::<(), _>(Exception::builtin("NotImplementedError", text))
            })
    }
}
