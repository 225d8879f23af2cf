//! What the frames of a connection mean together: one handshake, and then requests with their replies.
//!
//! ```text
//!  frame       number from each side     meaning
//!  Payload     0, 1, 2                   Challenge, Response, Verdict       ─► one Handshake
//!              from 3 on                 Request (client), Reply (manager)  ─► one Call for each pair
//!  Lost(n)     counts like n frames
//! ```
//! Replies come in the order of their requests, which may be pipelined.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::event::{Call, Event, Exchange, Meaning, Outcome};
use super::frames::{HANDSHAKE, name_protocol};
use super::handshake::Tracker;
use super::message::{self, Reply, Request};
use super::{Frame, Kind, Sender};

/// The most connections that are followed at a time.
const MAX_CONNECTIONS: usize = 10_000;
/// The most requests that wait for replies, on all connections. Further ones are only counted.
const MAX_WAITING: usize = 50_000;
/// The most characters of their arguments.
const MAX_TEXT: usize = 16 << 20;
/// The most ids whose typeids are known.
const MAX_IDS: usize = 50_000;

/// What [`Exchanges::read`] returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// What the frame means.
    pub meaning: Meaning,
    /// What it completes.
    pub exchanges: Vec<Exchange>,
}

/// Turns frames into exchanges. Its memory is bounded.
#[derive(Debug, Default)]
pub struct Exchanges {
    connections: BTreeMap<u64, Connection>,
    typeids: Typeids,
    waiting: usize,
    text: usize,
}

#[derive(Debug, Default)]
struct Connection {
    opened: Duration,
    handshake: Tracker,
    /// The frames from each side.
    frames: [u64; 2],
    closed: [bool; 2],
    foreign: [bool; 2],
    /// Whether the relay has said why there is no handshake.
    explained: bool,
    pending: VecDeque<Pending>,
    /// Replies whose requests passed unseen and are not counted yet.
    ahead: u64,
}

#[derive(Debug)]
enum Pending {
    Call {
        call: Call,
        first: Option<String>,
        since: Duration,
        told: bool,
    },
    /// This many requests that were not seen.
    Unseen(u64),
}

/// The typeids of ids. The oldest are forgotten.
#[derive(Debug, Default)]
struct Typeids {
    known: HashMap<String, String>,
    order: VecDeque<String>,
}

