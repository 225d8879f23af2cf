//! The commands of `work`: each runs in a process group of its own, so that Ctrl-C ends `work` and lets its commands
//! finish.

use std::collections::HashSet;
use std::io::{self, Write};
use std::mem;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// The process groups of the running commands. Locked while a command starts and while its exit status is collected:
/// so [`kill_all`](Self::kill_all) misses no command, and no process that reuses the id of one.
#[derive(Default)]
pub(super) struct Running(Mutex<HashSet<u32>>);

/// How a command ended.
pub(super) enum Outcome {
    Done,
    /// Why it failed.
    Failed(String),
}

impl Running {
    /// Runs a command with this input, and kills it at the deadline.
    pub(super) fn run(
        &self,
        mut command: Command,
        input: Vec<u8>,
        deadline: Option<Instant>,
    ) -> io::Result<Outcome> {
        command.stdin(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut job = self.start(&mut command)?;
        if let Some(mut stdin) = job.child.stdin.take() {
            // The command need not read its input. This thread is not joined: a process that the command leaves
            // behind can keep the pipe open.
            let write = move || drop(stdin.write_all(&input));
            thread::Builder::new().spawn(write)?;
        }
        let in_time = job.wait(deadline)?;
        if !in_time {
            job.kill()?;
        }
        let status = job.collect()?;
        Ok(match in_time {
            // It may have exited just before it was killed.
            _ if status.success() => Outcome::Done,
            true => Outcome::Failed(status.to_string()),
            false => Outcome::Failed("was killed before the lease of its item expires".to_owned()),
        })
    }

    /// Kills all commands, for a process that is about to exit: no other command can start.
    pub(super) fn kill_all(&self) {
        let groups = self.lock();
        for group in groups.iter() {
            // It may have exited.
            let _ = kill_group(*group);
        }
        mem::forget(groups);
    }

    fn start(&self, command: &mut Command) -> io::Result<Job<'_>> {
        let mut groups = self.lock();
        let child = command.spawn()?;
        groups.insert(child.id());
        Ok(Job { child, running: self })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running command. Dropping it kills it.
struct Job<'a> {
    child: Child,
    running: &'a Running,
}

impl Job<'_> {
    /// Waits until the command has exited, and returns true, or until the deadline. Its status remains to be collected:
    /// until then, no other process gets its id.
    #[cfg(all(unix, not(target_os = "openbsd")))]
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let pid = Pid::from_child(&self.child);
        let exited = move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options)).map(drop)
        };
        let Some(deadline) = deadline else {
            exited()?;
            return Ok(true);
        };
        let (tx, rx) = std::sync::mpsc::channel();
        // The receiver may have given up: its command is killed, and ends this thread.
        thread::Builder::new().spawn(move || tx.send(exited()).is_ok())?;
        match rx.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(result) => Ok(result.map(|()| true)?),
            Err(_) => Ok(false),
        }
    }

    /// This system cannot wait for a process without collecting its status, or not with a timeout.
    #[cfg(not(all(unix, not(target_os = "openbsd"))))]
    fn wait(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        use std::time::Duration;
        while self.child.try_wait()?.is_none() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            thread::sleep(left.unwrap_or(Duration::MAX).min(Duration::from_millis(5)));
        }
        Ok(true)
    }

    /// Kills the command and the processes that it started.
    fn kill(&mut self) -> io::Result<()> {
        // The command may have moved to another group.
        let killed = kill_group(self.child.id()).or_else(|_| self.child.kill());
        match killed {
            Ok(()) => self.wait(None).map(drop),
            // Some systems refuse to signal a process that has exited.
            Err(error) => match self.child.try_wait()? {
                Some(_) => Ok(()),
                None => Err(error),
            },
        }
    }

    /// The exit status of a command that has exited.
    fn collect(&mut self) -> io::Result<ExitStatus> {
        let mut groups = self.running.lock();
        let status = self.child.wait();
        groups.remove(&self.child.id());
        status
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        let is_running = self.running.lock().contains(&self.child.id());
        if is_running && self.kill().is_ok() {
            // There is nobody to report an error to.
            let _ = self.collect();
        }
    }
}

#[cfg(unix)]
fn kill_group(leader: u32) -> io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process_group};
    let group = i32::try_from(leader).ok().and_then(Pid::from_raw);
    let group = group.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process_group(group, Signal::KILL)?)
}

/// Other systems have no process groups, nor the signals that would end `work` before its commands.
#[cfg(not(unix))]
fn kill_group(_: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
