//! Shares every type that Python's `SyncManager` does, until a client calls `shutdown` or `close`.
//!
//! `cargo run --release --example sync_manager [ADDRESS]`

mod common;

use std::io::Write;
use std::process::ExitCode;

use basemanager::{Manager, Result};

fn run() -> Result<()> {
    let server = Manager::new(common::authkey())
        .register_sync_types()
        .register("close", |call| {
            println!("asked to end");
            call.shut_down_manager();
        })
        .log(|event| eprintln!("{event}"))
        .bind(common::address())?;
    println!("listening on {}", server.address());
    // Whoever waits for this line may read it through a pipe.
    let _ = std::io::stdout().flush();
    server.serve_forever()
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sync_manager: {}", common::explain(&error));
            ExitCode::FAILURE
        }
    }
}
