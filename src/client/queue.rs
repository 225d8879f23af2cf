//! The proxy of a queue, in the manager of either language.

use std::time::Duration;

use super::proxy::Proxy;
use super::put_each::PutEach;
use super::{Session, seconds};
use crate::error::{Error, Result};
use crate::value::Value;

/// A queue in a manager. A clone is the same queue.
#[derive(Clone, Debug)]
pub struct QueueProxy(Proxy);

impl From<Proxy> for QueueProxy {
    fn from(proxy: Proxy) -> Self {
        Self(proxy)
    }
}

impl QueueProxy {
    /// Puts an item at the end, and waits while the queue is full.
    ///
    /// # Errors
    /// `queue.ShutDown` ([`Error::is_shut_down`]), and whatever [`Proxy::call`] may give.
    pub fn put(&self, item: impl Into<Value>) -> Result<()> {
        self.0.call("put", &[item.into()], &[]).map(drop)
    }

    /// Puts an item at the end, if there is room.
    ///
    /// # Errors
    /// `queue.Full` ([`Error::is_full`]), else as [`QueueProxy::put`].
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: impl Into<Value>) -> Result<()> {
        self.put_timeout(item, Duration::ZERO)
    }

    /// Puts an item at the end, and waits for room no longer than `timeout`.
    ///
    /// # Errors
    /// `queue.Full` ([`Error::is_full`]), else as [`QueueProxy::put`].
    pub fn put_timeout(&self, item: impl Into<Value>, timeout: Duration) -> Result<()> {
        self.call("put", &[item.into(), true.into(), seconds(Some(timeout))], timeout).map(drop)
    }

    /// Takes the first item, and waits while there is none.
    ///
    /// # Errors
    /// `queue.ShutDown` ([`Error::is_shut_down`]), and whatever [`Proxy::call`] may give;
    /// [`Error::Invalid`] if the queue is an [at-least-once](crate::QueueOptions::at_least_once) one (it
    /// exposes `nack`): items of those are taken by a [`consumer`](Self::consumer), which has a connection of
    /// its own.
    pub fn get(&self) -> Result<Value> {
        self.take("get", &[], None)
    }

    /// Takes the first item; `None` if there is none.
    ///
    /// # Errors
    /// As [`QueueProxy::get`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<Option<Value>> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first item, and waits for one no longer than `timeout`; `None` if none came.
    ///
    /// # Errors
    /// As [`QueueProxy::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<Option<Value>> {
        unless_empty(self.take("get", &[true.into(), seconds(Some(timeout))], Some(timeout)))
    }

    /// Puts many items with one call, a message for all, and waits while the queue is full. Gives how many
    /// were put: fewer only if it was shut down meanwhile. A manager of this crate offers it to Python
    /// clients too (`put_many(items, timeout=None)`); CPython's does not.
    ///
    /// # Errors
    /// `queue.ShutDown` if none was put, and whatever [`Proxy::call`] may give.
    pub fn put_many<T: Into<Value>>(&self, items: impl IntoIterator<Item = T>) -> Result<usize> {
        let items: Vec<Value> = items.into_iter().map(Into::into).collect();
        self.0.call("put_many", &[items.into()], &[])?.try_into()
    }

    /// Takes up to `max` items with one call: waits for the first as long as `timeout` (`None` is for ever),
    /// and takes what else is there, up to 1 MiB. None if none came. A manager of this crate offers it to
    /// Python clients too (`get_many(max, timeout=None)`, which raises `queue.Empty`); CPython's does not.
    ///
    /// # Errors
    /// As [`QueueProxy::get`].
    pub fn get_many(&self, max: usize, timeout: Option<Duration>) -> Result<Vec<Value>> {
        several(self.take("get_many", &many(max, timeout), timeout))
    }

    /// Puts items by a call each, many of which are under way at once: a reply is not waited for before the
    /// next calls are sent, up to 64 of them, and 1 MiB. Gives the result for each item, in order, while the
    /// iterator is gone through.
    ///
    /// When the connection breaks, the items that were under way have an error each, and those that have
    /// no result were not sent.
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

    /// A consumer with a new connection of its own, which a queue that takes back what is not done needs
    /// ([`QueueOptions::at_least_once`](crate::QueueOptions::at_least_once)).
    #[must_use]
    pub fn consumer(&self) -> Consumer {
        Consumer { queue: self.clone(), session: None }
    }

    /// The items as they come, for ever: each `next` is a [`QueueProxy::get`]. Ends after an error.
    #[must_use]
    pub fn iter(&self) -> QueueIter<'_> {
        QueueIter { queue: self, ended: false }
    }

    /// The items in the queue.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> Result<usize> {
        self.plain("qsize")?.try_into()
    }

    /// Whether there is none.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> Result<bool> {
        self.plain("empty")?.try_into()
    }

    /// Whether there is no room for another.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    #[doc(alias = "full")]
    pub fn is_full(&self) -> Result<bool> {
        self.plain("full")?.try_into()
    }

    /// Says that an item taken earlier has been dealt with.
    ///
    /// # Errors
    /// `ValueError` if that was said of more items than were put; else as [`QueueProxy::get`].
    pub fn task_done(&self) -> Result<()> {
        self.take("task_done", &[], Some(Duration::ZERO)).map(drop)
    }

    /// Waits until every item put has been taken and said to be done.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn join(&self) -> Result<()> {
        self.0.call("join", &[], &[]).map(drop)
    }

    /// Refuses items from now on; `immediate` also drops those that are there. In Python since 3.13.
    ///
    /// # Errors
    /// Whatever [`Proxy::call`] may give.
    pub fn shutdown(&self, immediate: bool) -> Result<()> {
        self.call("shutdown", &[immediate.into()], Duration::ZERO).map(drop)
    }

    /// The untyped proxy.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.0
    }

    /// Takes items, or says that they are done, by whichever connection: not if it matters which.
    fn take(&self, method: &str, args: &[Value], wait: Option<Duration>) -> Result<Value> {
        if self.0.exposed().iter().any(|name| name == "nack") {
            return Err(Error::Invalid(format!(
                "{method}() of an at-least-once queue: its items belong to the connection that takes \
                 them; use QueueProxy::consumer(), which has one of its own"
            )));
        }
        self.0.call_waiting(method, args, &[], wait)
    }

    fn plain(&self, method: &str) -> Result<Value> {
        self.call(method, &[], Duration::ZERO)
    }

    fn call(&self, method: &str, args: &[Value], wait: Duration) -> Result<Value> {
        self.0.call_waiting(method, args, &[], Some(wait))
    }
}

