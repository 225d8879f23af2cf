//! A Python process that judges what a fuzz target has made.

use std::io::BufReader;
use std::process::{Child, ChildStdout, Command, Stdio};

pub(crate) struct Judge {
    pub(crate) child: Child,
    pub(crate) out: BufReader<ChildStdout>,
}

impl Judge {
    /// Starts a script of `tests/scripts` with `python3`, or with what `FUZZ_PYTHON` names.
    pub(crate) fn start(script: &str, args: &[&str]) -> Self {
        let python = std::env::var("FUZZ_PYTHON").unwrap_or("python3".to_owned());
        let script = format!("{}/../scripts/{script}", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(python)
            .arg(script)
            .args(args)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, out }
    }
}
