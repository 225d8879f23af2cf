use std::time::Duration;

use super::message::{Reader, Row};
use crate::pickle::Pickle;
use crate::tap::{Frame, Kind, Sender};
use crate::value::Value;

use Sender::{Client, Manager};

/// Reads payloads on one connection.
#[derive(Default)]
struct Talk {
    reader: Reader,
    rows: usize,
}

impl Talk {
    fn after_handshake() -> Self {
        let mut talk = Self::default();
        talk.handshake();
        talk
    }

    fn handshake(&mut self) {
        for (challenger, other) in [(Manager, Client), (Client, Manager)] {
            self.say(challenger, b"#CHALLENGE#{sha256}01234567890123456789");
            self.say(other, b"{sha256}01234567890123456789012345678901");
            self.say(challenger, b"#WELCOME#");
        }
    }

    fn kind(&mut self, sender: Sender, kind: Kind) -> Row {
        let row =
            Frame { time: Duration::from_micros(self.rows as u64), connection: 1, sender, kind };
        self.rows += 1;
        self.reader.read(self.rows - 1, &row)
    }

    fn say(&mut self, sender: Sender, bytes: &[u8]) -> Row {
        let kind = Kind::Payload { header: 4, length: bytes.len() as u64, bytes: bytes.to_vec() };
        let row = self.kind(sender, kind);
        let length: usize = row.parts.iter().map(|part| part.len).sum();
        assert_eq!(length, 4 + bytes.len(), "every byte belongs to a part: {row:?}");
        row
    }

    fn reply(&mut self, kind: &str, value: impl Into<Value>) -> Row {
        let reply = Value::Tuple(vec![kind.into(), value.into()]);
        self.say(Manager, &Pickle::encode(&reply).unwrap().to_bytes())
    }
}

fn codes(row: &Row) -> Vec<&'static str> {
    row.parts.iter().map(|part| part.code).collect()
}

fn texts(row: &Row) -> Vec<&str> {
    row.parts.iter().map(|part| part.text.as_str()).collect()
}

/// `pickle.dumps(('7f', 'put', (7,), {'block': True}), 4)`
const PUT: &[u8] = b"\x80\x04\x95\x1f\0\0\0\0\0\0\0(\x8c\x027f\x94\x8c\x03put\x94K\x07\x85\x94}\x94\x8c\x05block\x94\x88st\x94.";
/// `pickle.dumps((None, 'create', ('tasks',), {}), 4)`
const CREATE: &[u8] =
    b"\x80\x04\x95\x1a\0\0\0\0\0\0\0(N\x8c\x06create\x94\x8c\x05tasks\x94\x85\x94}\x94t\x94.";

#[test]
fn handshake_is_divided() {
    let mut talk = Talk::default();
    for (challenger, other) in [(Manager, Client), (Client, Manager)] {
        let row = talk.say(challenger, &[&b"#CHALLENGE#{sha256}"[..], &[7; 40]].concat());
        assert_eq!(
            (codes(&row), row.label.as_str()),
            (vec!["len", "challenge", "digest", "nonce"], "#CHALLENGE#")
        );
        let row = talk.say(other, &[&b"{sha256}"[..], &[7; 32]].concat());
        assert_eq!(
            (codes(&row), row.label.as_str()),
            (vec!["len", "digest", "mac"], "response, sha256")
        );
        assert_eq!(codes(&talk.say(challenger, b"#WELCOME#")), ["len", "welcome"]);
    }
    // These may be said in a call.
    assert_eq!(talk.say(Manager, b"#WELCOME#").kind, "frame");
}

#[test]
fn old_handshake_is_divided() {
    let mut talk = Talk::default();
    assert_eq!(
        codes(&talk.say(Manager, b"#CHALLENGE#01234567890123456789")),
        ["len", "challenge", "nonce"]
    );
    // It looks like a pickle.
    let row = talk.say(Client, b"\x80\x04.3456789abcdef");
    assert_eq!((codes(&row), row.label.as_str()), (vec!["len", "mac"], "response, md5"));
    let row = talk.say(Manager, b"#FAILURE#");
    assert!(row.is_error && !row.is_aside);
}

#[test]
fn request_is_divided() {
    let row = Talk::after_handshake().say(Client, PUT);
    assert_eq!(row.label, "put(7, block=True)");
    assert_eq!(
        codes(&row),
        ["len", "proto", "frame", "ops", "id", "method", "arg", "ops", "name", "kwarg", "ops"]
    );
    let lengths: Vec<usize> = row.parts.iter().map(|part| part.len).collect();
    assert_eq!(lengths, [4, 2, 9, 1, 5, 6, 2, 4, 8, 1, 4]);
    assert!(!row.is_aside);
}

