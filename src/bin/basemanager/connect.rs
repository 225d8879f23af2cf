//! The address and the key.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use basemanager::{Authkey, Client, ClientBuilder, Error, QueueProxy};
use clap::Args;

use crate::failure::{CONNECTION, Failure, is_missing};
use crate::snapshot::entry;

/// The variable that holds the key.
const KEY_VARIABLE: &str = "MANAGER_AUTHKEY";

/// What every client command takes.
#[derive(Args)]
pub(crate) struct Connect {
    /// Address of the manager: host:port, or the path of a Unix socket
    #[arg(long, env = "BASEMANAGER_ADDRESS", default_value = "127.0.0.1:5000", hide_env = true)]
    pub(crate) address: String,
    /// File that holds the key; used instead of MANAGER_AUTHKEY
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl Connect {
    pub(crate) fn builder(&self) -> Result<ClientBuilder, Failure> {
        Ok(Client::builder(self.address.as_str(), self.key()?))
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.builder()?.connect().map_err(|error| self.explain(error))
    }

    pub(crate) fn key(&self) -> Result<Authkey, Failure> {
        match &self.key_file {
            Some(file) => read_key(file),
            None => key_from_environment(),
        }
    }

    fn explain(&self, error: Error) -> Failure {
        let address = &self.address;
        let is_key = matches!(error, Error::Authentication { .. });
        let failure = Failure::from(error);
        match failure.status {
            CONNECTION => {
                let message = format!("no manager at {address}: {}", failure.message);
                Failure { message, ..failure }
                    .hint("start one with `basemanager serve`, or run `basemanager doctor`")
            }
            _ if is_key => failure.hint("set MANAGER_AUTHKEY or --key-file to the manager's key"),
            _ => failure,
        }
    }
}

/// The queue of this name, which may have been made by a client.
pub(crate) fn queue(client: &Client, name: &str) -> Result<QueueProxy, Failure> {
    match client.queue(name) {
        Err(error) if is_missing(&error) => {
            let stats = client.create("stats", ()).and_then(|stats| stats.value());
            let Some(queues) = stats.ok().and_then(|stats| entry(&stats, "queues").cloned()) else {
                return Err(Failure::from(error).hint("register this typeid in the manager"));
            };
            if entry(&queues, name).is_none() {
                return Err(Failure::usage(format!(
                    "the manager has no queue {name:?}: serve it with --queue, or create it with \
                     `basemanager call 'queue({name:?})' qsize`"
                )));
            }
            Ok(client.create("queue", (name,))?.into())
        }
        result => Ok(result?),
    }
}

/// The key for a command without `--key-file`.
pub(crate) fn key_from_environment() -> Result<Authkey, Failure> {
    if env::var_os(KEY_VARIABLE).is_none() {
        return Err(Failure::usage(
            "no key: set the variable MANAGER_AUTHKEY, or name a file with --key-file FILE",
        ));
    }
    Ok(Authkey::from_env(KEY_VARIABLE)?)
}

/// The largest key file.
const MAX_KEY: u64 = 64 * 1024;

/// Reads a key file: its first line.
pub(crate) fn read_key(path: &Path) -> Result<Authkey, Failure> {
    let file = path.display();
    let failed =
        |error: io::Error| Failure::usage(format!("cannot read the key file {file}: {error}"));
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_KEY {
        return Err(Failure::usage(format!("the key file {file} is no file with a key")));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Failure::usage(format!(
                "other users can read the key file {file} (mode {mode:03o}): run `chmod 600 {file}`"
            )));
        }
    }
    let text = fs::read(path).map_err(failed)?;
    let key = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    if key.is_empty() {
        return Err(Failure::usage(format!("the key file {file} is empty")));
    }
    Ok(Authkey::from(key))
}

/// Reads a key file, or creates it with a random key that only its owner can read.
pub(crate) fn read_or_create_key(path: &Path) -> Result<Authkey, Failure> {
    if !path.exists() {
        let failed = |error: io::Error| {
            Failure::usage(format!("cannot create the key file {}: {error}", path.display()))
        };
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| Failure::usage(error.to_string()))?;
        let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        // Written elsewhere first: a manager that starts at the same time finds the whole key or none.
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let written =
            write_private(&temporary, &key).and_then(|()| fs::hard_link(&temporary, path));
        let _ = fs::remove_file(&temporary);
        match written {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
    }
    read_key(path)
}

fn write_private(path: &Path, key: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    writeln!(options.open(path)?, "{key}")
}
