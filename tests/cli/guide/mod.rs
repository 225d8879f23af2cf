//! The pages of the guide, and the README: each block of code in them is compiled, run, or compared with what a program
//! prints. A module for each page takes the blocks in their order; rustdoc compiles those in Rust, except quotes from a
//! source file, which are compared with it.

mod build_one;
mod chinese;
mod delivery;
mod handshake;
mod one_put;
mod pickle;
mod production;
mod proxies;
mod reader;
mod readme;
mod reference;
mod security;
mod tapped;
mod troubleshooting;
mod waiting;
mod wire;

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The language of a quote from a source file.
const QUOTE: &str = "rust,ignore";

/// A page, and its blocks of code that were not taken yet.
pub(crate) struct Page {
    name: &'static str,
    blocks: VecDeque<(String, String)>,
    /// Texts that stand in the page, and what the test uses instead.
    replaced: Vec<(String, String)>,
}

impl Page {
    /// Reads a file of the guide, or the README.
    pub(crate) fn open(name: &'static str) -> Self {
        let folder = if name.starts_with("README") { "." } else { "src/guide" };
        let text = fs::read_to_string(Path::new(folder).join(name)).unwrap();
        let mut blocks = VecDeque::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(language) = line.trim_start().strip_prefix("```") else { continue };
            let indent = line.len() - line.trim_start().len();
            let mut block = String::new();
            for line in lines.by_ref().take_while(|line| line.trim() != "```") {
                block.push_str(line.get(indent..).unwrap_or_default());
                block.push('\n');
            }
            if language == QUOTE || !language.starts_with("rust") {
                blocks.push_back((language.to_owned(), block));
            }
        }
        Self { name, blocks, replaced: Vec::new() }
    }

    /// Uses this address in all blocks that are taken, in place of one in the page: `host:port`, and in Python
    /// `("host", port)`.
    pub(crate) fn replace_address(&mut self, shown: &str, used: &str) {
        let pair = |address: &str| {
            let (host, port) = address.rsplit_once(':').unwrap();
            format!("(\"{host}\", {port})")
        };
        self.replaced.push((shown.to_owned(), used.to_owned()));
        self.replaced.push((pair(shown), pair(used)));
    }

    /// Takes the next block, which is in this language.
    #[track_caller]
    pub(crate) fn next(&mut self, language: &str) -> String {
        let (found, text) = self.blocks.pop_front().expect("another block of code");
        assert_eq!(found, language, "{}: {text}", self.name);
        self.replaced.iter().fold(text, |text, (shown, used)| text.replace(shown, used))
    }

    /// Takes the next block, which nothing can run or compare.
    #[track_caller]
    pub(crate) fn diagram(&mut self) {
        self.next("text");
    }

    /// Takes the next block, whose lines stand together in this output.
    #[track_caller]
    pub(crate) fn excerpt<'a>(&mut self, output: impl IntoIterator<Item = &'a str>) {
        self.part_of("text", output);
    }

    /// Takes the next block, whose lines stand together in this source file.
    #[track_caller]
    pub(crate) fn quote(&mut self, file: &str) {
        self.part_of(QUOTE, fs::read_to_string(file).unwrap().lines());
    }

    #[track_caller]
    fn part_of<'a>(&mut self, language: &str, whole: impl IntoIterator<Item = &'a str>) {
        let text = self.next(language);
        let shown: Vec<&str> = text.lines().map(str::trim_end).collect();
        let whole: Vec<&str> = whole.into_iter().map(str::trim_end).collect();
        let found = whole.windows(shown.len()).any(|lines| lines == shown);
        assert!(found, "{}: {text}\nis no part of\n{}", self.name, whole.join("\n"));
    }

    /// The blocks that were not taken yet, with their languages.
    pub(crate) fn rest(self) -> VecDeque<(String, String)> {
        self.blocks
    }

    /// Asserts that all blocks were taken.
    #[track_caller]
    pub(crate) fn end(self) {
        assert!(self.blocks.is_empty(), "{}: {:?}", self.name, self.blocks);
    }
}

/// A shell that stops at the first error, and finds the program.
pub(crate) fn shell(command: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_basemanager"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let mut shell = Command::new("sh");
    shell.args(["-ec", command]).env("PATH", path).env_remove("BASEMANAGER_ADDRESS");
    shell
}

/// Each page is in one of these modules.
#[test]
fn each_page_has_a_test() {
    let tests: String = fs::read_dir("tests/cli/guide")
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    for file in fs::read_dir("src/guide").unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_page = path.extension().is_some_and(|extension| extension == "md");
        assert!(!is_page || tests.contains(&format!("open(\"{name}\")")), "no test reads {name}");
    }
}
