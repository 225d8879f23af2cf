//! `peek`: the next items, which stay in the queue.

use basemanager::Value;

use crate::connect::{Connect, queue};
use crate::failure::Failure;
use crate::json::{self, Format};
use crate::print;

/// Print the next items without taking them
#[derive(clap::Args)]
#[command(after_help = "\
Example: basemanager peek task_queue -n 10")]
pub(crate) struct Peek {
    /// Name of the queue
    queue: String,
    /// Maximum number of items; the manager sends about 1 MiB of them
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    number: u32,
    /// Print Python's repr instead of JSON
    #[arg(long)]
    repr: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Peek {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let queue = queue(&self.connect.client()?, &self.queue)?;
        if !queue.proxy().exposes("peek") {
            return Err(Failure::usage(
                "this manager's queues have no method 'peek': it is not of `basemanager serve`",
            ));
        }
        let items: Vec<Value> = queue.proxy().call("peek", (self.number,))?.to()?;
        if items.is_empty() {
            return Err(Failure::unmet(format!("{} is empty", self.queue)));
        }
        let format = if self.repr { Format::Repr } else { Format::Json };
        let mut text = Vec::new();
        for item in &items {
            json::append_item(&mut text, item, format);
        }
        print(&text).map(drop)
    }
}
