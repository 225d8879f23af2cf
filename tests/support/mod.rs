//! What the tests share: the interpreters, processes that never outlive a test, and deadlines.

// Each binary uses a part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod oracle;
pub(crate) mod programs;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use basemanager::Manager;

/// How long anything may take that has no bound of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Python's names on the PATH.
const NAMES: [&str; 8] = [
    "python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python3.9",
    "python3.8",
];

/// What an interpreter says of itself: its path behind any shim, and its version.
const PROBE: &str = "import sys, multiprocessing.managers
print(sys.executable)
print(*sys.version_info[:3])
print(sys.implementation.name)";

/// A `CPython` interpreter, unmodified.
#[derive(Clone, Debug)]
pub(crate) struct Python {
    pub(crate) path: PathBuf,
    pub(crate) version: [u32; 3],
}

impl fmt::Display for Python {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, micro] = self.version;
        write!(f, "Python {major}.{minor}.{micro}")
    }
}

/// Every interpreter this build can talk to, one for each minor version, the oldest first; and says
/// which.
///
/// They are looked for in `BASEMANAGER_PYTHONS` (paths, separated like those of `PATH`), on the `PATH`
/// and among pyenv's. With none the test says so and should return; under `CI=true` it fails.
pub(crate) fn pythons() -> &'static [Python] {
    static FOUND: OnceLock<Vec<Python>> = OnceLock::new();
    let found = FOUND.get_or_init(find_pythons);
    if found.is_empty() {
        let why = if cfg!(feature = "legacy-md5") {
            "no Python 3.8 or newer"
        } else {
            "no Python 3.12 or newer, and the feature legacy-md5 is off"
        };
        assert!(env::var("CI").as_deref() != Ok("true"), "{why}");
        say(&format!("skipped: no Python ({why})"));
    } else {
        let used: Vec<String> =
            found.iter().map(|python| format!("{python} ({})", python.path.display())).collect();
        say(&format!("uses {}", used.join(", ")));
    }
    found
}

/// The newest interpreter; `None` after saying that there is none.
pub(crate) fn newest_python() -> Option<&'static Python> {
    pythons().last()
}

/// The interpreters from this version on. Without one the test says so; under `CI=true` it fails.
pub(crate) fn pythons_from(oldest: [u32; 3]) -> impl Iterator<Item = &'static Python> {
    let found = move || pythons().iter().filter(move |python| python.version >= oldest);
    if found().next().is_none() {
        let [major, minor, _] = oldest;
        assert!(env::var("CI").as_deref() != Ok("true"), "no Python {major}.{minor} or newer");
        say(&format!("skipped: no Python {major}.{minor} or newer"));
    }
    found()
}

/// Prints a line even though the test passes: libtest captures the print macros only.
pub(crate) fn say(text: &str) {
    let thread = thread::current();
    let _ = writeln!(std::io::stderr(), "{}: {text}", thread.name().unwrap_or("test"));
}

fn find_pythons() -> Vec<Python> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    if let Some(given) = env::var_os("BASEMANAGER_PYTHONS") {
        candidates.extend(env::split_paths(&given));
    }
    candidates.extend(NAMES.iter().map(PathBuf::from));
    if let Some(home) = env::var_os("HOME") {
        let versions = fs::read_dir(Path::new(&home).join(".pyenv/versions"));
        let versions = versions.into_iter().flatten().flatten();
        candidates.extend(versions.map(|version| version.path().join("bin/python3")));
    }
    let mut found = BTreeMap::new();
    for python in candidates.iter().filter_map(|candidate| probe(candidate)) {
        let [major, minor, _] = python.version;
        found.entry([major, minor]).or_insert(python);
    }
    let oldest = if cfg!(feature = "legacy-md5") { [3, 8] } else { [3, 12] };
    found.split_off(&oldest).into_values().collect()
}

fn probe(candidate: &Path) -> Option<Python> {
    let output = Command::new(candidate).args(["-c", PROBE]).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let mut lines = text.lines();
    let path = PathBuf::from(lines.next()?);
    let version: Vec<u32> = lines.next()?.split(' ').map_while(|part| part.parse().ok()).collect();
    let version = version.try_into().ok()?;
    (lines.next()? == "cpython" && path.exists()).then_some(Python { path, version })
}

