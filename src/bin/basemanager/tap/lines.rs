//! Frames and exchanges as lines for a person.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use basemanager::tap::{
    Call, Event, Exchange, Frame, Handshake, Kind, Meaning, Outcome, dump, duration, escape,
    explain, listing,
};

/// A call that takes at least this long was blocked.
const BLOCKED: Duration = Duration::from_millis(100);
/// The most characters of a request, and of a reply, in a line.
const WIDTH: usize = 160;
/// The most characters of a remark by the tap.
const NOTE: usize = 1000;

/// Escape sequences of a terminal.
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";

pub(super) struct Lines {
    pub(super) start: SystemTime,
    pub(super) color: bool,
    /// 1 explains each frame, 2 also lists its bytes.
    pub(super) verbose: u8,
}

impl Lines {
    /// A line for an exchange, unless frames tell it already.
    pub(super) fn event(&self, out: &mut impl Write, exchange: &Exchange) -> io::Result<()> {
        let (text, style) = match &exchange.event {
            Event::Opened(_) | Event::Closed => return Ok(()),
            Event::Call(call)
                if self.verbose > 0
                    && !matches!(
                        call.outcome,
                        Outcome::Waiting | Outcome::Unanswered(_) | Outcome::Stopped
                    ) =>
            {
                return Ok(());
            }
            Event::Lost(..) | Event::Note(_) | Event::Foreign(..) | Event::Unreadable(..)
                if self.verbose > 0 =>
            {
                return Ok(());
            }
            Event::Call(call) => {
                let style = match &call.outcome {
                    Outcome::Waiting => YELLOW,
                    outcome if call.is_housekeeping() && !outcome.is_failure() => DIM,
                    Outcome::Raised(_) | Outcome::Returned(_) | Outcome::Proxy(_) => "",
                    Outcome::Stopped => YELLOW,
                    _ => RED,
                };
                (self.call(call), style)
            }
            Event::Handshake(end, took) => match end {
                Handshake::Proved(_) => (format!("{end}  {}", duration(*took)), DIM),
                _ => (end.to_string(), RED),
            },
            Event::Lost(..) => (text_of(exchange), YELLOW),
            _ => (text_of(exchange), RED),
        };
        let clock = clock(self.start, exchange.time);
        let text = format!("{clock} #{} {text}", exchange.connection);
        writeln!(out, "{}", self.styled(style, &text))
    }

    fn call(&self, call: &Call) -> String {
        let request = cut(&escape(&call.request()));
        let outcome = cut(&escape(&call.reply()));
        let took = duration(call.took);
        match &call.outcome {
            Outcome::Waiting => format!("{request} {outcome}  {took} so far"),
            _ if call.took >= BLOCKED => {
                let waited = self.styled(YELLOW, &format!("waited {took}"));
                format!("{request} ← {outcome}  {waited}")
            }
            _ => format!("{request} ← {outcome}  {took}"),
        }
    }

    /// A frame, explained.
    pub(super) fn frame(
        &self,
        out: &mut impl Write,
        frame: &Frame,
        meaning: &Meaning,
    ) -> io::Result<()> {
        let text = explain(frame, meaning);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let head = format!("{} #{} {first}", clock(self.start, frame.time), frame.connection);
        writeln!(out, "{}", self.styled(BOLD, &head))?;
        for line in lines {
            writeln!(out, "    {line}")?;
        }
        let bytes = frame.kind.bytes();
        if self.verbose < 2 || bytes.is_empty() {
            return Ok(());
        }
        let text = match meaning {
            Meaning::Request(_)
            | Meaning::Reply(_)
            | Meaning::Refusal(_)
            | Meaning::Unreadable(_) => {
                let length = if let Kind::Payload { length, .. } = frame.kind { length } else { 0 };
                listing(bytes, length)
            }
            _ => dump(bytes),
        };
        text.lines().try_for_each(|line| writeln!(out, "    {}", escape(line)))
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.color && !style.is_empty() {
            // Within dim or red text, another style ends at its own reset.
            format!("{style}{}\x1b[0m", text.replace("\x1b[0m", &format!("\x1b[0m{style}")))
        } else {
            text.to_owned()
        }
    }
}

/// The exchange without the number of its connection.
fn text_of(exchange: &Exchange) -> String {
    let text = exchange.to_string();
    let text = escape(text.split_once(' ').map_or("", |(_, text)| text));
    // The advice in a remark of the guard is at its end.
    if matches!(exchange.event, Event::Note(_)) { shorten(&text, NOTE) } else { cut(&text) }
}

fn cut(text: &str) -> String {
    shorten(text, WIDTH)
}

fn shorten(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The time of day, UTC.
fn clock(start: SystemTime, time: Duration) -> String {
    let since = start.duration_since(UNIX_EPOCH).unwrap_or_default() + time;
    let seconds = since.as_secs() % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, since.subsec_millis())
}
