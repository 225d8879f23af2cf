//! The proxy of a queue, in the manager of either language.

use std::time::Duration;

use super::proxy::Proxy;
use super::{Session, failure, seconds};
use crate::error::{Error, Result};
use crate::message::Reply;
use crate::value::Value;

/// The most puts that are under way at once.
const WINDOW: usize = 64;

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
    /// `queue.ShutDown` ([`Error::is_shut_down`]), and whatever [`Proxy::call`] may give.
    pub fn get(&self) -> Result<Value> {
        self.0.call("get", &[], &[])
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
        unless_empty(self.call("get", &[true.into(), seconds(Some(timeout))], timeout))
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
        several(self.0.call_waiting("get_many", &many(max, timeout), &[], timeout))
    }

    /// Puts items by a call each, many of which are under way at once: a reply is not waited for before the
    /// next calls are sent. Gives the result for each item, in order, while the iterator is gone through.
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
        PutEach { queue: self.clone(), items: Some(items.into_iter()), session: None, under_way: 0 }
    }

    /// A consumer with a connection of its own, for a queue that takes back what is not done
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
    /// `ValueError` if that was said of more items than were put; else as [`Proxy::call`].
    pub fn task_done(&self) -> Result<()> {
        self.plain("task_done").map(drop)
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

    fn call(&mut self, method: &str, args: &[Value], wait: Option<Duration>) -> Result<Value> {
        let proxy = self.queue.proxy();
        let session = match &mut self.session {
            Some(session) if session.is_open() => session,
            lost => lost.insert(proxy.session()?),
        };
        proxy.call_in(session, method, args, &[], wait)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // What it holds goes back with the connection, which nobody else may use for that reason.
        if let Some(session) = self.session.take() {
            session.close();
        }
    }
}

/// The results of puts that are under way together: [`QueueProxy::put_each`].
#[derive(Debug)]
#[must_use = "items are put as the results are asked for"]
pub struct PutEach<I> {
    queue: QueueProxy,
    /// `None` once no more are sent.
    items: Option<I>,
    session: Option<Session>,
    /// How many were sent whose reply has not been read.
    under_way: usize,
}

impl<I> PutEach<I>
where
    I: Iterator<Item: Into<Value>>,
{
    /// Sends further items, up to [`WINDOW`] under way.
    fn fill(&mut self) -> Result<()> {
        let Some(items) = &mut self.items else { return Ok(()) };
        let fresh: Vec<Value> = items.take(WINDOW - self.under_way).map(Into::into).collect();
        if fresh.is_empty() {
            self.items = None;
            return Ok(());
        }
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(self.queue.proxy().session()?),
        };
        session.send(self.queue.proxy().id(), "put", &fresh);
        self.under_way += fresh.len();
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        match self.session.as_mut().ok_or(Error::Disconnected)?.receive()? {
            Reply::Return(_) => Ok(()),
            other => Err(failure(other)),
        }
    }
}

impl<I> Iterator for PutEach<I>
where
    I: Iterator<Item: Into<Value>>,
{
    type Item = Result<()>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.session.as_ref().is_some_and(|session| !session.is_open()) {
            self.items = None;
        }
        // Not at each reply: requests that go together cost one write.
        if self.under_way <= WINDOW / 2
            && let Err(error) = self.fill()
        {
            self.items = None;
            return Some(Err(error));
        }
        self.under_way = self.under_way.checked_sub(1)?;
        Some(self.receive())
    }
}

impl<I> Drop for PutEach<I> {
    fn drop(&mut self) {
        if self.under_way > 0
            && let Some(session) = self.session.take()
        {
            // Replies are still to come.
            session.close();
        }
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
