//! The two-program form: manager and producer in one process; `consumer` consumes from it.
//!
//! `cargo run --release --example server [ADDRESS] [SECONDS]`

mod common;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use basemanager::{Manager, Queue, Result};

fn run(interval: Duration) -> Result<()> {
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

    let handle = server.start()?;
    // The queue is this process's own: putting into it takes no connection.
    while !handle.join_timeout(interval) {
        let product = common::product();
        tasks.put(product)?;
        println!("put {product}");
    }
    handle.join()
}

fn main() -> ExitCode {
    match common::interval().map(run) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("server: {}", common::explain(&error));
            ExitCode::FAILURE
        }
        Err(usage) => {
            eprintln!("server: {usage}");
            ExitCode::from(2)
        }
    }
}
