//! What the frames of a connection mean together: one handshake, and then requests with their replies.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Call, Event, Exchange, Meaning, Outcome};
use super::frames::{HANDSHAKE, name_protocol};
use super::handshake::Tracker;
use super::message::{self, Reply, Request};
use super::pending::{Pending, Requests, Total, Typeids};
use super::{Frame, Kind, Sender, UNDECODED};

/// The most connections that are followed at a time.
const MAX_CONNECTIONS: usize = 10_000;

/// What [`Exchanges::read`] returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// What the frame means.
    pub meaning: Meaning,
    /// What it completes.
    pub exchanges: Vec<Exchange>,
}

/// Turns frames into exchanges. Its memory is bounded.
///
/// ```text
///  frame       number from each side     meaning
///  Payload     0, 1, 2                   Challenge, Response, Verdict       ─► one Handshake
///              from 3 on                 Request (client), Reply (manager)  ─► one Call for each pair
///  Lost(n)     counts like n frames
/// ```
/// Replies come in the order of their requests, which may be pipelined.
#[derive(Debug, Default)]
pub struct Exchanges {
    connections: BTreeMap<u64, Connection>,
    typeids: Typeids,
    total: Total,
}

#[derive(Debug, Default)]
struct Connection {
    opened: Duration,
    handshake: Tracker,
    /// The frames from each side.
    frames: [u64; 2],
    closed: [bool; 2],
    /// Who closed first.
    closer: Option<Sender>,
    /// Whether the relay was stopped before that.
    stopped: bool,
    /// Which sides have sent bytes that are not frames.
    foreign: [bool; 2],
    /// Whether it is known why no handshake was seen.
    explained: bool,
    pending: Requests,
}

impl Exchanges {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next frame of any connection, in the order in which they passed.
    pub fn read(&mut self, frame: &Frame) -> Read {
        let Frame { time, connection: number, sender, kind } = frame;
        let mut connection = self.connections.remove(number).unwrap_or_default();
        let mut events = Vec::new();
        let side = usize::from(*sender == Sender::Manager);
        let meaning = match kind {
            Kind::Opened(address) => {
                connection.opened = *time;
                events.push(Event::Opened(address.clone()));
                Meaning::Other
            }
            Kind::Payload { bytes, length, .. } => {
                let at = increment(&mut connection.frames, side, 1);
                let refused = (at < HANDSHAKE && at > 0 && *sender == Sender::Manager)
                    .then(|| message::reply(bytes, *length).ok())
                    .flatten();
                if let Some(Reply { outcome, .. }) = refused {
                    let end = connection.handshake.refused(&outcome);
                    let took = time.saturating_sub(connection.opened);
                    events.extend(end.map(|end| Event::Handshake(end, took)));
                    Meaning::Refusal(outcome)
                } else if at < HANDSHAKE {
                    let meaning = connection.handshake.read(*sender, at, bytes);
                    let end = connection.handshake.end(*sender, at, &meaning);
                    let took = time.saturating_sub(connection.opened);
                    events.extend(end.map(|end| Event::Handshake(end, took)));
                    meaning
                } else if *sender == Sender::Client {
                    self.request(
                        &mut connection,
                        *time,
                        message::request(bytes, *length),
                        &mut events,
                    )
                } else {
                    self.reply(&mut connection, *time, message::reply(bytes, *length), &mut events)
                }
            }
            Kind::Foreign(bytes) => {
                let known = connection.foreign.get_mut(side);
                if known.is_some_and(|known| std::mem::replace(known, true)) {
                    Meaning::Foreign(None)
                } else {
                    let what = name_protocol(bytes);
                    events.push(Event::Foreign(*sender, what.clone()));
                    Meaning::Foreign(Some(what))
                }
            }
            Kind::Lost(count) => {
                let before = increment(&mut connection.frames, side, *count);
                connection.explained = true;
                let of_handshake = HANDSHAKE.saturating_sub(before).min(*count);
                self.lost(&mut connection, *sender, count - of_handshake);
                events.push(Event::Lost(*sender, *count));
                Meaning::Other
            }
            Kind::Note(text) => {
                connection.explained = true;
                events.push(Event::Note(text.clone()));
                Meaning::Other
            }
            Kind::Stopped => {
                connection.stopped = connection.closer.is_none();
                Meaning::Other
            }
            Kind::Closed => {
                self.close(&mut connection, *time, *sender, &mut events);
                Meaning::Other
            }
        };
        if !matches!(events.last(), Some(Event::Closed)) {
            self.connections.insert(*number, connection);
            if self.connections.len() > MAX_CONNECTIONS
                && let Some((_, oldest)) = self.connections.pop_first()
            {
                self.total.remove(&oldest.pending.into_all());
            }
        }
        let exchange = |event| Exchange { time: *time, connection: *number, event };
        Read { meaning, exchanges: events.into_iter().map(exchange).collect() }
    }

