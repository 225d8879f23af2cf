use super::*;

const ADDRESS: &str = "127.0.0.1:5000";

fn guard() -> Guard {
    let known = [ADDRESS, "/run/tasks", "@tasks"];
    known.into_iter().try_fold(Guard::new(), Guard::address).unwrap()
}

/// The operations of a string.
fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&[op::SHORT_BINUNICODE, u8::try_from(text.len()).unwrap()], text].concat()
}

fn global(module: &str, name: &str) -> Vec<u8> {
    [text(module), text(name), vec![op::STACK_GLOBAL]].concat()
}

fn managers(name: &str) -> Vec<u8> {
    global("multiprocessing.managers", name)
}

/// The operations of a token with this address.
fn token(address: &[u8]) -> Vec<u8> {
    let state = [&text("Queue"), address, &text("7f"), &[op::TUPLE3]].concat();
    [managers("Token"), b")\x81".to_vec(), state, vec![op::BUILD]].concat()
}

fn own() -> Vec<u8> {
    [text("127.0.0.1"), b"M\x88\x13\x86".to_vec()].concat()
}

/// A proxy of this type, with these operations for its token and keywords.
fn proxy(kind: &str, token: &[u8], keywords: &[u8]) -> Vec<u8> {
    let start = [managers("RebuildProxy"), b"(".to_vec(), managers(kind)].concat();
    [start, token.to_vec(), text("pickle"), keywords.to_vec(), b"tR".to_vec()].concat()
}

fn exposed(names: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = names.iter().flat_map(text).collect();
    [b"}".to_vec(), text("exposed"), b"(".to_vec(), names, b"ts".to_vec()].concat()
}

/// Checks a value of any kind, as it is in a request.
fn check_value(guard: &Guard, pickle: &[u8]) -> std::result::Result<(), String> {
    guard.read(pickle).map(drop).map_err(reason)
}

fn check_with(guard: &Guard, ops: &[u8]) -> std::result::Result<(), String> {
    check_value(guard, &[b"\x80\x04", ops, b"."].concat())
}

#[track_caller]
fn passes(ops: impl AsRef<[u8]>) {
    assert_eq!(check_with(&guard(), ops.as_ref()), Ok(()));
}

#[track_caller]
fn refuses(ops: impl AsRef<[u8]>, reason: &str) {
    let refused = check_with(&guard(), ops.as_ref()).unwrap_err();
    assert!(refused.contains(reason), "{refused:?} does not mention {reason:?}");
}

#[test]
fn plain_data_passes() {
    passes(b"(N\x88\x89K\x01M\x01\x02J\x01\x02\x03\x04\x8a\x01\x05G12345678C\x01at");
    passes(b"]\x94(K\x01h\x00e");
    passes(b"}(K\x01]K\x02}u");
    passes(b"\x8f(K\x01\x90");
    passes(b"(K\x01K\x02\x91");
    passes(b"\x96\x01\0\0\0\0\0\0\0a");
    passes([global("builtins", "set"), b"](K\x01e\x85R".to_vec()].concat());
    passes([global("builtins", "slice"), b"K\x01NK\x02\x87R".to_vec()].concat());
    passes([global("builtins", "range"), b"K\x01K\x09K\x02\x87R".to_vec()].concat());
    let latin1 = [text("é"), text("latin1"), b"\x86R".to_vec()].concat();
    passes([global("_codecs", "encode"), latin1].concat());
}

#[test]
fn recursive_tuple_passes() {
    // t = ([],); t[0].append(t), as CPython pickles it: the tuple is discarded, and taken from the memo.
    passes(b"]\x94h\x00\x85\x94a0h\x01");
}

#[test]
fn names_of_python_2_pass_in_old_protocols_only() {
    let old = b"\x80\x02c__builtin__\nset\n](K\x01e\x85R.";
    assert_eq!(check_value(&guard(), old), Ok(()));
    assert_eq!(
        check_value(&guard(), b"\x80\x02c__builtin__\nxrange\nK\x01K\x02K\x03\x87R."),
        Ok(())
    );
    assert!(check_value(&guard(), b"\x80\x02c__builtin__\neval\n\x8c\x011\x85R.").is_err());
    assert!(check_value(&guard(), b"\x80\x03c__builtin__\nset\n](K\x01e\x85R.").is_err());
    assert!(check_value(&guard(), b"\x80\x02](K\x01c__builtin__\nset\n0e.").is_ok());
}

