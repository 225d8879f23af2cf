//! One connection, on a thread of its own: the handshake, then one loop.
//!
//! ```text
//!  handshake ──► request to the manager itself ──► reply, close
//!                └─ accept_connection ──► loop until the client closes:
//!
//!      read a request ──► find the object ──► call it ──► append the reply
//!            ▲                                                  │
//!            └── if no whole request is buffered: send replies ◄┘
//! ```
//! A client may pipeline: replies to requests that arrived together leave together, in order.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::accept::ConnectionPermit;
use super::objects::{Entry, drop_guarded};
use super::outbox::Outbox;
use super::peer::{Connection, Peer};
use super::{ServerState, functions, guarded};
use crate::error::Error;
use crate::exception::Exception;
use crate::net::{Timed, deadline};
use crate::object::call::{Call, ConnectionId, Context};
use crate::object::stored::ObjectTable;
use crate::object::{Return, SharedObject};
use crate::pickle::Index;
use crate::value::{Value, beginning};
use crate::wait::{Caller, WaitError, Wake, lock, pipeline_limit};
use crate::wire::frame::FrameReader;
use crate::wire::handshake;
use crate::wire::message::{Reply, Request};

/// Serves a connection until it ends.
pub(super) fn serve(permit: &ConnectionPermit, connection: Arc<Connection>) {
    let address = connection.address;
    let result = authenticate_and_serve(permit, connection);
    let (event, reason) = match result {
        _ if permit.is_evicted() => {
            let reason = "the oldest unauthenticated connection was closed to admit another";
            ("rejected", reason.to_owned())
        }
        Ok(()) | Err(Error::Disconnected) => return,
        Err(error) if permit.is_authenticated() => ("closed", error.reason()),
        Err(error) => ("rejected", error.reason()),
    };
    permit.state.log(format_args!("{event} {address}: {reason}"));
}

fn authenticate_and_serve(
    permit: &ConnectionPermit,
    connection: Arc<Connection>,
) -> Result<(), Error> {
    let settings = &permit.state.settings;
    let mut reader = FrameReader::new();
    let mut timed = Timed(&connection.stream, Some(deadline(settings.handshake_timeout)));
    handshake::accept(&mut reader, &mut timed, permit.state.authkey.as_bytes())?;
    if !permit.authenticate() {
        return Err(Error::Disconnected);
    }
    let timeouts = connection.stream.set_timeouts(None, Some(settings.write_timeout));
    timeouts.map_err(Error::connection)?;
    // The client may hold back its request until the end of the handshake is acknowledged.
    connection.ack_now();
    Session::new(permit.state.clone(), connection).serve_requests(reader)
}

/// An authenticated connection.
pub(super) struct Session {
    pub(super) state: Arc<ServerState>,
    connection: Arc<Connection>,
    peer: Peer,
    outbox: Outbox,
    /// The objects to tell when the connection ends, by address.
    watched: HashMap<usize, Weak<dyn SharedObject>>,
    /// A call asked for the manager's shutdown, which begins when its reply has been sent.
    shutdown_requested: Cell<bool>,
}

impl Session {
    fn new(state: Arc<ServerState>, connection: Arc<Connection>) -> Self {
        Self {
            peer: Peer::new(connection.clone()),
            outbox: Outbox::new(&state, connection.clone()),
            watched: HashMap::new(),
            shutdown_requested: Cell::default(),
            state,
            connection,
        }
    }

