//! `peek`: the next items, which stay in the queue.

use basemanager::{Error, Value};

use crate::connect::Connect;
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
    /// Maximum number of items
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    number: usize,
    /// Print Python's repr instead of JSON
    #[arg(long)]
    repr: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Peek {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let queue = self.connect.client()?.queue(&self.queue)?;
        if !queue.proxy().exposed().iter().any(|method| method == "peek") {
            return Err(Error::from(basemanager::Exception::attribute_error(
                "this manager's queues have no method 'peek'",
            ))
            .into());
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
        print(&text)
    }
}
