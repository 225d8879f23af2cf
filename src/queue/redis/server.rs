//! Connections to Redis, and what its errors become.

use std::collections::HashMap;
use std::net::ToSocketAddrs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use redis::{
    Client, Connection, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisError, RedisResult,
    ServerErrorKind,
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

/// If no command succeeded for this long, there may have been an outage. Shorter ones are harmless: all items are renewed in
/// time.
const OUTAGE: Duration = Duration::from_secs(10);

/// After an outage, all managers that have connected again have renewed their items within this time.
const STEADY: Duration = Duration::from_secs(10);

/// A Redis server, or a cluster.
pub(super) struct Server {
    client: Client,
    nodes: Mutex<HashMap<Node, Connections>>,
}

/// The host and port of a node of a cluster; `None` is the server of the URL.
pub(super) type Node = Option<(String, u16)>;

struct Connections {
    /// Those that no call uses, and since when.
    idle: Vec<(Connection, Instant)>,
    /// When the last command succeeded, and the first one after the last outage.
    last: Instant,
    first: Instant,
    /// When a queue last asked whether the node is there.
    pinged: Instant,
}

impl Connections {
    fn succeeded(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.last) >= OUTAGE {
            self.first = now;
        }
        self.last = now;
    }
}

impl Server {
    /// Does not connect yet.
    pub(super) fn new(url: &str) -> Result<Self, Error> {
        let wrong = |error: RedisError| Error::invalid(format!("Redis URL: {error}"));
        let info = url.into_connection_info().map_err(wrong)?;
        // Naming the library would take a round trip, and a second timeout if Redis does not answer.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let client = Client::open(info.set_redis_settings(settings)).map_err(wrong)?;
        Ok(Self { client, nodes: Mutex::default() })
    }

    /// Whether both are the same server, as far as their URLs tell.
    pub(super) fn is(&self, other: &Self) -> bool {
        let [this, other] = [self, other].map(|server| server.client.get_connection_info());
        this.addr() == other.addr() && this.redis_settings().db() == other.redis_settings().db()
    }

    /// Runs commands on a connection to `node`, which becomes another one if the keys are there. A connection that
    /// failed is dropped, because a late reply would be taken for that of the next command; so are the node's idle ones,
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
                if let Some(connections) = lock(&self.nodes).get_mut(&at) {
                    if result.as_ref().is_err_and(breaks_connection) {
                        connections.idle.clear();
                        if result.as_ref().is_err_and(|error| error.kind() != ErrorKind::Io) {
                            // Redis answers, but serves nobody.
                            connections.first = Instant::now();
                        }
                    } else {
                        connections.succeeded();
                        connections.idle.push((connection, Instant::now()));
                    }
                }
                result
            });
            let Err(error) = &result else { return result };
            if breaks_connection(error) {
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

    /// Whether there was no outage of this node lately.
    pub(super) fn is_steady(&self, node: &Node) -> bool {
        let is_steady =
            |node: &Connections| node.last.elapsed() < OUTAGE && node.first.elapsed() >= STEADY;
        lock(&self.nodes).get(node).is_some_and(is_steady)
    }

    /// Whether to ask the node for a sign of life: nobody did lately, and no command succeeded.
    pub(super) fn must_ping(&self, node: &Node) -> bool {
        let mut nodes = lock(&self.nodes);
        let is_quiet = |node: &&mut Connections| node.last.max(node.pinged).elapsed() >= OUTAGE / 4;
        nodes.get_mut(node).filter(is_quiet).map(|node| node.pinged = Instant::now()).is_some()
    }

    /// Closes connections that are not needed any more.
    pub(super) fn close_unused(&self) {
        for node in lock(&self.nodes).values_mut() {
            node.idle.retain(|(_, since)| since.elapsed() < UNUSED);
        }
    }

    fn take(&self, node: &Node) -> RedisResult<Connection> {
        let idle = lock(&self.nodes).get_mut(node).and_then(|node| node.idle.pop());
        let Some((mut connection, since)) = idle else { return self.open(node) };
        if since.elapsed() < FRESH {
            return Ok(connection);
        }
        match redis::cmd("PING").exec(&mut connection) {
            Ok(()) => Ok(connection),
            Err(error) if error.is_timeout() => Err(error),
            Err(_) => {
                if let Some(node) = lock(&self.nodes).get_mut(node) {
                    node.idle.clear();
                }
                self.open(node)
            }
        }
    }

    /// Opens a connection. Whatever keeps Redis from accepting it, Redis is unavailable.
    fn open(&self, node: &Node) -> RedisResult<Connection> {
        let unavailable = |error: RedisError| match error.kind() {
            ErrorKind::Io => error,
            _ => (ErrorKind::Io, "cannot connect", error.to_string()).into(),
        };
        let connection = self.connect(node).map_err(unavailable)?;
        let now = Instant::now();
        let connections = || Connections { idle: Vec::new(), last: now, first: now, pinged: now };
        lock(&self.nodes).entry(node.clone()).or_insert_with(connections);
        Ok(connection)
    }

    fn connect(&self, node: &Node) -> RedisResult<Connection> {
        let info = self.client.get_connection_info();
        let (host, port) = match (node, info.addr()) {
            (Some((host, port)), _) | (None, ConnectionAddr::Tcp(host, port)) => (host, *port),
            _ => return configured(self.client.get_connection_with_timeout(TIMEOUT)?),
        };
        // A name may lead to several hosts, of which some do not answer.
        let addresses: Vec<_> = (host.as_str(), port).to_socket_addrs()?.collect();
        let timeout = TIMEOUT / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut failure = (ErrorKind::Io, "the name has no address").into();
        for address in addresses {
            let address = ConnectionAddr::Tcp(address.ip().to_string(), port);
            match Client::open(info.clone().set_addr(address))?.get_connection_with_timeout(timeout)
            {
                Ok(connection) => return configured(connection),
                Err(error) => failure = error,
            }
        }
        Err(failure)
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

fn configured(connection: Connection) -> RedisResult<Connection> {
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    Ok(connection)
}

/// Whether the connection must not be used again: it broke or timed out, or its server cannot serve now.
fn breaks_connection(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse) || is_unavailable(error)
}

/// Whether Redis is down, starting, failing over, or unable to write.
pub(super) fn is_unavailable(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain};
    match error.kind() {
        ErrorKind::Io
        | ErrorKind::Server(Ask | BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain) => {
            true
        }
        _ => {
            matches!(error.code(), Some("BUSY" | "MISCONF" | "NOREPLICAS" | "UNBLOCKED"))
                // The reply to the first command on a new connection.
                || error.detail() == Some("max number of clients reached")
        }
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
