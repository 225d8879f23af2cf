//! Nothing that a peer sends panics, hangs or exhausts: bytes at random, bytes with intent, and pickles
//! that `CPython` itself is asked about.

use std::time::{Duration, Instant};

use crate::support::oracle::Oracle;
use crate::support::programs::{Rng, deep_references, memory, program, whole};
use crate::support::{alone, newest_python, pythons, say};
use basemanager::{Error, Limits, Pickle, Value};

/// What a message of a few hundred kilobytes may take, in a debug build on a very busy machine: what takes
/// time by the square of its size, or worse, takes longer.
const SOON: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits::default()
}

/// All that can be done to bytes. What is accepted is accepted again as it comes out.
fn put_through(bytes: &[u8]) -> Result<(Vec<u8>, Result<Value, Error>), Error> {
    let pickle = Pickle::from_bytes(bytes, &limits())?;
    let out = pickle.to_bytes();
    assert_eq!(Pickle::from_bytes(&out, &limits()).unwrap(), pickle, "{}", bytes.escape_ascii());
    let value = pickle.decode(&limits());
    if let Ok(value) = &value {
        let _ = value.to_string();
    }
    Ok((out, value))
}

fn refusal(bytes: &[u8]) -> String {
    Pickle::from_bytes(bytes, &limits()).unwrap_err().to_string()
}

fn decoding_refusal(bytes: &[u8]) -> String {
    put_through(bytes).unwrap().1.unwrap_err().to_string()
}

#[test]
fn random_bytes_are_refused_or_accepted_twice() {
    let mut rng = Rng::new(1);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let length = rng.below(64);
        let bytes = rng.bytes(length);
        accepted += usize::from(put_through(&bytes).is_ok());
        accepted += usize::from(put_through(&whole(&[&bytes])).is_ok());
    }
    assert!(accepted > 0);
}

/// The corpus, cut short and with bits that have flipped.
#[test]
fn damaged_pickles_are_refused_or_accepted_twice() {
    let Some(python) = newest_python() else { return };
    let mut rng = Rng::new(2);
    let (mut whole, mut damaged, mut accepted) = (0, 0, 0);
    for sample in Oracle::new(python).corpus() {
        let pickle = &sample.pickle;
        let (step, flips) = if pickle.len() < 2000 { (1, 40) } else { (pickle.len() / 8, 2) };
        whole += 1;
        for end in (0..pickle.len()).step_by(step) {
            damaged += 1;
            assert!(put_through(&pickle[..end]).is_err(), "{sample:?}, up to {end}");
        }
        for _ in 0..flips {
            let mut flipped = pickle.clone();
            flipped[rng.below(pickle.len())] ^= 1 << rng.below(8);
            damaged += 1;
            accepted += usize::from(put_through(&flipped).is_ok());
        }
    }
    say(&format!("{damaged} of {whole} pickles, {accepted} taken"));
}

/// Programs for the pickle machine, run by `CPython` as well. What it accepts we accept, and what we
/// give out means the same to it. `HOSTILE_SEED` asks for others than the usual ones.
#[test]
fn programs_mean_the_same_to_cpython() {
    let seed = std::env::var("HOSTILE_SEED").map_or(3, |seed| seed.parse().unwrap());
    let pythons = pythons();
    for (python, seed) in pythons.iter().zip(seed..) {
        let (oracle, mut rng) = (Oracle::new(python), Rng::new(seed));
        let count = 24_000 / pythons.len();
        let mut programs = Vec::new();
        let (mut taken, mut decoded) = (0, 0);
        for at in 0..count {
            let theirs = program(&mut rng, if at % 4 == 0 { 30 } else { 1000 });
            let (ours, value) = match put_through(&theirs) {
                Ok((ours, Ok(value))) => (ours, Pickle::encode(&value).unwrap().to_bytes()),
                Ok((ours, Err(_))) => (ours, Vec::new()),
                // CPython would overlook them.
                Err(error) if error.to_string().ends_with("too many objects") => continue,
                Err(_) => (Vec::new(), Vec::new()),
            };
            taken += usize::from(!ours.is_empty());
            decoded += usize::from(!value.is_empty());
            programs.push([theirs, ours, value]);
        }
        let verdicts = oracle.judge(&programs);
        let agreed = verdicts.iter().filter(|verdict| *verdict == "+").count();
        for (verdict, [theirs, ours, value]) in verdicts.iter().zip(&programs) {
            assert!(
                matches!(verdict.as_str(), "+" | "-"),
                "{python}: {verdict}\n{}\n{}\n{}",
                theirs.escape_ascii(),
                ours.escape_ascii(),
                value.escape_ascii()
            );
        }
        say(&format!(
            "{python}: {count} programs, {taken} taken, {decoded} decoded, {agreed} agreed"
        ));
        assert!(agreed > count / 4);
    }
}

