//! The manager: shares one queue and does nothing else, until a client calls `close`.
//!
//! `cargo run --release --example manager [ADDRESS]`

mod common;

use std::io::Write;
use std::process::ExitCode;

use basemanager::{Manager, Queue, Result};

fn run() -> Result<()> {
    let tasks = Queue::new();
    let server = Manager::new(common::authkey())
        .share("task_queue", &tasks)
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
            eprintln!("manager: {}", common::explain(&error));
            ExitCode::FAILURE
        }
    }
}
