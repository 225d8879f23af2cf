//! `close`: the end of a manager.

use crate::connect::Connect;
use crate::failure::{Failure, is_missing};

/// Ask the manager to shut down
#[derive(clap::Args)]
#[command(after_help = "\
Calls the typeid `close`; if the manager has none, calls its built-in function `shutdown`.

Example: basemanager close --address 127.0.0.1:5000")]
pub(crate) struct Close {
    #[command(flatten)]
    connect: Connect,
}

impl Close {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let client = self.connect.client()?;
        match client.create("close", ()) {
            Err(error) if is_missing(&error) => Ok(client.shutdown()?),
            result => Ok(result.map(drop)?),
        }
    }
}
