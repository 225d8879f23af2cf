//! A producer: puts a random number from 1 to 10 into the manager's queue, every so often.
//!
//! `cargo run --release --example producer [ADDRESS] [SECONDS]`

mod common;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use basemanager::{Client, Result};

fn run(interval: Duration) -> Result<()> {
    let client = Client::connect(common::address(), common::authkey())?;
    let tasks = client.queue("task_queue")?;
    loop {
        let product = common::product();
        tasks.put(product)?;
        println!("put {product}");
        thread::sleep(interval);
    }
}

fn main() -> ExitCode {
    match common::interval().map(run) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) if error.is_disconnected() => {
            eprintln!("producer: the manager has gone");
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            eprintln!("producer: {}", common::explain(&error));
            ExitCode::FAILURE
        }
        Err(usage) => {
            eprintln!("producer: {usage}");
            ExitCode::from(2)
        }
    }
}
