use super::*;

const REPLY: &[u8] = b"\x80\x04\x8c\x07#RETURNK\x07\x86.";

fn read(exchanges: &mut Exchanges, sender: Sender, kind: Kind) -> Vec<String> {
    let frame = Frame { time: Duration::ZERO, connection: 1, sender, kind };
    exchanges.read(&frame).exchanges.iter().map(ToString::to_string).collect()
}

fn payload(bytes: &[u8]) -> Kind {
    Kind::Payload { header: 4, length: bytes.len() as u64, bytes: bytes.to_vec() }
}

fn request(method: &str) -> Kind {
    let mut bytes = b"\x80\x04(\x8c\x02id\x8c\x01".to_vec();
    bytes.extend(method.as_bytes());
    payload(&[&bytes[..], b")}t."].concat())
}

/// Past the handshake.
fn exchanges() -> Exchanges {
    let mut exchanges = Exchanges::new();
    read(&mut exchanges, Sender::Client, Kind::Lost(HANDSHAKE));
    read(&mut exchanges, Sender::Manager, Kind::Lost(HANDSHAKE));
    exchanges
}

#[test]
fn pipelined_requests_are_paired_in_order() {
    use Sender::{Client, Manager};
    let mut exchanges = exchanges();
    assert_eq!(read(&mut exchanges, Client, request("a")), [""; 0]);
    assert_eq!(read(&mut exchanges, Client, request("b")), [""; 0]);
    assert_eq!(read(&mut exchanges, Manager, payload(REPLY)), ["#1 <id id…>.a() ← 7"]);
    assert_eq!(read(&mut exchanges, Manager, payload(REPLY)), ["#1 <id id…>.b() ← 7"]);
}

#[test]
fn stopped_tap_is_not_blamed_on_a_side() {
    use Sender::{Client, Manager};
    let mut exchanges = exchanges();
    read(&mut exchanges, Client, request("a"));
    assert_eq!(read(&mut exchanges, Manager, Kind::Stopped), [""; 0]);
    read(&mut exchanges, Client, Kind::Closed);
    let told = read(&mut exchanges, Manager, Kind::Closed);
    assert_eq!(told, ["#1 <id id…>.a() ← no reply: the tap was stopped", "#1 closed"]);
}

#[test]
fn client_that_closed_before_the_tap_was_stopped_is_named() {
    use Sender::{Client, Manager};
    let mut exchanges = exchanges();
    read(&mut exchanges, Client, request("a"));
    read(&mut exchanges, Client, Kind::Closed);
    read(&mut exchanges, Manager, Kind::Stopped);
    let told = read(&mut exchanges, Manager, Kind::Closed);
    assert_eq!(told[0], "#1 <id id…>.a() ← no reply: the client closed the connection");
}

#[test]
fn object_is_named_with_the_other_arguments_of_its_create() {
    use Sender::{Client, Manager};
    let mut exchanges = exchanges();
    let long = "x".repeat(100);
    for (arg, name) in [("a", "queue('a')"), (&long, "queue")] {
        let length = u8::try_from(arg.len()).unwrap_or_default();
        let create = [b"\x80\x04(N\x8c\x06create\x8c\x05queue\x8c", &[length][..], arg.as_bytes()];
        read(&mut exchanges, Client, payload(&[&create.concat()[..], b"\x86}t."].concat()));
        read(&mut exchanges, Manager, payload(b"\x80\x04\x8c\x07#RETURN\x8c\x02id)\x86\x86."));
        read(&mut exchanges, Client, request("a"));
        assert_eq!(read(&mut exchanges, Manager, payload(REPLY)), [format!("#1 {name}.a() ← 7")]);
    }
}

