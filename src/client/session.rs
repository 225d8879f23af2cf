//! A connection in use by one caller.

use std::time::Duration;

use super::Client;
use super::connection::Connection;
use crate::error::{Error, Result};
use crate::value::{IntoArgs, Value};
use crate::wait::lock;
use crate::wire::message::Reply;

/// The most connections that are kept for later calls.
const MAX_IDLE: usize = 16;

/// A connection that one caller has to itself. The manager sees its calls as those of one owner.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    /// `None` once a call has failed: the connection may be out of step.
    connection: Option<Connection>,
    /// Whether the connection goes to the pool afterwards.
    pooled: bool,
}

impl Client {
    /// A pooled connection, for calls that leave nothing behind in the manager.
    pub(super) fn session(&self) -> Result<Session> {
        Ok(Session { client: self.clone(), connection: Some(self.checkout()?), pooled: true })
    }

    /// A new connection, for calls that leave something behind that belongs to their connection, such as an
    /// unacknowledged item or a lock. It is never used for anything else.
    pub(super) fn own_session(&self) -> Result<Session> {
        Ok(Session { client: self.clone(), connection: Some(self.accepted()?), pooled: false })
    }
}

impl Session {
    /// Calls a method of an object. `wait` is how long the method itself may wait, `None` forever; the manager has
    /// the `call_timeout` in addition.
    pub(super) fn call(
        &mut self,
        id: &str,
        method: &str,
        args: impl IntoArgs,
        wait: Option<Duration>,
    ) -> Result<Reply> {
        let call_timeout = self.client.0.settings.call_timeout;
        let timeout = call_timeout.zip(wait).map(|(timeout, wait)| timeout.saturating_add(wait));
        self.call_within(id, method, args, timeout)
    }

    /// Calls a method, and waits for the reply no longer than `timeout`.
    pub(super) fn call_within(
        &mut self,
        id: &str,
        method: &str,
        args: impl IntoArgs,
        timeout: Option<Duration>,
    ) -> Result<Reply> {
        let mut connection = self.connection.take().ok_or(Error::Disconnected)?;
        let reply = args.with_args(|args, kwargs| {
            connection.call(&self.client.0.settings, Some(id), method, args, kwargs, timeout)
        });
        self.keep(connection, reply)
    }

    /// Appends a pipelined call with one argument, for [`send`](Self::send), and returns its size.
    pub(super) fn request(&mut self, id: &str, method: &str, arg: &Value) -> Result<usize> {
        let args = std::slice::from_ref(arg);
        self.connection.as_mut().map_or(Ok(0), |connection| connection.request(id, method, args))
    }

    /// Sends the first `bytes` of the appended calls. If that fails, so does [`receive`](Self::receive), but only
    /// after the replies to earlier calls.
    pub(super) fn send(&mut self, bytes: usize) {
        if let Some(connection) = &mut self.connection {
            let _ = connection.send(bytes);
        }
    }

    /// The reply to the oldest pipelined call.
    pub(super) fn receive(&mut self) -> Result<Reply> {
        let mut connection = self.connection.take().ok_or(Error::Disconnected)?;
        let reply = connection.receive(&self.client.0.settings);
        self.keep(connection, reply)
    }

    /// Keeps the connection for the next call, unless this one failed.
    fn keep(&mut self, connection: Connection, reply: Result<Reply>) -> Result<Reply> {
        let reply = reply.inspect_err(|error| self.client.drop_idle(error))?;
        self.client.note_answer();
        self.connection = Some(connection);
        Ok(reply)
    }

    /// Whether no call has failed so far.
    pub(super) fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Closes the connection instead of returning it to the pool.
    pub(super) fn close(mut self) {
        self.connection = None;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.pooled {
            return;
        }
        let mut idle = lock(&self.client.0.idle);
        if idle.len() < MAX_IDLE {
            idle.extend(self.connection.take());
        }
    }
}
