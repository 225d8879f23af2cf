//! Truth as Python has it.

use super::*;

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
