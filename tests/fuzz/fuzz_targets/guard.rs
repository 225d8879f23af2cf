//! What the guard passes makes CPython do nothing but what the guard allows: it looks up no other name, and makes no
//! call in another form.
//!
//! A Python process, `python3` or what `FUZZ_PYTHON` names, judges: `tests/scripts/guard.py`. It unpickles what the
//! guard has passed, with `pickle.loads`, an audit hook that raises, and modules whose classes check how they are used.
//!
//! Input: which way, then the pickle, or choices for a program, for pieces of the forms that are allowed, or for whole
//! forms that are almost right.
#![no_main]

#[path = "../judge.rs"]
mod judge;
#[path = "../../support/programs.rs"]
mod programs;

use std::io::{BufRead, Write};
use std::sync::{LazyLock, Mutex};

use basemanager::tap::Guard;
use judge::Judge;
use libfuzzer_sys::fuzz_target;
use programs::{Rng, program, whole};

const PLACES: [&str; 2] = ["127.0.0.1:5000", "/run/tasks"];

fuzz_target!(|input: &[u8]| {
    static GUARD: LazyLock<Guard> =
        LazyLock::new(|| PLACES.into_iter().try_fold(Guard::new(), Guard::address).unwrap());
    let [way, rest @ ..] = input else { return };
    let pickle = match way % 8 {
        0 => rest.to_vec(),
        1 => whole(&[rest]),
        2 => program(&mut Rng::chosen(rest), 30),
        3 => pieces(rest),
        _ => Maker::new(rest).pickle(),
    };
    let pickle = request(&pickle);
    match GUARD.check(&pickle) {
        Ok(()) => judge(&pickle),
        Err(reason) => assert!(!reason.is_empty()),
    }
});

/// A request with this pickle's object as its argument.
fn request(pickle: &[u8]) -> Vec<u8> {
    match pickle {
        [0x80, protocol, ops @ .., b'.'] => {
            [&[0x80, *protocol][..], b"(N\x8c\x03put(", ops, b"t}t."].concat()
        }
        pickle => pickle.to_vec(),
    }
}

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

/// Makes pickles of the forms that are allowed, in which a few things are wrong. Most pass.
struct Maker {
    rng: Rng,
    code: Vec<u8>,
    memo: usize,
}

impl Maker {
    fn new(choices: &[u8]) -> Self {
        Self { rng: Rng::chosen(choices), code: Vec::new(), memo: 0 }
    }

    fn pickle(mut self) -> Vec<u8> {
        let protocol = self.rng.pick(b"\x04\x05\x03\x02\x00");
        self.code.extend([0x80, protocol]);
        self.value(0);
        self.code.push(b'.');
        self.code
    }

    fn op(&mut self, code: &[u8]) {
        self.code.extend_from_slice(code);
    }

    fn text(&mut self, text: &str) {
        self.code.extend([0x8c, u8::try_from(text.len()).expect("short")]);
        self.op(text.as_bytes());
    }

    /// Memoizes what is on top, mostly, and may change something that was memoized before.
    fn after(&mut self, depth: usize) {
        match self.rng.below(8) {
            0..3 => {}
            3..6 => {
                self.code.push(0x94);
                self.memo += 1;
            }
            6 => {
                let key = u8::try_from(self.rng.below(self.memo + 1)).unwrap_or(0);
                let code = self.rng.pick(b"qh");
                self.op(&[code, key]);
                if code == b'h' {
                    self.code.push(b'0');
                } else {
                    self.memo = self.memo.max(usize::from(key) + 1);
                }
            }
            _ => self.tamper(depth),
        }
    }

    /// Changes an object from the memo, and discards the reference to it.
    fn tamper(&mut self, depth: usize) {
        if self.memo == 0 {
            return;
        }
        let key = u8::try_from(self.rng.below(self.memo)).unwrap_or(0);
        self.op(&[b'h', key]);
        match self.rng.below(5) {
            0 => {
                self.value(depth + 2);
                self.op(b"a");
            }
            1 => {
                self.text("exposed");
                self.names();
                self.op(b"s");
            }
            2 => {
                self.state();
                self.op(b"b");
            }
            3 => {
                self.op(b"(");
                self.value(depth + 2);
                self.value(depth + 2);
                let code = self.rng.pick(b"eu\x90");
                self.op(&[code]);
            }
            _ => {}
        }
        self.op(b"0");
    }

    fn global(&mut self, module: &str, name: &str) {
        if self.rng.below(2) == 0 {
            self.op(format!("c{module}\n{name}\n").as_bytes());
        } else {
            self.text(module);
            self.text(name);
            self.code.push(0x93);
        }
        self.after(9);
    }

    fn managers(&mut self, names: &[&str]) {
        let name = self.rng.pick(names);
        self.global("multiprocessing.managers", name);
    }

