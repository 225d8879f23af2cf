//! A Python process that says what `CPython` makes of a pickle: `tests/scripts/codec.py`.

// Not every test file uses all of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::support::Python;

pub(crate) struct Oracle {
    pub(crate) python: Python,
    child: Child,
    pipes: RefCell<(BufWriter<ChildStdin>, BufReader<ChildStdout>)>,
}

/// A pickle of one of the corpus's objects.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) protocol: String,
    /// `tree`, `graph` or `cycle`.
    pub(crate) sort: String,
    pub(crate) pickle: Vec<u8>,
}

impl Sample {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// What `CPython` says of a value.
pub(crate) struct Picture {
    pub(crate) repr: String,
    pub(crate) ascii: String,
    /// In protocols 2 to 5.
    pub(crate) pickles: Vec<Vec<u8>>,
}

impl Oracle {
    pub(crate) fn new(python: &Python) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/codec.py");
        let mut child = Command::new(&python.path)
            .arg(path)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let input = BufWriter::new(child.stdin.take().expect("piped"));
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { python: python.clone(), child, pipes: RefCell::new((input, output)) }
    }

    pub(crate) fn ask<B: AsRef<[u8]>>(&self, letter: u8, questions: &[B]) -> Vec<Vec<u8>> {
        let (input, output) = &mut *self.pipes.borrow_mut();
        let number = |count: usize| u32::try_from(count).unwrap().to_be_bytes();
        input.write_all(&[letter]).unwrap();
        input.write_all(&number(questions.len())).unwrap();
        for question in questions {
            input.write_all(&number(question.as_ref().len())).unwrap();
            input.write_all(question.as_ref()).unwrap();
        }
        input.flush().unwrap();
        (0..read_number(output)).map(|_| read_bytes(output)).collect()
    }

    fn ask_text<B: AsRef<[u8]>>(&self, letter: u8, questions: &[B]) -> Vec<String> {
        let answers = self.ask(letter, questions);
        answers.into_iter().map(|text| String::from_utf8(text).expect("text")).collect()
    }

    pub(crate) fn picture(&self, pickle: &[u8]) -> Picture {
        let mut answers = self.ask(b'r', &[pickle]).into_iter();
        let mut text = || String::from_utf8(answers.next().unwrap()).unwrap();
        Picture { repr: text(), ascii: text(), pickles: answers.collect() }
    }

    pub(crate) fn corpus(&self) -> Vec<Sample> {
        let answers = self.ask::<[u8; 0]>(b'c', &[]);
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        let sample = |parts: &[Vec<u8>]| Sample {
            name: text(&parts[0]),
            protocol: text(&parts[1]),
            sort: text(&parts[2]),
            pickle: parts[3].clone(),
        };
        answers.chunks(4).map(sample).collect()
    }

    /// How each pickle differs from the corpus's object of that name.
    pub(crate) fn differences(&self, sharing: bool, named: &[(&str, Vec<u8>)]) -> Vec<String> {
        let questions: Vec<&[u8]> =
            named.iter().flat_map(|(name, pickle)| [name.as_bytes(), pickle]).collect();
        self.ask_text(if sharing { b's' } else { b'a' }, &questions)
    }

    /// What unpickling raises; empty if nothing.
    pub(crate) fn loads(&self, pickle: &[u8]) -> String {
        self.ask_text(b'l', &[pickle]).remove(0)
    }

    /// The same, with the unpickler that is written in Python: no memo key costs it memory.
    pub(crate) fn loads_purely(&self, pickle: &[u8]) -> String {
        self.ask_text(b'p', &[pickle]).remove(0)
    }

    /// A verdict on each triple of a pickle, what we made of it, and what it was decoded to.
    pub(crate) fn judge(&self, programs: &[[Vec<u8>; 3]]) -> Vec<String> {
        let questions: Vec<&Vec<u8>> = programs.iter().flatten().collect();
        self.ask_text(b'j', &questions)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_number(from: &mut impl Read) -> usize {
    let mut number = [0; 4];
    from.read_exact(&mut number).expect("codec.py answers");
    u32::from_be_bytes(number) as usize
}

fn read_bytes(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = vec![0; read_number(from)];
    from.read_exact(&mut bytes).expect("codec.py answers");
    bytes
}
