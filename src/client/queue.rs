//! The proxy of a queue, in a manager of either language.

use std::time::Duration;

use super::connection::Connection;
use super::proxy::Proxy;
use super::put_each::PutEach;
use super::seconds;
use crate::error::{Error, Result};
use crate::queue::PutError;
use crate::value::{IntoArgs, Value};

/// A queue in a manager. A clone is the same queue.
///
/// `get`, `put`, `join`, and the batches may wait forever or as long as their own timeout, to which the
/// [`call_timeout`](crate::ClientBuilder::call_timeout) is added.
#[derive(Clone, Debug)]
pub struct QueueProxy(Proxy);

impl From<Proxy> for QueueProxy {
    fn from(proxy: Proxy) -> Self {
        Self(proxy)
    }
}

impl QueueProxy {
    /// Appends an item, and waits forever while the queue is full. `call_timeout` does not apply.
    ///
    /// # Errors
    /// `queue.ShutDown` ([`Error::is_shut_down`]), and the errors of [`Proxy::call`].
    pub fn put(&self, item: impl Into<Value>) -> Result<()> {
        self.0.call_waiting("put", (item,), None).map(drop)
    }

    /// Appends an item if the queue is not full.
    ///
    /// # Errors
    /// The item, with `queue.Full` ([`PutError::is_full`]) or an error of [`QueueProxy::put`].
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: impl Into<Value>) -> Result<(), PutError<Value>> {
        self.put_timeout(item, Duration::ZERO)
    }

    /// Appends an item, and waits at most `timeout` while the queue is full.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use basemanager::{Client, Manager, Queue};
    /// # let tasks = Queue::bounded(1);
    /// # let server = Manager::new("key").share("tasks", &tasks);
    /// # let handle = server.bind("127.0.0.1:0")?.start()?;
    /// # let client = Client::connect(handle.address(), "key")?;
    /// let queue = client.queue("tasks")?;
    /// queue.put("first")?;
    /// if let Err(error) = queue.put_timeout("second", Duration::from_millis(10)) {
    ///     assert!(error.is_full());
    ///     println!("kept for later: {}", error.into_inner());
    /// }
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`QueueProxy::try_put`].
    pub fn put_timeout(
        &self,
        item: impl Into<Value>,
        timeout: Duration,
    ) -> Result<(), PutError<Value>> {
        let args = [item.into(), true.into(), seconds(Some(timeout))];
        let result = self.0.call_waiting("put", args.as_slice(), Some(timeout));
        let [item, ..] = args;
        result.map(drop).map_err(|error| PutError::new(error, item))
    }

    /// Removes and returns the first item, and waits forever while there is none. `call_timeout` does not apply.
    ///
    /// # Errors
    /// `queue.ShutDown` ([`Error::is_shut_down`]), and the errors of [`Proxy::call`]. [`Error::Invalid`] if the queue
    /// is [at-least-once](crate::QueueOptions::at_least_once) (it exposes `nack`): its items must be taken by a
    /// [`consumer`](Self::consumer), which has a connection of its own.
    pub fn get(&self) -> Result<Value> {
        self.take("get", (), None)
    }

    /// Removes and returns the first item; `None` if there is none.
    ///
    /// # Errors
    /// As [`QueueProxy::get`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<Option<Value>> {
        self.get_timeout(Duration::ZERO)
    }

    /// Removes and returns the first item, and waits at most `timeout` for it; `None` if none came.
    ///
    /// # Errors
    /// As [`QueueProxy::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<Value>> {
        none_if_empty(self.take("get", (true, seconds(Some(timeout))), Some(timeout)))
    }

    /// Appends many items in one message, and waits forever while the queue is full. Returns how many were put:
    /// fewer only if the queue was shut down meanwhile.
    ///
    /// This crate's manager offers `put_many(items, timeout=None)` to Python clients too; `CPython`'s has no such method.
    ///
    /// # Errors
    /// `queue.ShutDown` if none was put, and the errors of [`Proxy::call`].
    pub fn put_many<T: Into<Value>>(&self, items: impl IntoIterator<Item = T>) -> Result<usize> {
        let items: Value = items.into_iter().collect();
        self.0.call_waiting("put_many", (items,), None)?.to()
    }

    /// Removes and returns up to `max` items in one message, at most 1 MiB: waits up to `timeout` (`None` is forever)
    /// for the first, and does not wait for others. Returns no items if none came.
    ///
    /// This crate's manager offers `get_many(max, timeout=None)`, which raises `queue.Empty`, to Python clients too;
    /// `CPython`'s has no such method.
    ///
    /// # Errors
    /// As [`QueueProxy::get`].
    pub fn get_many(&self, max: usize, timeout: Option<Duration>) -> Result<Vec<Value>> {
        batch(self.take("get_many", (max, seconds(timeout)), timeout))
    }

    /// Pipelines a `put` for each item: up to 64 calls and 1 MiB are sent before the first reply is awaited. The
    /// iterator yields the result for each item, in order, and sends as it is advanced.
    ///
    /// If the connection breaks, each item in flight yields an error, and items without a result were not sent.
    ///
    /// ```
    /// # use basemanager::{Client, Manager, Queue};
    /// # let tasks = Queue::new();
    /// # let server = Manager::new("key").share("tasks", &tasks);
    /// # let handle = server.bind("127.0.0.1:0")?.start()?;
    /// # let client = Client::connect(handle.address(), "key")?;
    /// for (number, result) in client.queue("tasks")?.put_each(0..1000).enumerate() {
    ///     result.inspect_err(|_| eprintln!("item {number} is not in the queue"))?;
    /// }
    /// assert_eq!(tasks.len(), 1000);
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    #[doc(alias = "pipeline")]
    pub fn put_each<I>(&self, items: I) -> PutEach<I::IntoIter>
    where
        I: IntoIterator<Item: Into<Value>>,
    {
        PutEach::new(self.clone(), items.into_iter())
    }

    /// A consumer with a connection of its own, which an
    /// [at-least-once](crate::QueueOptions::at_least_once) queue needs.
    #[must_use]
    pub fn consumer(&self) -> Consumer {
        Consumer { queue: self.clone(), connection: None }
    }

    /// Iterates over the items as they come, forever: each `next` is a [`QueueProxy::get`]. Ends after an error.
    #[must_use]
    pub fn iter(&self) -> QueueIter<'_> {
        QueueIter(Some(self))
    }

    /// The number of items in the queue.
    ///
    /// # Errors
    /// The errors of [`Proxy::call`].
    #[doc(alias = "qsize")]
    pub fn len(&self) -> Result<usize> {
        self.0.call("qsize", ())?.to()
    }

    /// Whether the queue has no items.
    ///
    /// # Errors
    /// The errors of [`Proxy::call`].
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> Result<bool> {
        self.0.call("empty", ())?.to()
    }

    /// Whether the queue has as many items as it may hold.
    ///
    /// # Errors
    /// The errors of [`Proxy::call`].
    #[doc(alias = "full")]
    pub fn is_full(&self) -> Result<bool> {
        self.0.call("full", ())?.to()
    }

    /// Marks an item that was taken earlier as done.
    ///
    /// # Errors
    /// `ValueError` if more items were marked than put; else as [`QueueProxy::get`].
    pub fn task_done(&self) -> Result<()> {
        self.take("task_done", (), Some(Duration::ZERO)).map(drop)
    }

    /// Waits forever until every item has been taken and marked as done. `call_timeout` does not apply.
    ///
    /// # Errors
    /// The errors of [`Proxy::call`].
    pub fn join(&self) -> Result<()> {
        self.0.call_waiting("join", (), None).map(drop)
    }

    /// Refuses further items; `immediate` also discards those in the queue. In Python since 3.13.
    ///
    /// # Errors
    /// The errors of [`Proxy::call`].
    pub fn shutdown(&self, immediate: bool) -> Result<()> {
        self.0.call("shutdown", (immediate,)).map(drop)
    }

    /// The untyped proxy.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.0
    }

    /// Takes items, or marks them as done, on any connection; refuses queues for which the connection matters.
    fn take(&self, method: &str, args: impl IntoArgs, wait: Option<Duration>) -> Result<Value> {
        if self.0.exposes("nack") {
            return Err(Error::invalid(format!(
                "{method}() of an at-least-once queue: its items belong to the connection that takes \
                 them; use QueueProxy::consumer(), which has one of its own"
            )));
        }
        self.0.call_waiting(method, args, wait)
    }
}