    fn value(&mut self, depth: usize) {
        let most = if depth > 5 { 8 } else { 20 };
        match self.rng.below(most) {
            0 => self.op(b"N"),
            1 => self.op(b"K\x05"),
            2 => {
                let text = self.rng.pick(&["a", "os", "system", "/run/tasks", "latin1", "exposed"]);
                self.text(text);
            }
            3 if self.memo > 0 => {
                let key = u8::try_from(self.rng.below(self.memo)).unwrap_or(0);
                self.op(&[b'h', key]);
            }
            3 | 4 => self.op(b"}"),
            5 => self.op(b"]"),
            6 => self.op(b")"),
            7 => self.op(b"C\x01a"),
            8 | 9 => {
                self.op(b"(");
                for _ in 0..self.rng.below(4) {
                    self.value(depth + 1);
                }
                let code = self.rng.pick(b"tttt\x91");
                self.op(&[code]);
            }
            10 => {
                self.op(b"](");
                for _ in 0..self.rng.below(3) {
                    self.value(depth + 1);
                }
                self.op(b"e");
            }
            11 => {
                self.op(b"}");
                self.after(depth);
                self.text("exposed");
                self.value(depth + 1);
                self.op(b"s");
            }
            12 | 13 => self.token(depth),
            14..18 => self.proxy(depth),
            18 => self.call(depth),
            _ => {
                let names = [("os", "system"), ("builtins", "eval"), ("builtins", "set")];
                let (module, name) = self.rng.pick(&names);
                self.global(module, name);
            }
        }
        self.after(depth);
    }

    fn address(&mut self) {
        match self.rng.below(8) {
            0..4 => self.text("/run/tasks"),
            4 | 5 => self.op(b"\x8c\x09127.0.0.1M\x88\x13\x86"),
            6 => self.op(b"\x8c\x09127.0.0.1M\x89\x13\x86"),
            _ => self.text("/run/others"),
        }
    }

    fn state(&mut self) {
        self.text("q");
        self.address();
        self.text("i");
        self.code.push(0x87);
    }

    fn token(&mut self, depth: usize) {
        self.managers(&["Token", "Token", "Token", "Token", "ListProxy"]);
        self.op(b")\x81");
        self.after(depth);
        if self.rng.below(8) > 0 {
            self.state();
            self.op(b"b");
        }
        self.after(depth);
    }

    fn names(&mut self) {
        match self.rng.below(6) {
            0..3 => self.op(b"\x8c\x03get\x8c\x03put\x86"),
            3 => self.op(b")"),
            4 => self.op(b"\x8c\x03a b\x85"),
            _ => self.op(b"]\x8c\x01aa"),
        }
        self.after(9);
    }

    fn proxy(&mut self, depth: usize) {
        self.managers(&["RebuildProxy"; 1]);
        self.op(b"(");
        let auto = self.rng.below(2) == 0;
        self.managers(if auto { &["AutoProxy"] } else { &["ListProxy", "DictProxy"] });
        if self.rng.below(8) == 0 {
            self.value(depth + 1)
        } else {
            self.token(depth + 1)
        }
        let serializer = self.rng.pick(&["pickle", "pickle", "pickle", "xmlrpclib"]);
        self.text(serializer);
        self.op(b"}");
        self.after(depth);
        if auto != (self.rng.below(8) == 0) {
            self.text("exposed");
            self.names();
            self.op(b"s");
        }
        self.op(b"t");
        self.after(depth);
        self.op(b"R");
    }

    fn call(&mut self, depth: usize) {
        let (name, args): (_, &[u8]) = self.rng.pick(&[
            ("set", b"]\x85"),
            ("frozenset", b"](K\x01e\x85"),
            ("bytes", b")"),
            ("bytearray", b"C\x01a\x85"),
            ("bytearray", b"\x8c\x01a\x8c\x07latin-1\x86"),
            ("slice", b"NK\x01N\x87"),
            ("range", b"K\x01K\x02K\x03\x87"),
            ("set", b"K\x01\x85"),
            ("bytes", b"K\x01\x85"),
        ]);
        self.global("builtins", name);
        if self.rng.below(4) == 0 {
            self.value(depth + 1)
        } else {
            self.op(args)
        }
        let code = self.rng.pick(b"RRRRR\x81");
        self.op(&[code]);
    }
}

/// Asks for a verdict, which has to be that all is well.
fn judge(pickle: &[u8]) {
    static PYTHON: LazyLock<Mutex<Judge>> =
        LazyLock::new(|| Mutex::new(Judge::start("guard.py", &["judge", PLACES[0], PLACES[1]])));
    let python = &mut *PYTHON.lock().expect("no panic before");
    let line: String = pickle.iter().map(|byte| format!("{byte:02x}")).collect();
    let input = python.child.stdin.as_mut().expect("piped");
    input.write_all(format!("{line}\n").as_bytes()).expect("guard.py listens");
    let mut verdict = String::new();
    python.out.read_line(&mut verdict).expect("guard.py answers");
    assert!(verdict == "+\n", "{verdict}{}", pickle.escape_ascii());
}