#[test]
fn id_is_shown_with_its_typeid() {
    let mut talk = Talk::after_handshake();
    assert_eq!(talk.say(Client, CREATE).label, "create('tasks')");
    let created = Value::Tuple(vec!["7f".into(), Value::Tuple(vec!["put".into()])]);
    let row = talk.reply("#RETURN", created);
    assert_eq!((row.label.as_str(), row.request), ("#RETURN id 7f…", Some(6)));
    assert!(texts(&talk.say(Client, PUT)).contains(&"7f of tasks"));
    assert_eq!(talk.reply("#RETURN", ()).label, "#RETURN None");
    let incref = b"\x80\x04(N\x8c\x06incref\x8c\x027f\x85}t.";
    let row = talk.say(Client, incref);
    assert!(row.is_aside);
    assert_eq!(row.label, "incref(tasks)");
}

#[test]
fn replies_belong_to_requests_in_order() {
    let mut talk = Talk::after_handshake();
    talk.say(Client, PUT);
    talk.say(Client, PUT);
    assert_eq!(talk.reply("#RETURN", 1).request, Some(6));
    let row = talk.reply("#TRACEBACK", "Traceback:\n  line\nKeyError: 'a'\n---\n");
    assert_eq!((row.request, row.is_error), (Some(7), true));
    assert_eq!(row.label, "#TRACEBACK KeyError: 'a'");
    assert_eq!(talk.reply("#RETURN", 1).request, None);
}

#[test]
fn lost_frames_count_as_requests_or_replies() {
    let mut talk = Talk::after_handshake();
    talk.kind(Client, Kind::Lost(2));
    talk.say(Client, PUT);
    assert_eq!([(); 3].map(|()| talk.reply("#RETURN", 1).request), [None, None, Some(7)]);
    talk.say(Client, PUT);
    talk.kind(Client, Kind::Lost(10));
    talk.kind(Manager, Kind::Lost(4));
    talk.say(Client, PUT);
    let requests = [(); 8].map(|()| talk.reply("#RETURN", 1).request);
    assert_eq!(requests[..7], [None; 7]);
    assert_eq!(requests[7], Some(14));
    for sender in [Client, Manager, Client] {
        talk.kind(sender, Kind::Lost(u64::MAX));
    }
}

#[test]
fn cut_payload_is_read_as_far_as_it_goes() {
    let mut talk = Talk::after_handshake();
    let bytes = [&PUT[..24], &[b'x'; 1000]].concat();
    let row = talk.kind(Client, Kind::Payload { header: 4, length: 5000, bytes });
    assert_eq!(row.label, "put(<4.8 KiB, xxxxxxxxxxxxxxxxxxxxxxxx…>)");
    assert_eq!(codes(&row), ["len", "proto", "frame", "id", "method", "cut"]);
    let bytes = b"\x80\x04\x95\xff\xff\0\0\0\0\0\0\x8c\x07#RETURN\x94Bxx".to_vec();
    let row = talk.kind(Manager, Kind::Payload { header: 12, length: 5 << 30, bytes });
    assert_eq!((row.label.as_str(), row.request), ("#RETURN <5120.0 MiB, …>", Some(6)));
    assert_eq!(codes(&row), ["len12", "proto", "frame", "#RETURN", "cut"]);
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    for whole in
        [PUT, CREATE, b"#CHALLENGE#{sha256}0123", b"{sha256}01", b"\x80\x04\x8c\x07#RETURNN\x86."]
    {
        for at in 0..=whole.len() {
            for sender in [Client, Manager] {
                Talk::default().say(sender, &whole[..at]);
                Talk::after_handshake().say(sender, &whole[..at]);
                let cut = Kind::Payload { header: 4, length: 1 << 40, bytes: whole[..at].to_vec() };
                Talk::after_handshake().kind(sender, cut);
            }
            for byte in 0..=255 {
                let mut changed = whole.to_vec();
                if let Some(place) = changed.get_mut(at) {
                    *place = byte;
                }
                let mut talk = Talk::after_handshake();
                talk.say(Client, &changed);
                talk.say(Manager, &changed);
            }
        }
    }
}

#[test]
fn foreign_protocols_are_named() {
    let row = Talk::default().kind(Client, Kind::Foreign(b"GET / HTTP/1.1\r\n".to_vec()));
    assert_eq!((row.label.as_str(), codes(&row)), ("HTTP: GET / HTTP/1.1", vec!["foreign"]));
    let row = Talk::default().kind(Client, Kind::Foreign(b"hello".to_vec()));
    assert_eq!(row.label, "text: hello");
    assert_eq!(texts(&row), ["text; \"hell\" would be a frame length of 1751477356 bytes"]);
}

#[test]
fn many_arguments_are_one_part() {
    let args: Vec<Value> = (0..1000).map(Value::from).collect();
    let call = Value::Tuple(vec!["7f".into(), "f".into(), Value::Tuple(args), Value::Dict(vec![])]);
    let row = Talk::after_handshake().say(Client, &Pickle::encode(&call).unwrap().to_bytes());
    assert!(row.parts.len() < 60 && row.label.ends_with('…'), "{row:?}");
    assert!(texts(&row).contains(&"… 960 more"));
}
