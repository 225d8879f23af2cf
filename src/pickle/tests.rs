//! Bytes in, bytes out. What `CPython` makes of them is tested in `tests/python/codec.rs`.

use std::sync::Arc;

use super::*;

fn limits() -> Limits {
    Limits::default()
}

fn take(bytes: &[u8]) -> Pickle {
    Pickle::from_bytes(bytes, &limits()).unwrap()
}

fn ops(bytes: &[u8]) -> Vec<u8> {
    take(bytes).ops().to_vec()
}

fn decode(bytes: &[u8]) -> Value {
    take(bytes).decode(&limits()).unwrap()
}

/// Indexs a tuple and gives its parts, each as a pickle of its own.
fn parts(bytes: &[u8]) -> Vec<Pickle> {
    let mut index = Index::default();
    let root = index.message(bytes, &limits()).unwrap();
    let parts = index.elements(root, Kind::Sequence).unwrap();
    parts
        .iter()
        .map(|part| {
            index
                .extract(bytes, None, *part, &Budget::new(bytes.len(), &limits()), &limits())
                .unwrap()
        })
        .collect()
}

fn part_ops(bytes: &[u8]) -> Vec<Vec<u8>> {
    parts(bytes).iter().map(|part| part.ops().to_vec()).collect()
}

#[test]
fn a_index_finds_each_part() {
    // The example of index.rs: ('a', [7]).
    let bytes = b"\x80\x04(\x8c\x01a\x94]\x94K\x07at.";
    let mut index = Index::default();
    let root = index.message(bytes, &limits()).unwrap();
    assert_eq!(root, Span(0, 13));
    let pair = index.elements(root, Kind::Sequence).unwrap().to_vec();
    assert_eq!(pair, [Span(3, 7), Span(7, 12)]);
    assert_eq!(index.text(bytes, pair[0], &Budget::new(0, &limits()), &limits()).unwrap(), "a");
    assert_eq!(index.elements(pair[1], Kind::Sequence).unwrap(), [Span(9, 11)]);
    assert_eq!(index.elements(pair[1], Kind::Mapping), None);
    assert_eq!(index.elements(pair[0], Kind::Sequence), None);
    let objects: Vec<Span> = index.memo.iter().map(|memoized| memoized.object).collect();
    assert_eq!(objects, [Span(3, 7), Span(7, 12)]);
}

#[test]
fn parts_come_in_batches_and_not_too_many() {
    let parts = |bytes: &[u8], shape| {
        let mut index = Index::default();
        let root = index.message(bytes, &limits()).unwrap();
        index.elements(root, shape).map(<[Span]>::len)
    };
    assert_eq!(parts(b"](K\x01K\x02eK\x03a(K\x04e.", Kind::Sequence), Some(4));
    assert_eq!(parts(b"}(K\x01NK\x02NuK\x03Ns.", Kind::Mapping), Some(6));
    for (empty, shape) in [(b").", Kind::Sequence), (b"].", Kind::Sequence), (b"}.", Kind::Mapping)]
    {
        assert_eq!(parts(empty, shape), Some(0));
    }
    for (count, found) in [(2048, Some(2048)), (2049, None)] {
        let bytes = [b"(", vec![b'N'; count].as_slice(), b"t."].concat();
        assert_eq!(parts(&bytes, Kind::Sequence), found);
    }
    assert_eq!(parts(b"cm\nC\n(K\x01tR.", Kind::Sequence), None);
}

/// What stood in a part's place before, and was discarded, is not taken for it.
#[test]
fn parts_are_those_of_the_object_that_stayed() {
    let parts = |bytes: &[u8]| {
        let mut index = Index::default();
        let root = index.message(bytes, &limits()).unwrap();
        let part = index.elements(root, Kind::Sequence).unwrap()[0];
        index.elements(part, Kind::Sequence).map(<[Span]>::len)
    };
    assert_eq!(parts(b"(K\x01\x85t."), Some(1));
    assert_eq!(parts(b"(K\x01\x85\x850K\x07t."), None);
    assert_eq!(parts(b"((K\x01\x851K\x07K\x08\x86t."), Some(2));
    // Another takes the slot, before and after.
    assert_eq!(parts(b"(K\x01K\x02\x86K\x03\x85NNt."), Some(2));
}

