//! Pickles to try: made by hand, or random sequences of opcodes that mostly make sense.

// Not everyone who makes them uses all of it.
#![allow(dead_code)]
#![allow(clippy::indexing_slicing)]

/// A whole pickle of these parts.
pub(crate) fn whole(parts: &[&[u8]]) -> Vec<u8> {
    [b"\x80\x04", parts.concat().as_slice(), b"."].concat()
}

/// A list of tuples, each of which holds the one before it by reference.
pub(crate) fn deep_references(length: u32) -> Vec<u8> {
    let link = |key: u32| [b"j", &key.to_le_bytes()[..], b"\x85\x94"].concat();
    [b"](N\x94", &(0..length).flat_map(link).collect::<Vec<u8>>()[..], b"e"].concat()
}

/// A line of this process's status, in kB; 0 where there is none.
pub(crate) fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()).unwrap_or(0)
}

/// Where choices come from.
pub(crate) enum Rng {
    /// A xorshift generator: the same numbers for the same seed.
    Seeded(u64),
    /// A fuzzer's bytes, one a choice; after the last one the first alternative is taken.
    Chosen(std::vec::IntoIter<u8>),
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self::Seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn chosen(bytes: &[u8]) -> Self {
        Self::Chosen(Vec::from(bytes).into_iter())
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        match self {
            Self::Seeded(state) => {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                usize::try_from((*state >> 11) % bound as u64).unwrap_or(0)
            }
            Self::Chosen(bytes) => usize::from(bytes.next().unwrap_or(0)) % bound,
        }
    }

    /// How many operations a program should have.
    fn length(&mut self) -> usize {
        match self {
            Self::Seeded(_) => self.below(40) + 2,
            Self::Chosen(bytes) => bytes.len(),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self, Self::Chosen(bytes) if bytes.len() == 0)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// What a slot of the stack holds, as far as an operation cares.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Mark,
    Atom,
    Text,
    List,
    Dict,
    Set,
    Tuple,
    Class,
    Object,
}

/// A program in the making, and what its stack and memo hold.
#[derive(Default)]
struct Program {
    code: Vec<u8>,
    stack: Vec<Kind>,
    memo: Vec<(u32, Kind)>,
    /// Where the length of a frame stands, which shall reach to the end.
    frame: Option<usize>,
    /// What lies below it in the stack is left alone.
    floor: usize,
    /// Whether nothing is changed through a reference.
    constant: bool,
}

/// One program. Of its operations one in `wild` is not asked whether it makes sense.
pub(crate) fn program(rng: &mut Rng, wild: usize) -> Vec<u8> {
    let mut program = Program::default();
    if rng.below(8) > 0 {
        program.code.extend([0x80, u8::try_from(rng.below(6)).unwrap_or(0)]);
    }
    program.steps(rng, wild, usize::MAX);
    if rng.below(wild) > 0 {
        program.close(rng, 0);
    }
    program.finish()
}

/// A request, to the manager itself or to an object, with arguments that such programs make after
/// these. They may refer to what comes before them, but not change it.
pub(crate) fn request(rng: &mut Rng, ident: Option<&str>, method: &str, args: &[&str]) -> Vec<u8> {
    let mut program = Program { constant: true, ..Program::default() };
    program.code.extend([0x80, u8::try_from(rng.below(6)).unwrap_or(0), b'(']);
    program.stack.push(Kind::Mark);
    match ident {
        Some(ident) => program.text(rng, ident),
        None => drop(program.push(b"N", Kind::Atom)),
    }
    program.text(rng, method);
    let below = program.stack.len();
    program.push(b"(", Kind::Mark);
    for arg in args {
        program.text(rng, arg);
    }
    let keywords: &[&str] = match rng.below(8) {
        0..4 => &[],
        4 => &["block", "item"],
        5 => &["timeout"],
        6 => &["blocking"],
        _ => &["index", "default"],
    };
    if keywords.len() < 2 {
        let one = rng.below(4) > 0;
        program.part(rng, 1000, one);
    }
    program.code.extend(b"t}");
    for (at, keyword) in keywords.iter().enumerate() {
        program.stack.truncate(below);
        program.floor = below;
        program.text(rng, keyword);
        let most = if at == 0 { rng.below(32) } else { 1000 };
        program.part(rng, most, true);
        program.code.push(b's');
    }
    program.code.push(b't');
    program.finish()
}

impl Program {
    /// Makes objects, or one, of at most so many steps.
    fn part(&mut self, rng: &mut Rng, most: usize, one: bool) {
        self.floor = self.stack.len();
        self.steps(rng, 1000, most);
        self.close_marks(rng);
        if one {
            self.close(rng, self.floor);
        }
    }

