//! A type of one's own, shared: a counter that any number of clients increment.
//!
//! `cargo run --release --example counter [ADDRESS]`, then `python3 examples/python/counter.py [ADDRESS]`

mod common;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use basemanager::object::{Call, Exposed, Return, SharedObject};
use basemanager::{Exception, Manager, Result};

#[derive(Default)]
struct Counter(AtomicI64);

impl SharedObject for Counter {
    fn exposed(&self) -> Exposed {
        ["increment", "value"].into()
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Return, Exception> {
        match call.method() {
            // def increment(by=1)
            "increment" => {
                let ([], [by]) = call.args([], ["by"])?;
                let by: i64 = by.map_or(Ok(1), basemanager::Pickle::to)?;
                Ok((self.0.fetch_add(by, Ordering::Relaxed).wrapping_add(by)).into())
            }
            // def value()
            "value" => {
                call.no_args()?;
                Ok(self.0.load(Ordering::Relaxed).into())
            }
            _ => Err(call.no_such_method()),
        }
    }

    fn repr(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "Counter({})", self.0.load(Ordering::Relaxed))
    }
}

fn run() -> Result<()> {
    let counter = Arc::new(Counter::default());
    let server = Manager::new(common::authkey())
        .share("counter", &counter)
        .register("close", |call| call.shut_down_manager())
        .bind(common::address())?;
    println!("listening on {}", server.address());
    let _ = std::io::stdout().flush();
    server.serve_forever()
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("counter: {}", common::explain(&error));
            ExitCode::FAILURE
        }
    }
}
