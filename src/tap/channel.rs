//! The queue between the relay, which must not wait, and the consumer of the frames, which may be slow.

use std::collections::VecDeque;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Frame, Kind};
use crate::net::deadline;

/// The most frames that wait to be shown.
const MAX_FRAMES: usize = 16 * 1024;
/// The most, with frames that say that a connection was made or closed, or what happened to it.
const MAX_ALL: usize = 4 * MAX_FRAMES;
/// The most bytes of their payloads.
const MAX_BYTES: usize = 16 << 20;
/// The longest that the relay waits for room, once for each time that the queue fills up.
const PATIENCE: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    closed: bool,
    /// Whether the reader waits for a frame.
    waiting: bool,
}

impl State {
    fn has_room(&self) -> bool {
        self.frames.len() < MAX_FRAMES && self.bytes < MAX_BYTES
    }

    fn push(&mut self, frame: Frame) {
        self.bytes += size(&frame);
        self.frames.push_back(frame);
    }
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    not_empty: Condvar,
    not_full: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue that is closed with its [`Sink`].
pub(crate) fn channel() -> (Sink, Frames) {
    let queue = Arc::new(Queue::default());
    (Sink(queue.clone()), Frames(queue))
}

/// The relay's end.
#[derive(Clone, Debug)]
pub(crate) struct Sink(Arc<Queue>);

impl Sink {
    /// Appends a frame. If there is no room, drops it and counts it in `lost`; the next frame for which there is room
    /// comes after [`Kind::Lost`]. There are few frames without bytes: they have some room of their own.
    pub(crate) fn push(&self, frame: Frame, lost: &mut u64) {
        let is_optional = matches!(frame.kind, Kind::Payload { .. } | Kind::Foreign(_));
        let mut state = self.0.lock();
        if is_optional && *lost == 0 && !state.has_room() && !state.closed {
            let waited =
                self.0.not_full.wait_timeout_while(state, PATIENCE, |state| !state.has_room());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.closed {
            return;
        }
        if is_optional && !state.has_room() || state.frames.len() >= MAX_ALL {
            *lost += u64::from(is_optional);
            return;
        }
        if *lost > 0 {
            let kind = Kind::Lost(std::mem::take(lost));
            state.push(Frame { kind, ..frame });
        }
        state.push(frame);
        if state.waiting {
            self.0.not_empty.notify_one();
        }
    }

    /// Ends the stream of frames.
    pub(crate) fn close(&self) {
        self.0.lock().closed = true;
        self.0.not_empty.notify_all();
        self.0.not_full.notify_all();
    }
}

/// The frames that a [`Relay`](super::Relay) sees, in the order in which they pass: a request comes before its reply.
///
/// At most 16,384 frames, and 16 MiB of payloads, wait to be taken. If more come, the relay does not wait for long: it
/// drops them, and says so with [`Kind::Lost`]. Dropping this drops all that come later.
#[derive(Debug)]
pub struct Frames(Arc<Queue>);

impl Frames {
    /// The next frame.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] if none came in time, [`RecvTimeoutError::Disconnected`] after the last frame of a
    /// relay that has stopped.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Frame, RecvTimeoutError> {
        self.next_until(Some(deadline(timeout)))
    }

    /// Whether a frame waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().frames.is_empty()
    }

    fn next_until(&self, deadline: Option<Instant>) -> Result<Frame, RecvTimeoutError> {
        let mut state = self.0.lock();
        loop {
            if let Some(frame) = state.frames.pop_front() {
                let was_full = !state.has_room();
                state.bytes -= size(&frame);
                if was_full && state.has_room() {
                    self.0.not_full.notify_all();
                }
                return Ok(frame);
            }
            if state.closed {
                return Err(RecvTimeoutError::Disconnected);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(RecvTimeoutError::Timeout);
            }
            state.waiting = true;
            state = match left {
                Some(left) => {
                    let waited = self.0.not_empty.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.0.not_empty.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.waiting = false;
        }
    }
}

impl Iterator for Frames {
    type Item = Frame;

    /// Waits for the next frame; `None` after the last one of a relay that has stopped.
    fn next(&mut self) -> Option<Frame> {
        self.next_until(None).ok()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        *state = State { closed: true, ..State::default() };
        self.0.not_full.notify_all();
    }
}

fn size(frame: &Frame) -> usize {
    frame.kind.bytes().len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tap::Sender;

    fn frame(kind: Kind) -> Frame {
        Frame { time: Duration::ZERO, connection: 1, sender: Sender::Client, kind }
    }

    fn payload(size: usize) -> Frame {
        frame(Kind::Payload { header: 4, length: size as u64, bytes: vec![0; size] })
    }

    #[test]
    fn frames_without_room_are_counted_and_the_relay_does_not_wait() {
        let (sink, frames) = channel();
        let (mut lost, started) = (0, Instant::now());
        for _ in 0..MAX_FRAMES + 10_000 {
            sink.push(payload(0), &mut lost);
        }
        assert_eq!(lost, 10_000);
        sink.push(frame(Kind::Closed), &mut 0);
        assert!(started.elapsed() < Duration::from_secs(1));
        frames.recv_timeout(PATIENCE).unwrap();
        frames.recv_timeout(PATIENCE).unwrap();
        sink.push(payload(0), &mut lost);
        assert_eq!(lost, 0);
        sink.close();
        let kinds: Vec<Kind> = frames.map(|frame| frame.kind).collect();
        assert_eq!(kinds.len(), MAX_FRAMES - 2 + 3);
        assert_eq!(kinds.iter().rev().nth(1), Some(&Kind::Lost(10_000)));
    }

    #[test]
    fn bytes_are_bounded() {
        let (sink, frames) = channel();
        let mut lost = 0;
        for _ in 0..1000 {
            sink.push(payload(64 << 10), &mut lost);
        }
        assert_eq!(lost, 1000 - (MAX_BYTES >> 16) as u64);
        drop(frames);
        sink.push(payload(1), &mut lost);
        assert_eq!(sink.0.lock().frames.len(), 0);
    }

    #[test]
    fn reader_is_woken_and_times_out() {
        let (sink, frames) = channel();
        assert_eq!(frames.recv_timeout(PATIENCE), Err(RecvTimeoutError::Timeout));
        let reader = crate::tap::channel::tests::spawn_reader(frames);
        sink.push(payload(1), &mut 0);
        sink.close();
        assert_eq!(reader.join().unwrap(), 1);
    }

    fn spawn_reader(frames: Frames) -> std::thread::JoinHandle<usize> {
        std::thread::spawn(move || frames.count())
    }
}
