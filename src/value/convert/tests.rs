use super::*;

fn failure<T: FromValue>(value: impl Into<Value>) -> String {
    match value.into().to::<T>() {
        Ok(_) => "converted".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn integers_of_every_width_convert_both_ways() {
    macro_rules! check {
        ($($int:ident)*) => {$(
            for int in [$int::MIN, 0, 1, $int::MAX] {
                assert_eq!(Value::from(int).to::<$int>().unwrap(), int);
                assert_eq!(Value::from(int).to_string(), int.to_string());
            }
        )*};
    }
    check!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 usize);
    assert_eq!(Value::from(true).to::<u8>().unwrap(), 1);
}

#[test]
fn integer_out_of_range_is_shown() {
    assert_eq!(failure::<u8>(300), "int 300 does not fit u8");
    assert_eq!(failure::<u64>(-1), "int -1 does not fit u64");
    assert_eq!(failure::<i64>(1_u64 << 63), "int 9223372036854775808 does not fit i64");
    assert_eq!(failure::<u8>(1_i128 << 64), "int 18446744073709551616 does not fit u8");
}

#[test]
fn other_type_is_named() {
    assert_eq!(failure::<i64>("1"), "expected int, got str");
    assert_eq!(failure::<i64>(1.0), "expected int, got float");
    assert_eq!(failure::<bool>(1), "expected bool, got int");
    assert_eq!(failure::<String>(b"x"), "expected str, got bytes");
    assert_eq!(failure::<f64>(()), "expected float, got NoneType");
    assert_eq!(failure::<()>(1), "expected NoneType, got int");
    assert_eq!(failure::<char>("ab"), "expected a str of one character");
    assert_eq!(failure::<char>(""), "expected a str of one character");
    assert_eq!(failure::<Vec<u8>>("x"), "expected bytes, got str");
    assert_eq!(failure::<Vec<Value>>("x"), "expected list, got str");
    assert_eq!(failure::<Vec<i64>>(b"x"), "expected list, got bytes");
    assert_eq!(failure::<HashSet<i64>>([1]), "expected set, got list");
    assert_eq!(failure::<Option<i64>>("x"), "expected int, got str");
}

#[test]
#[allow(clippy::float_cmp)]
fn floats_come_from_any_number() {
    let float = |value: Value| value.to::<f64>().unwrap();
    assert_eq!(float(0.5_f32.into()), 0.5);
    assert_eq!(float(7.into()), 7.0);
    assert_eq!(float(true.into()), 1.0);
    assert_eq!(float((1_i128 << 100).into()), 2_f64.powi(100));
    assert_eq!(float(u64::MAX.into()), 2_f64.powi(64));
    assert_eq!(Value::from(0.1).to::<f32>().unwrap(), 0.1);
}

#[test]
fn tuples_and_dicts_convert_both_ways() {
    let task = (7, "seven".to_owned(), 0.5, Value::from([1]));
    let back: (u8, String, f64, Value) = Value::from(task.clone()).to().unwrap();
    assert_eq!(back, task);
    let twelve = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
    assert_eq!(
        Value::from(twelve).to::<(i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8)>().unwrap(),
        twelve
    );
    let ages = BTreeMap::from([("Ada".to_owned(), 36), ("Guido".to_owned(), 69)]);
    assert_eq!(Value::from(ages.clone()).to::<BTreeMap<_, _>>().unwrap(), ages);
    let counts = HashMap::from([(1_i64, (true, 2_u8))]);
    assert_eq!(Value::from(counts.clone()).to::<HashMap<_, _>>().unwrap(), counts);

    assert_eq!(Value::from([1, 2]).to::<(i64, i64)>().unwrap(), (1, 2));
    assert_eq!(failure::<(i64, i64)>([1, 2, 3]), "expected 2 items, got 3");
    assert_eq!(failure::<(i64,)>(()), "expected tuple, got NoneType");
    assert_eq!(failure::<(i64, u8)>((1, 300)), "int 300 does not fit u8");
    assert_eq!(failure::<HashMap<String, i64>>([1]), "expected dict, got list");
    assert_eq!(failure::<BTreeMap<i64, i64>>(BTreeMap::from([(1, "x")])), "expected int, got str");
}

#[test]
fn lists_and_sets_convert_both_ways() {
    let rows = vec![vec![1, 2], vec![]];
    assert_eq!(Value::from(rows.clone()).to_string(), "[[1, 2], []]");
    assert_eq!(Value::from(rows.as_slice()), Value::from(rows.clone()));
    assert_eq!(Value::from(rows.clone()).to::<Vec<Vec<i32>>>().unwrap(), rows);
    let set = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    assert_eq!(Value::from(set.clone()).to_string(), "{'a', 'b'}");
    assert_eq!(Value::from(set.clone()).to::<BTreeSet<String>>().unwrap(), set);
    let set = HashSet::from([(1, 'x')]);
    assert_eq!(Value::from(set.clone()).to::<HashSet<(u8, char)>>().unwrap(), set);
    let frozen = Value::FrozenSet(vec![1.into()]);
    assert_eq!(frozen.to::<Vec<Value>>().unwrap(), [Value::from(1)]);
    let maybe = vec![Some(1), None];
    assert_eq!(Value::from(maybe.clone()).to::<Vec<Option<u8>>>().unwrap(), maybe);
    // The user's items need not be 'static.
    let text = String::from("a b");
    let words: Vec<&str> = text.split(' ').collect();
    assert_eq!(Value::from((1, words)).to_string(), "(1, ['a', 'b'])");
}

#[test]
fn vec_of_u8_is_bytes() {
    for bytes in [vec![1_u8].into(), [1_u8].into(), Value::from(b"\x01"), [1_u8].as_slice().into()]
    {
        assert!(matches!(&bytes, Value::Bytes(bytes) if *bytes == [1]), "{bytes}");
        assert_eq!(bytes.to::<Vec<u8>>().unwrap(), [1]);
    }
    assert_eq!(Value::ByteArray(vec![1]).to::<Vec<u8>>().unwrap(), [1]);
    assert_eq!(Value::from([1]).to::<Vec<u8>>().unwrap(), [1]);
    assert_eq!(Value::from(vec![vec![1_u8]]).to_string(), "[b'\\x01']");
    assert_eq!(Value::from(vec![b"a".to_vec()]).to::<Vec<Vec<u8>>>().unwrap(), [b"a"]);
}

#[test]
fn text_converts_from_every_kind_of_string() {
    let owned = "x".to_owned();
    for text in [Value::from(&owned), owned.clone().into(), 'x'.into(), Cow::from("x").into()] {
        assert_eq!(text.as_str(), Some("x"));
        assert_eq!(text.to::<char>().unwrap(), 'x');
    }
}

#[test]
fn values_print_as_in_python() {
    assert!(Value::from(()).is_none() && Value::from(None::<i32>).is_none());
    assert_eq!(Value::from(Some("x")).as_str(), Some("x"));
    assert_eq!(Value::from((1, "a", 0.5, true)).to_string(), "(1, 'a', 0.5, True)");
    assert_eq!(Value::from((1,)).to_string(), "(1,)");
    assert_eq!(Value::from([1, 2]).to_string(), "[1, 2]");
    assert_eq!(Value::from(BTreeMap::from([("b", 1), ("a", 2)])).to_string(), "{'a': 2, 'b': 1}");
    assert_eq!(Value::from(HashMap::from([("k", false)])).to_string(), "{'k': False}");
    assert_eq!(["a", "b"].iter().copied().collect::<Value>().to_string(), "['a', 'b']");
    assert!(matches!(Value::from(Pickle::new(b"N", 0)), Value::Opaque(_)));
}
