//! Somebody who follows a page: saves its programs as files, and runs its commands in the same directory.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::shell;
use crate::support::{PATIENCE, Process, Python, TempDir};

pub(super) struct Reader {
    dir: TempDir,
}

impl Reader {
    /// A reader with this interpreter as `python3`.
    pub(super) fn new(python: &Python) -> Self {
        let dir = TempDir::new();
        let path = dir.path("python3");
        let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", python.path.display());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    /// Saves a file.
    pub(super) fn save(&self, name: &str, text: &str) {
        fs::write(self.dir.path(name), text).unwrap();
    }

    /// Starts a block of a page, whose last line is a command that keeps running.
    pub(super) fn start(&self, block: &str) -> Process {
        let block = block.trim_end();
        let (before, command) = block.rsplit_once('\n').unwrap_or(("", block));
        // The shell would not pass a signal on.
        Process::start(command, &mut self.shell(&format!("{before}\nexec {command}")))
    }

    /// Starts a block that serves.
    #[track_caller]
    pub(super) fn serve(&self, block: &str) -> Process {
        let mut process = self.start(block);
        assert!(process.line().starts_with("listening"), "{block}");
        process
    }

    /// Runs a block, and returns its output.
    #[track_caller]
    pub(super) fn run(&self, block: &str) -> Vec<String> {
        Process::start(block, &mut self.shell(block)).end(PATIENCE).well().stdout
    }

    /// Starts Python with this program.
    pub(super) fn python(&self, program: &str) -> Process {
        let mut shell = self.shell("exec python3 -c \"$PROGRAM\"");
        Process::start("python3", shell.env("PROGRAM", program))
    }

    fn shell(&self, commands: &str) -> Command {
        let mut shell = shell(commands);
        let path = shell.get_envs().find_map(|(name, value)| (name == "PATH").then_some(value)?);
        let path = format!("{}:{}", self.dir.path(""), path.unwrap().to_str().unwrap());
        shell.env("PATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
        shell.env_remove("MANAGER_AUTHKEY").current_dir(self.dir.path(""));
        shell
    }
}

/// Lines of a tap without times and ids.
pub(super) fn untimed<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let untimed = lines.into_iter().map(|line| {
        let line = line.trim_end();
        let line = line.rsplit_once("  ").map_or(line, |(line, _)| line);
        line.split_once(' ').map_or(line, |(_, line)| line)
    });
    untimed.map(|line| with_numbered_ids(line, &mut Vec::new())).collect()
}

/// A text with `<1>`, `<2>`, … in place of ids. Each is known by its first eight digits.
pub(super) fn with_numbered_ids(text: &str, ids: &mut Vec<String>) -> String {
    let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    let (mut out, mut rest) = (String::new(), text);
    while let Some(start) = rest.find(is_digit) {
        let (before, found) = rest.split_at(start);
        let (id, after) = found.split_at(found.find(|c| !is_digit(c)).unwrap_or(found.len()));
        out.push_str(before);
        if let Some(id) = id.get(..8) {
            let number = ids.iter().position(|known| known == id).unwrap_or_else(|| {
                ids.push(id.to_owned());
                ids.len() - 1
            });
            let _ = write!(out, "<{}>", number + 1);
        } else {
            out.push_str(id);
        }
        rest = after;
    }
    out + rest
}
