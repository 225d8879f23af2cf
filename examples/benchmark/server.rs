//! The four servers: how each is started, and how it is asked to put and to get.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use basemanager::Manager;
use basemanager::object::Return;

use crate::child::{Child, until_input_ends};
use crate::connection::{Connection, Language};
use crate::pickle::{Arg, request};
use crate::wire::Wire;
use crate::{KEY, PATIENCE, Result, say_address};

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) child: Child,
    pub(crate) address: String,
    language: Language,
    /// The id of a manager's queue.
    ident: String,
}

/// A request, and the size of a manager's reply to it.
pub(crate) struct Exchange {
    bytes: Vec<u8>,
    reply: usize,
}

/// What is asked of all servers, in the words of this crate's manager.
pub(crate) struct Work {
    item: Item,
    put: Exchange,
    get: Exchange,
}

pub(crate) type Item = Arg<'static>;

impl Server {
    pub(crate) fn echo() -> Result<Self> {
        Self::started("echo", Child::role("echo", &["echo"])?, Language::Echo)
    }

    pub(crate) fn manager() -> Result<Self> {
        Self::started("the manager", Child::role("the manager", &["manager"])?, Language::Manager)
    }

    /// A manager whose queue is in Redis.
    #[cfg(feature = "redis")]
    pub(crate) fn on_redis(redis: &Self) -> Result<Self> {
        let child = Child::role("a manager on Redis", &["redis-manager", &redis.address])?;
        Self::started("a manager on Redis", child, Language::Manager)
    }

    pub(crate) fn cpython(python: &OsString) -> Result<Self> {
        let child = Child::python("CPython's manager", python, &["serve"])?;
        Self::started("CPython's manager", child, Language::Manager)
    }

    /// Keeps items on the disk if there is a directory for them.
    pub(crate) fn redis(directory: Option<&str>) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        let args = ["guard", "redis-server", "--bind", "127.0.0.1", "--port", &port];
        let rest = ["--save", "", "--loglevel", "warning"];
        let kept = directory.map_or(vec!["--appendonly", "no"], |directory| {
            vec!["--appendonly", "yes", "--dir", directory]
        });
        let child = Child::role("Redis", &[&args[..], &rest, &kept].concat())?;
        let address = format!("127.0.0.1:{port}");
        let until = Instant::now() + PATIENCE;
        while let Err(error) = Connection::open(&address, Language::Redis) {
            if Instant::now() > until {
                return Err(format!("Redis does not answer: {error}").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        let (name, language, ident) = ("Redis", Language::Redis, String::new());
        Ok(Self { name, child, address, language, ident })
    }

    /// The same server, behind `basemanager tap`.
    pub(crate) fn tapped(&self, program: &Path, args: &[&str], name: &'static str) -> Result<Self> {
        let mut command = Command::new(program);
        let mut child = Child::start(
            "basemanager tap",
            command.args(["tap", "127.0.0.1:0", &self.address]).args(args),
        )?;
        let address = child.address()?;
        Ok(Self { name, child, address, language: self.language, ident: self.ident.clone() })
    }

    fn started(name: &'static str, mut child: Child, language: Language) -> Result<Self> {
        let address = child.address()?;
        let ident = match language {
            Language::Manager => Wire::create(&address, KEY, "task_queue"),
            _ => String::new(),
        };
        Ok(Self { name, child, address, language, ident })
    }

    pub(crate) fn connect(&self) -> Result<Connection> {
        let connection = Connection::open(&self.address, self.language);
        connection.map_err(|error| format!("{}: {error}", self.name).into())
    }

    /// Threads' connections, so many each.
    pub(crate) fn connect_all(&self, threads: usize, each: usize) -> Result<Vec<Vec<Connection>>> {
        (0..threads).map(|_| (0..each).map(|_| self.connect()).collect()).collect()
    }

    /// Tries the work out, on this crate's manager.
    pub(crate) fn prepare(&self, item: Item) -> Result<Work> {
        let mut connection = self.connect()?;
        let mut exchange = |method, args: &[Arg<'_>]| {
            let bytes = request(Some(&self.ident), method, args);
            connection.send(&bytes)?;
            Ok::<_, crate::Error>(Exchange { bytes, reply: connection.frame()?.len() })
        };
        Ok(Work { item, put: exchange("put", &[item])?, get: exchange("get", &[])? })
    }

    pub(crate) fn put(&self, work: &Work) -> Vec<u8> {
        match self.language {
            Language::Echo => work.put.to_echo(),
            Language::Manager => request(Some(&self.ident), "put", &[work.item]),
            Language::Redis => {
                let item = match work.item {
                    Arg::Int(number) => number.to_string().into_bytes(),
                    Arg::Text(text) => text.into(),
                    Arg::Bytes(size) => vec![7; size],
                    // Redis has no lists of integers: as many bytes.
                    Arg::List(_) => vec![7; work.put.bytes.len()],
                };
                resp(&[b"RPUSH", b"queue", &item])
            }
        }
    }

    /// `waits`: where there may be nothing yet.
    pub(crate) fn get(&self, work: &Work, waits: bool) -> Vec<u8> {
        match self.language {
            Language::Echo => work.get.to_echo(),
            Language::Manager => request(Some(&self.ident), "get", &[]),
            Language::Redis if waits => resp(&[b"BLPOP", b"queue", b"0"]),
            Language::Redis => resp(&[b"LPOP", b"queue"]),
        }
    }
}

impl Exchange {
    /// As many bytes, that ask for as many back.
    fn to_echo(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let reply = u32::try_from(self.reply).unwrap_or(u32::MAX);
        bytes[4..8].copy_from_slice(&reply.to_be_bytes());
        bytes
    }
}

fn resp(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend([word, &b"\r\n"[..]].concat());
    }
    out
}

/// This crate's manager, as what is measured.
pub(crate) fn serve(tasks: impl Into<Return>) -> Result<()> {
    let server = Manager::new(KEY)
        .share("task_queue", tasks)
        .log(|event| eprintln!("manager: {event}"))
        .bind("127.0.0.1:0")?;
    say_address(&server.address().to_string())?;
    let _handle = server.start()?;
    until_input_ends()
}