impl<'a> IntoIterator for &'a QueueProxy {
    type Item = Result<Value>;
    type IntoIter = QueueIter<'a>;

    fn into_iter(self) -> QueueIter<'a> {
        self.iter()
    }
}

/// Takes items of a queue, and says when each is done, by a connection of its own: to the manager it is
/// one holder. When it goes, what it took and did not mark as done goes back.
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
/// With [`Connector::reconnect`](crate::Connector::reconnect) a consumer outlives its manager. An error tells it that the manager is
/// gone, and with it what this consumer held; then the next `get` waits for the manager to come back.
///
/// ```no_run
/// use std::time::Duration;
/// use basemanager::{Client, Error};
/// let client = Client::to("127.0.0.1:5000", "producer")
///     .reconnect(100, Duration::from_millis(200)) // while no manager is there
///     .connect()?;
/// let mut consumer = client.queue("task_queue")?.consumer();
/// loop {
///     let done = consumer.get().and_then(|item| {
///         println!("{item}"); // the work
///         consumer.task_done()
///     });
///     match done {
///         // It did not come back within the 20 s.
///         Err(error @ Error::Unreachable(_)) => return Err(error),
///         // It is gone, and an item that was not done is delivered again: get() connects anew.
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
    session: Option<Session>,
}

impl Consumer {
    /// Takes the first item, and waits while there is none.
    ///
    /// # Errors
    /// `queue.ShutDown` ([`Error::is_shut_down`]), and whatever [`Proxy::call`] may give. After an error of
    /// the connection what this consumer held is back in the queue, and the next call connects anew.
    pub fn get(&mut self) -> Result<Value> {
        self.call("get", &[], None)
    }