/// The memo machinery at its edges, judged by CPython.
#[test]
fn memo_keys_are_those_of_cpython() {
    let Some(python) = newest_python() else { return };
    let oracle = Oracle::new(python);
    let programs: [&[u8]; 9] = [
        // MEMOIZE takes the number of keys as its key, here one that BINPUT has taken before it.
        b"](K\x01q\x01K\x02\x94h\x01K\x03\x94h\x01eq\x05",
        b"](K\x01q\x07K\x02q\x07K\x03\x94h\x07h\x01e",
        b"](K\x01q\x00K\x02q\x00K\x03\x94h\x00h\x01e",
        b"](K\x01q\x02K\x02\x94h\x02K\x03\x94K\x04\x94h\x01h\x02e",
        b"](K\x01q\x03K\x02r\x00\x00\x00\x00K\x03\x94K\x04\x94h\x03j\x00\x00\x00\x00h\x02e",
        b"](K\x01r\x00\x01\x00\x00K\x02\x94K\x03\x94h\x01j\x00\x01\x00\x00e",
        // One object under two keys, and a key that passes from one object to the next.
        b"](]q\x00q\x01K\x07q\x00h\x01h\x00e",
        // What was discarded is still remembered.
        b"](K\x05\x940h\x00h\x00e",
        b"](]\x94K\x05\x941(h\x00h\x01e",
    ];
    let put_through = |program: &&[u8]| {
        let theirs = whole(&[program]);
        let (ours, value) = put_through(&theirs).unwrap();
        [
            theirs,
            ours,
            value.map(|value| Pickle::encode(&value).unwrap().to_bytes()).unwrap_or_default(),
        ]
    };
    let programs: Vec<_> = programs.iter().map(put_through).collect();
    for (verdict, [program, ..]) in oracle.judge(&programs).iter().zip(&programs) {
        assert_eq!(verdict, "+", "{}", program.escape_ascii());
    }
    // A key costs nothing, however large. CPython's unpickler in C would write to 64 GB for this one.
    let program = whole(&[b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff"]);
    assert!(Pickle::from_bytes(&program, &limits()).unwrap().decode(&limits()).unwrap().is_none());
    assert_eq!(oracle.loads_purely(&program), "");
}

#[test]
fn memo_bomb_is_not_expanded() {
    // Lists that hold the next one twice: 2**23 of them, if each were written out.
    let mut bomb = b"\x80\x04".to_vec();
    (0..23).for_each(|_| bomb.extend(b"]\x94("));
    bomb.extend(b"]\x94");
    (1..24).rev().for_each(|key| bomb.extend([b'h', key, b'e']));
    bomb.push(b'.');
    assert_eq!(bomb.len(), 143);
    let begun = Instant::now();
    let (out, value) = put_through(&bomb).unwrap();
    assert_eq!(out.len(), bomb.len());
    assert_eq!(value.unwrap_err().to_string(), "expansion exceeds the limit of 268435456");
    let pickle = Pickle::from_bytes(&bomb, &limits()).unwrap();
    assert!(matches!(pickle.into_value(&limits()), Value::Opaque(_)));
    assert!(begun.elapsed() < SOON);
}

#[test]
fn repeated_references_are_each_decoded() {
    // [big] * 20, as CPython writes it.
    let big = list(b"M\xe8\x03", 60_000);
    let big = &big[2..big.len() - 1];
    let pickle = whole(&[b"]\x94(", big, &b"h\x01".repeat(19), b"e"]);
    let Ok(Value::List(lists)) = put_through(&pickle).unwrap().1 else { panic!("no list") };
    assert_eq!(lists.len(), 20);
    assert!(lists.iter().all(|list| matches!(list, Value::List(items) if items.len() == 60_000)));
}

/// A list, in batches as CPython writes it.
fn list(item: &[u8], count: usize) -> Vec<u8> {
    let batch = [b"(", item.repeat(1000).as_slice(), b"e"].concat();
    whole(&[b"]\x94", &batch.repeat(count / 1000)])
}

#[test]
fn opening_takes_memory_in_proportion() {
    let ordinary =
        [(&b"K\x07"[..], 1_000_000), (b"\x88", 1_000_000), (b"\x8c\x05short\x94", 100_000)];
    for (item, count) in ordinary {
        let Ok(Value::List(items)) = put_through(&list(item, count)).unwrap().1 else {
            panic!("a list of {count}")
        };
        assert_eq!(items.len(), count);
    }
    let limits = limits().expansion(1 << 20);
    for dense in [&b"N"[..], b"]", b"N\x85"] {
        let pickle = Pickle::from_bytes(&list(dense, 100_000), &limits).unwrap();
        let refusal = pickle.decode(&limits).map(drop).unwrap_err().to_string();
        assert_eq!(refusal, "expansion exceeds the limit of 1048576");
    }
}

#[test]
fn deep_pickle_is_accepted_but_not_decoded() {
    const DEEP: usize = 100_000;
    let oracle = newest_python().map(Oracle::new);
    let lists = whole(&[&vec![b']'; DEEP], &vec![b'a'; DEEP - 1]]);
    let tuples = whole(&[b"N", &vec![0x85; DEEP]]);
    let dicts = whole(&[&b"}K\x01".repeat(DEEP), b"N", &vec![b's'; DEEP]]);
    let reduced = whole(&[&b"cm\nf\n".repeat(DEEP), b")", &b"R\x85".repeat(DEEP)]);
    for pickle in [lists, tuples, dicts, reduced] {
        let begun = Instant::now();
        let (out, value) = put_through(&pickle).unwrap();
        assert_eq!(value.unwrap_err().to_string(), "nesting depth exceeds the limit of 200");
        assert!(begun.elapsed() < SOON);
        if let Some(oracle) = &oracle {
            assert_eq!(oracle.loads(&pickle), "");
            assert_eq!(oracle.loads(&out), "");
        }
    }
}

#[test]
fn references_lead_no_deeper_than_allowed() {
    let why = decoding_refusal(&whole(&[&deep_references(1000)]));
    assert!(why.contains("nesting depth"), "{why}");
    assert!(put_through(&whole(&[&deep_references(150)])).unwrap().1.is_ok());
}

/// It looks at the memory of its own process.
#[test]
fn declared_length_allocates_nothing() {
    if !alone("hostile::declared_length_allocates_nothing") {
        return;
    }
    let begun = Instant::now();
    let (peak, resident) = (memory("VmPeak"), memory("VmHWM"));
    let huge = [1 << 31, 1 << 32, 1 << 40, 1 << 62, 1 << 63, u64::MAX - 8, u64::MAX];
    for length in huge {
        let length = length.to_le_bytes();
        for code in [0x8d, 0x8e, 0x96, 0x95] {
            refusal(&whole(&[&[code], &length, b"few"]));
        }
    }
    for length in [0x7fff_ffff_u32, 0x8000_0000, u32::MAX] {
        for code in *b"XBT\x8b" {
            refusal(&whole(&[&[code], &length.to_le_bytes(), b"few"]));
        }
    }
    assert!(memory("VmPeak") - peak < 1 << 20, "kB");
    assert!(memory("VmHWM") - resident < 128 << 10, "kB");
    assert!(begun.elapsed() < SOON);
}

#[test]
fn long_integers_pass_and_are_not_opened() {
    // 10**6 digits take 415,242 bytes.
    let binary = whole(&[b"\x8b", &415_242_u32.to_le_bytes(), &vec![0x7f; 415_242]]);
    let begun = Instant::now();
    let (_, opened) = put_through(&binary).unwrap();
    assert!(matches!(opened, Ok(Value::Opaque(_))));
    assert!(begun.elapsed() < SOON);
}

#[test]
fn malformed_pickles_are_refused_by_name() {
    let cases: [(&[u8], &str); 30] = [
        (b"\x82\x01", "EXT1 is refused: extension codes are not looked up"),
        (b"\x83\x01\x00", "EXT2 is refused: extension codes are not looked up"),
        (b"\x84\x01\x00\x00\x00", "EXT4 is refused: extension codes are not looked up"),
        (b"Pid\n", "PERSID is refused: persistent ids are not resolved"),
        (b"NQ", "BINPERSID is refused: persistent ids are not resolved"),
        (b"\x97", "NEXT_BUFFER is refused: buffers must be part of the pickle"),
        (b"N\x98", "READONLY_BUFFER is refused: buffers must be part of the pickle"),
        (b"N2", "DUP is refused: no pickler writes it"),
        (b"\xff", "unknown opcode 0xff"),
        (b"\x80\x06N", "unsupported protocol 6"),
        (b"", "its stack has too few objects"),
        (b"(", "its stack has too few objects"),
        (b"NN", "its stack has too many objects"),
        (b"(N", "its stack has too many objects"),
        (b"0", "its stack has too few objects"),
        (b"N(0\x86", "its stack has too few objects"),
        (b"N(\x85", "its stack has too few objects"),
        (b"](a", "its stack has too few objects"),
        (b"](Na", "its stack has too few objects"),
        (b"(e", "its stack has too few objects"),
        (b"}K\x01s", "its stack has too few objects"),
        (b"\x94", "its stack has too few objects"),
        (b"(\x94", "its stack has too few objects"),
        (b"]e", "a mark is missing"),
        (b"1", "a mark is missing"),
        (b"Nt", "a mark is missing"),
        (b"}(Nu", "a key without a value"),
        (b"h\x00", "memo key 0 was never put"),
        (b"cos\nsystem", "a line has no end"),
        (b"cos", "a line has no end"),
    ];
    let oracle = newest_python().map(Oracle::new);
    for (program, why) in cases {
        let pickle = whole(&[program]);
        assert_eq!(refusal(&pickle), format!("protocol error: malformed pickle: {why}"));
        let overlooked = why.starts_with("DUP") || why.ends_with("too many objects");
        if let Some(oracle) = oracle.as_ref().filter(|_| !overlooked) {
            assert_ne!(oracle.loads(&pickle), "", "{}", pickle.escape_ascii());
        }
    }
    for (old, name) in [
        (&b"I1\n"[..], "INT"),
        (b"L1L\n", "LONG"),
        (b"F1.5\n", "FLOAT"),
        (b"S'a'\n", "STRING"),
        (b"Va\n", "UNICODE"),
        (b"T\x01\0\0\0a", "BINSTRING"),
        (b"U\x01a", "SHORT_BINSTRING"),
        (b"(l", "LIST"),
        (b"(d", "DICT"),
        (b"Np0\n", "PUT"),
        (b"Nq\x000g0\n", "GET"),
        (b"(im\nC\n", "INST"),
        (b"(cm\nC\no", "OBJ"),
    ] {
        let why = refusal(&whole(&[old]));
        assert!(why.ends_with(&format!(" {name} is refused: protocols 2 to 5 are read")), "{why}");
    }
    for early in [&b""[..], b"\x80", b"N", b"K.", b"\x95\x09\0\0\0\0\0\0\0N.", b"\x8c\x05four."] {
        let why = refusal(early);
        assert!(why.contains("it ends"), "{}: {why}", early.escape_ascii());
    }
}

#[test]
fn each_limit_has_an_error_that_names_it() {
    let scan = |limits: Limits, program: &[u8]| {
        Pickle::from_bytes(&whole(&[program]), &limits).map(drop).map_err(|error| error.to_string())
    };
    let decode = |limits: Limits, program: &[u8]| {
        let pickle = Pickle::from_bytes(&whole(&[program]), &Limits::default()).unwrap();
        pickle.decode(&limits).map(drop).map_err(|error| error.to_string())
    };
    let refused = |what: &str, most: usize| Err(format!("{what} exceeds the limit of {most}"));
    // PROTO and STOP are two of them.
    assert_eq!(scan(limits().operations(10), b"N\x85\x85\x85\x85\x85\x85\x85"), Ok(()));
    assert_eq!(
        scan(limits().operations(10), b"N\x85\x85\x85\x85\x85\x85\x85\x85"),
        refused("operations", 10)
    );
    assert_eq!(scan(limits().stack(3), b"NNN\x87"), Ok(()));
    assert_eq!(scan(limits().stack(3), b"(NNNt"), refused("stack size", 3));
    let million = vec![b'N'; 1 << 20];
    let tuple = |count: usize| [b"(", &million[..count], b"t"].concat();
    assert_eq!(decode(limits(), &tuple(1_000_000)), Ok(()));
    assert_eq!(scan(limits(), &tuple(1 << 20)), refused("stack size", 1 << 20));
    assert_eq!(scan(limits().memo(2), b"N\x94\x94"), Ok(()));
    assert_eq!(scan(limits().memo(2), b"N\x94q\x00q\x00"), refused("memo size", 2));
    assert_eq!(
        scan(limits().frame_size(8), b"\x80\x04\x8c\x09ninebytes"),
        refused("frame size", 8)
    );
    assert_eq!(decode(limits().depth(2), b"N\x85\x85"), Ok(()));
    assert_eq!(decode(limits().depth(2), b"N\x85\x85\x85"), refused("nesting depth", 2));
}
