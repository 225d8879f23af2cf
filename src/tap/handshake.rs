//! A handshake as one fact: who proved the key to whom, and how.

use std::fmt;

use super::{Meaning, Outcome, Sender};

const CHALLENGE: &[u8] = b"#CHALLENGE#";

/// How a [handshake](crate::guide::handshake) ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Handshake {
    /// Each side has proved to the other that it knows the key, with this digest.
    Proved(String),
    /// The manager did not accept the client's proof.
    RejectedByManager {
        /// Whether the client used HMAC-MD5, as Python 3.11 and older do, although the manager asked for another
        /// digest.
        md5: bool,
    },
    /// The client did not accept the manager's proof.
    RejectedByClient,
    /// It ended in another way.
    Failed(String),
}

impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proved(digest) => write!(f, "key proved both ways, {digest}"),
            Self::RejectedByManager { md5: false } => {
                f.write_str("key rejected by the manager: the client has a different authkey")
            }
            Self::RejectedByManager { md5: true } => f.write_str(
                "key rejected by the manager: the client has a different authkey, or the manager does not accept HMAC-MD5 \
                 (Python 3.11 and older)",
            ),
            Self::RejectedByClient => {
                f.write_str("key rejected by the client: the manager has a different authkey")
            }
            Self::Failed(why) => write!(f, "handshake not completed: {why}"),
        }
    }
}

/// Follows a handshake.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    /// The message of the last challenge.
    challenge: Vec<u8>,
    /// Whether the manager's challenge named a digest.
    named_digest: bool,
    /// How the client, and then the manager, proved the key.
    digests: [Option<String>; 2],
    /// What came last, and from which side.
    step: Option<(Sender, &'static str)>,
    done: bool,
}

impl Tracker {
    /// The frame of this number, from 0, that a side sends; of a handshake, the first three.
    pub(crate) fn read(&mut self, sender: Sender, number: u64, bytes: &[u8]) -> Meaning {
        match (sender, number) {
            (Sender::Manager, 0) | (Sender::Client, 1) => {
                self.step = Some((sender, "challenge"));
                let Some(message) = bytes.strip_prefix(CHALLENGE) else {
                    return Meaning::Unexpected("a challenge");
                };
                self.challenge = message.to_vec();
                self.named_digest |= sender == Sender::Manager && message.starts_with(b"{");
                Meaning::Challenge(message.to_vec())
            }
            (Sender::Client, 0) | (Sender::Manager, 2) => {
                self.step = Some((sender, "response"));
                let digest = digest(bytes);
                let side = usize::from(sender == Sender::Manager);
                if let Some(known) = self.digests.get_mut(side) {
                    *known = Some(digest.clone());
                }
                Meaning::Response { digest, challenge: std::mem::take(&mut self.challenge) }
            }
            _ => {
                self.step = Some((sender, "verdict"));
                match bytes {
                    b"#WELCOME#" => Meaning::Verdict(true),
                    b"#FAILURE#" => Meaning::Verdict(false),
                    _ => Meaning::Unexpected("#WELCOME# or #FAILURE#"),
                }
            }
        }
    }

    /// The end of the handshake, if this frame is its end. Returned once.
    pub(crate) fn end(
        &mut self,
        sender: Sender,
        number: u64,
        meaning: &Meaning,
    ) -> Option<Handshake> {
        let end = match (sender, number, meaning) {
            (_, _, Meaning::Unexpected(expected)) => {
                Handshake::Failed(format!("expected {expected} from the {sender}"))
            }
            (Sender::Client, 2, Meaning::Verdict(true)) => Handshake::Proved(self.digest()),
            (Sender::Client, 2, Meaning::Verdict(false)) => Handshake::RejectedByClient,
            (Sender::Manager, 1, Meaning::Verdict(false)) => {
                let md5 = self.named_digest && self.digests[0].as_deref() == Some("md5");
                Handshake::RejectedByManager { md5 }
            }
            _ => return None,
        };
        self.once(end)
    }

    /// The manager has replied with this, instead of its part of the handshake.
    pub(crate) fn refused(&mut self, outcome: &Outcome) -> Option<Handshake> {
        self.once(Handshake::Failed(format!("the manager says: {outcome}")))
    }

