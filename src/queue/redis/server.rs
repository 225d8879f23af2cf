//! Connections to Redis, and what its errors become.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use redis::{
    Client, Connection, ConnectionAddr, ErrorKind, RedisError, RedisResult, ServerErrorKind,
};

use crate::error::Error;
use crate::exception::Exception;
use crate::wait::lock;

/// How long connecting may take, and how long Redis may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often a command follows its keys to another node of a cluster.
const REDIRECTS: usize = 3;

/// A connection that was unused for this long is tried with a `PING` first.
const FRESH: Duration = Duration::from_secs(1);

/// A connection that was unused for this long is closed.
const UNUSED: Duration = Duration::from_secs(60);

/// After an outage, each manager has told Redis within this time which items its clients still have.
const STEADY: Duration = Duration::from_secs(10);

/// A Redis server, or a cluster.
pub(super) struct Server {
    client: Client,
    pool: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    /// The connections that no call uses, and since when.
    idle: HashMap<Node, Vec<(Connection, Instant)>>,
    /// Since when no connection has failed.
    steady: Option<Instant>,
}

/// The host and port of a node of a cluster; `None` is the server of the URL.
pub(super) type Node = Option<(String, u16)>;

impl Server {
    /// Does not connect yet.
    pub(super) fn new(url: &str) -> Result<Self, Error> {
        let client = Client::open(url);
        let client = client.map_err(|error| Error::invalid(format!("Redis URL: {error}")))?;
        Ok(Self { client, pool: Mutex::default() })
    }

    /// Runs commands on a connection to `node`, which becomes another one if the keys are there. A connection that
    /// failed is dropped, because a late reply would be taken for that of the next command; so are all that are idle,
    /// which are probably broken too.
    pub(super) fn run<T>(
        &self,
        node: &Mutex<Node>,
        commands: impl Fn(&mut Connection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let mut redirects = 0;
        loop {
            let at = lock(node).clone();
            let result = self.take(&at).and_then(|mut connection| {
                let result = commands(&mut connection);
                if !result.as_ref().is_err_and(breaks_connection) {
                    let mut pool = lock(&self.pool);
                    pool.idle.entry(at).or_default().push((connection, Instant::now()));
                    pool.steady.get_or_insert_with(Instant::now);
                }
                result
            });
            let Err(error) = &result else { return result };
            if breaks_connection(error) {
                *lock(&self.pool) = Pool::default();
                *lock(node) = None;
                return result;
            }
            match self.moved_to(error) {
                Some(other) if redirects < REDIRECTS => *lock(node) = Some(other),
                _ => return result,
            }
            redirects += 1;
        }
    }

    /// Closes connections that are not needed any more.
    pub(super) fn close_unused(&self) {
        for idle in lock(&self.pool).idle.values_mut() {
            idle.retain(|(_, since)| since.elapsed() < UNUSED);
        }
    }

    /// Whether there was no outage lately.
    pub(super) fn is_steady(&self) -> bool {
        lock(&self.pool).steady.is_some_and(|since| since.elapsed() >= STEADY)
    }

    fn take(&self, node: &Node) -> RedisResult<Connection> {
        let idle = lock(&self.pool).idle.get_mut(node).and_then(Vec::pop);
        let Some((mut connection, since)) = idle else { return self.open(node) };
        if since.elapsed() < FRESH {
            return Ok(connection);
        }
        match redis::cmd("PING").exec(&mut connection) {
            Ok(()) => Ok(connection),
            Err(error) if error.is_timeout() => Err(error),
            Err(_) => {
                *lock(&self.pool) = Pool::default();
                self.open(node)
            }
        }
    }

    fn open(&self, node: &Node) -> RedisResult<Connection> {
        let client = match node {
            None => self.client.clone(),
            Some((host, port)) => {
                let info = self.client.get_connection_info().clone();
                Client::open(info.set_addr(ConnectionAddr::Tcp(host.clone(), *port)))?
            }
        };
        let connection = client.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        Ok(connection)
    }

    /// The node of a cluster that has the keys, if the error says so.
    fn moved_to(&self, error: &RedisError) -> Node {
        if error.kind() != ErrorKind::Server(ServerErrorKind::Moved) {
            return None;
        }
        let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
        let host = match self.client.get_connection_info().addr() {
            // A node that does not know the other's address means this host.
            ConnectionAddr::Tcp(this, _) if host.is_empty() => this,
            _ => host,
        };
        Some((host.to_owned(), port.parse().ok()?))
    }
}

/// Whether the connection must not be used again: it broke or timed out, or its server cannot serve now.
fn breaks_connection(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse) || is_unavailable(error)
}

/// Whether Redis is down, starting, or failing over.
pub(super) fn is_unavailable(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain};
    match error.kind() {
        ErrorKind::Io
        | ErrorKind::Server(Ask | BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain) => {
            true
        }
        _ => matches!(error.code(), Some("NOREPLICAS" | "UNBLOCKED")),
    }
}

/// What a call raises: `ConnectionError` if Redis is unavailable, `RuntimeError` if it refused a command.
pub(super) fn exception(error: &RedisError) -> Exception {
    if error.is_timeout() {
        let text =
            format!("Redis did not answer within {TIMEOUT:?}; the call may have taken effect");
        return Exception::builtin("ConnectionError", text);
    }
    if is_unavailable(error) {
        return Exception::builtin("ConnectionError", format!("Redis is unavailable: {error}"));
    }
    Exception::runtime_error(format!("Redis refused a command: {error}"))
}