/// A request of many small operations costs what its slots do, and is forgotten in the end.
#[test]
fn a_huge_message_leaves_nothing_behind() {
    let mut index = Index::default();
    for many in [&b"\x85"[..], b"\x94", b"q\x07", b"\x80\x04", b"(1", b"N0"] {
        let bytes = [b"N\x94", many.repeat(1 << 16).as_slice(), b"."].concat();
        index.message(&bytes, &limits()).unwrap();
        index.trim();
        assert!(index.capacity() <= 1 << 14);
    }
    let bytes = b"\x80\x04(\x8c\x01a\x94]\x94K\x07at.";
    index.message(bytes, &limits()).unwrap();
    let capacity = index.capacity();
    index.trim();
    assert_eq!(index.capacity(), capacity, "little is kept");
}

/// `q.put('put')` and the like: pickle has seen the string before, as the method's name.
#[test]
fn what_a_part_refers_to_comes_with_it_once() {
    assert_eq!(part_ops(b"\x80\x04(\x8c\x03put\x94h\x00t.")[1], b"\x8c\x03put\x94");
    // ['put', 'put', ['own'], the same list]: the string in full once, and the other numbers shifted.
    let list =
        b"(\x8c\x02id\x94\x8c\x03put\x94]\x94(h\x01h\x01]\x94\x8c\x03own\x94ah\x03h\x04h\x01et.";
    assert_eq!(
        part_ops(list)[2],
        b"]\x94(\x8c\x03put\x94h\x01]\x94\x8c\x03own\x94ah\x02h\x03h\x01e"
    );
    // A reference to a list that itself refers further back.
    let chain = b"(\x8c\x01a\x94]\x94h\x00a]\x94(h\x01h\x00h\x01et.";
    assert_eq!(part_ops(chain)[2], b"]\x94(]\x94\x8c\x01a\x94ah\x02h\x01e");
    assert_eq!(parts(chain)[2].memo(), 3);
    // Of t = ([7], [8]) first the one list, then t, which holds it, then t again.
    let inner = b"(]\x94K\x07a]\x94K\x08a\x86\x94(h\x01h\x02h\x02tt.";
    assert_eq!(part_ops(inner)[1], b"(]\x94K\x08a]\x94K\x07ah\x00\x86\x94h\x02t");
    // The same of its other list, which begins where it does.
    let first = b"(]\x94K\x07a]\x94K\x08a\x86\x94(h\x00h\x02h\x02tt.";
    assert_eq!(part_ops(first)[1], b"(]\x94K\x07ah\x00]\x94K\x08a\x86\x94h\x02t");
}

#[test]
fn keys_become_the_numbers_of_memoize() {
    let expected = b"]\x94(K\x05\x94h\x00h\x01e";
    assert_eq!(ops(b"]q\x07(K\x05q\x09h\x07h\x09e."), expected);
    assert_eq!(ops(b"]r\0\0\x01\0(K\x05q\x63j\0\0\x01\0j\x63\0\0\0e."), expected);
    assert_eq!(take(b"]q\x07(K\x05q\x09h\x07h\x09e.").memo(), 2);
}

#[test]
fn frames_go_and_old_names_stay_old() {
    let framed = b"\x80\x04\x95\x05\0\0\0\0\0\0\0]\x94\x95\0\0\0\0\0\0\0\0Na.";
    assert_eq!(ops(framed), b"]\x94Na");
    let old = b"\x80\x02c__builtin__\nset\nq\x00]\x85R.";
    let kept = b"\x80\x02c__builtin__\nset\n\x80\x05\x94]\x85R";
    assert_eq!(ops(old), kept);
    assert_eq!(take(old).to_bytes(), [b"\x80\x05", kept.as_slice(), b"."].concat());
    assert_eq!(take(&take(old).to_bytes()), take(old), "the second time changes nothing");
    assert_eq!(ops(b"\x80\x03cbuiltins\nset\n."), b"cbuiltins\nset\n");
    // No PROTO: taken for an old one.
    assert_eq!(ops(b"cUserDict\nUserDict\n."), b"\x80\x02cUserDict\nUserDict\n\x80\x05");
}

/// CPython has a function set an object's state, and discards what it returns: `0`.
#[test]
fn a_call_that_sets_the_state_stays_with_its_object() {
    let setter = b"cm\nC\n)R\x94cm\nset\nh\x00K\x07\x86R0";
    let message = [b"\x80\x04(", setter.as_slice(), b"\x88h\x00t."].concat();
    let parts = parts(&message);
    assert_eq!(parts[0].ops(), setter);
    assert_eq!(parts[1].decode(&limits()).unwrap().to_string(), "True");
    assert_eq!(parts[2].ops(), setter, "a reference brings it along");
    // Within a list that is opened, too.
    let list = [b"\x80\x04](", setter.as_slice(), b"Ne."].concat();
    let Value::List(items) = decode(&list) else { panic!("a list") };
    assert!(matches!(&items[0], Value::Opaque(pickle) if pickle.ops() == setter));
    assert!(items[1].is_none());
}

