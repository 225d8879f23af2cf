//! Share objects between processes and hosts: Python's `multiprocessing.managers.BaseManager`, in
//! Rust, with CPython's wire protocol.
//!
//! One process, the *manager*, holds a queue; *producers* put into it and *consumers* get from it, from
//! other processes or hosts. Each of the three may be a Rust program or an unmodified Python one.
//!
//! # Hello
//!
//! ```
//! use basemanager::{Client, Manager, Queue};
//!
//! // The manager.
//! let tasks = Queue::new();
//! let server = Manager::new("producer")
//!     .share("task_queue", &tasks)
//!     .bind("127.0.0.1:0")?;
//! let address = server.address().clone();
//! let handle = server.start()?; // or server.serve_forever()
//!
//! // A producer, in any process on any host.
//! let client = Client::connect(&address, "producer")?;
//! client.queue("task_queue")?.put(7)?;
//!
//! // A consumer.
//! let client = Client::connect(&address, "producer")?;
//! let item: i64 = client.queue("task_queue")?.get()?.to()?;
//! assert_eq!(item, 7);
//! # drop(handle);
//! # Ok::<(), basemanager::Error>(())
//! ```
//!
//! # Sharing and registering
//!
//! [`Manager::share`] shares one object, such as a queue, with all clients. [`Manager::register`] binds a name, the
//! *typeid*, to a callable. When a client creates an object of this typeid, the manager calls the callable with the
//! client's arguments. If it returns an object, the client gets a proxy for it; if it returns a value, a copy.
//!
//! ```
//! use basemanager::value::Args;
//! use basemanager::{Client, Exception, Manager};
//!
//! let server = Manager::new("key")
//!     .register("add", |call| {
//!         let ([a, b], []) = call.args(["a", "b"], [])?;
//!         Ok::<_, Exception>(a.to::<i64>()? + b.to::<i64>()?)
//!     })
//!     .bind("127.0.0.1:0")?;
//! let handle = server.start()?;
//! let client = Client::connect(handle.address(), "key")?;
//! let sum = client.create("add", Args::new().arg(40).kwarg("b", 2))?; // or ("add", (40, 2))
//! assert_eq!(sum.value()?, 42.into());
//! # Ok::<(), basemanager::Error>(())
//! ```
//!
//! # Sharing a type of your own
//!
//! Implement [`SharedObject`](object::SharedObject); its documentation has an example. Methods run on the thread of the
//! caller's connection. A method that waits uses a [`Monitor`](object::Monitor), which notices when the caller
//! disconnects and when the manager shuts down. A panic in a method fails that call only; in a program built with
//! `panic = "abort"` it ends the manager.
//!
//! # Python's own types
//!
//! With the feature `sync`, `Manager::register_sync_types` shares the types of Python's
//! `SyncManager`, except `Pool` (module `sync`): locks, events, conditions, barriers, lists, dicts, sets and more.
//!
//! # Several managers
//!
//! With the feature `redis`, several managers, also on different hosts, can share a queue that is stored in a Redis server
//! (`Redis`). The page `guide::redis` says when to use such a queue, and what it guarantees.
//!
//! # Blocking
//!
//! [`QueueProxy::get`] waits forever; [`QueueProxy::try_get`] and [`QueueProxy::get_timeout`] return `None` if no item
//! came. Each call has exclusive use of a connection until it returns, so clones of a proxy can wait on many threads at
//! once. If a consumer dies while it waits, no item is lost. A `get` that finds an item at once does not check whether
//! its caller is still connected: [`Queue`] tells when this can lose an item.
//!
//! # Iteration
//!
//! A [`QueueProxy`] iterates over the items as they arrive:
//!
//! ```
//! # use basemanager::{Client, Manager, Queue};
//! # let tasks = Queue::new();
//! # for item in 0..3 { tasks.put(item)?; }
//! # tasks.shutdown(false);
//! # let server = Manager::new("key").share("tasks", &tasks);
//! # let handle = server.bind("127.0.0.1:0")?.start()?;
//! # let client = Client::connect(handle.address(), "key")?;
//! for item in &client.queue("tasks")? {
//!     match item {
//!         Ok(item) => println!("{item}"),
//!         Err(error) if error.is_shut_down() || error.is_disconnected() => break,
//!         Err(error) => return Err(error),
//!     }
//! }
//! # Ok::<(), basemanager::Error>(())
//! ```
//!
//! # Values
//!
//! A [`Value`] is Python's plain data. [`From`] converts Rust's types, [`Value::to`] converts back. Any other object that
//! a Python program puts, such as a dataclass, is an opaque [`Pickle`] here: it passes through unopened, byte for
//! byte, and nothing in it is ever run.
//!
//! ```
//! use std::collections::BTreeMap;
//! use basemanager::Value;
//! let value = Value::from((7, vec!["a", "b"], BTreeMap::from([("rate", Some(0.5))])));
//! assert_eq!(value.to_string(), "(7, ['a', 'b'], {'rate': 0.5})");
//! let (id, names, _): (u32, Vec<String>, Value) = value.to()?;
//! assert_eq!((id, names.len()), (7, 2));
//! # Ok::<(), basemanager::Error>(())
//! ```
//!
//! # Shutting down
//!
//! [`ServerHandle::shutdown`], a callable that calls [`Call::shut_down_manager`](object::Call::shut_down_manager), or a
//! client's [`Client::shutdown`] shut the manager down: blocked calls fail with an error for which
//! [`Error::is_disconnected`] is true, connections are closed, and [`Server::serve_forever`] returns.
//!
//! # Reading the source
//!
//! A file imports only from its own layer and lower ones, with one exception: a `Value` can hold a `Pickle`. These
//! files, in reading order, carry an item from a producer to a consumer; the `guide` follows one `put` and one blocked
//! `get` through them:
//!
//! `wire/frame`, `wire/handshake`, `wire/message`, `pickle/index`, `pickle/extract`, `object/`, `wait/`, `queue/fifo`,
//! `server/session`, `server/outbox`, `server/mod`. Then `queue/delivery` for at-least-once delivery.
//!
//! | layer | path | holds |
//! |---|---|---|
//! | 6 | `manager.rs` | registering, binding and serving |
//! | 5 | `server/`, `client/` | the two ends of a connection |
//! | 4 | `queue/`, `sync/` | the FIFO queue; the types of `SyncManager` (feature `sync`) |
//! | 3 | `object/`, `wait/` | the interface of shared objects; every blocking wait |
//! | 2 | `wire/`, `net/` | frames, handshake, messages; addresses and sockets |
//! | 1 | `pickle/` | pickles as data: taken apart, moved, decoded and encoded |
//! | 0 | `value/`, `error.rs`, `exception.rs`, `limits.rs` | Python's plain data; errors; limits |

pub mod client;
mod error;
mod exception;
#[cfg(any(doc, doctest))]
pub mod guide;
mod limits;
mod manager;
mod net;
pub mod object;
mod pickle;
mod queue;
mod server;
#[cfg(feature = "sync")]
pub mod sync;
#[cfg(feature = "tap")]
pub mod tap;
pub mod value;
mod wait;
mod wire;

#[doc(inline)]
pub use client::{Client, ClientBuilder, Consumer, Proxy, QueueProxy};
pub use error::{Error, Result};
pub use exception::Exception;
pub use limits::Limits;
pub use manager::{Manager, Server, ServerHandle};
pub use net::{Address, BoundListener};
pub use pickle::Pickle;
pub use queue::{PutError, Queue, QueueOptions, QueueStats};
#[cfg(feature = "redis")]
pub use queue::{Redis, RedisQueue};
pub use server::{Registration, ServerStats};
#[doc(inline)]
pub use value::Value;
pub use wire::handshake::Authkey;

/// Runs the README's Rust examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
