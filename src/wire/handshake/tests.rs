//! Handshakes recorded from CPython, and the ways to fail one.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};

use super::*;

const KEY: &[u8] = b"producer";

// The frames of a whole handshake between two real interpreters, in the order they were sent:
// tests/data/handshake.py. The listener's nonce counts from 0, the client's from 100.
const MODERN: [&str; 6] = [
    "234348414c4c454e4745237b7368613235367d\
     000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627",
    "7b7368613235367d676e2dd38f12287f4dc0fbf26c0cc18bc9b4f522a9b3f3c463d9ab2169565087",
    "2357454c434f4d4523",
    "234348414c4c454e4745237b7368613235367d\
     6465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b",
    "7b7368613235367d6688fd6a992bd4393addfd2a63ebe2a9b2cf3d5c120b0736727715aa09a5970f",
    "2357454c434f4d4523",
];
/// Listener 3.12, client 3.8.
const LEGACY_CLIENT: [&str; 6] = [
    MODERN[0],
    "9cd04c61f68b85e840a3e0547802cb7f",
    "2357454c434f4d4523",
    "234348414c4c454e4745236465666768696a6b6c6d6e6f7071727374757677",
    "7d2c0f0994dc6f91a06f098dacb9bee0",
    "2357454c434f4d4523",
];
/// Listener 3.8, client 3.13.
const LEGACY_LISTENER: [&str; 6] = [
    "234348414c4c454e474523000102030405060708090a0b0c0d0e0f10111213",
    "6280319943cf828e80d7ed7e1662524d",
    "2357454c434f4d4523",
    MODERN[3],
    "932c7c0e38bb0efb21801d4da656b2bb",
    "2357454c434f4d4523",
];

/// A peer that has said all it will say; what it is told is kept.
struct Peer {
    says: io::Cursor<Vec<u8>>,
    hears: Vec<u8>,
}

impl Peer {
    fn saying<T: AsRef<[u8]>>(frames: &[T]) -> Self {
        Self { says: io::Cursor::new(framed(frames)), hears: Vec::new() }
    }

    /// [`super::accept`] with the nonce of the recordings.
    fn accept(&mut self, authkey: &[u8]) -> Result<()> {
        let (reader, nonce) = (&mut FrameReader::new(), nonce_from(0));
        challenge(reader, self, authkey, &nonce, true)?;
        answer(reader, self, authkey, Some(&nonce))
    }

