//! What travels between a manager and its clients: frames, the handshake, requests and replies.

pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod message;
