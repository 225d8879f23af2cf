//! Equality, order and truth as Python has them.

use super::*;

#[test]
fn numbers_compare_by_value() {
    let two_53 = 1_i64 << 53;
    assert_eq!(Value::from(1), Value::from(1.0));
    assert_eq!(Value::from(true), Value::from(1.0));
    assert_eq!(Value::from(0), Value::from(-0.0));
    assert_eq!(Value::from(two_53), Value::from(9_007_199_254_740_992.0));
    assert_ne!(Value::from(two_53 + 1), Value::from(9_007_199_254_740_992.0));
    assert_ne!(Value::from(i64::MAX), Value::from(9_223_372_036_854_775_808.0));
    assert_eq!(Value::from(i64::MIN), Value::from(-9_223_372_036_854_775_808.0));
    assert_eq!(Value::from(1_u64 << 63), Value::from(9_223_372_036_854_775_808.0));
    assert_eq!(Value::from(1_i128 << 100), Value::from(2_f64.powi(100)));
    assert_eq!(Value::from(-(1_i128 << 100)), Value::from(-2_f64.powi(100)));
    assert_ne!(Value::from((1_i128 << 100) + 1), Value::from(2_f64.powi(100)));
    assert_ne!(Value::from(u64::MAX), Value::from(f64::INFINITY));
    assert_ne!(Value::from(f64::NAN), Value::from(f64::NAN));
    assert_ne!(Value::from(0), Value::None);
    assert_ne!(Value::from(1), Value::from("1"));
}

#[test]
fn collections_compare_as_in_python() {
    let (one, two) = (Value::from(1), Value::from(2));
    let ab = vec![one.clone(), two.clone()];
    let ba = vec![two.clone(), one.clone()];
    let twice = vec![one.clone(), one.clone()];
    assert_eq!(Value::from(b"ab"), Value::ByteArray(b"ab".to_vec()));
    assert_ne!(Value::from(b"ab"), Value::from("ab"));
    assert_ne!(Value::List(ab.clone()), Value::Tuple(ab.clone()));
    assert_ne!(Value::List(ab.clone()), Value::List(ba.clone()));
    assert_eq!(Value::Set(ab.clone()), Value::FrozenSet(ba.clone()));
    assert_ne!(Value::Set(ab.clone()), Value::Set(twice.clone()));
    assert_ne!(Value::Set(twice), Value::Set(ab.clone()));
    assert_ne!(Value::Set(ab), Value::List(ba));
    let (x, y) = ((one.clone(), two.clone()), (two, one));
    let dict = Value::Dict(vec![x.clone(), y.clone()]);
    assert_eq!(dict, Value::Dict(vec![y.clone(), x.clone()]));
    assert_ne!(dict, Value::Dict(vec![x]));
    assert_ne!(Value::Dict(vec![y]), Value::Dict(vec![]));
    let nan = Value::Set(vec![f64::NAN.into()]);
    assert_ne!(nan, nan.clone());
}

#[test]
fn what_is_large_compares_whatever_its_order() {
    const LARGE: i64 = 100_000;
    let set = |order: &mut dyn Iterator<Item = i64>| Value::Set(order.map(Value::from).collect());
    assert_eq!(set(&mut (0..LARGE)), set(&mut (0..LARGE).rev()));
    assert_ne!(set(&mut (0..LARGE)), set(&mut (1..=LARGE).rev()));
    let pair = |int: i64| (int.into(), Value::List(vec![int.into()]));
    let dict = |order: &mut dyn Iterator<Item = i64>| Value::Dict(order.map(pair).collect());
    assert_eq!(dict(&mut (0..LARGE)), dict(&mut (0..LARGE).rev()));
    // A set of sets, each in another order: found without a look at each of the others.
    let inner = |int: i64, turned: bool| {
        let (a, b) = (int.into(), (int + LARGE).into());
        Value::FrozenSet(if turned { vec![b, a] } else { vec![a, b] })
    };
    let sets = |turned| (0..LARGE).map(|int| inner(int, turned)).collect::<Vec<_>>();
    let turned = sets(true).into_iter().rev().collect();
    assert_eq!(Value::Set(sets(false)), Value::Set(turned));
}

#[test]
fn truth_is_pythons() {
    for value in [Value::from(-0.0), Value::from(""), Value::List(vec![]), ().into()] {
        assert!(!value.truthy(), "{value}");
    }
    for value in [Value::from(f64::NAN), Value::from(u64::MAX), Value::from([0]), "x".into()] {
        assert!(value.truthy(), "{value}");
    }
    assert_eq!((Value::default().type_name(), Value::from(0).type_name()), ("NoneType", "int"));
}
