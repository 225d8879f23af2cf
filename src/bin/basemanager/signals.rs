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
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
    let run = move || {
        let mut ending = false;
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => act(Request::RefusePuts),
                _ if ending => std::process::exit(128 + signal),
                _ => {
                    ending = true;
                    act(Request::End);
                }
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(run)?;
    Ok(())
}

/// Other systems end the process themselves.
#[cfg(not(unix))]
pub(crate) fn handle(_: impl Fn(Request) + Send + 'static) -> Result<(), Failure> {
    Ok(())
}