impl<'a> IntoIterator for &'a QueueProxy {
    type Item = Result<Value>;
    type IntoIter = QueueIter<'a>;

    fn into_iter(self) -> QueueIter<'a> {
        self.iter()
    }
}

/// Takes items of a queue and marks them as done, on a connection of its own. When the connection ends, the items that
/// are not marked as done return to the queue.
///
/// ```
/// # use basemanager::{Client, Manager, Queue};
/// let tasks = Queue::options().at_least_once().build();
/// # let server = Manager::new("key").share("tasks", &tasks);
/// # let handle = server.bind("127.0.0.1:0")?.start()?;
/// # let client = Client::connect(handle.address(), "key")?;
/// # tasks.put("work")?;
/// let mut consumer = client.queue("tasks")?.consumer();
/// let item = consumer.get()?;
/// assert_eq!(item, "work".into());
/// consumer.task_done()?;
/// # Ok::<(), basemanager::Error>(())
/// ```
///
/// With [`ClientBuilder::reconnect`](crate::ClientBuilder::reconnect) a consumer outlives its manager. An error reports
/// that the manager is gone, and with it the items that this consumer held. The next `get` waits for the manager to
/// return.
///
/// ```no_run
/// use std::time::Duration;
/// use basemanager::{Client, Error};
/// let client = Client::builder("127.0.0.1:5000", "producer")
///     .reconnect(100, Duration::from_millis(200)) // 100 retries, one every 200 ms
///     .connect()?;
/// let mut consumer = client.queue("task_queue")?.consumer();
/// loop {
///     let done = consumer.get().and_then(|item| {
///         println!("{item}"); // the work
///         consumer.task_done()
///     });
///     match done {
///         // It did not return within the 20 s.
///         Err(error @ Error::Unreachable { .. }) => return Err(error),
///         // It is gone. An item that was not done is delivered again: get() reconnects.
///         Err(error) if error.is_disconnected() => {}
///         done => done?,
///     }
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Debug)]
pub struct Consumer {
    queue: QueueProxy,
    connection: Option<Connection>,
}

