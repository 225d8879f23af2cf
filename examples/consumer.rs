//! A consumer: prints each item of the manager's queue as it comes, until the manager goes.
//!
//! `cargo run --release --example consumer [ADDRESS]`

mod common;

use std::process::ExitCode;

use basemanager::{Client, Result};

fn run() -> Result<()> {
    let client = Client::connect(common::address(), common::authkey())?;
    let tasks = client.queue("task_queue")?;
    for item in &tasks {
        println!("{}", item?);
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_disconnected() => {
            eprintln!("consumer: the manager has gone");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("consumer: {}", common::explain(&error));
            ExitCode::FAILURE
        }
    }
}
