//! What a review found: each of many attempts to reconnect waits for a service that says nothing.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use basemanager::Client;

/// Items 20 and 21: `reconnect` is for a manager that is not there.
#[test]
fn service_that_says_nothing_is_not_tried_again_and_again() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let start = Instant::now();
    let client = Client::to(address.as_str(), "key")
        .greeting_timeout(Duration::from_millis(500))
        .reconnect(5, Duration::ZERO)
        .connect();
    assert!(client.is_err());
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}