/// Whether this test has its process to itself. Otherwise runs it again, in a process where nothing else runs, and
/// fails if it fails there: for tests that measure their own process. `test` is `MODULE::TEST`.
#[track_caller]
pub(crate) fn alone(test: &str) -> bool {
    const ALONE: &str = "BASEMANAGER_TEST_ALONE";
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    command.args(["--exact", test, "--nocapture"]).env(ALONE, "1");
    let ended = Process::start(test, &mut command).end(10 * PATIENCE).well();
    let output = ended.stdout.join("\n");
    assert!(output.contains("1 passed"), "{test} did not run: {output}");
    say(ended.stderr.trim_end());
    false
}

/// The language of a program's author.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer<'a> {
    Rust,
    Python(&'a Python),
}

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rust => f.write_str("Rust"),
            Self::Python(python) => python.fmt(f),
        }
    }
}

impl Peer<'_> {
    /// An example program in this language, to be run with the default key.
    pub(crate) fn command(self, program: &str) -> Command {
        match self {
            Self::Rust => bare(&example(program)),
            Self::Python(python) => {
                script(python, &manifest_dir().join(format!("examples/python/{program}.py")))
            }
        }
    }

    pub(crate) fn start(self, program: &str, args: &[&str]) -> Process {
        Process::start(&format!("{program} ({self})"), self.command(program).args(args))
    }

    /// A program that serves, and its address.
    pub(crate) fn serve(self, program: &str, args: &[&str]) -> (Process, String) {
        let mut process = self.start(program, args);
        let address = process.address();
        (process, address)
    }
}

/// A script of the tests' own, from `tests/scripts`.
pub(crate) fn snippet(python: &Python, name: &str, args: &[&str]) -> Process {
    let mut command = script(python, &manifest_dir().join("tests/scripts").join(name));
    Process::start(&format!("{name} ({python})"), command.args(args))
}

/// A Python client: `connect` gives a manager that knows some typeids, `show` prints what comes of a call,
/// and `obey` evaluates whatever [`Process::ask`] sends.
const CLIENT: &str = r#"
import sys
import time
from multiprocessing.managers import BaseManager, RemoteError, Token, dispatch

class M(BaseManager):
    pass

def connect(*typeids):
    for typeid in typeids:
        M.register(typeid)
    address = sys.argv[1]
    if "/" not in address:
        host, port = address.rsplit(":", 1)
        address = host, int(port)
    m = M(address, sys.argv[2].encode())
    m.connect()
    return m

def show(call, *args, **kwargs):
    try:
        print(repr(call(*args, **kwargs)), flush=True)
    except Exception as error:
        print(type(error).__module__, type(error).__name__, error.args, flush=True)

def obey():
    for line in sys.stdin:
        show(eval, line, globals())
"#;

/// Runs Python code as a client of the manager at this address.
pub(crate) fn python_client(python: &Python, code: &str, address: &str, key: &str) -> Process {
    let mut command = bare(&python.path);
    command.args(["-c", &format!("{CLIENT}{code}"), address, key]);
    Process::start(&python.to_string(), &mut command)
}

fn script(python: &Python, path: &Path) -> Command {
    let mut command = bare(&python.path);
    command.arg(path);
    command
}

fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_remove("MANAGER_AUTHKEY").env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An example that `cargo test` has built: it lies beside the directory of this test's program.
pub(crate) fn example(name: &str) -> PathBuf {
    static WARNED: Once = Once::new();
    let this = env::current_exe().expect("this program has a path");
    let profile = this.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let path = profile.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let built = fs::metadata(&path).and_then(|file| file.modified());
    let built = built.unwrap_or_else(|_| {
        panic!(
            "{} is missing: before `cargo test --test NAME`, `cargo build --examples`",
            path.display()
        )
    });
    if let Some((source, changed)) = newest_source()
        && *changed > built
    {
        let note = format!("note: the example {name} is older than {}", source.display());
        WARNED.call_once(|| say(&note));
    }
    path
}

/// The source file that was changed last.
fn newest_source() -> Option<&'static (PathBuf, std::time::SystemTime)> {
    static NEWEST: OnceLock<Option<(PathBuf, std::time::SystemTime)>> = OnceLock::new();
    fn files(directory: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { files(&path, into) } else { into.push(path) }
        }
    }
    let newest = || {
        let mut all = Vec::new();
        files(&manifest_dir().join("src"), &mut all);
        let dated = all.into_iter().filter_map(|path| {
            let changed = fs::metadata(&path).and_then(|file| file.modified()).ok()?;
            Some((path, changed))
        });
        dated.max_by_key(|(_, changed)| *changed)
    };
    NEWEST.get_or_init(newest).as_ref()
}

/// Port 0 of a loopback address that no other test uses, where there are many: nobody else takes a port that
/// is given up there, to be listened on again.
pub(crate) fn own_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    if !cfg!(target_os = "linux") {
        return "127.0.0.1:0".to_owned();
    }
    let [_, _, high, low] = process::id().to_be_bytes();
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % 256;
    format!("127.{}.{low}.{number}:0", 100 + high % 100)
}