#[test]
fn lost_frames_do_not_mix_up_requests_and_replies() {
    use Sender::{Client, Manager};
    // The second of three requests, and a reply that comes before this is known.
    let mut exchanges = exchanges();
    read(&mut exchanges, Client, request("a"));
    let shown = read(&mut exchanges, Manager, payload(REPLY));
    assert_eq!(shown, ["#1 <id id…>.a() ← 7"]);
    assert_eq!(read(&mut exchanges, Manager, payload(REPLY)), ["#1 (no request) ← 7"]);
    read(&mut exchanges, Client, Kind::Lost(1));
    read(&mut exchanges, Client, request("c"));
    assert_eq!(read(&mut exchanges, Manager, payload(REPLY)), ["#1 <id id…>.c() ← 7"]);
    // Frames of a handshake are no requests.
    let mut others = Exchanges::new();
    read(&mut others, Client, Kind::Lost(HANDSHAKE));
    read(&mut others, Client, request("g"));
    for frame in [&b"#CHALLENGE#"[..], b"#WELCOME#", b""] {
        read(&mut others, Manager, payload(frame));
    }
    assert_eq!(read(&mut others, Manager, payload(REPLY)), ["#1 <id id…>.g() ← 7"]);
    // Replies that were lost.
    for method in ["d", "e", "f"] {
        read(&mut exchanges, Client, request(method));
    }
    read(&mut exchanges, Manager, Kind::Lost(2));
    assert_eq!(read(&mut exchanges, Manager, payload(REPLY)), ["#1 <id id…>.f() ← 7"]);
    assert_eq!(exchanges.total, Total::default());
}

#[test]
fn absurd_counts_of_a_recording_are_read_at_once() {
    use Sender::{Client, Manager};
    let mut exchanges = exchanges();
    for _ in 0..3 {
        read(&mut exchanges, Client, Kind::Lost(u64::MAX));
        read(&mut exchanges, Manager, Kind::Lost(u64::MAX));
    }
    read(&mut exchanges, Client, request("a"));
    read(&mut exchanges, Manager, payload(REPLY));
    read(&mut exchanges, Client, Kind::Closed);
    let closed = read(&mut exchanges, Manager, Kind::Closed);
    assert_eq!(closed.last().map(String::as_str), Some("#1 closed"));
    assert!(exchanges.connections.is_empty());
}

#[test]
fn requests_that_wait_are_bounded_and_shown_once() {
    let mut exchanges = exchanges();
    for _ in 0..50_010 {
        read(&mut exchanges, Sender::Client, request("a"));
    }
    let told = exchanges.waiting(Duration::from_secs(2), Duration::from_secs(1));
    assert_eq!(
        told.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["#1 <id id…>.a() … waiting"]
    );
    assert!(exchanges.waiting(Duration::from_secs(3), Duration::from_secs(1)).is_empty());
    read(&mut exchanges, Sender::Client, Kind::Closed);
    assert_eq!(read(&mut exchanges, Sender::Manager, Kind::Closed).len(), 50_000 + 1);
    assert_eq!(exchanges.total, Total::default());
}

#[test]
fn any_frames_are_read_and_explained() {
    let mut rng = crate::tap::remarks::tests::Random(99);
    let mut exchanges = Exchanges::new();
    for _ in 0..20_000 {
        let length = usize::from(rng.next()) % 60;
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.opcode()).collect();
        if rng.next() < 128 {
            bytes.splice(..0, *b"\x80\x04(\x8c\x01a\x8c\x01b");
            bytes.push(b'.');
        }
        let kind = match rng.next() % 12 {
            0 => Kind::Opened(String::new()),
            1 => Kind::Closed,
            2 => Kind::Lost(u64::from(rng.next())),
            3 => Kind::Foreign(bytes),
            4 => Kind::Note("note".to_owned()),
            6 => Kind::Stopped,
            5 => Kind::Payload { header: 12, length: u64::MAX, bytes },
            _ => payload(&bytes),
        };
        let sender = if rng.next() < 128 { Sender::Client } else { Sender::Manager };
        let connection = u64::from(rng.next()) % 4;
        let frame = Frame { time: Duration::ZERO, connection, sender, kind };
        let read = exchanges.read(&frame);
        assert!(!crate::tap::explain(&frame, &read.meaning).is_empty());
        assert!(read.exchanges.iter().all(|exchange| !exchange.to_string().is_empty()));
    }
}
