//! Asks the manager to end.
//!
//! `cargo run --release --example close [ADDRESS]`

mod common;

use std::process::ExitCode;

use basemanager::{Client, Result};

fn run() -> Result<()> {
    let client = Client::connect(common::address(), common::authkey())?;
    client.create("close", ()).map(drop)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("close: {}", common::explain(&error));
            ExitCode::FAILURE
        }
    }
}
