//! basemanager

mod client;
mod error;
mod frame;
mod handshake;
mod limits;
mod manager;
mod message;
mod pickle;
mod server;
mod shared;
mod transport;
mod value;

pub use client::{Client, Connector, Proxy, QueueIter, QueueProxy};
pub use error::{Error, Exception, Result};
pub use handshake::Authkey;
pub use limits::Limits;
pub use manager::{Manager, Server, ServerHandle};
pub use server::Registration;
pub use shared::call::{Arg, Call, ConnectionId};
pub use shared::queue::Queue;
pub use shared::wait::{Interrupted, Monitor, Patience};
pub use shared::{IntoReturn, Return, SharedObject};
pub use transport::Address;
pub use value::{BigInt, Pickle, Value};
