//! The program `basemanager`, each command as a process of its own.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod doctor;
mod guard;
mod guide;
mod items;
mod metrics;
mod packaging;
mod serve;
mod stat;
mod statuses;
mod tap;
mod tap_html;
mod work;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use support::Process;

const KEY: &str = "cli";

/// The program with these arguments, the tests' key, and no address.
fn basemanager(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_basemanager"));
    command.args(args).env("MANAGER_AUTHKEY", KEY).env_remove("BASEMANAGER_ADDRESS");
    command
}

/// A manager of `basemanager serve`.
struct Served {
    process: Process,
    address: String,
}

impl Served {
    fn new(args: &[&str]) -> Self {
        Self::at("127.0.0.1:0", args)
    }

    fn at(address: &str, args: &[&str]) -> Self {
        let args = [&["serve", address], args].concat();
        let mut process = Process::start("serve", &mut basemanager(&args));
        let address = process.address();
        Self { process, address }
    }

    /// A client command for this manager.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = basemanager(args);
        command.env("BASEMANAGER_ADDRESS", &self.address);
        command
    }

    fn start(&self, args: &[&str]) -> Process {
        Process::start(&args.join(" "), &mut self.command(args))
    }

    /// Runs a client command to its end.
    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    /// The same with this input.
    fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        run(self.command(args), input)
    }

    /// Asserts that a command succeeds, and returns its output.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok()
    }
}

/// How a command ended.
#[derive(Debug)]
struct Ran {
    status: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        String::from_utf8(self.stdout).unwrap()
    }

    /// Asserts that a command failed with this status, and one line on stderr; returns that.
    #[track_caller]
    fn failed(self, status: i32) -> String {
        assert_eq!((self.status, self.stderr.lines().count()), (status, 1), "{self:?}");
        self.stderr
    }
}

fn run(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    // A command need not read its input.
    let _ = writer.join().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    Ran { status: status.code().unwrap_or(-1), stdout, stderr }
}
