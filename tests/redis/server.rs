//! A `redis-server` of a test's own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use basemanager::{QueueOptions, RedisQueue};

use crate::support::{PATIENCE, Process, TempDir, own_address, until};

pub(crate) struct Redis {
    process: Process,
    directory: TempDir,
    /// `host:port`; the same after a restart.
    address: String,
    args: Vec<String>,
}

impl Redis {
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::with(Vec::new())
    }

    /// Nodes of a cluster, which share the slots.
    #[track_caller]
    pub(crate) fn cluster() -> [Self; 2] {
        let ports = [(); 2].map(|()| free_address().rsplit_once(':').unwrap().1.to_owned());
        let nodes = ports.clone().map(|port| {
            Self::with(vec![
                "--cluster-enabled".into(),
                "yes".into(),
                "--cluster-port".into(),
                port,
            ])
        });
        for (node, slots) in nodes.iter().zip(["0 8191", "8192 16383"]) {
            assert_eq!(node.command(&format!("CLUSTER ADDSLOTSRANGE {slots}")).unwrap(), "+OK");
        }
        let (host, port) = nodes[1].address.rsplit_once(':').unwrap();
        let meet = format!("CLUSTER MEET {host} {port} {}", ports[1]);
        assert_eq!(nodes[0].command(&meet).unwrap(), "+OK");
        for node in &nodes {
            until("the cluster is up", PATIENCE, || {
                let replies = ["a", "b"].map(|key| node.command(&format!("SET {key} 1")).unwrap());
                // One key is here, the other there.
                replies.iter().filter(|reply| *reply == "+OK").count() == 1
                    && replies.iter().any(|reply| reply.starts_with("-MOVED"))
            });
        }
        nodes
    }

    fn with(args: Vec<String>) -> Self {
        let (directory, address) = (TempDir::new(), free_address());
        let process = run(&address, &directory, &args);
        Self { process, directory, address, args }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// A queue in it, with connections of its own, as another manager would have.
    pub(crate) fn queue(&self, name: &str, options: QueueOptions) -> RedisQueue {
        basemanager::Redis::new(&self.url()).unwrap().queue(name, options).unwrap()
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, with what it had on the disk.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = run(&self.address, &self.directory, &self.args);
    }

    pub(crate) fn pause(&self) {
        self.process.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Allows this many clients while a function runs.
    pub(crate) fn with_clients(&self, count: usize, run: impl FnOnce()) {
        // The limit is for new connections.
        let mut stream = TcpStream::connect(&self.address).unwrap();
        assert_eq!(say(&mut stream, &format!("CONFIG SET maxclients {count}")).unwrap(), "+OK");
        run();
        assert_eq!(say(&mut stream, "CONFIG SET maxclients 100").unwrap(), "+OK");
    }

    /// Makes the items of a queue that consumers have idle for this time.
    pub(crate) fn age(&self, queue: &str, time: Duration) {
        let script = format!(
            "for _, item in ipairs(redis.call('XPENDING',KEYS[1],'managers','-','+',1000,'unacknowledged')) do \
             redis.call('XCLAIM',KEYS[1],'managers','unacknowledged',0,item[1],'IDLE',{},'JUSTID') end",
            time.as_millis()
        );
        let key = format!("basemanager:{{{queue}}}:items");
        assert_eq!(self.command(&format!("EVAL \"{script}\" 1 {key}")).unwrap(), "$-1");
    }

    /// Runs an inline command; returns the first line of the reply.
    pub(crate) fn command(&self, command: &str) -> std::io::Result<String> {
        ask(&self.address, command)
    }
}

fn ask(address: &str, command: &str) -> std::io::Result<String> {
    say(&mut TcpStream::connect(address)?, command)
}

fn say(stream: &mut TcpStream, command: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

pub(crate) fn free_address() -> String {
    TcpListener::bind(own_address()).unwrap().local_addr().unwrap().to_string()
}

/// A server that answers.
#[track_caller]
fn run(address: &str, directory: &TempDir, args: &[String]) -> Process {
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut command = Command::new("redis-server");
    command.args([
        "--bind",
        host,
        "--bind-source-addr",
        host,
        "--port",
        port,
        "--dir",
        &directory.path(""),
    ]);
    // `always`: a command that was answered survives a kill.
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]).args(args);
    let process = Process::start("redis-server", &mut command);
    until("Redis answers", PATIENCE, || ask(address, "PING").is_ok_and(|line| line == "+PONG"));
    process
}
