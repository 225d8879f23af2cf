//! The address and the key.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use basemanager::{Authkey, Client, ClientBuilder, Error};
use clap::Args;

use crate::failure::{CONNECTION, Failure};

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

/// The key for a command without `--key-file`.
pub(crate) fn key_from_environment() -> Result<Authkey, Failure> {
    if env::var_os(KEY_VARIABLE).is_none() {
        return Err(Failure::usage(
            "no key: set the variable MANAGER_AUTHKEY, or name a file with --key-file FILE",
        ));
    }
    Ok(Authkey::from_env(KEY_VARIABLE)?)
}

/// Reads a key file: its first line.
pub(crate) fn read_key(file: &Path) -> Result<Authkey, Failure> {
    let failed = |error: io::Error| {
        Failure::usage(format!("cannot read the key file {}: {error}", file.display()))
    };
    let text = fs::read(file).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(file).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            let file = file.display();
            let mode = mode & 0o777;
            return Err(Failure::usage(format!(
                "other users can read the key file {file} (mode {mode:03o}): run `chmod 600 {file}`"
            )));
        }
    }
    let key = text.trim_ascii_end();
    if key.is_empty() {
        return Err(Failure::usage(format!("the key file {} is empty", file.display())));
    }
    Ok(Authkey::from(key))
}

/// Reads a key file, or creates it with a random key that only its owner can read.
pub(crate) fn read_or_create_key(file: &Path) -> Result<Authkey, Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    match options.open(file) {
        Ok(mut created) => {
            let mut random = [0; 32];
            getrandom::fill(&mut random).map_err(|error| Failure::usage(error.to_string()))?;
            let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(created, "{key}")?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            let file = file.display();
            return Err(Failure::usage(format!("cannot create the key file {file}: {error}")));
        }
    }
    read_key(file)
}
