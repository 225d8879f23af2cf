//! The files of `examples/packaging`, as far as this machine has the tools.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{PATIENCE, Process, TempDir, say, with_packages};
use crate::{KEY, basemanager, run};

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/packaging").join(file)
}

/// Whether a tool is there; says so if not.
fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        say(&format!("skipped: no {tool}"));
    }
    found
}

#[test]
fn systemd_understands_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let dir = TempDir::new();
    for unit in ["basemanager.service", "basemanager.socket"] {
        // The program is where these tests have built it.
        let text = fs::read_to_string(packaging(unit)).unwrap();
        let text = text.replace("/usr/local/bin/basemanager", env!("CARGO_BIN_EXE_basemanager"));
        fs::write(dir.path(unit), text).unwrap();
    }
    let units = [dir.path("basemanager.socket"), dir.path("basemanager.service")];
    let output = Command::new("systemd-analyze").arg("verify").args(&units).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = errors.lines().filter(|line| line.contains("basemanager")).collect();
    assert!(ours.is_empty(), "{errors}");
}

/// The options of the unit and of the container are options of the program.
#[test]
fn command_lines_in_the_files_are_valid() {
    let dir = TempDir::new();
    let key = dir.path("key");
    let unit = fs::read_to_string(packaging("basemanager.service")).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let line = line.replace("${STATE_DIRECTORY}/key", &key);
    let args: Vec<&str> = line.split(' ').skip(1).collect();
    // Its standard input is no socket here, which it says after it has read its options.
    let failed = run(basemanager(&args), b"").failed(2);
    assert!(failed.contains("standard input is not a listening socket"), "{failed}");

    let file = fs::read_to_string(packaging("Containerfile")).unwrap();
    let entry = file.lines().find_map(|line| line.strip_prefix("ENTRYPOINT ")).unwrap();
    let entry: Vec<String> = serde_json::from_str(entry).unwrap();
    assert_eq!(entry[..2], ["/basemanager", "serve"]);
    let mut served =
        Process::start("container", &mut basemanager(&["serve", "127.0.0.1:0", "--drain", "10s"]));
    served.address();
    served.signal("TERM");
    served.end(PATIENCE).well();
}

/// Builds the wheel with maturin, and installs it in a fresh environment, whose Python uses the program. Takes minutes:
/// only in CI.
#[test]
fn wheel_serves_the_python_beside_it() {
    if env::var("CI").as_deref() != Ok("true") {
        return say("skipped: only with CI=true");
    }
    let dir = TempDir::new();
    let Some(python) = with_packages(&["maturin"]).pop() else { return };
    let python_with = |python: &Path, args: &[&str]| {
        let mut command = Command::new(python);
        command.args(args).env("PATH", path_with(python.parent().unwrap()));
        // Not where the other tests' program is.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wheel");
        command.env("CARGO_TARGET_DIR", target);
        let output = command.current_dir(packaging("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let wheels = dir.path("wheels");
    let build = ["-m", "maturin", "build", "--profile", "dev", "--out", &wheels];
    python_with(&python.path, &build);
    let home = dir.path("venv");
    python_with(&python.path, &["-m", "venv", &home]);
    let python = Path::new(&home).join("bin/python");
    let wheel = fs::read_dir(&wheels).unwrap().next().unwrap().unwrap().path();
    python_with(&python, &["-m", "pip", "install", "--quiet", wheel.to_str().unwrap()]);
    let code = format!(
        "import subprocess, sys, os
from multiprocessing.managers import BaseManager
program = os.path.join(os.path.dirname(sys.executable), 'basemanager')
server = subprocess.Popen([program, 'serve', '127.0.0.1:0'], stdout=subprocess.PIPE, text=True,
    env={{**os.environ, 'MANAGER_AUTHKEY': '{KEY}'}})
host, port = server.stdout.readline().split()[-1].split(':')
BaseManager.register('task_queue')
m = BaseManager((host, int(port)), b'{KEY}')
m.connect()
m.task_queue().put(7)
print(m.task_queue().get())
server.terminate()
print(server.wait())
"
    );
    let mut client = Process::start("wheel", Command::new(&python).args(["-c", &code]));
    assert_eq!(client.end(PATIENCE).well().stdout, ["7", "0"]);
}

fn path_with(dir: &Path) -> String {
    format!("{}:{}", dir.display(), env::var("PATH").unwrap())
}
