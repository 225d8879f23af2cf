//! What a client needs to connect.

use std::time::Duration;

use super::Client;
use crate::error::Result;
use crate::limits::Limits;
use crate::net::Address;
use crate::wire::handshake::Authkey;

/// Settings of a [`Client`]: [`Client::builder`].
///
/// ```no_run
/// use std::time::Duration;
/// use basemanager::Client;
/// let client = Client::builder("127.0.0.1:5000", "producer")
///     .connect_timeout(Duration::from_secs(2))
///     .call_timeout(Duration::from_secs(5))
///     .reconnect(10, Duration::from_millis(200))
///     .connect()?;
/// # Ok::<(), basemanager::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    pub(super) address: Address,
    pub(super) authkey: Authkey,
    pub(super) connect_timeout: Duration,
    pub(super) greeting_timeout: Duration,
    pub(super) call_timeout: Option<Duration>,
    pub(super) reconnects: u32,
    pub(super) reconnect_pause: Duration,
    pub(super) limits: Limits,
}

impl ClientBuilder {
    pub(super) fn new(address: Address, authkey: Authkey) -> Self {
        Self {
            address,
            authkey,
            connect_timeout: Duration::from_secs(20),
            greeting_timeout: Duration::from_secs(5),
            call_timeout: None,
            reconnects: 0,
            reconnect_pause: Duration::ZERO,
            limits: Limits::default(),
        }
    }

    /// Limits the time for connecting and the handshake, and, if there is no
    /// [`call_timeout`](Self::call_timeout), for the first reply on a connection. Defaults to 20 s.
    ///
    /// The operating system does not let it limit the wait for a place in the full backlog of a Unix socket.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Limits the time until the first byte of a new connection. A manager speaks first, while most other services
    /// wait for the client: without this limit both sides would wait for the whole
    /// [`connect_timeout`](Self::connect_timeout). Defaults to 5 s.
    pub fn greeting_timeout(mut self, timeout: Duration) -> Self {
        self.greeting_timeout = timeout;
        self
    }

    /// Limits the time until a reply. Defaults to no limit.
    ///
    /// It applies to every call of a method that does not wait by design, including
    /// [`Proxy::call`](crate::Proxy::call). A call with a timeout of its own has that time in addition: with 5 s
    /// here, a `get_timeout` of 1 s has 6 s. A call that may wait forever, such as `get`, `put` or `join`, has no
    /// limit: if the manager's host may vanish, call `get_timeout` in a loop instead.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = Some(timeout);
        self
    }

    /// Retries connecting up to `retries` times, after a pause each, while nothing answers at the manager's address:
    /// the manager may be starting or restarting. A service that accepts the connection, but does not answer in time, is
    /// not tried again. Defaults to no retry.
    ///
    /// Each call connects if there is no open connection. A call that was sent before its connection broke is never
    /// repeated: see [`Error::may_have_taken_effect`](crate::Error::may_have_taken_effect).
    pub fn reconnect(mut self, retries: u32, pause: Duration) -> Self {
        (self.reconnects, self.reconnect_pause) = (retries, pause);
        self
    }

    /// Limits the resources that one reply may use. Defaults to [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Connects, and proves the key.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if nothing answers at the address.
    /// [`Error::Authentication`](crate::Error::Authentication) if the keys differ,
    /// [`Error::Foreign`](crate::Error::Foreign) if another service answers: the
    /// reason names its protocol.
    pub fn connect(self) -> Result<Client> {
        Client::new(self)
    }

    /// The time for the reply to a call that the user did not make, such as `accept_connection`.
    pub(super) fn reply_timeout(&self) -> Option<Duration> {
        self.call_timeout.or(Some(self.connect_timeout))
    }
}