    /// [`super::connect`] with the nonce of the recordings.
    fn connect(&mut self, authkey: &[u8]) -> Result<()> {
        let reader = &mut FrameReader::new();
        answer(reader, self, authkey, None)?;
        challenge(reader, self, authkey, &nonce_from(100), true)
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.says.read(buffer)
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hears.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Peer {}

fn nonce_from(first: u8) -> Nonce {
    std::array::from_fn(|i| first + u8::try_from(i).unwrap())
}

fn framed<T: AsRef<[u8]>>(frames: &[T]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        write_frame(&mut out, frame.as_ref()).unwrap();
    }
    out
}

fn from_hex(text: &str) -> Vec<u8> {
    let pair = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// The listener's frames and the client's.
fn recorded(frames: [&str; 6]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let side = |first| frames.iter().skip(first).step_by(2).map(|f| from_hex(f)).collect();
    (side(0), side(1))
}

fn message(result: Result<()>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn both_sides_speak_as_recorded() {
    let (listener, client) = recorded(MODERN);
    let mut peer = Peer::saying(&client);
    peer.accept(KEY).unwrap();
    assert_eq!(peer.hears, framed(&listener));

    let mut peer = Peer::saying(&listener);
    peer.connect(KEY).unwrap();
    assert_eq!(peer.hears, framed(&client));
}

#[test]
#[cfg(feature = "legacy-md5")]
fn legacy_peers_are_spoken_with_as_recorded() {
    let (listener, client) = recorded(LEGACY_CLIENT);
    let mut peer = Peer::saying(&client);
    peer.accept(KEY).unwrap();
    assert_eq!(peer.hears, framed(&listener));

    let (listener, client) = recorded(LEGACY_LISTENER);
    let mut peer = Peer::saying(&listener);
    peer.connect(KEY).unwrap();
    assert_eq!(peer.hears, framed(&client));

    let mut peer = Peer::saying(&recorded(LEGACY_CLIENT).1);
    assert!(message(peer.accept(b"wrong")).ends_with("the peer holds another authkey"));
    assert!(peer.hears.ends_with(FAILURE));
}

#[test]
#[cfg(not(feature = "legacy-md5"))]
fn legacy_peers_are_refused_and_the_feature_named() {
    let mut peer = Peer::saying(&recorded(LEGACY_CLIENT).1);
    assert!(
        message(peer.accept(KEY))
            .contains("HMAC-MD5 client (Python 3.11 or older); build with feature legacy-md5")
    );
    assert!(peer.hears.ends_with(FAILURE));

    let mut peer = Peer::saying(&recorded(LEGACY_LISTENER).0);
    assert!(
        message(peer.connect(KEY))
            .contains("HMAC-MD5 manager (Python 3.11 or older); build with feature legacy-md5")
    );
    assert!(peer.hears.is_empty());
}

#[test]
fn a_peer_with_another_key_is_refused_and_told() {
    let mut peer = Peer::saying(&recorded(MODERN).1);
    let error = message(peer.accept(b"wrong"));
    assert_eq!(error, "authentication failed: the peer holds another authkey");
    assert!(peer.hears.ends_with(FAILURE));

    // A listener may welcome whatever we answer, to get at our challenge.
    let mut peer = Peer::saying(&recorded(MODERN).0);
    assert!(message(peer.connect(b"wrong")).ends_with("the peer holds another authkey"));
    assert!(peer.hears.ends_with(FAILURE));
}

#[test]
fn a_failure_is_told_from_rubbish() {
    let challenge = from_hex(MODERN[0]);
    let error = message(Peer::saying(&[&challenge, FAILURE]).connect(KEY));
    assert_eq!(error, "authentication failed: the peer rejected our authkey");
    let error = message(Peer::saying(&[&challenge, &b"HTTP/1.1\r\n"[..]]).connect(KEY));
    assert_eq!(error, r#"protocol error: expected a verdict, got "HTTP/1.1\r\n""#);
}

#[test]
fn our_own_challenge_is_not_answered() {
    let answer = from_hex(MODERN[1]);
    let mut peer = Peer::saying(&[answer, from_hex(MODERN[0])]);
    assert!(message(peer.accept(KEY)).contains("our own challenge"));
    assert!(peer.hears.ends_with(WELCOME), "nothing more was said");
}

#[test]
fn another_digest_is_named() {
    let challenge = [CHALLENGE, b"{sha3_256}", &nonce_from(0)].concat();
    let error = message(Peer::saying(&[challenge]).connect(KEY));
    assert!(error.contains("the digest sha3_256"), "{error}");

    let mut peer = Peer::saying(&[[b"{sha384}".as_slice(), &[7; 48]].concat()]);
    let error = message(peer.accept(KEY));
    assert!(error.contains("the digest sha384"), "{error}");
    assert!(peer.hears.ends_with(FAILURE));
}

#[test]
fn no_digest_is_refused() {
    for rest in ["no digest, and over twenty bytes", "{escape\x1b[0m}, then what it wants"] {
        let challenge = [CHALLENGE, rest.as_bytes()].concat();
        let error = message(Peer::saying(&[challenge]).connect(KEY));
        assert!(error.ends_with("the peer names no digest"), "{error}");
    }
}

#[test]
fn short_challenges_and_answers_are_refused() {
    for rest in ["", "{sha256}", "{sha256}0123456789a"] {
        let mut peer = Peer::saying(&[[CHALLENGE, rest.as_bytes()].concat()]);
        assert!(message(peer.connect(KEY)).contains("expected a challenge"), "{rest}");
        assert!(peer.hears.is_empty());
    }
    let whole = from_hex(MODERN[1]);
    for length in (0..whole.len()).filter(|&length| length != LEGACY_ANSWER) {
        let mut peer = Peer::saying(&[&whole[..length]]);
        assert!(matches!(peer.accept(KEY), Err(Error::Authentication { .. })), "{length}");
        assert!(peer.hears.ends_with(FAILURE));
    }
}

#[test]
fn a_stream_that_ends_early_is_disconnected() {
    let (listener, client) = recorded(MODERN);
    let ends_early = |frames: &[Vec<u8>], run: fn(&mut Peer) -> Result<()>| {
        let bytes = framed(frames);
        for length in 0..bytes.len() {
            let says = io::Cursor::new(bytes[..length].to_vec());
            let error = run(&mut Peer { says, hears: Vec::new() }).unwrap_err();
            assert!(matches!(error, Error::Disconnected), "{length}: {error}");
        }
    };
    ends_early(&client, |peer| peer.accept(KEY));
    ends_early(&listener, |peer| peer.connect(KEY));
}

#[test]
fn oversized_frames_are_refused() {
    let large = [[CHALLENGE, SHA256].concat(), vec![0; FRAME]].concat();
    for result in [Peer::saying(&[&large]).connect(KEY), Peer::saying(&[&large]).accept(KEY)] {
        assert!(matches!(result, Err(Error::Limit { what: "frame size", max: 256 })));
    }
    // The largest that is allowed gets as far as its content.
    let error = message(Peer::saying(&[&large[..FRAME]]).connect(b""));
    assert_eq!(error, Error::Disconnected.to_string());
}

#[test]
fn frames_out_of_order_are_refused() {
    let (listener, client) = recorded(MODERN);
    // A verdict, or an answer, in place of the challenge.
    for first in [&listener[1], &listener[2]] {
        let error = message(Peer::saying(&[first]).connect(KEY));
        assert!(error.contains("expected a challenge"), "{error}");
    }
    // A challenge in place of the answer.
    let error = message(Peer::saying(&[&client[1]]).accept(KEY));
    assert!(error.ends_with("the peer names no digest"), "{error}");
    // A challenge in place of the verdict.
    let error = message(Peer::saying(&[&listener[0], &listener[0]]).connect(KEY));
    assert!(error.contains("expected a verdict"), "{error}");
}

impl Source for TcpStream {}

#[test]
fn both_sides_agree_over_a_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        connect(&mut FrameReader::new(), &mut stream, KEY)
    });
    let mut stream = listener.accept().unwrap().0;
    accept(&mut FrameReader::new(), &mut stream, KEY, true).unwrap();
    client.join().unwrap().unwrap();
}