    fn serve_requests(&mut self, mut reader: FrameReader) -> Result<(), Error> {
        let limits = self.state.settings.limits;
        let (mut index, mut request) = (Index::default(), Request::default());
        let mut accepted = false;
        loop {
            if self.outbox.is_full() || !reader.has_frame() {
                self.flush()?;
            }
            let frame = match reader.read(&mut self.peer, limits.frame_size) {
                Ok(frame) => frame,
                Err(error @ Error::Limit { .. }) => {
                    // The reader skips the frame.
                    self.outbox.reply(&Reply::Traceback(error.to_string()));
                    continue;
                }
                Err(error) => {
                    // Without a valid length the next frame cannot be found.
                    if let Error::Protocol { .. } = error {
                        self.outbox.reply(&Reply::Traceback(error.to_string()));
                        self.flush()?;
                    }
                    return Err(error);
                }
            };
            match request.read(&mut index, frame, &limits) {
                Ok(()) if accepted => self.answer(&request),
                Ok(()) => accepted = self.answer_function(&request),
                Err(error) => self.outbox.reply(&Reply::Traceback(error.to_string())),
            }
            request.clear();
            index.trim();
            if !accepted || self.peer.lost.is_some() || self.state.is_stopping() {
                break;
            }
        }
        self.flush()?;
        match self.peer.lost {
            Some(WaitError::PipelineLimit) => Err(pipeline_limit()),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let result = self.outbox.flush();
        self.shut_down_if_requested();
        result.map_err(Error::connection)
    }

    fn shut_down_if_requested(&self) {
        if self.shutdown_requested.take() {
            self.state.shut_down(true);
        }
    }

    /// Answers the connection's first request; returns whether requests to objects follow.
    fn answer_function(&mut self, request: &Request) -> bool {
        let result = guarded(|| functions::call(self, request));
        let result = result.unwrap_or_else(|panic| Err(Reply::Traceback(panic)));
        let accepted = result.is_ok() && request.method == "accept_connection";
        self.outbox.reply(&result.map_or_else(|error| error, Reply::Return));
        accepted
    }

    /// Answers a request to an object.
    fn answer(&mut self, request: &Request) {
        self.outbox.unpin();
        if self.state.is_stopping() {
            return self.outbox.reply(&Reply::Error(WaitError::ShuttingDown.into()));
        }
        let Some(entry) = self.state.objects.entry(&request.ident) else {
            return self.outbox.reply(&functions::unknown_id(&request.ident));
        };
        // A panic in a method costs this call only.
        let result = guarded(|| self.call(&entry, request));
        match result.unwrap_or_else(|panic| Err(Reply::Traceback(panic))) {
            Ok(Return::Value(value)) => self.outbox.reply(&Reply::Return(value)),
            Ok(Return::Element(element)) => {
                self.outbox.reply(&Reply::Return(element.data));
                self.outbox.pin(&element.references);
            }
            Ok(Return::Item(item)) => return self.outbox.reply_item(entry, item),
            Ok(Return::Items(items)) => self.outbox.reply_items(&entry, items),
            Ok(Return::Shared(object)) => {
                let reply = guarded(move || unserializable(&*object, &request.method));
                self.outbox.reply(&reply.unwrap_or_else(Reply::Traceback));
            }
            Err(reply) => self.outbox.reply(&reply),
        }
        drop_guarded(entry);
    }

    /// Calls a method of an object; an error is the reply to send instead of a result.
    fn call(&mut self, entry: &Entry, request: &Request) -> Result<Return, Reply> {
        let method = &request.method;
        if !entry.exposed.contains(method) {
            return fallback(entry, method);
        }
        let mut call = Call::new(request, method, &request.args, self, Some(&entry.object));
        let result = entry.object.call(&mut call).map_err(Reply::Error)?;
        match entry.method_to_typeid.get(method) {
            Some(typeid) => Err(functions::proxy_reply(&self.state, typeid, result)),
            None => Ok(result),
        }
    }
}

/// Calls a method that every object has without exposing it.
fn fallback(entry: &Entry, method: &str) -> Result<Return, Reply> {
    let object = &entry.object;
    match method {
        "__str__" | "__repr__" => Ok(beginning(usize::MAX, |out| object.repr(out)).into()),
        "#GETVALUE" => {
            let unserializable = |error: Exception| Reply::Unserializable(error.to_string());
            object.value().map(Return::Element).map_err(unserializable)
        }
        _ => {
            // CPython's text, with the typeid in the place of the class.
            let exposed = entry.exposed.iter().map(|name| name.as_str().into()).collect();
            Err(Reply::Traceback(format!(
                "AttributeError: method '{method}' of '{}' object is not in exposed={}",
                entry.typeid,
                Value::Set(exposed)
            )))
        }
    }
}

fn unserializable(object: &dyn SharedObject, method: &str) -> Reply {
    let what = beginning(usize::MAX, |out| object.repr(out));
    let why = "is not plain data, and method_to_typeid does not name the method";
    Reply::Unserializable(format!("{what}, the result of {method}(), {why}"))
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shut_down_if_requested();
        self.outbox.take_back();
        for object in self.watched.drain().filter_map(|(_, object)| object.upgrade()) {
            // A panic must not keep the other objects from being told.
            let _ = guarded(|| object.disconnected(self.connection.id));
            drop_guarded(object);
        }
    }
}

impl Caller for Session {
    fn flush(&mut self) {
        self.outbox.flush_or_fail_later();
        self.shut_down_if_requested();
    }

    fn is_connected(&mut self) -> Result<(), WaitError> {
        if self.outbox.has_failed() {
            self.peer.lost = Some(WaitError::Disconnected);
        }
        self.peer.is_connected()
    }

    fn is_stopping(&self) -> bool {
        self.state.is_stopping()
    }

    fn max_wait(&self) -> Option<Duration> {
        self.state.settings.max_wait
    }

    fn set_wake(&self, wake: Option<Wake>) {
        *lock(&self.connection.wake) = wake;
    }
}

impl Context for Session {
    fn connection(&self) -> ConnectionId {
        self.connection.id
    }

    fn shut_down_manager(&self) {
        self.shutdown_requested.set(true);
    }

    fn watch(&mut self, object: Weak<dyn SharedObject>) {
        if self.watched.len() == self.watched.capacity() {
            self.watched.retain(|_, watched| watched.strong_count() > 0);
        }
        // As long as the weak reference is kept, no other object gets this address.
        self.watched.entry(object.as_ptr().cast::<()>() as usize).or_insert(object);
    }

    fn objects(&self) -> Arc<dyn ObjectTable> {
        self.state.objects.clone()
    }
}