/// A tuple that holds itself: CPython has written its inside when it notices, and discards that.
#[test]
fn a_recursive_tuple_takes_what_was_discarded() {
    let tuple = b"]\x94h\x00\x85\x94a0h\x01";
    let message = [b"\x80\x04(N", tuple.as_slice(), b"\x88t."].concat();
    let parts = parts(&message);
    assert_eq!(parts[1].ops(), tuple);
    assert_eq!(parts[0].ops().strip_prefix(b"N"), tuple.strip_suffix(b"h\x01"), "harmless here");
    assert_eq!(parts[2].ops(), b"\x88");
    assert_eq!(parts[1].decode(&limits()).unwrap(), Value::Opaque(parts[1].clone()));
}

/// What holds itself stays opaque, and so does no more than that: an object with a pointer to its parent.
#[test]
fn an_object_that_holds_itself_is_opaque_in_what_is_opened() {
    let list = b"]\x94h\x00a";
    let node = b"cm\nC\n)\x81\x94}\x94(\x8c\x04next\x94cm\nC\n)\x81\x94}\x94h\x02h\x00sbub";
    let tuple = b"]\x94h\x00\x85\x94a0h\x01";
    for cycle in [&list[..], node, tuple] {
        let Value::List(items) = decode(&[b"\x80\x04](K\x07", cycle, b"Ne."].concat()) else {
            panic!("a list")
        };
        assert_eq!(
            items,
            [7.into(), Value::Opaque(take(&[b"\x80\x04", cycle, b"."].concat())), ().into()]
        );
    }
    // The second item is a part of the first, which holds both: there is nothing smaller to keep.
    let both = [b"\x80\x04](", &node[..], b"h\x03e."].concat();
    assert_eq!(decode(&both), Value::Opaque(take(&both)));
}

/// A frame may begin anywhere, as CPython's do in what is large.
#[test]
fn an_object_that_holds_itself_may_begin_with_a_frame() {
    let bytes = b"\x80\x04](K\x07\x95\0\0\0\0\0\0\0\0]\x94h\x00aNe.";
    let mut index = Index::default();
    let root = index.message(bytes, &limits()).unwrap();
    let whole =
        index.extract(bytes, None, root, &Budget::new(bytes.len(), &limits()), &limits()).unwrap();
    let opened = whole.decode(&limits()).unwrap();
    let cycle = Value::Opaque(take(b"\x80\x04]\x94h\x00a."));
    assert_eq!(opened, Value::List(vec![7.into(), cycle, ().into()]));
}

/// What was discarded is a part of the object that is changed next, and of nothing after that.
#[test]
fn an_object_whose_state_is_set_by_a_function_may_name_its_parent() {
    let parent = b"]\x94cm\nC\n)\x81\x94cm\nset\nh\x01h\x00\x86R0a";
    let Value::List(items) = decode(&[b"\x80\x04](", &parent[..], b"K\x07e."].concat()) else {
        panic!("a list")
    };
    assert_eq!(items, [Value::Opaque(take(&[b"\x80\x04", &parent[..], b"."].concat())), 7.into()]);
}

#[test]
fn references_of_spliced_pickles_are_shifted() {
    // 200 lists, then each of them again: keys beyond a byte from the second copy on.
    let mut bytes = b"](".to_vec();
    (0..200).for_each(|_| bytes.extend(b"]\x94"));
    (0..200).for_each(|key| bytes.extend([b'h', key]));
    bytes.extend(b"e.");
    let many = take(&bytes);
    assert_eq!(many.memo(), 200);
    let thrice =
        Pickle::encode(&Value::Tuple(vec![many.clone().into(), many.clone().into(), many.into()]))
            .unwrap();
    assert_eq!(thrice.memo(), 600);
    let mut index = Index::default();
    index.object(thrice.ops(), &limits()).unwrap();
    let gets = index.fixups.iter().filter_map(|edit| match edit.kind {
        index::FixupKind::Get(number) => Some(number),
        _ => None,
    });
    assert!(gets.eq(0..600));
    let each = Value::List(vec![Value::List(vec![]); 400]);
    assert_eq!(decode(&thrice.to_bytes()), Value::Tuple(vec![each.clone(), each.clone(), each]));
}

