//! The processes that are measured. None outlives this program: each ends with its standard input.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::{PATIENCE, Result};

/// What Python runs.
const SCRIPT: &str = include_str!("peer.py");
/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) struct Child {
    name: String,
    process: Process,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Child {
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let (sender, lines) = channel();
        // On a thread of its own, so that a line can be waited for with a limit.
        thread::spawn(move || {
            let lines = BufReader::new(stdout?).lines();
            lines.map_while(std::result::Result::ok).try_for_each(|line| sender.send(line).ok())
        });
        Ok(Self { name: name.to_owned(), process, stdin, lines })
    }

    /// This program again, in another role.
    pub(crate) fn role(name: &str, args: &[&str]) -> Result<Self> {
        Self::start(name, Command::new(env::current_exe()?).arg("--role").args(args))
    }

    pub(crate) fn python(name: &str, python: &OsString, args: &[&str]) -> Result<Self> {
        Self::start(name, Command::new(python).args(["-c", SCRIPT]).args(args))
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> Result<String> {
        let line = self.lines.recv_timeout(PATIENCE);
        line.map_err(|_| format!("{} does not answer", self.name).into())
    }

    /// The address that it says it listens on.
    pub(crate) fn address(&mut self) -> Result<String> {
        let line = self.line()?;
        let address = line.strip_prefix("listening on ").map(str::to_owned);
        address.ok_or_else(|| format!("{} said {line:?}", self.name).into())
    }

    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().ok_or("no standard input")?;
        Ok(stdin.write_all(format!("{line}\n").as_bytes())?)
    }

    /// The bytes of memory that it occupies. Linux tells.
    pub(crate) fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
        Ok(kib.parse::<f64>()? * 1024.0)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let until = Instant::now() + GRACE;
        while Instant::now() < until && matches!(self.process.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(2));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a foreign program until this one's standard input ends.
pub(crate) fn guard(program: &str, args: &[String]) -> Result<()> {
    let mut process =
        Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let ended = until_input_ends();
    process.kill()?;
    process.wait()?;
    ended
}

/// Returns when whoever started this process lets go of it.
pub(crate) fn until_input_ends() -> Result<()> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