    /// This side has closed the connection; `None` if the tap was stopped.
    pub(crate) fn closed(&mut self, closer: Option<Sender>) -> Option<Handshake> {
        let why = match (closer, self.step) {
            (None, _) => "the tap was stopped".to_owned(),
            (Some(closer), None) => format!("the {closer} closed the connection at once"),
            (Some(closer), Some((side, last))) if side == closer => {
                format!("the {closer} closed the connection after its {last}")
            }
            (Some(closer), Some((side, last))) => {
                format!("the {closer} closed the connection after the {side}'s {last}")
            }
        };
        self.once(Handshake::Failed(why))
    }

    fn once(&mut self, end: Handshake) -> Option<Handshake> {
        (!std::mem::replace(&mut self.done, true)).then_some(end)
    }

    fn digest(&self) -> String {
        let [client, manager] = &self.digests;
        match (client, manager) {
            (Some(client), Some(manager)) if client != manager => {
                format!("client with {client}, manager with {manager}")
            }
            (Some(digest), _) | (None, Some(digest)) => digest.clone(),
            (None, None) => "an unknown digest".to_owned(),
        }
    }
}

/// The digest of a response: its name in braces, or MD5, whose 16 bytes stand alone.
fn digest(response: &[u8]) -> String {
    let name = response.strip_prefix(b"{").and_then(|rest| rest.split(|byte| *byte == b'}').next());
    match name.and_then(|name| str::from_utf8(name).ok()) {
        Some(name)
            if name.len() < 20
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) =>
        {
            name.to_owned()
        }
        _ if response.len() == 16 => "md5".to_owned(),
        _ => "an unknown digest".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a handshake of these frames comes to.
    fn run(frames: &[(Sender, &[u8])]) -> Option<Handshake> {
        let (mut tracker, mut numbers) = (Tracker::default(), [0; 2]);
        frames.iter().find_map(|(sender, bytes)| {
            let number = &mut numbers[usize::from(*sender == Sender::Manager)];
            let meaning = tracker.read(*sender, *number, bytes);
            let end = tracker.end(*sender, *number, &meaning);
            *number += 1;
            end
        })
    }

    #[test]
    fn each_end_is_told() {
        use Sender::{Client, Manager};
        let challenge = [&b"#CHALLENGE#{sha256}"[..], &[1; 40]].concat();
        let response = [&b"{sha256}"[..], &[2; 32]].concat();
        let (welcome, failure) = (&b"#WELCOME#"[..], &b"#FAILURE#"[..]);
        let proved = |client: &[u8], last| {
            run(&[
                (Manager, &challenge),
                (Client, client),
                (Manager, welcome),
                (Client, &challenge),
                (Manager, &response),
                (Client, last),
            ])
        };
        assert_eq!(proved(&response, welcome), Some(Handshake::Proved("sha256".to_owned())));
        let mixed = proved(&[3; 16], welcome).map(|proved| proved.to_string());
        assert_eq!(
            mixed.as_deref(),
            Some("key proved both ways, client with md5, manager with sha256")
        );
        assert_eq!(proved(&response, failure), Some(Handshake::RejectedByClient));
        let rejected = run(&[(Manager, &challenge), (Client, &response), (Manager, failure)]);
        assert_eq!(rejected, Some(Handshake::RejectedByManager { md5: false }));
        let rejected = run(&[(Manager, &challenge), (Client, &[3; 16]), (Manager, failure)]);
        assert_eq!(rejected, Some(Handshake::RejectedByManager { md5: true }));
        let failed = run(&[(Manager, b"hello")]).map(|failed| failed.to_string());
        let expected = "handshake not completed: expected a challenge from the manager";
        assert_eq!(failed.as_deref(), Some(expected));
    }

    #[test]
    fn side_that_closes_is_told_apart_from_a_stopped_tap() {
        use Sender::{Client, Manager};
        let closed = |closer| {
            let mut tracker = Tracker::default();
            tracker.read(Manager, 0, b"#CHALLENGE#0123");
            tracker.closed(closer).map(|failed| failed.to_string())
        };
        let start = "handshake not completed: the ";
        for (closer, end) in [
            (Some(Client), "client closed the connection after the manager's challenge"),
            (Some(Manager), "manager closed the connection after its challenge"),
            (None, "tap was stopped"),
        ] {
            assert_eq!(closed(closer), Some(format!("{start}{end}")));
        }
    }
}