    /// The calls that have waited for their replies for this long, each once: [`Outcome::Waiting`].
    pub fn waiting(&mut self, now: Duration, at_least: Duration) -> Vec<Exchange> {
        let mut found = Vec::new();
        for (number, connection) in &mut self.connections {
            // Those behind it wait for it, not in the manager.
            if let Some(Pending::Call { call, since, told: told @ false, .. }) =
                connection.pending.first()
                && now.saturating_sub(*since) >= at_least
            {
                *told = true;
                // Of a recording, `now` is when the next frame passed.
                let time = if at_least.is_zero() { now } else { *since + at_least };
                let call = Call { took: time.saturating_sub(*since), ..Call::clone(call) };
                found.push(Exchange { time, connection: *number, event: Event::Call(call) });
            }
        }
        found
    }

    fn request(
        &mut self,
        connection: &mut Connection,
        time: Duration,
        request: Result<Request, String>,
        events: &mut Vec<Event>,
    ) -> Meaning {
        let request = match request {
            Ok(request) => request,
            Err(why) => {
                events.push(Event::Unreadable(Sender::Client, why.clone()));
                let call = Call { method: UNDECODED.to_owned(), ..Call::empty() };
                self.wait_for(connection, time, call, None);
                return Meaning::Unreadable(why);
            }
        };
        let Request { id, method, args, first, created } = request;
        let named = id.as_ref().or(first.as_ref().filter(|_| takes_id(&method)));
        let (typeid, object) = named.and_then(|id| self.typeids.of(id)).unzip();
        let call = Call { id, typeid, object, method, args, ..Call::empty() };
        let created = first.zip(created).filter(|_| call.method == "create" && call.id.is_none());
        self.wait_for(connection, time, call.clone(), created);
        Meaning::Request(call)
    }

    fn wait_for(
        &mut self,
        connection: &mut Connection,
        time: Duration,
        call: Call,
        created: Option<(String, String)>,
    ) {
        let request = Pending::Call { call: Box::new(call), created, since: time, told: false };
        connection.pending.push(request, &mut self.total);
    }

    fn reply(
        &mut self,
        connection: &mut Connection,
        time: Duration,
        reply: Result<Reply, String>,
        events: &mut Vec<Event>,
    ) -> Meaning {
        let request = connection.pending.take();
        self.total.remove(&request);
        let (mut call, created) = match request {
            Some(Pending::Call { call, created, since, .. }) => {
                (Call { took: time.saturating_sub(since), ..*call }, created)
            }
            _ => (Call::empty(), None),
        };
        call.outcome = match reply {
            Ok(reply) => {
                if let Some((typeid, object)) = &created {
                    if let Some(id) = &reply.created {
                        self.typeids.add(id, typeid, object);
                    }
                } else if let Some((typeid, id)) = &reply.proxy {
                    self.typeids.add(id, typeid, typeid);
                }
                reply.outcome
            }
            Err(why) => Outcome::Unreadable(why),
        };
        events.push(Event::Call(call.clone()));
        Meaning::Reply(call)
    }

    fn lost(&mut self, connection: &mut Connection, sender: Sender, count: u64) {
        match sender {
            Sender::Client => connection.pending.lost_requests(count),
            Sender::Manager => {
                self.total.remove(&connection.pending.lost_replies(count));
            }
        }
    }

    fn close(
        &mut self,
        connection: &mut Connection,
        time: Duration,
        sender: Sender,
        events: &mut Vec<Event>,
    ) {
        let side = usize::from(sender == Sender::Manager);
        if let Some(closed) = connection.closed.get_mut(side) {
            *closed = true;
        }
        // A manager that is gone replies no more. A client that is gone may still get replies.
        let both = connection.closed.iter().all(|closed| *closed);
        // Nobody, if the tap was stopped: that closes both sides.
        let closer =
            if connection.stopped { None } else { Some(*connection.closer.get_or_insert(sender)) };
        if sender == Sender::Manager || both {
            let is_explained = connection.explained || connection.foreign.contains(&true);
            let failed = connection.handshake.closed(closer).filter(|_| !is_explained);
            let took = time.saturating_sub(connection.opened);
            events.extend(failed.map(|failed| Event::Handshake(failed, took)));
            let unanswered = connection.pending.take_all();
            self.total.remove(&unanswered);
            for pending in unanswered {
                if let Pending::Call { call, since, .. } = pending {
                    let took = time.saturating_sub(since);
                    let outcome = closer.map_or(Outcome::Stopped, Outcome::Unanswered);
                    events.push(Event::Call(Call { outcome, took, ..*call }));
                }
            }
        }
        if both {
            events.push(Event::Closed);
        }
    }
}

fn increment(frames: &mut [u64; 2], side: usize, by: u64) -> u64 {
    let Some(count) = frames.get_mut(side) else { return 0 };
    std::mem::replace(count, count.saturating_add(by))
}

/// The functions of a manager whose argument is an id.
fn takes_id(function: &str) -> bool {
    matches!(function, "incref" | "decref")
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests;