impl Typeids {
    fn add(&mut self, id: &str, typeid: &str) {
        if id.len() > 200 || typeid.len() > 1000 {
            return;
        }
        if self.known.insert(id.to_owned(), typeid.to_owned()).is_none() {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > MAX_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
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
                if let Some(reply) = refused {
                    // Instead of its part of the handshake, the manager says why there is none.
                    self.reply(&mut connection, *time, Ok(reply), &mut events)
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
                let name = name_protocol(bytes);
                if let Some(first @ false) = connection.foreign.get_mut(side) {
                    *first = true;
                    events.push(Event::Foreign(*sender, name.clone()));
                }
                Meaning::Foreign(name)
            }
            Kind::Lost(count) => {
                increment(&mut connection.frames, side, *count);
                self.lost(&mut connection, *sender, *count);
                events.push(Event::Lost(*sender, *count));
                Meaning::Other
            }
            Kind::Note(text) => {
                connection.explained = true;
                events.push(Event::Note(text.clone()));
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
                self.forget(oldest.pending);
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
                connection.pending.front_mut()
                && now.saturating_sub(*since) >= at_least
            {
                *told = true;
                let call = Call { took: now.saturating_sub(*since), ..call.clone() };
                found.push(Exchange { time: now, connection: *number, event: Event::Call(call) });
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
                let call = Call { method: "?".to_owned(), ..Call::empty() };
                self.wait_for(connection, time, call, None);
                return Meaning::Unreadable(why);
            }
        };
        let Request { id, method, args, first } = request;
        let named = id.as_ref().or(first.as_ref().filter(|_| takes_id(&method)));
        let typeid = named.and_then(|id| self.typeids.known.get(id).cloned());
        let call = Call { id, typeid, method, args, ..Call::empty() };
        self.wait_for(connection, time, call.clone(), first);
        Meaning::Request(call)
    }

    fn wait_for(
        &mut self,
        connection: &mut Connection,
        time: Duration,
        call: Call,
        first: Option<String>,
    ) {
        if self.waiting >= MAX_WAITING || self.text >= MAX_TEXT {
            return connection.unseen(1);
        }
        self.waiting += 1;
        self.text += text(&call);
        connection.pending.push_back(Pending::Call { call, first, since: time, told: false });
    }

    fn reply(
        &mut self,
        connection: &mut Connection,
        time: Duration,
        reply: Result<Reply, String>,
        events: &mut Vec<Event>,
    ) -> Meaning {
        let (mut call, first) = match connection.take() {
            Some(Pending::Call { call, first, since, .. }) => {
                self.waiting -= 1;
                self.text -= text(&call);
                (Call { took: time.saturating_sub(since), ..call }, first)
            }
            _ => (Call::empty(), None),
        };
        call.outcome = match reply {
            Ok(reply) => {
                if call.id.is_none() && call.method == "create" {
                    if let (Some(id), Some(typeid)) = (&reply.created, &first) {
                        self.typeids.add(id, typeid);
                    }
                } else if let Some((typeid, id)) = &reply.proxy {
                    self.typeids.add(id, typeid);
                }
                outcome(reply)
            }
            Err(why) => Outcome::Unreadable(why),
        };
        events.push(Event::Call(call.clone()));
        Meaning::Reply(call)
    }

    fn lost(&mut self, connection: &mut Connection, sender: Sender, count: u64) {
        if sender == Sender::Client {
            let known = count.min(connection.ahead);
            connection.ahead -= known;
            return connection.unseen(count - known);
        }
        let mut left = count;
        while left > 0 {
            match connection.pending.front_mut() {
                Some(Pending::Unseen(count)) => {
                    let seen = left.min(*count);
                    (left, *count) = (left - seen, *count - seen);
                    if *count == 0 {
                        connection.pending.pop_front();
                    }
                }
                Some(Pending::Call { .. }) => {
                    left -= 1;
                    let pending = connection.pending.pop_front();
                    self.forget(pending);
                }
                None => {
                    connection.ahead = connection.ahead.saturating_add(left);
                    break;
                }
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
        let took = time.saturating_sub(connection.opened);
        let is_explained = connection.explained || connection.foreign.contains(&true);
        let failed = connection.handshake.closed(sender).filter(|_| !is_explained);
        events.extend(failed.map(|failed| Event::Handshake(failed, took)));
        // A manager that is gone replies no more. A client that is gone may still get replies.
        let both = connection.closed.iter().all(|closed| *closed);
        if sender == Sender::Manager || both {
            for pending in std::mem::take(&mut connection.pending) {
                if let Pending::Call { call, since, .. } = &pending {
                    let (took, outcome) =
                        (time.saturating_sub(*since), Outcome::Unanswered(sender));
                    events.push(Event::Call(Call { outcome, took, ..call.clone() }));
                }
                self.forget([pending]);
            }
        }
        if both {
            events.push(Event::Closed);
        }
    }

    /// These requests will not be shown.
    fn forget(&mut self, pending: impl IntoIterator<Item = Pending>) {
        for pending in pending {
            if let Pending::Call { call, .. } = pending {
                self.waiting -= 1;
                self.text -= text(&call);
            }
        }
    }
}

impl Connection {
    /// Notes requests that are only counted.
    fn unseen(&mut self, count: u64) {
        match self.pending.back_mut() {
            _ if count == 0 => {}
            Some(Pending::Unseen(before)) => *before = before.saturating_add(count),
            _ => self.pending.push_back(Pending::Unseen(count)),
        }
    }

    /// The request that the next reply is for.
    fn take(&mut self) -> Option<Pending> {
        match self.pending.front_mut() {
            Some(Pending::Unseen(count @ 2..)) => {
                *count -= 1;
                Some(Pending::Unseen(1))
            }
            Some(_) => self.pending.pop_front(),
            None => {
                self.ahead += 1;
                None
            }
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

fn text(call: &Call) -> usize {
    call.args.len() + call.method.len()
}

fn outcome(reply: Reply) -> Outcome {
    let text = reply.text;
    match reply.kind.as_str() {
        "#RETURN" => Outcome::Returned(text),
        "#PROXY" => Outcome::Proxy(text),
        "#ERROR" => Outcome::Raised(text),
        "#TRACEBACK" => Outcome::Traceback(text),
        "#UNSERIALIZABLE" => Outcome::Unserializable(text),
        kind => Outcome::Unreadable(format!("an unknown kind of reply, {kind:?}")),
    }
}
