//! What we encode `CPython` decodes to the same, and back: random values, and the whole corpus.

use std::collections::BTreeMap;

use crate::support::oracle::{Oracle, Sample};
use crate::support::{newest_python, pythons, say};
use basemanager::{Limits, Pickle, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Values that each interpreter is asked about.
const CASES: u32 = 150;

fn limits() -> Limits {
    Limits::default()
}

/// The same value in the same types, bit by bit; only a set's order does not count.
fn identical(a: &Value, b: &Value) -> bool {
    let all = |a: &[Value], b: &[Value]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| identical(a, b))
    };
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => all(a, b),
        (Value::Set(a), Value::Set(b)) | (Value::FrozenSet(a), Value::FrozenSet(b)) => {
            let mut left: Vec<&Value> = b.iter().collect();
            a.len() == b.len()
                && a.iter().all(|a| {
                    let found = left.iter().position(|b| identical(a, b));
                    found.map(|at| left.swap_remove(at)).is_some()
                })
        }
        (Value::Dict(a), Value::Dict(b)) => {
            let pair = |((a, x), (b, y)): (&(Value, Value), &(Value, Value))| {
                identical(a, b) && identical(x, y)
            };
            a.len() == b.len() && a.iter().zip(b).all(pair)
        }
        _ => a.type_name() == b.type_name() && a == b,
    }
}

/// Text, bytes and sets whose printed form differs from one Python to the next.
#[derive(Default)]
struct Oddities {
    /// Characters younger than the oldest interpreter, which does not know whether to print them.
    young: bool,
    /// A `bytearray` with `'` and no `"`: before 3.14 Python escapes the quote needlessly.
    quoted: bool,
    set: bool,
}

impl Oddities {
    fn of(value: &Value) -> Self {
        let mut found = Self::default();
        found.look(value);
        found
    }

    fn look(&mut self, value: &Value) {
        match value {
            Value::Str(text) => self.young |= text.chars().any(|c| !is_settled(c)),
            Value::ByteArray(bytes) => {
                self.quoted |= bytes.contains(&b'\'') && !bytes.contains(&b'"');
            }
            Value::List(items) | Value::Tuple(items) => self.look_at(items),
            Value::Set(items) | Value::FrozenSet(items) => {
                self.set |= items.len() > 1;
                self.look_at(items);
            }
            Value::Dict(pairs) => self.look_at(pairs.iter().flat_map(|(key, value)| [key, value])),
            _ => {}
        }
    }

    fn look_at<'a>(&mut self, values: impl IntoIterator<Item = &'a Value>) {
        for value in values {
            self.look(value);
        }
    }
}

/// Whether all Pythons know the character, for it or its block is older than they are.
fn is_settled(c: char) -> bool {
    matches!(c, '\0'..='\u{36f}' | '\u{4e00}'..='\u{9fa5}' | '\u{1f300}'..='\u{1f5ff}')
        || SPECIAL.contains(&c)
}

/// Characters that need care: quotes, escapes, separators, private use, the last of each width.
const SPECIAL: [char; 18] = [
    '\'',
    '"',
    '\\',
    '\n',
    '\t',
    '\0',
    '\u{7f}',
    '\u{80}',
    '\u{a0}',
    '\u{ad}',
    '\u{200b}',
    '\u{2028}',
    '\u{3000}',
    '\u{d7ff}',
    '\u{e000}',
    '\u{ffff}',
    '\u{10000}',
    '\u{10ffff}',
];

/// What `ascii()` does to a text that `repr()` gave.
fn ascii(text: &str) -> String {
    let escape = |c: char| match u32::from(c) {
        0..0x80 => c.to_string(),
        code @ 0x80..0x100 => format!("\\x{code:02x}"),
        code @ 0x100..0x1_0000 => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    };
    text.chars().map(escape).collect()
}

fn any_char() -> impl Strategy<Value = char> {
    prop_oneof![
        4 => proptest::char::range(' ', '~'),
        2 => proptest::sample::select(SPECIAL.to_vec()),
        2 => proptest::char::ranges(vec!['\0'..='\u{36f}', '\u{4e00}'..='\u{9fa5}'].into()),
        1 => any::<char>(),
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    let chars = |len| vec(any_char(), len).prop_map(|chars| chars.into_iter().collect::<String>());
    // The lengths around 255 are where the opcode changes.
    prop_oneof![8 => chars(0..12), 1 => chars(80..260), 1 => "[a-c]{254,257}"]
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 0..12), 1 => vec(any::<u8>(), 254..258)]
}

fn any_int() -> impl Strategy<Value = Value> {
    let edge = |bits: u32| (-2..=2_i128).prop_map(move |by| Value::from((1 << bits) + by));
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i128>().prop_map(Value::from),
        edge(8),
        edge(16),
        edge(31),
        edge(32),
        edge(63),
        edge(64),
        edge(31).prop_map(|int| Value::from(-int.to::<i64>().unwrap())),
        edge(100),
    ]
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<f32>().prop_map(f64::from),
        // Short decimals of every magnitude.
        ((-9999..=9999), (-330..=310))
            .prop_map(|(digits, power)| { format!("{digits}e{power}").parse().unwrap() }),
        proptest::sample::select(vec![
            0.0,
            -0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            1e16,
            1e-4,
            9_007_199_254_740_993.0,
        ]),
    ]
}