impl Consumer {
    /// Removes and returns the first item, and waits forever while there is none. `call_timeout` does not apply.
    ///
    /// # Errors
    /// `queue.ShutDown` ([`Error::is_shut_down`]), and the errors of [`Proxy::call`]. After an error of the
    /// connection, the items that this consumer held are back in the queue, and the next call reconnects.
    pub fn get(&mut self) -> Result<Value> {
        self.call("get", (), None)
    }

    /// Removes and returns the first item; `None` if there is none.
    ///
    /// # Errors
    /// As [`Consumer::get`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&mut self) -> Result<Option<Value>> {
        self.get_timeout(Duration::ZERO)
    }

    /// Removes and returns the first item, and waits at most `timeout` for it; `None` if none came.
    ///
    /// # Errors
    /// As [`Consumer::get`].
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<Option<Value>> {
        none_if_empty(self.call("get", (true, seconds(Some(timeout))), Some(timeout)))
    }

    /// Removes and returns up to `max` items, like [`QueueProxy::get_many`]. Mark each as done.
    ///
    /// # Errors
    /// As [`Consumer::get`].
    pub fn get_many(&mut self, max: usize, timeout: Option<Duration>) -> Result<Vec<Value>> {
        batch(self.call("get_many", (max, seconds(timeout)), timeout))
    }

    /// Marks the oldest of the items that this consumer holds as done.
    ///
    /// # Errors
    /// `ValueError` if it holds none, or no longer; else as [`Consumer::get`].
    pub fn task_done(&mut self) -> Result<()> {
        self.call("task_done", (), Some(Duration::ZERO)).map(drop)
    }

    /// Returns the newest of the items that this consumer holds to the front of the queue, or moves it to
    /// the [dead letters](crate::QueueOptions::dead_letters) after its last delivery. After
    /// [`get_many`](Self::get_many) that is the last item of the batch.
    ///
    /// ```
    /// # use basemanager::{Client, Manager, Queue};
    /// # let broken = Queue::new();
    /// # let tasks = Queue::options().dead_letters(1, &broken).build();
    /// # let server = Manager::new("key").share("tasks", &tasks);
    /// # let handle = server.bind("127.0.0.1:0")?.start()?;
    /// # let client = Client::connect(handle.address(), "key")?;
    /// # tasks.put("not a number")?;
    /// let mut consumer = client.queue("tasks")?.consumer();
    /// match consumer.get()?.to::<i64>() {
    ///     Ok(number) => {
    ///         println!("{number}");
    ///         consumer.task_done()?;
    ///     }
    ///     Err(_) => consumer.nack()?,
    /// }
    /// # assert_eq!(broken.len(), 1);
    /// # Ok::<(), basemanager::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ValueError` if it holds none, or no longer; [`Error::Remote`] if the queue is not an
    /// [at-least-once](crate::QueueOptions::at_least_once) one; else as [`Consumer::get`].
    pub fn nack(&mut self) -> Result<()> {
        self.call("nack", (), Some(Duration::ZERO)).map(drop)
    }

    fn call(&mut self, method: &str, args: impl IntoArgs, wait: Option<Duration>) -> Result<Value> {
        let proxy = self.queue.proxy();
        let connection = match &mut self.connection {
            Some(connection) if connection.is_in_step() => connection,
            lost => lost.insert(proxy.client().connect_own()?),
        };
        proxy.call_on(connection, method, args, wait)
    }
}

/// The item; `None` for `queue.Empty`.
fn none_if_empty(result: Result<Value>) -> Result<Option<Value>> {
    match result {
        Err(error) if error.is_empty() => Ok(None),
        result => result.map(Some),
    }
}

/// The items of a batch; none for `queue.Empty`.
fn batch(result: Result<Value>) -> Result<Vec<Value>> {
    none_if_empty(result)?.map_or(Ok(Vec::new()), Value::to)
}

/// The items of a queue, as they come: [`QueueProxy::iter`].
#[derive(Debug)]
pub struct QueueIter<'a>(Option<&'a QueueProxy>);

impl Iterator for QueueIter<'_> {
    type Item = Result<Value>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.0?.get();
        if item.is_err() {
            self.0 = None;
        }
        Some(item)
    }
}
