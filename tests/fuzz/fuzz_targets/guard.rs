//! What the guard passes makes CPython do nothing but what the guard allows: it looks up no other name, and makes no
//! call in another form.
//!
//! A Python process, `python3` or what `FUZZ_PYTHON` names, judges: `tests/scripts/guard.py`. It unpickles what the
//! guard has passed, with `pickle.loads`, an audit hook that raises, and modules whose classes check how they are used.
//!
//! Input: which way, then the pickle, or choices for a program or for pieces of the forms that are allowed.
#![no_main]

#[path = "../../support/programs.rs"]
mod programs;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use basemanager::tap::Guard;
use libfuzzer_sys::fuzz_target;
use programs::{Rng, program, whole};

const PLACES: [&str; 2] = ["127.0.0.1:5000", "/run/tasks"];

fuzz_target!(|input: &[u8]| {
    static GUARD: LazyLock<Guard> =
        LazyLock::new(|| PLACES.into_iter().fold(Guard::new(), Guard::address));
    let [way, rest @ ..] = input else { return };
    let pickle = match way % 8 {
        0 => rest.to_vec(),
        1 => whole(&[rest]),
        2 => program(&mut Rng::chosen(rest), 30),
        _ => pieces(rest),
    };
    match GUARD.check(&pickle) {
        Ok(()) => judge(&pickle),
        Err(reason) => assert!(!reason.is_empty()),
    }
});

/// The operations of tokens, proxies and calls, whole and in parts, and of what may come between them.
const PIECES: [&[u8]; 88] = [
    b"N",
    b"K\x01",
    b"\x88",
    b"M\x88\x13",
    b"\x8a\x01\x05",
    b"J\xff\xff\xff\xff",
    b"\x8c\x01a",
    b"\x8c\x02os",
    b"\x8c\x06system",
    b"\x8c\x0a/run/tasks",
    b"\x8c\x0b/run/others",
    b"C\x0a/run/tasks",
    b"C\x00",
    b"\x8c\x09127.0.0.1",
    b"\x8c\x09127.0.0.1M\x88\x13\x86",
    b"\x8c\x09127.0.0.1M\x89\x13\x86",
    b"\x8c\x06pickle",
    b"\x8c\x07exposed",
    b"\x8c\x06latin1",
    b"\x8c\x07latin-1",
    b"\x8c\x07rot_13a",
    b")",
    b"]",
    b"}",
    b"\x8f",
    b"(",
    b"(",
    b"t",
    b"t",
    b"e",
    b"u",
    b"\x90",
    b"\x91",
    b"\x85",
    b"\x86",
    b"\x87",
    b"a",
    b"s",
    b"R",
    b"R",
    b"\x81",
    b"\x92",
    b"b",
    b"\x93",
    b"0",
    b"1",
    b"\x94",
    b"\x94",
    b"h\x00",
    b"h\x01",
    b"h\x02",
    b"h\x03",
    b"q\x00",
    b"q\x01",
    b"r\x02\0\0\0",
    b"j\x01\0\0\0",
    b"cos\nsystem\n",
    b"cmultiprocessing.managers\nos.system\n",
    b"cmultiprocessing.managers\nToken\n",
    b"cmultiprocessing.managers\nRebuildProxy\n",
    b"cmultiprocessing.managers\nAutoProxy\n",
    b"cmultiprocessing.managers\nListProxy\n",
    b"cmultiprocessing.managers\nMakeProxyType\n",
    b"\x8c\x18multiprocessing.managers\x8c\x05Token\x93",
    b"\x8c\x18multiprocessing.managers\x8c\x09AutoProxy\x93",
    b"c__builtin__\nset\n",
    b"c__builtin__\neval\n",
    b"cbuiltins\nset\n",
    b"cbuiltins\nfrozenset\n",
    b"cbuiltins\nbytes\n",
    b"cbuiltins\nbytearray\n",
    b"cbuiltins\nslice\n",
    b"cbuiltins\nrange\n",
    b"c_codecs\nencode\n",
    b"cmultiprocessing.managers\nToken\n)\x81",
    b"\x8c\x01q\x8c\x0a/run/tasks\x8c\x01i\x87",
    b"\x8c\x01q\x8c\x0b/run/others\x8c\x01i\x87",
    b"cmultiprocessing.managers\nToken\n)\x81\x8c\x01q\x8c\x0a/run/tasks\x8c\x01i\x87b",
    b"cmultiprocessing.managers\nRebuildProxy\n(cmultiprocessing.managers\nListProxy\n",
    b"cmultiprocessing.managers\nRebuildProxy\n(cmultiprocessing.managers\nAutoProxy\n",
    b"\x8c\x06pickle}",
    b"\x8c\x06pickle}\x94",
    b"\x8c\x06pickle}\x8c\x07exposed\x8c\x03get\x85s",
    b"\x8c\x06pickle}\x94\x8c\x07exposed\x8c\x03get\x85s",
    b"\x8c\x07exposed\x8c\x03a b\x85s",
    b"tR",
    b"\x80\x02",
    b"\x95\x09\0\0\0\0\0\0\0",
];

/// A pickle of such pieces, in which everything that is left on the stack is in a tuple.
fn pieces(choices: &[u8]) -> Vec<u8> {
    let [protocol, choices @ ..] = choices else { return Vec::new() };
    let mut pickle = vec![0x80, protocol % 6, b'('];
    let mut marks = 1;
    for choice in choices {
        let piece = PIECES[usize::from(*choice) % PIECES.len()];
        pickle.extend(piece);
        match piece {
            b"(" => marks += 1,
            b"t" | b"e" | b"u" | b"\x90" | b"\x91" | b"1" | b"tR" => marks -= 1,
            piece if piece.starts_with(b"cmultiprocessing.managers\nRebuildProxy\n(") => marks += 1,
            _ => {}
        }
    }
    pickle.extend((0..marks).map(|_| b't'));
    pickle.push(b'.');
    pickle
}

struct Python {
    child: Child,
    out: BufReader<ChildStdout>,
}

/// Asks for a verdict, which has to be that all is well.
fn judge(pickle: &[u8]) {
    static PYTHON: LazyLock<Mutex<Python>> = LazyLock::new(|| {
        let name = std::env::var("FUZZ_PYTHON").unwrap_or("python3".to_owned());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/guard.py");
        let mut command = Command::new(name);
        command.args([script, "judge"]).args(PLACES).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Mutex::new(Python { child, out })
    });
    let python = &mut *PYTHON.lock().expect("no panic before");
    let line: String = pickle.iter().map(|byte| format!("{byte:02x}")).collect();
    let input = python.child.stdin.as_mut().expect("piped");
    input.write_all(format!("{line}\n").as_bytes()).expect("guard.py listens");
    let mut verdict = String::new();
    python.out.read_line(&mut verdict).expect("guard.py answers");
    assert!(verdict == "+\n", "{verdict}{}", pickle.escape_ascii());
}