    fn steps(&mut self, rng: &mut Rng, wild: usize, most: usize) {
        for _ in 0..rng.length().min(most) {
            if rng.is_over() {
                break;
            }
            let before = self.code.len();
            let wildly = rng.below(wild) == 0;
            // One that makes no sense is taken back.
            if !self.step(rng) && !wildly {
                self.code.truncate(before);
            }
        }
    }

    /// A string, that may be memoized.
    fn text(&mut self, rng: &mut Rng, text: &str) {
        let length = u32::try_from(text.len()).unwrap_or(0).to_le_bytes();
        self.counted(b'X', &length, text.as_bytes(), Kind::Text);
        if rng.below(2) > 0 {
            self.memoize(&[0x94], None);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.code.push(b'.');
        if let Some(at) = self.frame {
            let length = (self.code.len() - at - 8) as u64;
            self.code[at..at + 8].copy_from_slice(&length.to_le_bytes());
        }
        self.code
    }

    fn push(&mut self, code: &[u8], kind: Kind) -> bool {
        self.code.extend_from_slice(code);
        self.stack.push(kind);
        true
    }

    fn counted(&mut self, code: u8, length: &[u8], bytes: &[u8], kind: Kind) -> bool {
        self.push(&[&[code], length, bytes].concat(), kind)
    }

    fn mark(&self) -> Option<usize> {
        self.stack.iter().rposition(|kind| *kind == Kind::Mark).filter(|mark| *mark >= self.floor)
    }

    /// The kinds above the last mark.
    fn above(&self) -> &[Kind] {
        &self.stack[self.mark().map_or(self.floor, |mark| mark + 1)..]
    }

    fn top(&self) -> Option<Kind> {
        self.above().last().copied()
    }

    /// An operation on the objects above the last mark, whose number must be `even`, if said so.
    fn on_mark(&mut self, code: u8, even: bool, below: Option<Kind>, into: Option<Kind>) -> bool {
        self.code.push(code);
        let Some(mark) = self.mark() else { return false };
        let under = mark.checked_sub(1).map(|under| self.stack[under]);
        if (even && !self.above().len().is_multiple_of(2)) || (below.is_some() && under != below) {
            return false;
        }
        self.stack.truncate(mark);
        self.stack.extend(into);
        true
    }

    /// An operation on the last objects, if they are of these kinds.
    fn on_kinds(&mut self, code: u8, kinds: &[Option<Kind>], into: Option<Kind>) -> bool {
        self.code.push(code);
        let above = self.above();
        let Some(first) = above.len().checked_sub(kinds.len()) else { return false };
        let fits =
            |(found, wanted): (&Kind, &Option<Kind>)| wanted.is_none_or(|kind| kind == *found);
        if !above[first..].iter().zip(kinds).all(fits) {
            return false;
        }
        self.stack.truncate(self.stack.len() - kinds.len());
        self.stack.extend(into);
        true
    }

    /// Adds an operation; tells whether it makes sense. If not, only `code` has changed.
    fn step(&mut self, rng: &mut Rng) -> bool {
        use Kind::{Atom, Class, Dict, List, Mark, Object, Set, Text, Tuple};
        const ANY: Option<Kind> = None;
        match rng.below(64) {
            0 => self.push(b"N", Atom),
            1 => self.push(&[0x88], Atom),
            2 => self.push(&[b'K', rng.byte()], Atom),
            3 => self.push(&[b'M', rng.byte(), rng.byte()], Atom),
            4 => self.push(&[&[b'J'][..], &rng.bytes(4)].concat(), Atom),
            5 => self.push(&[&[b'G', 0x3f][..], &rng.bytes(7)].concat(), Atom),
            6 => {
                let length = rng.below(12);
                let bytes = rng.bytes(length);
                self.counted(0x8a, &[u8::try_from(length).unwrap_or(0)], &bytes, Atom)
            }
            7 => self.counted(b'C', &[2], &rng.bytes(2), Atom),
            8 => self.counted(b'B', &[1, 0, 0, 0], &rng.bytes(1), Atom),
            9 => self.counted(0x96, &[3, 0, 0, 0, 0, 0, 0, 0], &rng.bytes(3), Object),
            10 => self.push(&[0x89], Atom),
            11 if rng.below(4) == 0 => self.push(b"cbuiltins\nbytearray\nC\x02ab\x85R", Object),
            11 => self.counted(0x8d, &[2, 0, 0, 0, 0, 0, 0, 0], b"ab", Text),
            12 | 13 => {
                let text = rng.pick(&["", "a", "put", "os", "set", "\u{e9}t\u{e9}"]);
                let length = [u8::try_from(text.len()).unwrap_or(0)];
                self.counted(0x8c, &length, text.as_bytes(), Text)
            }
            14 => self.counted(b'X', &[3, 0, 0, 0], b"abc", Text),
            15 => self.counted(0x8c, &[3], b"\xed\xa0\x80", Text),
            16 => self.push(b")", Tuple),
            17 | 18 => self.push(b"]", List),
            19 | 20 => self.push(b"}", Dict),
            21 => self.push(&[0x8f], Set),
            22..=26 => self.push(b"(", Mark),
            27 => {
                let names =
                    ["os\nsystem", "__builtin__\nset", "builtins\nfrozenset", "_codecs\nencode"];
                self.push(format!("c{}\n", rng.pick(&names)).as_bytes(), Class)
            }
            28 => self.on_kinds(0x93, &[Some(Text), Some(Text)], Some(Class)),
            29 => self.on_kinds(0x85, &[ANY], Some(Tuple)),
            30 => self.on_kinds(0x86, &[ANY; 2], Some(Tuple)),
            31 => self.on_kinds(0x87, &[ANY; 3], Some(Tuple)),
            32 => self.on_mark(b't', false, None, Some(Tuple)),
            33..=35 => self.on_mark(0x91, false, None, Some(Object)),
            36 => self.on_kinds(b'a', &[Some(List), ANY], Some(List)),
            37 => self.on_kinds(b'a', &[Some(Object), ANY], Some(Object)),
            38 | 39 => self.on_mark(b'e', false, Some(List), None),
            40 => self.on_mark(b'e', false, Some(Object), None),
            41 | 42 => self.on_kinds(b's', &[Some(Dict), Some(Text), ANY], Some(Dict)),
            43 | 44 => self.on_mark(b'u', true, Some(Dict), None),
            45 => self.on_mark(0x90, false, Some(Set), None),
            46 | 47 => self.on_kinds(b'R', &[Some(Class), Some(Tuple)], Some(Object)),
            48 => self.on_kinds(0x81, &[Some(Class), Some(Tuple)], Some(Object)),
            49 => self.on_kinds(0x92, &[Some(Class), Some(Tuple), Some(Dict)], Some(Object)),
            50 | 51 => self.on_kinds(b'b', &[Some(Object), ANY], Some(Object)),
            52..=54 => {
                self.code.push(b'0');
                self.stack.len() > self.floor && self.stack.pop().is_some()
            }
            55 => self.on_mark(b'1', false, None, None),
            56 => self.memoize(&[0x94], None),
            57 => {
                let key = rng.below(12);
                let short = u8::try_from(key).unwrap_or(0);
                match rng.below(2) {
                    0 => self.memoize(&[b'q', short], Some(key)),
                    _ => self.memoize(&[b'r', short, 0, 0, 0], Some(key)),
                }
            }
            58..=61 if !self.memo.is_empty() => {
                let (key, mut kind) = rng.pick(&self.memo);
                if self.constant && !matches!(kind, Text | Tuple | Class) {
                    kind = Atom;
                }
                let short = u8::try_from(key).unwrap_or(0);
                match rng.below(2) {
                    0 => self.push(&[b'h', short], kind),
                    _ => self.push(&[b'j', short, 0, 0, 0], kind),
                }
            }
            62 => {
                self.frame = Some(self.code.len() + 1);
                self.code.extend([0x95, 0, 0, 0, 0, 0, 0, 0, 0]);
                true
            }
            63 => {
                self.code.extend([0x80, u8::try_from(rng.below(6)).unwrap_or(0)]);
                true
            }
            // What only makes sense now and then.
            _ => {
                let strange = [b"h\x63", &b"q\xff"[..], b"\x8a\x03a", b"\x97", b"I7x\n", b"\x00"];
                self.code.extend_from_slice(rng.pick::<&[u8]>(&strange));
                false
            }
        }
    }

    fn memoize(&mut self, code: &[u8], key: Option<usize>) -> bool {
        self.code.extend_from_slice(code);
        let Some(kind) = self.top() else { return false };
        let key = u32::try_from(key.unwrap_or(self.memo.len())).unwrap_or(0);
        self.memo.retain(|(known, _)| *known != key);
        self.memo.push((key, kind));
        true
    }

    fn close_marks(&mut self, rng: &mut Rng) {
        while self.mark().is_some() {
            let code = rng.pick(b"tt1");
            self.on_mark(code, false, None, (code == b't').then_some(Kind::Tuple));
        }
    }

    /// Makes one object of what is on the stack from slot `from` on.
    fn close(&mut self, rng: &mut Rng, from: usize) {
        self.close_marks(rng);
        while self.stack.len() > from + 1 {
            self.on_kinds(0x86, &[None; 2], Some(Kind::Tuple));
        }
        if self.stack.len() == from {
            self.push(b"N", Kind::Atom);
        }
    }
}
