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

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use super::accept::ConnectionPermit;
use super::objects::{Entry, drop_guarded};
use super::outbox::Outbox;
use super::peer::{Connection, Peer};
use super::{ServerState, functions, guarded};
use crate::error::{Error, Result};
use crate::exception::Exception;
use crate::net::{Timed, deadline};
use crate::object::call::{Call, Context};
use crate::object::{Return, SharedObject};
use crate::pickle::Index;
use crate::value::{Value, beginning};
use crate::wait::{Caller, WaitError, Wake, lock};
use crate::wire::frame::{FrameReader, Source};
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

fn authenticate_and_serve(permit: &ConnectionPermit, connection: Arc<Connection>) -> Result<()> {
    let (state, settings) = (&permit.state, &permit.state.settings);
    let mut reader = FrameReader::new();
    let mut timed = Timed(&connection.stream, Some(deadline(settings.handshake_timeout)));
    handshake::accept(&mut reader, &mut timed, state.authkey.as_bytes(), settings.legacy_md5)?;
    if !permit.authenticate() {
        return Err(Error::Disconnected);
    }
    let timeouts = connection.stream.set_timeouts(None, Some(settings.write_timeout));
    timeouts.map_err(Error::connection)?;
    // The client may hold back its request until the end of the handshake is acknowledged.
    (&connection.stream).ack_now();

    let mut context = Context::new(connection.id, state.objects.clone());
    let mut session = Session {
        state: state.clone(),
        outbox: Outbox::new(state, connection.clone()),
        peer: Peer::new(connection),
    };
    let result = guarded(|| session.serve_requests(reader, &mut context));
    // Still set only after a panic.
    if context.shutdown_requested.take() {
        state.shut_down(true);
    }
    // Before `disconnected`: there, an at-least-once queue would count unsent items as delivered.
    session.outbox.close();
    for object in context.watched.drain().filter_map(|(_, object)| object.upgrade()) {
        // A panic must not keep the other objects from being told.
        let _ = guarded(|| object.disconnected(context.connection));
        drop_guarded(object);
    }
    result.unwrap_or_else(|panic| Err(Error::protocol(panic)))
}

/// An authenticated connection.
struct Session {
    state: Arc<ServerState>,
    peer: Peer,
    outbox: Outbox,
}

impl Session {
    fn serve_requests(&mut self, mut reader: FrameReader, context: &mut Context) -> Result<()> {
        let limits = self.state.settings.limits;
        let (mut index, mut request) = (Index::default(), Request::default());
        let mut accepted = false;
        let result = loop {
            // The replies leave before a read that may block.
            if self.outbox.is_full() || context.shutdown_requested.get() || !reader.has_frame() {
                self.flush(context)?;
            }
            let frame = match reader.read(&mut self.peer, limits.frame_size) {
                Ok(frame) => frame,
                Err(error @ (Error::Limit { .. } | Error::Protocol { .. })) => {
                    self.outbox.reply(&Reply::Traceback(error.to_string()));
                    // The reader skips a frame that is too large. Without a valid length, the next frame cannot be
                    // found.
                    if let Error::Limit { .. } = error {
                        continue;
                    }
                    break Err(error);
                }
                Err(error) => return Err(error),
            };
            match request.read(&mut index, frame, &limits) {
                Ok(()) if accepted => self.answer(&request, context),
                Ok(()) => accepted = self.answer_function(&mut request, context),
                Err(error) => self.outbox.reply(&Reply::Traceback(error.to_string())),
            }
            request.clear();
            index.trim();
            match self.peer.lost.take() {
                None if accepted && !self.state.is_stopping() => {}
                None => break Ok(()),
                Some(error) => break Err(error),
            }
        };
        let flushed = self.flush(context);
        result.and(flushed)
    }

    fn flush(&mut self, context: &Context) -> Result<()> {
        let result = self.outbox.flush();
        if context.shutdown_requested.take() {
            self.state.shut_down(true);
        }
        result
    }

    /// Answers the connection's first request; returns whether requests to objects follow.
    // Not inlined, like `answer`: their stack would be part of the loop's, and an idle connection take 4 KiB more.
    #[inline(never)]
    fn answer_function(&mut self, request: &mut Request, context: &mut Context) -> bool {
        let accept = request.method == "accept_connection";
        let state = self.state.clone();
        let result = guarded(|| functions::call(&state, request, context, self));
        let result = result.unwrap_or_else(|panic| Err(Reply::Traceback(panic)));
        let accepted = accept && result.is_ok();
        self.outbox.reply(&result.map_or_else(|error| error, Reply::Return));
        accepted
    }

    /// Answers a request to an object.
    #[inline(never)]
    fn answer(&mut self, request: &Request, context: &mut Context) {
        self.outbox.unpin();
        if self.state.is_stopping() {
            return self.outbox.reply(&Reply::Error(WaitError::ShuttingDown.into()));
        }
        let entry = match self.state.entry(&request.ident) {
            Ok(entry) => entry,
            Err(reply) => return self.outbox.reply(&reply),
        };
        // A panic in a method costs this call only.
        let result = guarded(|| self.call(&entry, request, context));
        match result.unwrap_or_else(|panic| Err(Reply::Traceback(panic))) {
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
    fn call(
        &mut self,
        entry: &Entry,
        request: &Request,
        context: &mut Context,
    ) -> Result<Return, Reply> {
        let method = &request.method;
        if !entry.exposed.contains(method) {
            return fallback(entry, method);
        }
        let mut call = Call::new(request, context, self, Some(&entry.object));
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

impl Caller for Session {
    fn flush(&mut self) {
        if let Err(error) = self.outbox.flush() {
            // Part of a reply may have been written, so nothing may follow it.
            self.peer.connection.stream.shutdown(Shutdown::Both);
            self.peer.lost = Some(error);
        }
    }

    fn is_connected(&mut self) -> Result<(), WaitError> {
        let connected = self.peer.is_connected();
        // A shutdown closes the read sides of connections, which looks like a disconnect.
        connected.map_err(|error| if self.is_stopping() { WaitError::ShuttingDown } else { error })
    }

    fn is_stopping(&self) -> bool {
        self.state.is_stopping()
    }

    fn max_wait(&self) -> Option<Duration> {
        self.state.settings.max_wait
    }

    fn set_wake(&self, wake: Option<Wake>) {
        *lock(&self.peer.connection.wake) = wake;
    }
}
