//! basemanager

mod error;
mod frame;
mod handshake;
mod limits;
mod message;
mod pickle;
mod shared;
mod transport;
mod value;

pub use error::{Error, Exception, Result};
pub use limits::Limits;
pub use shared::call::{Arg, Call, ConnectionId};
pub use shared::queue::Queue;
pub use shared::wait::{Interrupted, Monitor, Patience};
pub use shared::{IntoReturn, Return, SharedObject};
pub use transport::Address;
pub use value::{BigInt, Pickle, Value};
