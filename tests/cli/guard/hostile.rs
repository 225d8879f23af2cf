//! Pickles that make a manager run code, look up what it should not, or connect elsewhere.

/// What `CPython` does with a hostile pickle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Does {
    /// Calls what it names: the marker exists afterwards.
    Runs,
    /// The same, up to this minor version. Later ones may refuse it.
    RunsUpTo(u32),
    /// Looks this up.
    Finds(&'static str),
    /// Connects to this port.
    Connects(u16),
    /// Nothing that can be seen: refused all the same.
    Nothing,
}
use Does::{Connects, Finds, Nothing, Runs, RunsUpTo};

pub(super) fn text(text: &str) -> Vec<u8> {
    [b"X", &u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat()
}

pub(super) fn all(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn managers(name: &str) -> Vec<u8> {
    format!("cmultiprocessing.managers\n{name}\n").into_bytes()
}

fn state(port: u16) -> Vec<u8> {
    let host = text("127.0.0.1");
    all(&[&text("Queue"), &host, b"M", &port.to_le_bytes(), b"\x86", &text("7f"), b"\x87"])
}

fn token(port: u16) -> Vec<u8> {
    all(&[&managers("Token"), b")\x81", &state(port), b"b"])
}

/// `RebuildProxy(type, token, 'pickle', keywords)`, without the call.
fn proxy(kind: &str, token: &[u8], keywords: &[u8]) -> Vec<u8> {
    let (function, kind) = (managers("RebuildProxy"), managers(kind));
    all(&[&function, b"(", &kind, token, &text("pickle"), keywords, b"t"])
}

/// Every way to make a manager do something that is known here. `marker` is a directory that is made when code runs.
pub(super) fn hostile(marker: &str) -> Vec<(&'static str, Does, Vec<u8>)> {
    let marker_text = text(marker);
    let mkdir: &[u8] = b"cos\nmkdir\n";
    let args = all(&[&marker_text, b"\x85"]);
    let call = all(&[mkdir, &args, b"R"]);
    let eval = text(&format!("__import__('os').mkdir({marker:?})"));
    let code = format!("a(self): pass\nimport os; os.mkdir({marker:?})\ndef b");
    let exposed = |code: &str| all(&[b"}", &text("exposed"), &text(code), b"\x85s"]);
    let (own, with_code) = (token(1), exposed(&code));
    // In the protocol that is most in use.
    let in_4 = |ops: &[&[u8]]| all(&[b"\x80\x04", &ops.concat(), b"."]);
    let stack_global = |module: &str, name: &str| all(&[&text(module), &text(name), b"\x93"]);
    let length = |ops: &[u8]| u64::try_from(ops.len()).unwrap().to_le_bytes();
    let mut cases = Vec::new();
    let mut case = |name, does, pickle: Vec<u8>| cases.push((name, does, pickle));

    case("GLOBAL", Runs, in_4(&[&call]));
    case("as an argument", Runs, in_4(&[b"(", &text("7f"), &text("put"), &call, b"\x85}t"]));
    case("STACK_GLOBAL", Runs, in_4(&[&stack_global("os", "mkdir"), &args, b"R"]));
    case("short strings", Runs, in_4(&[b"\x8c\x02os\x8c\x05mkdir\x93", &args, b"R"]));
    let long = b"\x8d\x02\0\0\0\0\0\0\0os\x8d\x05\0\0\0\0\0\0\0mkdir\x93";
    case("long strings", Runs, in_4(&[long, &args, b"R"]));
    case(
        "memoized strings",
        Runs,
        in_4(&[&text("mkdir"), b"\x94", &text("os"), b"\x9400h\x01h\x00\x93", &args, b"R"]),
    );
    case("memoized function", Runs, in_4(&[mkdir, b"\x940h\x00", &args, b"R"]));
    case("memoized call", Runs, in_4(&[&call, b"\x940h\x00"]));
    case(
        "reused BINPUT key",
        Runs,
        in_4(&[b"cbuiltins\nset\nq\x000", mkdir, b"q\x000h\x00", &args, b"R"]),
    );
    case(
        "reused LONG_BINPUT key",
        Runs,
        in_4(&[b"cbuiltins\nset\nq\x000", mkdir, b"r\0\0\0\x000h\x00", &args, b"R"]),
    );
    // MEMOIZE takes the number of keys in use, so this is put under key 1, which was in use.
    case(
        "MEMOIZE on a used key",
        Runs,
        in_4(&[b"cbuiltins\nset\nq\x010", mkdir, b"\x940h\x01", &args, b"R"]),
    );
    case("text keys", Runs, in_4(&[mkdir, b"p7\n0g7\n", &args, b"R"]));
    case("text keys with spaces", Runs, in_4(&[mkdir, b"p 0_7 \n0g7\n", &args, b"R"]));
    case("text strings", Runs, in_4(&[b"Vos\nVmkdir\n\x93", &args, b"R"]));
    case("strings of Python 2", Runs, in_4(&[b"S'os'\nU\x05mkdir\x93", &args, b"R"]));
    case("escaped strings", Runs, in_4(&[b"V\\u006fs\nVmkdir\n\x93", &args, b"R"]));
    case("DUP", Runs, in_4(&[mkdir, b"2", &args, b"R\x86"]));
    case("INST", Runs, in_4(&[b"(", &marker_text, b"ios\nmkdir\n"]));
    case("OBJ", Runs, in_4(&[b"(", mkdir, &marker_text, b"o"]));
    case("EXT1", Runs, in_4(&[b"\x82\xf0", &args, b"R"]));
    case("EXT2", Runs, in_4(&[b"\x83\xf0\0", &args, b"R"]));
    case("EXT4", Runs, in_4(&[b"\x84\xf0\0\0\0", &args, b"R"]));
    case("NEWOBJ", Finds("pathlib.PurePath"), in_4(&[b"cpathlib\nPurePath\n", &args, b"\x81"]));
    case("NEWOBJ_EX", Finds("pathlib.PurePath"), in_4(&[b"cpathlib\nPurePath\n", &args, b"}\x92"]));
    case(
        "NEWOBJ_EX of an allowed class",
        Nothing,
        in_4(&[&managers("Token"), b")}\x92", &state(1), b"b"]),
    );
    case("persistent id", Nothing, in_4(&[b"Pos.mkdir\n"]));
    case("persistent id on the stack", Nothing, in_4(&[&text("os.mkdir"), b"Q"]));
    case("buffer", Nothing, in_4(&[b"\x97"]));
    case(
        "dotted name",
        Runs,
        in_4(&[&stack_global("multiprocessing.managers", "os.mkdir"), &args, b"R"]),
    );
    case("dotted GLOBAL", Runs, in_4(&[&managers("os.mkdir"), &args, b"R"]));
    case(
        "dotted name in an allowed class",
        Finds("multiprocessing.managers.Token.__init__.__globals__"),
        in_4(&[&managers("Token.__init__.__globals__")]),
    );
    case(
        "module of an allowed module",
        Finds("multiprocessing.managers.os"),
        in_4(&[&managers("os")]),
    );
    case(
        "function of an allowed module",
        Finds("multiprocessing.managers.MakeProxyType"),
        in_4(&[&managers("MakeProxyType"), &text("T"), &text(&code), b"\x85\x86R"]),
    );
    case(
        "MakeProxyType",
        Runs,
        in_4(&[&managers("MakeProxyType"), &text("T"), &text(&code), b"\x85\x86R"]),
    );
    case("eval", Runs, in_4(&[b"cbuiltins\neval\n", &eval, b"\x85R"]));
    case("eval of Python 2", Runs, all(&[b"\x80\x02c__builtin__\neval\n", &eval, b"\x85R."]));
    case("eval of Python 2 without PROTO", Runs, all(&[b"c__builtin__\neval\n", &eval, b"\x85R."]));
    case(
        "eval of Python 2 after a second PROTO",
        Runs,
        in_4(&[b"\x80\x02c__builtin__\neval\n", &eval, b"\x85R"]),
    );
    case(
        "dotted name after a second PROTO",
        Runs,
        all(&[b"\x80\x02\x80\x04", &managers("os.mkdir"), &args, b"R."]),
    );
    case(
        "Python 2 name in STACK_GLOBAL",
        Runs,
        all(&[b"\x80\x02", &stack_global("__builtin__", "eval"), &eval, b"\x85R."]),
    );
    case(
        "getattr",
        Runs,
        in_4(&[
            b"cbuiltins\ngetattr\ncbuiltins\n__import__\n",
            &text("os"),
            b"\x85R",
            &text("mkdir"),
            b"\x86R",
            &args,
            b"R",
        ]),
    );
    // The parameter `exposed` is another one in each version: they all get this default.
    let defaults =
        all(&[&text("__defaults__"), b"(", &text(&code), b"\x85\x94h\x00h\x00h\x00h\x00t"]);
    let changed = all(&[&managers("AutoProxy"), b"N}", &defaults, b"s\x86b0"]);
    case("BUILD of a function", Runs, in_4(&[&changed, &proxy("AutoProxy", &own, b"}"), b"R"]));
    case(
        "BUILD of a class",
        Runs,
        in_4(&[
            &managers("ListProxy"),
            b"\x94N}",
            &text("__setstate__"),
            mkdir,
            b"s\x86b0h\x00)\x81",
            &marker_text,
            b"b",
        ]),
    );
    case("POP", Runs, in_4(&[&call, b"0N"]));
    case("POP_MARK", Runs, in_4(&[b"(", &call, b"1N"]));
    case("POP of a mark", Runs, in_4(&[mkdir, b"(0", &args, b"R"]));
    case("below the result", Runs, in_4(&[&call, b"N"]));
    case("in a frame", Runs, in_4(&[b"\x95", &length(&all(&[&call, b"."])), &call]));
    case("across frames", Runs, in_4(&[b"\x95\x04\0\0\0\0\0\0\0", &call]));
    case("in an operation across frames", Runs, in_4(&[b"\x95\x01\0\0\0\0\0\0\0", &call]));
    case(
        "frame in a frame",
        RunsUpTo(13),
        in_4(&[b"\x95\x20\0\0\0\0\0\0\0\x95\x01\0\0\0\0\0\0\0", &call]),
    );
    case("in a tuple", Runs, in_4(&[&call, b"\x85"]));
    case("in a list", Runs, in_4(&[b"](", &call, b"e"]));
    case("as a key", Runs, in_4(&[b"}", &call, b"Ns"]));
    case("in a set", Runs, in_4(&[b"\x8f(", &call, b"\x90"]));
    case("in a frozenset", Runs, in_4(&[b"(", &call, b"\x91"]));
    case("as a state", Runs, in_4(&[&managers("Token"), b")\x81", &call, b"b"]));
    case("as an allowed call's argument", Runs, in_4(&[b"cbuiltins\nset\n", &call, b"\x85R"]));
    case("before an unknown opcode", Runs, in_4(&[&call, b"\xff"]));
    case("before the end of the bytes", Runs, all(&[b"\x80\x04", &call]));
    case("before a bad string", Runs, in_4(&[&call, b"X\xff\xff\xff\xff"]));
    case("after the end", Nothing, in_4(&[b"N.", &call]));
    case("exposed with code", Runs, in_4(&[&proxy("AutoProxy", &own, &with_code), b"R"]));
    let list = all(&[b"}", &text("exposed"), b"]", &text(&code), b"as"]);
    case("exposed as a list", Runs, in_4(&[&proxy("AutoProxy", &own, &list), b"R"]));
    let replaced = all(&[&exposed("get"), &text("exposed"), &text(&code), b"\x85s"]);
    case("exposed twice", Runs, in_4(&[&proxy("AutoProxy", &own, &replaced), b"R"]));
    let late = all(&[b"h\x00", &text("exposed"), &text(&code), b"\x85s0R"]);
    case("exposed after the tuple", Runs, in_4(&[&proxy("AutoProxy", &own, b"}\x94"), &late]));
    let late = all(&[&exposed("get"), b"\x94"]);
    case(
        "exposed in a list that changes",
        Runs,
        in_4(&[
            &proxy("AutoProxy", &own, &all(&[b"}\x94", &text("exposed"), b"]\x94s"])),
            b"h\x01",
            &text(&code),
            b"a0R",
        ]),
    );
    case(
        "exposed is replaced",
        Runs,
        in_4(&[
            &text(&code),
            b"\x850",
            &proxy("AutoProxy", &own, &late),
            &all(&[b"h\x00", &text("exposed"), &text(&code), b"\x85s0R"]),
        ]),
    );
    case(
        "exposed with a name that is not ASCII",
        Nothing,
        in_4(&[&proxy("AutoProxy", &own, &exposed("é")), b"R"]),
    );
    case(
        "AutoProxy",
        Runs,
        in_4(&[
            &managers("AutoProxy"),
            b"(",
            &own,
            &text("pickle"),
            b"NN",
            &text(&code),
            b"\x85tR",
        ]),
    );
    case(
        "another keyword",
        Connects(1),
        in_4(&[&proxy("ListProxy", &own, &all(&[b"}", &text("authkey"), b"C\x01ks"])), b"R"]),
    );
    case("no exposed", Connects(1), in_4(&[&proxy("AutoProxy", &own, b"}"), b"R"]));
    case("foreign address", Connects(2), in_4(&[&proxy("ListProxy", &token(2), b"}"), b"R"]));
    let twice = all(&[&own, &state(2), b"b"]);
    case("address set twice", Connects(2), in_4(&[&proxy("ListProxy", &twice, b"}"), b"R"]));
    let late = all(&[&own, b"\x94"]);
    case(
        "address set by reference",
        Connects(2),
        in_4(&[&proxy("ListProxy", &late, b"}"), b"h\x00", &state(2), b"b0R"]),
    );
    case(
        "token that is called",
        Connects(2),
        in_4(&[&proxy("ListProxy", &all(&[&managers("Token"), &state(2), b"R"]), b"}"), b"R"]),
    );
    case("two tokens in one tuple", Nothing, in_4(&[&token(2), b"0", &own]));
    case(
        "function as the proxy type",
        Finds("os.mkdir"),
        in_4(&[&managers("RebuildProxy"), b"(", mkdir, &own, &text("pickle"), b"}tR"]),
    );
    case(
        "allowed call as the proxy type",
        Nothing,
        in_4(&[
            &managers("RebuildProxy"),
            b"(",
            &managers("RebuildProxy"),
            &own,
            &text("pickle"),
            b"}tR",
        ]),
    );
    case("class as a value", Finds("builtins.bytes"), in_4(&[b"](cbuiltins\nbytes\ne"]));
    case(
        "function as a value",
        Finds("multiprocessing.managers.AutoProxy"),
        in_4(&[b"}", &text("key"), &managers("AutoProxy"), b"s"]),
    );
    case("result is a class", Finds("builtins.bytes"), in_4(&[b"cbuiltins\nbytes\n"]));
    case("large bytes", Nothing, in_4(&[b"cbuiltins\nbytes\nJ\0\0\0\x01\x85R"]));
    case(
        "another codec",
        Nothing,
        in_4(&[b"c_codecs\nencode\n", &text("a"), &text("utf-7"), b"\x86R"]),
    );
    case(
        "_codecs.decode",
        Finds("_codecs.lookup"),
        in_4(&[b"c_codecs\nlookup\n", &text("rot13"), b"\x85R"]),
    );
    case("partial", Runs, in_4(&[b"cfunctools\npartial\n", mkdir, &marker_text, b"\x86R)R"]));
    cases
}
