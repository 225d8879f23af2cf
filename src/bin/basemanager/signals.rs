//! Signals, on a thread of their own.

use crate::failure::Failure;

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Request {
    /// SIGTERM or SIGINT: end in order. A second one ends the process at once.
    End,
    /// SIGUSR1: refuse puts, and go on.
    RefusePuts,
}

/// Calls `act` for each signal.
#[cfg(unix)]
pub(crate) fn handle(act: impl Fn(Request) + Send + 'static) -> Result<(), Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
    listen(&[SIGTERM, SIGINT, SIGUSR1], act, || ())
}

/// Like [`handle`], for a program with child processes. SIGHUP also ends the process in order, unless the program was
/// started with SIGHUP ignored (`nohup`). Before a second SIGTERM or SIGINT ends the process, calls `abort`.
#[cfg(unix)]
pub(crate) fn handle_with_abort(
    act: impl Fn(Request) + Send + 'static,
    abort: impl Fn() + Send + 'static,
) -> Result<(), Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    let all = [SIGTERM, SIGINT, SIGUSR1, SIGHUP];
    let without_hangup = [SIGTERM, SIGINT, SIGUSR1];
    listen(if is_ignored(SIGHUP) { &without_hangup } else { &all }, act, abort)
}

#[cfg(unix)]
fn listen(
    signals: &[i32],
    act: impl Fn(Request) + Send + 'static,
    abort: impl Fn() + Send + 'static,
) -> Result<(), Failure> {
    use signal_hook::consts::{SIGHUP, SIGUSR1};
    let mut signals = signal_hook::iterator::Signals::new(signals)?;
    let run = move || {
        let mut asked = false;
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => act(Request::RefusePuts),
                // Does not count as the first: a closed terminal can send several, and signals that come together are
                // not reported in their order.
                SIGHUP => act(Request::End),
                _ if asked => {
                    abort();
                    std::process::exit(128 + signal);
                }
                _ => {
                    asked = true;
                    act(Request::End);
                }
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(run)?;
    Ok(())
}

/// Whether the parent process had this signal ignored. Only Linux tells.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Other systems end the process themselves.
#[cfg(not(unix))]
pub(crate) fn handle(_: impl Fn(Request) + Send + 'static) -> Result<(), Failure> {
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn handle_with_abort(
    _: impl Fn(Request) + Send + 'static,
    _: impl Fn() + Send + 'static,
) -> Result<(), Failure> {
    Ok(())
}
