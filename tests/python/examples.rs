//! The example programs keep to what they have agreed on: address, key, exit codes, messages.

use std::thread;
use std::time::Duration;

use crate::support::Peer::{Python, Rust};
use crate::support::{self, PATIENCE, Process, pythons};

/// An example with a key of its own.
fn start_with_key(program: &str, key: &str, args: &[&str]) -> Process {
    Process::start(program, Rust.command(program).args(args).env("MANAGER_AUTHKEY", key))
}

#[test]
fn manager_authkey_is_the_key() {
    for key in ["another secret", "schlüssel"] {
        let mut manager = start_with_key("manager", key, &["127.0.0.1:0"]);
        let address = manager.address();
        let mut consumer = start_with_key("consumer", key, &[&address]);
        let mut producer = start_with_key("producer", key, &[&address, "60"]);
        let product = producer.line();
        assert_eq!(product.strip_prefix("put "), Some(&*consumer.line()));
        start_with_key("close", key, &[&address]).end(PATIENCE).well();
        manager.end(PATIENCE).well();
        let ended = consumer.end(PATIENCE).well();
        assert_eq!(ended.stderr, "consumer: the manager has gone\n");
    }
}

#[test]
fn manager_authkey_is_the_key_of_python_programs() {
    for python in pythons() {
        let mut manager = start_with_key("manager", "schlüssel", &["127.0.0.1:0"]);
        let address = manager.address();
        let mut command = Python(python).command("close");
        command.arg(&address).env("MANAGER_AUTHKEY", "schlüssel");
        Process::start(&python.to_string(), &mut command).end(PATIENCE).well();
        manager.end(PATIENCE).well();
    }
}

#[test]
fn wrong_key_ends_a_program_with_its_reason() {
    let refused = |manager: &mut Process| {
        let address = manager.address();
        for program in ["producer", "consumer", "close"] {
            let ended = start_with_key(program, "wrong", &[&address]).end(PATIENCE).with(1);
            assert!(ended.stdout.is_empty(), "{ended:?}");
            let text = ended.stderr.strip_prefix(&format!("{program}: authentication failed"));
            assert!(text.is_some_and(|text| text.contains("authkey")), "{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        }
    };
    refused(&mut Rust.start("manager", &["127.0.0.1:0"]));
    refused(&mut Rust.start("server", &["127.0.0.1:0", "60"]));
    for python in pythons() {
        refused(&mut Python(python).start("manager", &["127.0.0.1:0"]));
    }
}

#[test]
fn wrong_key_of_a_python_program_is_logged() {
    for python in pythons() {
        let (mut manager, address) = Rust.serve("manager", &["127.0.0.1:0"]);
        let mut command = Python(python).command("consumer");
        command.arg(&address).env("MANAGER_AUTHKEY", "wrong");
        let ended = Process::start(&python.to_string(), &mut command).end(PATIENCE).with(1);
        assert!(ended.stderr.contains("AuthenticationError"), "{ended:?}");
        // The manager serves on, and has said why it refused.
        Rust.start("close", &[&address]).end(PATIENCE).well();
        let ended = manager.end(PATIENCE).well();
        let reason = ": the peer holds another authkey";
        assert!(ended.stderr.starts_with("rejected 127.0.0.1:"), "{ended:?}");
        assert!(ended.stderr.contains(reason), "{ended:?}");
    }
}

#[test]
fn bad_seconds_are_refused() {
    for program in ["producer", "server"] {
        for seconds in ["soon", "", "-1", "nan", "inf", "1e400"] {
            let ended = Rust.start(program, &["127.0.0.1:0", seconds]).end(PATIENCE).with(2);
            assert!(ended.stdout.is_empty(), "{ended:?}");
            let start = format!("{program}: SECONDS must be");
            assert!(ended.stderr.starts_with(&start), "{ended:?}");
            assert!(ended.stderr.contains(&format!("{seconds:?}")), "{ended:?}");
        }
    }
}

#[test]
fn program_without_a_manager_names_the_address() {
    let (address, _held) = support::dead_address();
    for program in ["producer", "consumer", "close"] {
        for address in [address.as_str(), "/nowhere/at/all"] {
            let ended = Rust.start(program, &[address]).end(PATIENCE).with(1);
            let start = format!("{program}: cannot connect to {address}: ");
            assert!(ended.stderr.starts_with(&start), "{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        }
    }
}

#[test]
fn malformed_address_is_refused() {
    for program in ["manager", "server", "counter", "producer", "consumer", "close"] {
        let form = "expected host:port, a Unix socket path with a `/`, or @name";
        for (address, why) in [
            ("nonsense", form),
            ("localhost:", form),
            ("localhost:65536", "port 65536 exceeds 65535"),
            ("", form),
        ] {
            let ended = Rust.start(program, &[address]).end(PATIENCE).with(1);
            let expected = format!("{program}: invalid address {address:?}: {why}\n");
            assert_eq!(ended.stderr, expected);
        }
    }
}

#[test]
fn address_in_use_is_refused() {
    let (_manager, address) = Rust.serve("manager", &["127.0.0.1:0"]);
    for program in ["manager", "server", "counter"] {
        let ended = Rust.start(program, &[&address]).end(PATIENCE).with(1);
        let start = format!("{program}: cannot listen on {address}: ");
        assert!(ended.stderr.starts_with(&start), "{ended:?}");
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
}

/// Whoever waits, waits without using the processor.
#[cfg(target_os = "linux")]
#[test]
fn idle_programs_use_no_processor() {
    let (manager, address) = Rust.serve("manager", &["127.0.0.1:0"]);
    let consumers = [0; 2].map(|_| Rust.start("consumer", &[&address]));
    let [first, second] = &consumers;
    // Main, accepting, and one for each consumer.
    support::until_blocked(&manager, 4, &[first, second]);
    let programs = [&manager, first, second];
    let before = programs.map(Process::ticks);
    // Not to wait for anything: this is the time that is measured.
    thread::sleep(Duration::from_secs(1));
    for (program, before) in programs.iter().zip(before) {
        let used = program.ticks() - before;
        assert!(used <= 2, "{program:?} used {used} ticks of 10 ms in a second");
    }
}

/// A producer whose manager goes ends by itself, whether it is just putting or between two products.
#[test]
fn producer_ends_with_its_manager() {
    let (mut manager, address) = Rust.serve("manager", &["127.0.0.1:0"]);
    let mut producer = Rust.start("producer", &[&address, "0.01"]);
    producer.line();
    manager.kill();
    let ended = producer.end(PATIENCE).well();
    assert_eq!(ended.stderr, "producer: the manager has gone\n");
}

#[test]
fn python_client_counts_with_the_counter() {
    let (mut counter, address) = Rust.serve("counter", &["127.0.0.1:0"]);
    let mut stands = 0;
    for python in pythons() {
        let ended = Python(python).start("counter", &[&address]).end(PATIENCE).well();
        stands += 42;
        assert_eq!(ended.stdout, [format!("the counter stands at {stands}")]);
    }
    Rust.start("close", &[&address]).end(PATIENCE).well();
    counter.end(PATIENCE).well();
}

#[test]
fn demo_gets_each_product_once() {
    let ended = Rust.start("demo", &[]).end(Duration::from_secs(10)).well();
    let count = |what| ended.stdout.iter().filter(|line| line.contains(what)).count();
    let products = count(": put ");
    assert!(products > 0 && count(": got ") == products, "{ended:?}");
    let total = format!("{products} products put, {products} got, {products} exactly once");
    assert_eq!(ended.stdout.last(), Some(&total));
}