/// An address of this host where nobody listens, as long as what comes with it lives: the local end
/// of a connection.
pub(crate) fn dead_address() -> (String, impl Sized) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    (stream.local_addr().expect("connected").to_string(), (listener, stream))
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    /// Closed once its end is waited for.
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// The lines that were not read before.
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

impl Ended {
    /// Fails unless it ended with 0.
    #[track_caller]
    pub(crate) fn well(self) -> Self {
        self.with(0)
    }

    /// Fails unless it ended with this code.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

impl Process {
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        // What a developer, or a CI system, has set for other programs: colours, no imports from the script's directory.
        for name in ["FORCE_COLOR", "PYTHONSAFEPATH", "PYTHONOPTIMIZE", "PYTHONVERBOSE"] {
            command.env_remove(name);
        }
        command
            .env("PYTHONFAULTHANDLER", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let stdin = child.stdin.take();
        let output = child.stdout.take().expect("piped");
        let (line, stdout) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            // A test that no longer listens has all it wants; the program must not block.
            lines.for_each(|text| drop(line.send(text)));
        });
        let mut output = child.stderr.take().expect("piped");
        let (all, stderr) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = output.read_to_end(&mut bytes);
            let _ = all.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        Self { name: name.to_owned(), child, stdin, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its input.
    pub(crate) fn tell(&mut self, line: &str) {
        // It may have ended: its output says so.
        let _ = self.stdin.as_mut().map(|stdin| stdin.write_all(format!("{line}\n").as_bytes()));
    }

    /// Writes a line to its input, and gives the next line of its output.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.line()
    }

    /// Sends a signal by its name, such as `STOP`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(status.expect("there is a `kill`").success(), "{}: {name}", self.name);
    }

    /// The next line of its output.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        match self.stdout.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => {
                self.kill();
                let stderr = self.stderr();
                panic!("{}: no line ({error}); stderr: {stderr}", self.name);
            }
        }
    }

    #[track_caller]
    pub(crate) fn lines(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.line()).collect()
    }

    /// The lines that it has printed by now.
    pub(crate) fn printed(&mut self) -> Vec<String> {
        self.stdout.try_iter().collect()
    }

    /// The address in the first line of whatever serves.
    #[track_caller]
    pub(crate) fn address(&mut self) -> String {
        let line = self.line();
        let address = line.strip_prefix("listening on ");
        address.unwrap_or_else(|| panic!("{}: {line:?} names no address", self.name)).to_owned()
    }

    /// Waits for its end; there is no more input.
    #[track_caller]
    pub(crate) fn end(&mut self, within: Duration) -> Ended {
        self.stdin = None;
        let deadline = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if Instant::now() > deadline {
                self.abort();
                let stderr = self.stderr();
                panic!("{} has not ended within {within:?}; stderr: {stderr}", self.name);
            }
            thread::sleep(Duration::from_millis(2));
        };
        Ended { code: status.code(), stdout: self.rest(), stderr: self.stderr() }
    }

    /// Ends what hangs; a Python program says where it was.
    fn abort(&mut self) {
        let pid = self.pid().to_string();
        let _ = Command::new("kill").args(["-ABRT", &pid]).status();
        thread::sleep(Duration::from_secs(1));
        self.kill();
    }

    /// Ends it at once (SIGKILL), and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The lines that it printed before its end and nobody has read.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.stdout.recv_timeout(PATIENCE).ok()).collect()
    }

    fn stderr(&mut self) -> String {
        self.stderr.recv_timeout(PATIENCE).unwrap_or_default()
    }

    /// The number of its threads.
    pub(crate) fn threads(&self) -> usize {
        self.status("Threads:")
    }

    /// The memory that it has in use, in kB.
    pub(crate) fn resident(&self) -> usize {
        self.status("VmRSS:")
    }

    fn status(&self, field: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("Linux");
        let value = status.lines().find_map(|line| line.strip_prefix(field));
        let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("{}: no {field}", self.name))
    }

    /// The number of its open files.
    pub(crate) fn files(&self) -> usize {
        self.files_below(usize::MAX)
    }

    /// The number of its open files whose descriptors are lower than this.
    pub(crate) fn files_below(&self, limit: usize) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("Linux").flatten();
        let numbers = files.filter_map(|file| file.file_name().to_str()?.parse::<usize>().ok());
        numbers.filter(|number| *number < limit).count()
    }

    /// The processor time that it has used, in ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("Linux");
        // Fields 14 and 15; the name in parentheses is the second.
        let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    /// Whether none of its threads runs.
    pub(crate) fn is_asleep(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("Linux");
        tasks.flatten().all(|task| is_asleep(&task.path().join("stat")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until a condition holds; fails if it does not within the time.
#[track_caller]
pub(crate) fn until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the manager serves this many consumers, and all of them sleep: they are blocked in
/// `get()`, for there is nothing else that they wait for longer than an instant.
#[track_caller]
pub(crate) fn until_blocked(manager: &Process, threads: usize, consumers: &[&Process]) {
    until_asleep(&[consumers, &[manager]].concat(), || manager.threads() == threads);
}

/// Waits until these programs sleep, for longer than one that is merely on the way to the manager and back.
#[track_caller]
pub(crate) fn until_asleep(programs: &[&Process], condition: impl Fn() -> bool) {
    let mut times = 0;
    until("they wait", PATIENCE, || {
        let asleep = programs.iter().all(|one| one.is_asleep()) && condition();
        times = if asleep { times + 1 } else { 0 };
        times == 10
    });
}

/// Runs `wait` on a thread; returns when it is blocked there.
#[track_caller]
pub(crate) fn blocked<T: Send + 'static>(
    wait: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let (tx, rx) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = tx.send(fs::read_link("/proc/thread-self").ok());
        wait()
    });
    let Some(task) = rx.recv().expect("it sends its name") else {
        // Not Linux: the state of a thread is unknown, so give it some time.
        thread::sleep(Duration::from_millis(100));
        return thread;
    };
    let stat = PathBuf::from("/proc").join(task).join("stat");
    // Asleep for many milliseconds, so not only for a round trip to the manager.
    let mut times = 0;
    until("it waits", PATIENCE, || {
        assert!(!thread.is_finished(), "it did not wait");
        times = if is_asleep(&stat) { times + 1 } else { 0 };
        times == 5
    });
    thread
}