    /// Takes the first item; `None` if there is none.
    ///
    /// # Errors
    /// As [`Consumer::get`].
    #[doc(alias = "get_nowait")]
    pub fn try_get(&mut self) -> Result<Option<Value>> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes the first item, and waits for one no longer than `timeout`; `None` if none came.
    ///
    /// # Errors
    /// As [`Consumer::get`].
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<Option<Value>> {
        unless_empty(self.call("get", &[true.into(), seconds(Some(timeout))], Some(timeout)))
    }

    /// Takes up to `max` items, as [`QueueProxy::get_many`]; each is to be marked as done.
    ///
    /// # Errors
    /// As [`Consumer::get`].
    pub fn get_many(&mut self, max: usize, timeout: Option<Duration>) -> Result<Vec<Value>> {
        several(self.call("get_many", &many(max, timeout), timeout))
    }

    /// Says that the oldest of the items that this consumer holds has been dealt with.
    ///
    /// # Errors
    /// `ValueError` if it holds none, or not any more; else as [`Consumer::get`].
    pub fn task_done(&mut self) -> Result<()> {
        self.call("task_done", &[], Some(Duration::ZERO)).map(drop)
    }

    /// Returns the newest of the items that this consumer holds to the front of the queue, or moves it to
    /// the [dead letters](crate::QueueOptions::dead_letters) after its last delivery. After
    /// [`get_many`](Self::get_many) that is the last item of the batch.
    ///
    /// ```
    /// # use basemanager::{Client, Manager, Queue};
    /// # let broken = Queue::new();
    /// # let tasks = Queue::options().dead_letters(1, &broken).build();
    /// # let shared = tasks.clone();
    /// # let server = Manager::new("key").register("tasks", move |_| shared.clone());
    /// # let handle = server.bind("127.0.0.1:0")?.start()?;
    /// # let client = Client::connect(handle.address(), "key")?;
    /// # tasks.put("not a number")?;
    /// let mut consumer = client.queue("tasks")?.consumer();
    /// match i64::try_from(consumer.get()?) {
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
    /// `ValueError` if it holds none, or not any more; [`Error::Remote`] if the queue is not an
    /// [at-least-once](crate::QueueOptions::at_least_once) one; else as [`Consumer::get`].
    pub fn nack(&mut self) -> Result<()> {
        self.call("nack", &[], Some(Duration::ZERO)).map(drop)
    }

    fn call(&mut self, method: &str, args: &[Value], wait: Option<Duration>) -> Result<Value> {
        let proxy = self.queue.proxy();
        let session = match &mut self.session {
            Some(session) if session.is_open() => session,
            lost => lost.insert(proxy.own_session()?),
        };
        proxy.call_in(session, method, args, &[], wait)
    }
}

/// What was taken; `None` for `queue.Empty`.
fn unless_empty(result: Result<Value>) -> Result<Option<Value>> {
    match result {
        Err(error) if error.is_empty() => Ok(None),
        result => result.map(Some),
    }
}

/// The items of a batch; none for `queue.Empty`.
fn several(result: Result<Value>) -> Result<Vec<Value>> {
    unless_empty(result)?.map_or(Ok(Vec::new()), Vec::try_from)
}

/// The arguments of `get_many`.
fn many(max: usize, timeout: Option<Duration>) -> [Value; 2] {
    [max.into(), seconds(timeout)]
}

/// The items of a queue, as they come: [`QueueProxy::iter`].
#[derive(Debug)]
pub struct QueueIter<'a> {
    queue: &'a QueueProxy,
    ended: bool,
}

impl Iterator for QueueIter<'_> {
    type Item = Result<Value, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.queue.get();
        self.ended = item.is_err();
        Some(item)
    }
}