/// What may be a member of a set.
fn any_hashable() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::from),
        any_int(),
        any_float().prop_map(Value::from),
        any_text().prop_map(Value::from),
        any_bytes().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Tuple),
            vec(inner, 0..5).prop_map(|items| Value::FrozenSet(distinct(items))),
        ]
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => any_hashable(),
        1 => any_bytes().prop_map(Value::ByteArray),
        1 => vec(any_hashable(), 0..5).prop_map(|items| Value::Set(distinct(items))),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let pairs = vec((any_hashable(), inner.clone()), 0..5);
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            vec(inner, 0..6).prop_map(Value::Tuple),
            pairs.prop_map(|pairs| Value::Dict(distinct_by(pairs, |pair| &pair.0))),
        ]
    })
}

fn distinct(items: Vec<Value>) -> Vec<Value> {
    distinct_by(items, |item| item)
}

fn distinct_by<T>(items: Vec<T>, key: impl Fn(&T) -> &Value) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    for item in items {
        if kept.iter().all(|other| !may_be_equal(key(other), key(&item))) {
            kept.push(item);
        }
    }
    kept
}

/// Whether Python may take two hashable values for equal.
fn may_be_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Tuple(a), Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| may_be_equal(a, b))
        }
        (Value::FrozenSet(a), Value::FrozenSet(b)) => a.len() == b.len(),
        _ => {
            let number = |value: &Value| value.clone().to::<f64>().ok();
            a == b || number(a).is_some_and(|a| number(b) == Some(a))
        }
    }
}

#[test]
fn values_cross_between_the_languages() {
    for python in pythons() {
        let oracle = Oracle::new(python);
        let mut runner =
            TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(CASES) });
        let result = runner.run(&any_value(), |value| {
            let picture = oracle.picture(&Pickle::encode(&value).unwrap().to_bytes());
            for (pickle, protocol) in picture.pickles.iter().zip(2..) {
                let back =
                    Pickle::from_bytes(pickle, &limits()).unwrap().decode(&limits()).unwrap();
                prop_assert!(identical(&value, &back), "protocol {protocol}: became {back}");
            }
            let odd = Oddities::of(&value);
            let printed = value.to_string();
            if !odd.set && !odd.quoted {
                prop_assert_eq!(ascii(&printed), picture.ascii);
                if !odd.young {
                    prop_assert_eq!(printed, picture.repr);
                }
            }
            Ok(())
        });
        if let Err(error) = result {
            panic!("{python}: {error}");
        }
    }
}

#[test]
fn values_survive_a_round_trip() {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let result = runner.run(&any_value(), |value| {
        let pickle = Pickle::encode(&value).unwrap();
        prop_assert!(identical(&value, &pickle.decode(&limits()).unwrap()));
        let again = Pickle::from_bytes(&pickle.to_bytes(), &limits()).unwrap();
        prop_assert_eq!(again, pickle);
        prop_assert!(value == value.clone() || value.to_string().contains("nan"));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn integers_of_128_bits_are_the_same_in_python() {
    let Some(python) = newest_python() else { return };
    let oracle = Oracle::new(python);
    for bits in 0..127 {
        for int in [1_i128 << bits, -(1_i128 << bits), (1 << bits) - 1] {
            let picture = oracle.picture(&Pickle::encode(&Value::from(int)).unwrap().to_bytes());
            assert_eq!(int.to_string(), picture.repr);
        }
    }
}

/// Every pickle of the corpus is taken in and given out again: the same object, shared as it was.
#[test]
fn corpus_comes_out_unchanged() {
    for python in pythons() {
        let oracle = Oracle::new(python);
        let corpus = oracle.corpus();
        let whole = |sample: &Sample| Pickle::from_bytes(&sample.pickle, &limits()).unwrap();
        let named = |sample| (Sample::name(sample), whole(sample).to_bytes());
        check(&oracle, true, &corpus, &corpus.iter().map(named).collect::<Vec<_>>());
        say(&format!("{python}: {} pickles", corpus.len()));
    }
}

/// Opened and closed again, an object that holds nothing twice is the same; others lose that alone.
#[test]
fn corpus_can_be_decoded() {
    for python in pythons() {
        let oracle = Oracle::new(python);
        let mut sorts: BTreeMap<&str, usize> = BTreeMap::new();
        let corpus = oracle.corpus();
        for sharing in [true, false] {
            let opened: Vec<&Sample> =
                corpus.iter().filter(|sample| (sample.sort == "tree") == sharing).collect();
            let mut named = Vec::new();
            for sample in &opened {
                let pickle = Pickle::from_bytes(&sample.pickle, &limits()).unwrap();
                let value = pickle.decode(&limits());
                assert!(value.is_ok() || sample.sort == "cycle", "{sample:?}: {value:?}");
                let value = value.unwrap_or(Value::Opaque(pickle));
                let opaque = matches!(value, Value::Opaque(_));
                *sorts.entry(if opaque { "opaque" } else { &sample.sort }).or_default() += 1;
                named.push((sample.name(), Pickle::encode(&value).unwrap().to_bytes()));
            }
            let opened: Vec<Sample> = opened.into_iter().cloned().collect();
            check(&oracle, sharing, &opened, &named);
        }
        say(&format!("{python}: {sorts:?}"));
    }
}

fn check(oracle: &Oracle, sharing: bool, corpus: &[Sample], named: &[(&str, Vec<u8>)]) {
    let wrong = oracle.differences(sharing, named);
    assert_eq!(wrong.len(), corpus.len());
    for (sample, wrong) in corpus.iter().zip(wrong) {
        let (name, protocol) = (&sample.name, &sample.protocol);
        assert!(wrong.is_empty(), "{}: {name}, protocol {protocol}: {wrong}", oracle.python);
    }
}