#[test]
fn a_cut_grows_by_no_more_than_is_allowed() {
    // Lists in lists, and a list that refers to them from the inside out: each would come in full.
    let mut bytes = b"(".to_vec();
    (0..4000).for_each(|_| bytes.extend(b"]\x94"));
    bytes.extend([b'a'; 3999]);
    bytes.extend(b"](");
    (0..4000_u32).rev().for_each(|key| bytes.extend([&b"j"[..], &key.to_le_bytes()].concat()));
    bytes.extend(b"et.");
    let limits = limits().expansion(1 << 20);
    let mut index = Index::default();
    let root = index.message(&bytes, &limits).unwrap();
    let parts = index.elements(root, Kind::Sequence).unwrap().to_vec();
    let error = index
        .extract(&bytes, None, parts[1], &Budget::new(bytes.len(), &limits), &limits)
        .unwrap_err();
    assert_eq!(error.to_string(), "expansion exceeds the limit of 1048576");
    assert!(index.extract(&bytes, None, root, &Budget::new(bytes.len(), &limits), &limits).is_ok());
}

#[test]
fn older_ways_to_write_plain_data() {
    for (bytes, printed) in [
        (
            &b"\x80\x02c_codecs\nencode\nX\x03\0\0\0a\xc3\xbfX\x06\0\0\0latin1\x86R."[..],
            r"b'a\xff'",
        ),
        (b"\x80\x02c__builtin__\nbytes\n)R.", "b''"),
        (b"\x80\x02c__builtin__\nset\n](K\x01K\x02e\x85R.", "{1, 2}"),
        (b"\x80\x03cbuiltins\nfrozenset\n]\x85R.", "frozenset()"),
        (b"\x80\x03cbuiltins\nbytearray\nC\x01a\x85R.", "bytearray(b'a')"),
        (
            b"\x80\x02c__builtin__\nbytearray\nX\x01\0\0\0aX\x07\0\0\0latin-1\x86R.",
            "bytearray(b'a')",
        ),
    ] {
        assert_eq!(decode(bytes).to_string(), printed);
    }
    for opaque in [
        // bytearray.__new__ ignores what it is given; another codec gives other bytes; not Latin-1.
        &b"cbuiltins\nbytearray\nC\x01a\x85\x81."[..],
        b"cbuiltins\nbytearray\nX\x01\0\0\0aX\x05\0\0\0utf-8\x86R.",
        b"c_codecs\nencode\nX\x03\0\0\0\xe2\x82\xacX\x06\0\0\0latin1\x86R.",
        b"cbuiltins\nset\n]\x85RNb.",
    ] {
        assert!(matches!(decode(opaque), Value::Opaque(_)));
    }
}

#[test]
fn an_object_changed_by_a_reference_is_left_closed() {
    // [x, x] where x is filled by way of the second, and x that holds itself so before it is complete.
    for bytes in [&b"](]\x94h\x00Nae."[..], b"]\x94h\x00h\x00a\x94\x850\x94."] {
        let pickle = take(bytes);
        assert!(pickle.decode(&limits()).is_err());
        assert!(matches!(pickle.into_value(&limits()), Value::Opaque(_)));
    }
}

#[test]
fn the_shortest_form_is_written() {
    let cases: [(Value, &[u8]); 13] = [
        (255.into(), b"K\xff"),
        (256.into(), b"M\0\x01"),
        (65536.into(), b"J\0\0\x01\0"),
        ((-1).into(), b"J\xff\xff\xff\xff"),
        ((1_i64 << 31).into(), b"\x8a\x05\0\0\0\x80\0"),
        ((1_u64 << 63).into(), b"\x8a\x09\0\0\0\0\0\0\0\x80\0"),
        (1.0.into(), b"G\x3f\xf0\0\0\0\0\0\0"),
        ("a".into(), b"\x8c\x01a"),
        (b"a".into(), b"C\x01a"),
        (Value::ByteArray(b"a".to_vec()), b"\x96\x01\0\0\0\0\0\0\0a"),
        ((1, 2, 3, 4).into(), b"(K\x01K\x02K\x03K\x04t"),
        (Value::Set(vec![]), b"\x8f"),
        (Value::FrozenSet(vec![]), b"(\x91"),
    ];
    for (value, ops) in cases {
        assert_eq!(Pickle::encode(&value).unwrap().ops(), ops);
    }
    assert!(
        Pickle::encode(&Value::from("a".repeat(256))).unwrap().ops().starts_with(b"X\0\x01\0\0a")
    );
    assert!(
        Pickle::encode(&Value::Bytes(vec![0; 256])).unwrap().ops().starts_with(b"B\0\x01\0\0\0")
    );
    assert!(of_long(&[1; 256]).ops().starts_with(b"\x8b\0\x01\0\0\x01"));
}

