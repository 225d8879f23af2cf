//! Manager, producer and consumer, each in Rust or in Python, every one a process of its own.

use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::support::Peer::{Python, Rust};
use crate::support::{PATIENCE, Peer, Process, TempDir, pythons, say};
use basemanager::Manager;

/// The products that a producer has put at least, before it is stopped.
const PRODUCTS: usize = 25;

/// A manager that was asked to end has ended after this time.
const CLOSE: Duration = Duration::from_secs(2);

fn products(lines: &[String]) -> Vec<i64> {
    let number = |line: &String| line.strip_prefix("put ").and_then(|number| number.parse().ok());
    let products: Option<Vec<i64>> = lines.iter().map(number).collect();
    let products = products.unwrap_or_else(|| panic!("not what a producer prints: {lines:?}"));
    assert!(products.iter().all(|product| (1..=10).contains(product)), "{products:?}");
    products
}

fn items(lines: &[String]) -> Vec<i64> {
    lines.iter().map(|line| line.parse().unwrap_or_else(|_| panic!("{line:?}"))).collect()
}

/// Closes: the manager ends soon, and so does the consumer that is blocked in `get()`. Gives what that
/// has printed besides.
fn close(
    closer: Peer<'_>,
    address: &str,
    manager: &mut Process,
    consumer: &mut Process,
) -> Vec<String> {
    closer.start("close", &[address]).end(PATIENCE).well();
    let manager = manager.end(CLOSE).well();
    // Python's server prints from two threads, and one may cut the other's line in two.
    assert!(manager.stdout.join("\n").contains("asked to end"), "{manager:?}");
    let consumer = consumer.end(PATIENCE).well();
    assert!(!consumer.stderr.trim().is_empty(), "{consumer:?}");
    assert!(!consumer.stderr.contains("Traceback"), "{consumer:?}");
    consumer.stdout
}

/// A producer's products reach a consumer, all of them and in order.
fn exchange(manager: Peer<'_>, producer: Peer<'_>, consumer: Peer<'_>, closer: Peer<'_>, at: &str) {
    let (mut manager, address) = manager.serve("manager", &[at]);
    let mut consumer = consumer.start("consumer", &[&address]);
    let pause = if matches!(producer, Rust) { "0" } else { "0.001" };
    let mut producer = producer.start("producer", &[&address, pause]);

    let mut put = producer.lines(PRODUCTS);
    producer.kill();
    put.extend(producer.rest());
    let got = consumer.lines(put.len());
    assert_eq!(products(&put), items(&got));

    let more = close(closer, &address, &mut manager, &mut consumer);
    // The producer may have been stopped after it had put a product, and before it said so.
    assert!(more.len() <= 1, "{more:?}");
}

/// All mixes of producer and consumer, closed by either in turn.
fn all_mixes(manager: impl Fn(Peer<'static>) -> Peer<'static>) {
    for (turn, python) in pythons().iter().enumerate() {
        let python = Python(python);
        for mix in 0..4 {
            let pick = |bit: usize| if bit.is_multiple_of(2) { Rust } else { python };
            let (producer, consumer) = (pick(mix / 2), pick(mix));
            exchange(
                manager(python),
                producer,
                consumer,
                pick(turn + mix / 2 + mix),
                "127.0.0.1:0",
            );
        }
    }
}

#[test]
fn rust_manager_serves_programs_of_both_languages() {
    exchange(Rust, Rust, Rust, Rust, "127.0.0.1:0");
    all_mixes(|_| Rust);
}

#[test]
fn python_manager_serves_programs_of_both_languages() {
    all_mixes(|python| python);
}

/// Manager and producer in one process.
fn serve_and_consume(server: Peer<'_>, consumer: Peer<'_>, closer: Peer<'_>) {
    let (mut server, address) = server.serve("server", &["127.0.0.1:0", "0.002"]);
    let mut consumer = consumer.start("consumer", &[&address]);
    let put = server.lines(PRODUCTS);
    let got = consumer.lines(PRODUCTS);
    assert_eq!(products(&put), items(&got));
    close(closer, &address, &mut server, &mut consumer);
}

#[test]
fn server_example_serves_programs_of_both_languages() {
    serve_and_consume(Rust, Rust, Rust);
    for python in pythons() {
        let python = Python(python);
        serve_and_consume(Rust, python, python);
        serve_and_consume(python, Rust, python);
        serve_and_consume(python, python, Rust);
    }
}

#[test]
fn programs_meet_over_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        return say("skipped: no IPv6");
    }
    exchange(Rust, Rust, Rust, Rust, "[::1]:0");
}

#[cfg(unix)]
#[test]
fn programs_meet_over_a_unix_socket() {
    let directory = TempDir::new();
    let path = directory.path("tasks");
    let exchange = |manager, producer, consumer, closer| {
        exchange(manager, producer, consumer, closer, &path);
        assert!(!Path::new(&path).exists(), "the socket's file is left behind");
    };
    exchange(Rust, Rust, Rust, Rust);
    for python in pythons() {
        let python = Python(python);
        exchange(Rust, python, python, Rust);
        exchange(python, Rust, Rust, python);
    }
}

/// Python's programs among themselves, of different versions, meet on a Rust manager.
#[test]
fn programs_of_oldest_and_newest_python_meet() {
    let [oldest, .., newest] = pythons() else { return };
    let (oldest, newest) = (Python(oldest), Python(newest));
    exchange(Rust, oldest, newest, oldest, "127.0.0.1:0");
    exchange(Rust, newest, oldest, newest, "127.0.0.1:0");
}

/// A callable asks for the end, and is not done yet: its client still gets its reply, and may take its
/// reference to what it was given.
#[test]
fn close_waits_for_a_slow_callable() {
    for python in pythons() {
        let server = Manager::new("producer").register("close", |call| {
            call.shut_down_manager();
            thread::sleep(Duration::from_millis(100));
        });
        let handle = server.bind("127.0.0.1:0").unwrap().start().unwrap();
        let address = handle.address().to_string();
        Python(python).start("close", &[&address]).end(PATIENCE).well();
        assert!(handle.join_timeout(CLOSE));
    }
}

/// Port 0 is any that is free, and the line that names it names the real one.
#[test]
fn port_zero_prints_the_port() {
    let (_first, first) = Rust.serve("manager", &["127.0.0.1:0"]);
    let (_second, second) = Rust.serve("manager", &["127.0.0.1:0"]);
    assert_ne!(first, second);
    for address in [first, second] {
        let port = address.strip_prefix("127.0.0.1:").map(str::parse::<u16>);
        assert!(matches!(port, Some(Ok(1..))), "{address}");
    }
}
