//! The program `basemanager`: lines into `put`, and out of `get`.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::child::Child;
use crate::flows::count;
use crate::load::median;
use crate::{KEY, Result};

/// The program, if it is built: in the directory above that of the examples.
pub(crate) fn find() -> Option<PathBuf> {
    let examples = env::current_exe().ok()?;
    let path = examples.parent()?.parent()?.join(format!("basemanager{}", env::consts::EXE_SUFFIX));
    path.exists().then_some(path)
}

/// `put` and `get` of that many numbers at the same time, as a pipeline of processes; what is to be said of it.
pub(crate) fn put_get(program: &PathBuf, rounds: usize, items: usize) -> Result<[String; 2]> {
    let mut serve = Command::new(program);
    let guarded = serve.args(["serve", "127.0.0.1:0", "--quiet"]).env("MANAGER_AUTHKEY", KEY);
    let mut served = Child::start("basemanager serve", guarded)?;
    let address = served.address()?;
    let script = format!(
        "seq {items} | \"$0\" put task_queue & \"$0\" get task_queue -n {items} > /dev/null && wait"
    );
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        let mut shell = Command::new("sh");
        shell.args([OsString::from("-c"), script.as_str().into(), program.into()]);
        shell.env("MANAGER_AUTHKEY", KEY).env("BASEMANAGER_ADDRESS", &address);
        if !shell.status()?.success() {
            return Err("put or get failed".into());
        }
        #[expect(clippy::cast_precision_loss, reason = "statistics")]
        rates.push(items as f64 / started.elapsed().as_secs_f64());
        eprint!(".");
    }
    let mut close = Command::new(program);
    close.arg("close").env("MANAGER_AUTHKEY", KEY).env("BASEMANAGER_ADDRESS", &address).status()?;
    Ok([
        "program: `seq | basemanager put` and `basemanager get`".to_owned(),
        format!("{} items a second", count(median(rates))),
    ])
}
