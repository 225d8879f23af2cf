//! Whatever bytes arrive as a pickle: nothing panics, what is accepted is accepted again as it comes
//! out, and limits hold.
//!
//! Input: which limits, then how to read the rest: as a pickle, as its operations, or as choices for
//! a program that makes sense.
#![no_main]

#[path = "../../support/programs.rs"]
mod programs;

use basemanager::value::FromValue;
use basemanager::{Error, Limits, Pickle, Value};
use libfuzzer_sys::fuzz_target;
use programs::{Rng, program, whole};

fuzz_target!(|input: &[u8]| {
    let [kind, most, rest @ ..] = input else { return };
    let bytes = match kind % 4 {
        0 => rest.to_vec(),
        1 => whole(&[rest]),
        _ => program(&mut Rng::chosen(rest), 30),
    };
    let free = Limits::default();
    let most = usize::from(*most);
    let tight = [
        free.operations(most),
        free.stack(most),
        free.memo(most),
        free.depth(most),
        free.frame_size(most),
    ];
    let taken = put_through(&bytes, &free);
    for (which, limits) in tight.iter().enumerate() {
        let bound = put_through(&bytes, limits);
        if let (Ok(pickle), Ok(same)) = (&bound, &taken) {
            assert_eq!(pickle, same);
            assert!(which != 4 || pickle.len() <= most.max(bytes.len()));
            if let Ok(value) = pickle.decode(limits) {
                assert!(which != 3 || depth(&value) <= most, "{value} is too deep");
                assert!(which != 1 || widest(&value) <= most, "{value} is too wide");
                assert_eq!(canon(&value), canon(&same.decode(&free).expect("decodes without")));
            }
        } else if bound.is_ok() {
            panic!("taken with a limit only");
        }
    }
});

/// All that can be done to it.
fn put_through(bytes: &[u8], limits: &Limits) -> Result<Pickle, Error> {
    let pickle = Pickle::from_bytes(bytes, limits)?;
    let free = Limits::default();
    let out = pickle.to_bytes();
    assert_eq!(Pickle::from_bytes(&out, &free).expect("accepted again"), pickle);
    let _ = (pickle.to_string(), format!("{pickle:?}"));
    let value = pickle.clone().into_value(limits);
    let _ = (value.to_string(), format!("{value:?}"), value.truthy(), value.type_name());
    // A NaN in it is not equal to itself.
    let _ = (value == value.clone(), Value::Opaque(pickle.clone()) == value);
    convert(&value);
    let again = Pickle::encode(&value).expect("pickled");
    assert_eq!(Pickle::from_bytes(&again.to_bytes(), &free).expect("accepted again"), again);
    match pickle.decode(limits) {
        Ok(value) => {
            assert_eq!(Pickle::encode(&value).expect("pickled"), again);
            let same = again.decode(&free);
            // What a pickle discards is kept with both its neighbours, which may change how far they
            // can be opened the next time.
            if !bytes.iter().any(|byte| b"01".contains(byte)) {
                assert_eq!(canon(&same.expect("decodes again")), canon(&value));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    Ok(pickle)
}

/// A value's pickle, which tells apart what is equal.
fn canon(value: &Value) -> Vec<u8> {
    Pickle::encode(value).expect("pickled").to_bytes()
}

fn convert(value: &Value) {
    fn to<T: FromValue>(value: &Value) -> Option<T> {
        value.clone().to::<T>().map_err(|error| error.to_string()).ok()
    }
    macro_rules! there_and_back {
        ($($kind:ty)*) => {$(
            if let Some(number) = to::<$kind>(value) {
                // Not always the same value: `True` is 1, too.
                assert_eq!(to(&Value::from(number.clone())), Some(number));
            }
        )*};
    }
    there_and_back!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 usize bool String);
    let _ = (to::<f64>(value), to::<Vec<u8>>(value));
    if let Value::Dict(pairs) = value {
        pairs.iter().flat_map(|(key, value)| [key, value]).for_each(convert);
    }
    to::<Vec<Value>>(value).iter().flatten().for_each(convert);
}

fn parts(value: &Value) -> Vec<&Value> {
    match value {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) | Value::FrozenSet(items) => {
            items.iter().collect()
        }
        Value::Dict(pairs) => pairs.iter().flat_map(|(key, value)| [key, value]).collect(),
        _ => Vec::new(),
    }
}

/// How deep containers nest that hold something.
fn depth(value: &Value) -> usize {
    parts(value).into_iter().map(|part| depth(part) + 1).max().unwrap_or(0)
}

/// The longest tuple in it: all its elements are on the stack at once.
fn widest(value: &Value) -> usize {
    let own = if let Value::Tuple(items) = value { items.len() } else { 0 };
    parts(value).into_iter().map(widest).max().unwrap_or(0).max(own)
}
