//! Recordings: the frames of a tap in a file.
//!
//! ```text
//!  "basemanager tap 1\n"   u64 start of the tap, in microseconds since 1970
//!  then for each frame:
//!  u64 microseconds   u64 connection   u8 sender   u8 kind   u8 header   u64 length   u32 size   bytes
//! ```
//! All numbers are big-endian. `size` counts the bytes that follow it; `length` is that of the payload, which may be
//! longer, or a count.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Frame, Kind, SHOWN, Sender};
use crate::error::{Error, Result};

const MAGIC: &[u8] = b"basemanager tap 1\n";
/// The bytes of a frame's record before those of the frame.
const FIXED: usize = 8 + 8 + 3 + 8 + 4;

/// Writes a recording.
///
/// A recording contains all items unencrypted, and handshakes that allow an offline guess of a weak authkey.
#[derive(Debug)]
pub struct Recorder {
    file: BufWriter<File>,
}

impl Recorder {
    /// Creates the file, which only its owner can read (mode 0600). `start` is when the tap was started.
    ///
    /// # Errors
    /// [`Error::Io`] if the file exists, or cannot be created.
    pub fn create(path: impl AsRef<Path>, start: SystemTime) -> Result<Self> {
        let doing = || Error::io(format!("create {}", path.as_ref().display()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = BufWriter::new(options.open(&path).map_err(doing())?);
        let micros = micros(start.duration_since(UNIX_EPOCH).unwrap_or_default());
        file.write_all(&[MAGIC, &micros.to_be_bytes()].concat()).map_err(doing())?;
        file.flush().map_err(doing())?;
        Ok(Self { file })
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write(&mut self, frame: &Frame) -> Result<()> {
        let (code, header, length, bytes) = match &frame.kind {
            Kind::Opened(address) => (0, 0, 0, address.as_bytes()),
            Kind::Payload { header, length, bytes } => (1, *header, *length, bytes.as_slice()),
            Kind::Foreign(bytes) => (2, 0, 0, bytes.as_slice()),
            Kind::Lost(count) => (3, 0, *count, &[][..]),
            Kind::Note(text) => (4, 0, 0, text.as_bytes()),
            Kind::Closed => (5, 0, 0, &[][..]),
            Kind::Stopped => (6, 0, 0, &[][..]),
        };
        let bytes = bytes.get(..SHOWN).unwrap_or(bytes);
        let size = u32::try_from(bytes.len()).unwrap_or_default();
        let record = [
            &micros(frame.time).to_be_bytes()[..],
            &frame.connection.to_be_bytes(),
            &[u8::from(frame.sender == Sender::Manager), code, header],
            &length.to_be_bytes(),
            &size.to_be_bytes(),
            bytes,
        ];
        self.file.write_all(&record.concat()).map_err(Error::io("write the recording"))
    }

    /// Writes to the file what is buffered.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::io("write the recording"))
    }
}

/// Reads a recording: an iterator over its frames.
#[derive(Debug)]
pub struct Recording {
    start: SystemTime,
    file: BufReader<File>,
    path: PathBuf,
    done: bool,
    truncated: bool,
}

impl Recording {
    /// Opens a recording.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, or is not a recording.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let name = path.as_ref().display();
        let doing = || Error::io(format!("read {name}"));
        let mut file = BufReader::new(File::open(&path).map_err(doing())?);
        let mut head = [0; MAGIC.len() + 8];
        let read = file.read_exact(&mut head);
        let (magic, start) = head.split_at(MAGIC.len());
        match read {
            Ok(()) if magic == MAGIC => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(doing()(error));
            }
            _ => {
                let why = "it is not a recording of `basemanager tap --save`";
                return Err(doing()(io::Error::new(io::ErrorKind::InvalidData, why)));
            }
        }
        let start =
            Duration::from_micros(start.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
        let start = UNIX_EPOCH.checked_add(start).unwrap_or(UNIX_EPOCH);
        Ok(Self { start, file, path: path.as_ref().to_owned(), done: false, truncated: false })
    }

    /// When the tap was started.
    #[must_use]
    pub fn start(&self) -> SystemTime {
        self.start
    }

    /// Whether the frames that were read end within one, which was left out, as when the tap was killed.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The next frame. A recording of a tap that was killed may end within a frame, which is left out.
    fn read(&mut self) -> Result<Option<Frame>> {
        let name = self.path.display().to_string();
        let doing = || Error::io(format!("read {name}"));
        let mut fixed = [0; FIXED];
        let read = self.fill(&mut fixed).map_err(doing())?;
        if read < fixed.len() {
            self.truncated = read > 0;
            return Ok(None);
        }
        let mut fixed = fixed.as_slice();
        let mut number = |size: usize| {
            let (taken, rest) = fixed.split_at_checked(size).unwrap_or((fixed, &[]));
            fixed = rest;
            taken.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte))
        };
        let time = Duration::from_micros(number(8));
        let connection = number(8);
        let sender = if number(1) == 0 { Sender::Client } else { Sender::Manager };
        let (code, header, length, size) = (number(1), number(1), number(8), number(4));
        let damaged = |what: String| {
            let why = format!("the recording is damaged: {what}");
            doing()(io::Error::new(io::ErrorKind::InvalidData, why))
        };
        let fits = usize::try_from(size).ok().filter(|size| *size <= SHOWN);
        let size = fits.ok_or_else(|| {
            damaged(format!("a record claims {size} bytes; the maximum is 64 KiB"))
        })?;
        let mut bytes = vec![0; size];
        if self.fill(&mut bytes).map_err(doing())? < size {
            self.truncated = true;
            return Ok(None);
        }
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let kind = match code {
            0 => Kind::Opened(text(&bytes)),
            1 => Kind::Payload { header: u8::try_from(header).unwrap_or(4), length, bytes },
            2 => Kind::Foreign(bytes),
            3 => Kind::Lost(length),
            4 => Kind::Note(text(&bytes)),
            5 => Kind::Closed,
            6 => Kind::Stopped,
            code => return Err(damaged(format!("a record has the unknown kind {code}"))),
        };
        Ok(Some(Frame { time, connection, sender, kind }))
    }

    /// Fills a buffer, or a part of it at the end of the file; returns how much.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Iterator for Recording {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.read().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn recording_holds_each_kind_of_frame() {
        let path = std::env::temp_dir().join(format!("basemanager-record-{}", std::process::id()));
        let start = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let kinds = [
            Kind::Opened("127.0.0.1:5".to_owned()),
            Kind::Payload { header: 12, length: 1 << 40, bytes: vec![7; SHOWN] },
            Kind::Payload { header: 4, length: 0, bytes: Vec::new() },
            Kind::Foreign(b"GET".to_vec()),
            Kind::Lost(u64::MAX),
            Kind::Note("ü".to_owned()),
            Kind::Stopped,
            Kind::Closed,
        ];
        let frames: Vec<Frame> = kinds
            .into_iter()
            .zip(0..)
            .map(|(kind, at)| {
                let time = Duration::from_micros(at);
                let sender = if at % 2 == 0 { Sender::Client } else { Sender::Manager };
                Frame { time, connection: at, sender, kind }
            })
            .collect();
        let mut recorder = Recorder::create(&path, start).unwrap();
        for frame in &frames {
            recorder.write(frame).unwrap();
        }
        recorder.flush().unwrap();
        assert!(Recorder::create(&path, start).is_err(), "it exists");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let recording = Recording::open(&path).unwrap();
        assert_eq!(recording.start(), start);
        assert_eq!(recording.collect::<Result<Vec<_>>>().unwrap(), frames);
        // A tap that was killed leaves a frame that is not complete.
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len().min(200) {
            std::fs::write(&path, whole.get(..length).unwrap()).unwrap();
            match Recording::open(&path) {
                Ok(mut recording) => {
                    let read = recording.by_ref().collect::<Result<Vec<_>>>().unwrap();
                    // After the start, and after the first frame.
                    let ends = [MAGIC.len() + 8, MAGIC.len() + 8 + FIXED + 11];
                    assert!(read.len() <= 1);
                    assert_eq!(recording.is_truncated(), !ends.contains(&length), "{length}");
                }
                Err(error) => {
                    assert!(error.reason().ends_with("`basemanager tap --save`"), "{error:?}");
                }
            }
        }
        // The size of the first record's bytes.
        let mut damaged = whole;
        *damaged.get_mut(MAGIC.len() + 8 + FIXED - 4).unwrap() = 1;
        std::fs::write(&path, damaged).unwrap();
        let error = Recording::open(&path).unwrap().next().unwrap().unwrap_err().reason();
        assert!(error.contains("damaged: a record claims 16777227 bytes"), "{error}");
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
}
