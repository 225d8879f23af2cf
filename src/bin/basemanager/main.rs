//! Serves, fills, drains, watches and diagnoses the queues of a manager.
//!
//! One file per command. `connect.rs` is what the client commands share, `json.rs` converts items to and from text,
//! `failure.rs` maps errors to exit statuses.

// The doc comments of arguments are the help texts.
#![allow(clippy::doc_markdown)]

mod call;
mod close;
mod connect;
mod doctor;
mod engine;
mod failure;
mod get;
mod json;
mod metrics;
mod peek;
mod put;
mod serve;
mod signals;
mod snapshot;
mod spec;
mod stat;
mod tap;
mod units;
mod work;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as HELP;
use clap::{CommandFactory, Parser, Subcommand};

use failure::Failure;

/// Share queues between processes and hosts, with the wire protocol of Python's multiprocessing managers
#[derive(Parser)]
#[command(version, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "\
Environment:
  BASEMANAGER_ADDRESS  the manager's address; 127.0.0.1:5000 if unset
  MANAGER_AUTHKEY      the key with which both sides authenticate

Exit status: 0 success, 1 empty or timed out, 2 usage error, 3 no manager or connection lost, \
4 key rejected, 5 the manager raised an exception")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Put(put::Put),
    Get(get::Get),
    Peek(peek::Peek),
    Stat(stat::Stat),
    Watch(stat::Watch),
    Work(work::Work),
    Call(call::Call),
    Close(close::Close),
    Tap(tap::Tap),
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell
    #[command(after_help = "\
Example: basemanager completions bash > /etc/bash_completion.d/basemanager")]
    Completions {
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example: basemanager man | man -l -")]
    Man,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && error.kind() != HELP => {
            let text = error.to_string();
            let reason = text.split("\n\n").next().unwrap_or_default();
            let reason = reason.trim_start_matches("error: ").replace("\n ", "");
            return Failure::usage(reason).hint(&format!("see `{} --help`", command())).report();
        }
        Err(help) => {
            return print(help.to_string().as_bytes())
                .map_or_else(|failure| failure.report(), |_| ExitCode::SUCCESS);
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(serve) => serve.run(),
        Command::Put(put) => put.run(),
        Command::Get(get) => get.run(),
        Command::Peek(peek) => peek.run(),
        Command::Stat(stat) => stat.run(),
        Command::Watch(watch) => watch.run(),
        Command::Work(work) => work.run(),
        Command::Call(call) => call.run(),
        Command::Close(close) => close.run(),
        Command::Tap(tap) => tap.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "basemanager", &mut script);
            print(&script).map(drop)
        }
        Command::Man => {
            let mut page = Vec::new();
            let mut cli = Cli::command();
            cli.build();
            clap_mangen::Man::new(cli.clone()).render(&mut page)?;
            for command in cli.get_subcommands() {
                clap_mangen::Man::new(command.clone()).render(&mut page)?;
            }
            print(&page).map(drop)
        }
    }
}

/// The command line up to the name of the command, if there is one.
fn command() -> String {
    let cli = Cli::command();
    let name = std::env::args().nth(1).filter(|name| cli.find_subcommand(name).is_some());
    format!("basemanager {}", name.unwrap_or_default()).trim_end().to_owned()
}

/// Writes to stdout; `false` if its reader has closed the pipe, and wants no more.
fn print(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).map_err(Failure::stream("standard output")),
    }
}