/// Fails unless a text contains all of these parts.
#[track_caller]
pub(crate) fn assert_mentions(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

/// Whether the thread of this `/proc` file sleeps.
fn is_asleep(stat: &Path) -> bool {
    let stat = fs::read_to_string(stat).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S"))
}

/// What a manager logs.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn of(manager: Manager) -> (Manager, Self) {
        let log = Self::default();
        let lines = log.clone();
        (manager.log(move |line| lines.0.lock().expect("no panic").push(line.to_owned())), log)
    }

    #[track_caller]
    pub(crate) fn until(&self, part: &str) {
        until(part, PATIENCE, || {
            self.0.lock().expect("no panic").iter().any(|line| line.contains(part))
        });
    }
}

/// A directory of a test's own; removed when dropped.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("basemanager-test-{}-{count}", process::id()));
        fs::create_dir(&path).expect("a fresh directory");
        Self(path)
    }

    /// The path of something in it, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path in UTF-8").to_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The oldest and the newest interpreter, each with packages from `PyPI` in a virtual environment, which is made
/// once and kept. Without the packages the test says so and has nothing to do; under `CI=true` it fails.
pub(crate) fn with_packages(packages: &[&str]) -> Vec<Python> {
    let pythons = pythons();
    let ends = if pythons.len() > 1 { vec![0, pythons.len() - 1] } else { vec![0] };
    let chosen = ends.into_iter().filter_map(|end| pythons.get(end));
    let made = chosen.filter_map(|python| match environment(python, packages) {
        Ok(python) => Some(python),
        Err(why) => {
            let text = format!("{python} has no {}: {why}", packages.join(", "));
            assert!(env::var("CI").as_deref() != Ok("true"), "{text}");
            say(&format!("skipped: {text}"));
            None
        }
    });
    made.collect()
}

fn environment(python: &Python, packages: &[&str]) -> Result<Python, String> {
    let run = |program: &Path, args: &[&str]| {
        let output = bare(program).args(args).stdin(Stdio::null()).output();
        let output = output.map_err(|error| error.to_string())?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(errors.trim_end().to_owned()) }
    };
    let [major, minor, _] = python.version;
    let name = format!("python-{major}.{minor}-{}", packages.join("-"));
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let path = home.join("bin/python3");
    let made = home.join("made");
    if !made.exists() {
        run(&python.path, &["-m", "venv", "--clear", &home.display().to_string()])?;
        run(&path, &[&["-m", "pip", "install", "--quiet"], packages].concat())?;
        fs::write(made, "").map_err(|error| error.to_string())?;
    }
    Ok(Python { path, version: python.version })
}
