//! A stranger, who does not know the key, says anything to a manager, or as one to a client: neither
//! panics or hangs or takes them for a friend, and the manager serves others afterwards.
//!
//! Input: to whom, then pieces: how to send each, its length, its bytes.
#![no_main]

#[path = "../peer.rs"]
mod peer;

use std::os::unix::net::UnixListener;
use std::sync::LazyLock;
use std::thread;

use basemanager::{Client, Manager, Queue, ServerHandle};
use libfuzzer_sys::fuzz_target;
use peer::{KEY, PATIENCE, Peer, Pieces, connect, peer, read_if_any, rest};

fuzz_target!(|input: &[u8]| {
    let [whom, rest @ ..] = input else { return };
    if whom % 4 == 0 { as_a_manager(rest) } else { as_a_client(rest) }
});

fn as_a_client(input: &[u8]) {
    static MANAGER: LazyLock<ServerHandle> = LazyLock::new(|| {
        let queue = Queue::new();
        let manager = Manager::new(KEY).register("queue", move |_| queue.clone());
        manager.bind_private().expect("bound").start().expect("started")
    });
    let address = MANAGER.address().to_string();
    let mut stranger = connect(&address);
    if say(&mut stranger, input) {
        let heard = rest(stranger);
        assert!(!heard.windows(9).any(|part| part == b"#WELCOME#"), "a stranger is welcome");
    }
    let honest = Client::builder(MANAGER.address().clone(), KEY).call_timeout(PATIENCE).connect();
    let queue = honest.expect("the manager serves").queue("queue").expect("a queue");
    assert_eq!(queue.len().expect("it answers"), 0);
}

fn as_a_manager(input: &[u8]) {
    static LISTENER: LazyLock<(String, UnixListener)> = LazyLock::new(|| {
        let path = std::env::temp_dir().join(format!("before_handshake-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("bound");
        (path.to_string_lossy().into_owned(), listener)
    });
    let (path, listener) = &*LISTENER;
    thread::scope(|scope| {
        scope.spawn(|| {
            let (stream, _) = listener.accept().expect("a client comes");
            let mut stranger = peer(stream);
            if say(&mut stranger, input) {
                rest(stranger);
            }
        });
        let client = Client::builder(path, KEY).connect_timeout(PATIENCE).connect();
        assert!(!client.expect_err("no friend").is_timeout());
    });
}

/// Sends the pieces; gives whether to wait for an answer.
fn say(stranger: &mut Peer, input: &[u8]) -> bool {
    let mut pieces = Pieces(input);
    let mut heard = Vec::new();
    while let Some(how) = pieces.number() {
        let piece = pieces.piece().unwrap_or_default();
        match how % 8 {
            0 | 1 => {
                stranger.send(piece);
            }
            2 => stranger.frame(piece),
            3 => stranger.frame(&[b"#CHALLENGE#", piece].concat()),
            4 => stranger.frame(&[b"{sha256}", piece].concat()),
            // What was heard, with something else before or after it.
            5 => stranger.frame(&[&heard, piece].concat()),
            6 => stranger.frame(&[piece, heard.get(11..).unwrap_or_default()].concat()),
            // Listens only where there is something to hear.
            _ if heard.is_empty() => heard = read_if_any(stranger),
            _ => return false,
        }
    }
    true
}