#[test]
fn most_of_a_message_is_shared_and_not_copied() {
    let shared = |item: &[u8], message: &[u8]| {
        let whole = Arc::new([b"head", message].concat());
        let mut index = Index::default();
        let root = index.message(message, &limits()).unwrap();
        let part = index.elements(root, Kind::Sequence).unwrap()[1];
        let share = index.borrow(message, &whole, part);
        let copy = index
            .extract(message, None, part, &Budget::new(message.len(), &limits()), &limits())
            .unwrap();
        assert_eq!(copy.decode(&limits()).unwrap(), decode(&[b"\x80\x04", item, b"."].concat()));
        share.map(|share| {
            assert_eq!(Arc::strong_count(&whole), 2);
            assert_eq!(share.decode(&limits()).unwrap(), copy.decode(&limits()).unwrap());
            (share.ops().to_vec(), share.memo())
        })
    };
    let bytes = [&b"B\x40\0\0\0"[..], &[7; 64]].concat();
    let frame = |size: u8| [0x95, size, 0, 0, 0, 0, 0, 0, 0];
    let message = |item: &[u8]| [b"\x80\x04\x8c\x01a\x94", item, b"\x86\x94."].concat();
    // As it stands, memoized or not.
    assert_eq!(shared(&bytes, &message(&bytes)), Some((bytes.clone(), 0)));
    let memoized = [&bytes[..], b"\x94"].concat();
    assert_eq!(shared(&memoized, &message(&memoized)), Some((memoized, 1)));
    // CPython begins a frame behind large bytes, and memoizes them in it.
    let framed = [&bytes[..], &frame(4), b"\x94"].concat();
    assert_eq!(shared(&bytes, &message(&framed)), Some((bytes.clone(), 0)));
    // A frame before the last of the object, or what is the lesser part, is not for sharing.
    let tuple = [&bytes[..], &frame(5), b"\x94\x85"].concat();
    assert_eq!(shared(&[&bytes[..], b"\x85"].concat(), &message(&tuple)), None);
    assert_eq!(shared(b"K\x01", &message(b"K\x01")), None);
}

#[test]
fn a_pickle_is_kept_in_place_up_to_21_bytes() {
    for (len, memo, in_place) in [(0, 0, true), (21, 255, true), (22, 0, false), (1, 256, false)] {
        let ops = vec![b'N'; len];
        for pickle in [Pickle::new(&ops, memo), Pickle::from_vec(ops.clone(), memo)] {
            assert_eq!((pickle.ops(), pickle.len(), pickle.memo()), (&*ops, len, memo));
            assert_eq!(matches!(pickle.0, Repr::Inline { .. }), in_place);
        }
    }
    assert_eq!(Pickle::new(b"N", 0), Pickle::new(b"N", 300));
    assert_eq!(format!("{:?}", Pickle::new(b"K\x01", 0)), r"Pickle(2 bytes: K\x01)");
    assert_eq!(format!("{:?}", Pickle::new(&[b'N'; 17], 0)), "Pickle(17 bytes: NNNNNNNNNNNNNNNN…)");
}

/// An integer in two's complement, little-endian.
fn of_long(bytes: &[u8]) -> Pickle {
    let mut writer = Writer::default();
    writer.long(bytes);
    writer.into_pickle()
}

#[test]
fn integers_of_up_to_128_bits_are_opened() {
    for int in [i128::MIN, i128::MIN + 1, -129, -128, -1, 0, 127, 128, 1 << 63, i128::MAX] {
        let pickle = Pickle::encode(&Value::Int(int)).unwrap();
        assert_eq!(pickle.decode(&limits()).unwrap(), Value::Int(int));
        // Bytes that only repeat the sign.
        let mut long = int.to_le_bytes().to_vec();
        long.extend([if int < 0 { 0xff } else { 0 }; 3]);
        assert_eq!(of_long(&long).decode(&limits()).unwrap(), Value::Int(int));
    }
    assert_eq!(of_long(&[]).decode(&limits()).unwrap(), Value::Int(0));
    let beyond = of_long(&[&[0; 15][..], &[0x80, 0]].concat());
    assert_eq!(beyond.decode(&limits()).unwrap(), Value::Opaque(beyond));
}