#[test]
fn tokens_and_proxies_of_this_manager_pass() {
    passes(token(&own()));
    passes(token(&text("/run/tasks")));
    passes(token(&text("\0tasks")));
    passes(token(b"C\x06\0tasks"));
    passes(proxy("ListProxy", &token(&own()), b"}"));
    passes(proxy("AutoProxy", &token(&own()), &exposed(&["get", "__len__", "p2"])));
    passes(proxy("AutoProxy", &token(&own()), &exposed(&[])));
}

#[test]
fn address_without_host_or_port_is_refused() {
    for (address, why) in [
        ("tasks", "expected host:port"),
        (":5000", "the host is missing: write 127.0.0.1:5000"),
        ("tasks:99999", "port 99999 exceeds 65535"),
    ] {
        let refused = Guard::new().address(address).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn token_with_foreign_address_is_refused() {
    let wrong = "only proxies of this manager pass (known as 127.0.0.1:5000, /run/tasks, @tasks)";
    let none = "contains no address";
    for address in ["127.0.0.1:5001", "127.0.0.2:5000", "localhost:5000"] {
        let (host, port) = address.split_once(':').unwrap();
        let port = port.parse::<u16>().unwrap().to_le_bytes();
        let address = [text(host), vec![b'M'], port.to_vec(), b"\x86".to_vec()].concat();
        refuses(token(&address), wrong);
    }
    refuses(token(&text("/run/other")), "/run/other");
    refuses(token(b"N"), none);
    // A list could be changed later.
    refuses(token(&[b"](".to_vec(), text("127.0.0.1"), b"M\x88\x13e".to_vec()].concat()), none);
    let refused = check_with(&Guard::new(), &token(&own())).unwrap_err();
    assert_eq!(refused, "the proxy belongs to the manager at 127.0.0.1:5000; no proxies pass");
}

#[test]
fn token_in_another_form_is_refused() {
    let args = [text("q"), own(), text("id"), b"\x87".to_vec()].concat();
    refuses([managers("Token"), args.clone(), b"R".to_vec()].concat(), "Token is called");
    refuses([managers("Token"), args.clone(), b"\x81".to_vec()].concat(), "NEWOBJ of Token");
    refuses([managers("Token"), b")\x81".to_vec()].concat(), "no state");
    let twice = [token(&own()), args, b"b".to_vec()].concat();
    refuses(twice, "set twice");
    refuses(
        [token(&own()), b"0".to_vec(), managers("Token"), b")\x810N".to_vec()].concat(),
        "no state",
    );
    // Its state arrives after the proxy was made.
    let late = [managers("Token"), b")\x81\x94".to_vec()].concat();
    refuses(proxy("ListProxy", &late, b"}"), "has no state");
}

#[test]
fn proxy_in_another_form_is_refused() {
    let good = token(&own());
    for names in [&["get", ""][..], &["a b"], &["a\n"], &["é"], &["1a"], &["a()"], &["a", "b.c"]] {
        refuses(proxy("AutoProxy", &good, &exposed(names)), "tuple of ASCII identifiers");
    }
    let list = [b"}".to_vec(), text("exposed"), b"]s".to_vec()].concat();
    refuses(proxy("AutoProxy", &good, &list), "tuple of ASCII identifiers");
    refuses(proxy("AutoProxy", &good, b"}"), "'exposed'");
    refuses(proxy("ListProxy", &good, &exposed(&["get"])), "has keywords");
    let more = [exposed(&["get"]), text("authkey"), b"Ns".to_vec()].concat();
    refuses(proxy("AutoProxy", &good, &more), "'exposed'");
    let twice = [exposed(&["get"]), text("exposed"), b")s".to_vec()].concat();
    refuses(proxy("AutoProxy", &good, &twice), "'exposed'");
    refuses(proxy("MakeProxyType", &good, b"}"), "MakeProxyType is not allowed");
    refuses(proxy("BaseProxy", &good, b"}"), "BaseProxy is not allowed");
    refuses(proxy("RebuildProxy", &good, b"}"), "is not called");
    refuses(proxy("ListProxy", b"N", b"}"), "must be called with");
    let start = [managers("RebuildProxy"), b"(".to_vec(), managers("ListProxy"), good].concat();
    let other = [start, text("xmlrpclib"), b"}tR".to_vec()].concat();
    refuses(other, "serializer");
    refuses([managers("AutoProxy"), b")R".to_vec()].concat(), "AutoProxy is called");
}

#[test]
fn keywords_of_a_proxy_may_not_change() {
    let good = token(&own());
    // Memoized, then changed between the tuple and the call, or after it.
    let pushed = |keywords: &[u8]| {
        let start = [managers("RebuildProxy"), b"(".to_vec(), managers("AutoProxy")].concat();
        [start, good.clone(), text("pickle"), keywords.to_vec(), b"\x94t".to_vec()].concat()
    };
    let evil = [b"h\x00".to_vec(), text("exposed"), b"]s0".to_vec()].concat();
    refuses([pushed(&exposed(&["get"])), evil.clone(), b"R".to_vec()].concat(), "'exposed'");
    refuses(
        [pushed(&exposed(&["get"])), b"R".to_vec(), evil].concat(),
        "keywords of a proxy are changed",
    );
    let again = [proxy("ListProxy", &good, b"}\x94"), proxy("DictProxy", &good, b"h\x00")].concat();
    refuses([again, b"\x86".to_vec()].concat(), "shares them");
}

#[test]
fn proxy_is_never_filled() {
    let own = proxy("ListProxy", &token(&own()), b"}");
    for fill in [&b"K\x01a"[..], b"(K\x01e", b"K\x01K\x02s", b"(K\x01K\x02u", b"(K\x01\x90", b"}b"]
    {
        refuses([&own[..], fill].concat(), "does not belong to");
    }
}

#[test]
fn global_as_a_value_is_refused() {
    let set = global("builtins", "set");
    refuses(&set, "is not called, but a value");
    for wrapped in [&b"\x85"[..], b"K\x01\x86", b"K\x01K\x02\x87"] {
        refuses([&set[..], wrapped].concat(), "value");
    }
    refuses([b"](", &set[..], b"e"].concat(), "value");
    refuses([b"]", &set[..], b"a"].concat(), "value");
    refuses([b"}", &set[..], b"Ns"].concat(), "value");
    refuses([b"}N", &set[..], b"s"].concat(), "value");
    refuses([b"(", &set[..], b"\x91"].concat(), "value");
    refuses([b"\x8f(", &set[..], b"\x90"].concat(), "value");
    refuses([&set[..], b"}b"].concat(), "BUILD");
    refuses([&set[..], b"\x85R"].concat(), "value");
    let arguments = [b"(".to_vec(), managers("ListProxy"), b"K\x01K\x02K\x03t".to_vec()].concat();
    refuses(&arguments, "a part of a value");
    refuses([b"]", &arguments[..], b"a"].concat(), "a part of a value");
    refuses([token(&own()), arguments, b"b".to_vec()].concat(), "a part of a value");
}

#[test]
fn calls_in_other_forms_are_refused() {
    for (name, args) in [
        ("set", &b")R"[..]),
        ("set", b")\x85R"),
        ("set", b"}\x85R"),
        ("frozenset", b"K\x05\x85R"),
        ("bytes", b"K\x05\x85R"),
        ("bytearray", b"K\x05\x85R"),
        ("bytearray", b"]\x85R"),
        ("bytearray", b"\x8c\x01a\x8c\x05rot13\x86R"),
        ("slice", b"K\x05\x85R"),
        ("slice", b"K\x05K\x05]\x87R"),
        ("range", b"NK\x05K\x05\x87R"),
    ] {
        refuses([&global("builtins", name)[..], args].concat(), "does not need");
    }
    let rot13 = [text("a"), text("rot13"), b"\x86R".to_vec()].concat();
    refuses([global("_codecs", "encode"), rot13].concat(), "does not need");
    refuses(b"K\x01)R", "is not an allowed class");
    refuses([global("builtins", "set"), b")}\x92".to_vec()].concat(), "NEWOBJ_EX");
    refuses([global("builtins", "set"), b")\x81".to_vec()].concat(), "NEWOBJ of set");
}

#[test]
fn streams_that_readers_read_differently_are_refused() {
    refuses(b"\x80\x04N", "a second PROTO");
    refuses(b"K\x01q\x05", "memo key 5 is put instead of 0");
    refuses(b"K\x01q\x00q\x00", "memo key 0 is put instead of 1");
    refuses(b"h\x00", "never put");
    refuses(b"K\x01r\xff\xff\xff\x7f", "memo key");
    refuses(b"\x95\x02\0\0\0\0\0\0\0M\x01\x02", "a frame ends within");
    refuses(b"\x95\x0b\0\0\0\0\0\0\0N0\x95\x01\0\0\0\0\0\0\0N", "a frame ends within");
    refuses(b"\x95\xff\0\0\0\0\0\0\0N", "within a frame");
    refuses(b"N.N", "bytes follow");
    refuses(b"NN", "too many objects");
    refuses(b"", "too few objects");
    passes(b"\x95\x02\0\0\0\0\0\0\0N.".strip_suffix(b".").unwrap());
    assert!(check_value(&guard(), b"N.").unwrap_err().contains("PROTO"));
    assert!(check_value(&guard(), b"").is_err());
    assert!(check_value(&guard(), b"\x80\x04").is_err());
    for opcode in ["I1\n", "L1L\n", "F1\n", "S''\n", "Va\n", "p0\n", "g0\n", "l", "d", "2", "Pid\n"]
    {
        assert!(check_with(&guard(), format!("({opcode}").as_bytes()).is_err(), "{opcode}");
    }
    for opcode in [b'Q', 0x82, 0x83, 0x84, 0x97, 0x98, b'i', b'o', b'U', b'T', 0xff] {
        assert!(check_with(&guard(), &[b'N', opcode, 0, 0, 0, 0]).is_err(), "{opcode:#x}");
    }
}

#[test]
fn pattern_allows_calls_state_and_values() {
    let guard = guard().allow("decimal.Decimal").unwrap().allow("numpy.*").unwrap();
    let check = |ops: Vec<u8>| check_with(&guard, &ops);
    let decimal = [global("decimal", "Decimal"), text("1"), b"\x85R".to_vec()].concat();
    assert_eq!(check(decimal), Ok(()));
    let array = [global("numpy", "array"), global("numpy", "ndarray"), b"\x85R}b".to_vec()];
    assert!(check(array.concat()).unwrap_err().contains("numpy.array is not allowed"));
    let array = [global("numpy", "_make"), b")R".to_vec()].concat();
    assert!(check(array).unwrap_err().contains("numpy._make is not allowed"));
    let dtype = [global("numpy", "dtype"), global("numpy", "ndarray"), b"\x85R}b".to_vec()];
    assert_eq!(check(dtype.concat()), Ok(()));
    assert_eq!(check([global("numpy", "dtype"), b")\x81(NNe".to_vec()].concat()), Ok(()));
    assert!(check([global("numpy", "dtype"), b"}b".to_vec()].concat()).is_err());
    assert!(check([global("numpy", "dtype"), b")R)R".to_vec()].concat()).is_err());
    let mixed = [global("numpy", "dtype"), b")R".to_vec(), text("a"), b"\x93".to_vec()];
    assert!(check(mixed.concat()).unwrap_err().contains("no string of the pickle"));
    // Python 3 may know that name as another one.
    assert!(check_value(&guard, b"\x80\x02cnumpy\nndarray\n.").is_err());
    assert_eq!(check_value(&guard, b"\x80\x03cnumpy\nndarray\n."), Ok(()));
    let own = [managers("RebuildProxy"), b"(".to_vec(), global("numpy", "P"), token(&own())];
    let own = [own.concat(), text("pickle"), b"}tR".to_vec()].concat();
    assert_eq!(check(own), Ok(()));
}

#[test]
fn only_requests_pass() {
    let check = |ops: &[&[u8]]| guard().check(&[b"\x80\x04", &ops.concat()[..], b"."].concat());
    let request = |method: &str, args: &[u8]| check(&[b"(N", &text(method), b"(", args, b"t}t"]);
    assert_eq!(request("create", &text("Queue")), Ok(()));
    assert_eq!(request("put", b"]"), Ok(()));
    for typeid in ["AsyncResult", "Iterator"] {
        let refused = request("create", &[text(typeid), text("{0.__init__}")].concat());
        assert!(refused.unwrap_err().contains("AsyncResult or Iterator"));
    }
    // An argument whose text is not known.
    for args in [&b""[..], b"]", b"N", b"C\x01a"] {
        assert!(request("create", args).unwrap_err().contains("must be a typeid"));
    }
    let create = [text("create"), text("Iterator")].concat();
    // CPython would take any of these apart into four.
    for root in [
        [&b"](N"[..], &create, b"\x85}e"].concat(),
        [&b"(N"[..], &create, b"]\x85}t"].concat(),
        [&b"(N"[..], &create, b"}t"].concat(),
        b"(NNN\x91".to_vec(),
        b"N".to_vec(),
    ] {
        let root: Vec<u8> = root;
        assert!(check(&[&root]).is_err(), "{}", root.escape_ascii());
    }
}

#[test]
fn tuples_that_cpython_cannot_hash_are_refused() {
    refuses([b")".to_vec(), b"\x85".repeat(1001)].concat(), "nest so deep");
    passes([b")".to_vec(), b"\x85".repeat(1000)].concat());
    // Each has the one before twice: 2^60 objects.
    let twice = (0..60).flat_map(|key| [b'h', key, b'h', key, 0x86, 0x94]);
    refuses(b"K\x01\x85\x94".iter().copied().chain(twice).collect::<Vec<u8>>(), "nest so deep");
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33).to_le_bytes()[0]
    };
    for length in 0..2000 {
        let bytes: Vec<u8> = (0..length % 64).map(|_| next()).collect();
        let _ = check_value(&guard(), &bytes);
        let _ = check_with(&guard(), &bytes);
    }
}
