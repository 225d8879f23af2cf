//! What must be remembered until a reply comes: the requests before it, and the typeids of ids.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::Call;

/// The most requests that wait for replies, on all connections. Further ones are only counted.
const MAX_WAITING: usize = 50_000;
/// The most bytes of their texts.
const MAX_TEXT: usize = 16 << 20;
/// The most ids whose typeids are known.
const MAX_IDS: usize = 50_000;

/// A request that waits for its reply.
#[derive(Debug)]
pub(crate) enum Pending {
    Call {
        call: Box<Call>,
        /// Of a `create`, the typeid, and the name of the object.
        created: Option<(String, String)>,
        since: Duration,
        /// Whether it was shown that it waits.
        told: bool,
    },
    /// This many requests that were not seen.
    Unseen(u64),
}

/// The requests that wait for replies on all connections, together.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Total {
    requests: usize,
    text: usize,
}

impl Total {
    /// Counts a request, if there is room for it.
    fn add(&mut self, request: &Pending) -> bool {
        let has_room = self.requests < MAX_WAITING && self.text < MAX_TEXT;
        if has_room {
            self.requests += 1;
            self.text += request.text();
        }
        has_room
    }

    /// These requests are answered, or will never be.
    pub(crate) fn remove<'a>(&mut self, requests: impl IntoIterator<Item = &'a Pending>) {
        for request in requests {
            if let Pending::Call { .. } = request {
                self.requests -= 1;
                self.text -= request.text();
            }
        }
    }
}

impl Pending {
    fn text(&self) -> usize {
        let Self::Call { call, created, .. } = self else { return 0 };
        let id = call.id.as_ref().map_or(0, String::len);
        let created = created.as_ref().map_or(0, |(typeid, object)| typeid.len() + object.len());
        call.args.len() + call.method.len() + id + created
    }
}

/// The requests of a connection that have no reply yet, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    waiting: VecDeque<Pending>,
    /// Replies whose requests passed unseen and are not counted yet.
    ahead: u64,
}

impl Requests {
    /// Appends a request; without room for it, it is only counted.
    pub(crate) fn push(&mut self, request: Pending, total: &mut Total) {
        if total.add(&request) {
            self.waiting.push_back(request);
        } else {
            self.add_unseen(1);
        }
    }

    /// The one whose reply is next.
    pub(crate) fn first(&mut self) -> Option<&mut Pending> {
        self.waiting.front_mut()
    }

    /// Notes requests that are only counted.
    fn add_unseen(&mut self, count: u64) {
        match self.waiting.back_mut() {
            _ if count == 0 => {}
            Some(Pending::Unseen(before)) => *before = before.saturating_add(count),
            _ => self.waiting.push_back(Pending::Unseen(count)),
        }
    }

    /// Takes the one that the next reply is for.
    pub(crate) fn take(&mut self) -> Option<Pending> {
        match self.waiting.front_mut() {
            Some(Pending::Unseen(count @ 2..)) => {
                *count -= 1;
                Some(Pending::Unseen(1))
            }
            Some(_) => self.waiting.pop_front(),
            None => {
                self.ahead = self.ahead.saturating_add(1);
                None
            }
        }
    }

    /// This many requests passed unseen. Some of their replies may have come before this was known.
    pub(crate) fn lost_requests(&mut self, count: u64) {
        let answered = count.min(self.ahead);
        self.ahead -= answered;
        self.add_unseen(count - answered);
    }

    /// This many replies passed unseen. Returns the requests that they were for.
    pub(crate) fn lost_replies(&mut self, count: u64) -> Vec<Pending> {
        let (mut left, mut gone) = (count, Vec::new());
        while left > 0 {
            match self.waiting.front_mut() {
                Some(Pending::Unseen(count)) => {
                    let seen = left.min(*count);
                    (left, *count) = (left - seen, *count - seen);
                    if *count == 0 {
                        self.waiting.pop_front();
                    }
                }
                Some(Pending::Call { .. }) => {
                    left -= 1;
                    gone.extend(self.waiting.pop_front());
                }
                None => {
                    self.ahead = self.ahead.saturating_add(left);
                    break;
                }
            }
        }
        gone
    }

    /// Takes all: no more replies come.
    pub(crate) fn take_all(&mut self) -> VecDeque<Pending> {
        std::mem::take(&mut self.waiting)
    }

    pub(crate) fn into_all(self) -> VecDeque<Pending> {
        self.waiting
    }
}

/// The typeids of ids, and the names of their objects. The oldest are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Typeids {
    known: HashMap<String, (String, String)>,
    order: VecDeque<String>,
}

impl Typeids {
    pub(crate) fn add(&mut self, id: &str, typeid: &str, object: &str) {
        if id.len() > 200 || typeid.len() > 1000 {
            return;
        }
        if self.known.insert(id.to_owned(), (typeid.to_owned(), object.to_owned())).is_none() {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > MAX_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(crate) fn of(&self, id: &str) -> Option<(String, String)> {
        self.known.get(id).cloned()
    }
}
