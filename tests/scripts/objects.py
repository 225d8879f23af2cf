"""The objects that every interpreter pickles for the tests, and a comparison that tells them apart.

    for name, value in everything():
        why = difference(value, what_came_back)

`corpus` has the small ones, `large` those of more than one frame, `numpy_arrays` what it says when
NumPy is there; `everything` has all. Each call makes the same objects anew.
"""

import array
import collections
import copyreg
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import ipaddress
import operator
import pathlib
import re
import sys
import types
import uuid


def everything():
    """(name, object) pairs, in a fixed order."""
    return corpus() + large() + numpy_arrays()


def corpus():
    return plain() + containers() + library() + instances() + graphs()


def large():
    strings = ["item number %d" % i for i in range(5000)]
    return [
        ("200 kB of bytes", bytes(range(256)) * 782),
        ("5,000 strings, some twice", strings + strings[-300:]),
        ("66 kB of text", "\u00e9" * 33000),
    ]


def plain():
    integers = [0, 1, -1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -2**31, 2**63, 2**100, -2**100]
    return [
        ("none", None),
        ("booleans", [True, False]),
        ("ellipsis and NotImplemented", [..., NotImplemented]),
        ("integers", integers),
        ("2**100", 2**100),
        ("an integer of over 255 bytes", -3**1500),
        ("floats", [0.0, -0.0, 1.5, 1e300, float("inf"), float("-inf"), float("nan")]),
        ("complex", 1.5 - 2j),
        ("empty string", ""),
        ("the string 'put'", "put"),
        ("the names in a request", ["put", "task_queue", ("put", {"put": "put"}), None]),
        ("strings", ["a", "\u00e4\u20ac\U0001f600", "nul \0, line\n", "x" * 255, "x" * 256]),
        ("lone surrogate", "before \ud800 after"),
        ("bytes", [b"", b"a", bytes(range(256)), b"x" * 255]),
        ("bytearray", bytearray(b"grows")),
    ]


def containers():
    return [
        ("empty containers", [[], (), {}, set(), frozenset(), bytearray()]),
        ("list", [1, "two", 3.0, [4, [5]]]),
        ("tuples", [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((), ((),))]),
        ("dict", {"z": 1, "a": 2, 3: None, (4, "5"): [6], None: True}),
        ("set", {1, 2, 3}),
        ("set of strings", {"one", "two", "three"}),
        ("frozenset", frozenset([1, 2, frozenset([3])])),
        ("over 1,000 items", [list(range(1001)), dict.fromkeys(range(1001))]),
        ("list nested 200 deep", functools.reduce(lambda inner, _: [inner], range(200), "core")),
    ]


def library():
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30), "IST")
    return [
        ("datetime", datetime.datetime(2024, 2, 29, 12, 30, 59, 999999)),
        ("datetime with zone", datetime.datetime(2024, 10, 27, 2, 30, tzinfo=zone)),
        ("date, time and timedelta", [
            datetime.date(1, 1, 1), datetime.time(23, 59, tzinfo=datetime.timezone.utc),
            datetime.timedelta(days=-1, microseconds=1), zone,
        ]),
        ("decimal", [decimal.Decimal("0.10"), decimal.Decimal("-Infinity")]),
        ("fraction", fractions.Fraction(22, 7)),
        ("deque", collections.deque([1, [2], 3], maxlen=5)),
        ("ordered dict", collections.OrderedDict([("z", 1), ("a", 2)])),
        ("defaultdict", collections.defaultdict(list, {"a": [1]})),
        ("counter", collections.Counter("abracadabra")),
        ("uuid", uuid.UUID("12345678-1234-5678-1234-567812345678")),
        ("path", [pathlib.Path("a/b.txt"), pathlib.PurePosixPath("/etc")]),
        ("range and slice", [range(1, 10, 3), slice(None, 5, 2)]),
        ("array", array.array("d", [1.0, 2.5])),
        ("compiled pattern", re.compile(r"(\w+)\s", re.I)),
        ("namespace", types.SimpleNamespace(a=1, b=[2])),
        ("partial and itemgetter", [functools.partial(int, base=2), operator.itemgetter(1, "a")]),
        ("ip address", ipaddress.ip_address("::1")),
        ("exception", ValueError("no good", 42)),
        ("operating system's exceptions", [FileNotFoundError(2, "No such file", "name"), KeyError()]),
    ] + ([("exception group", eval("ExceptionGroup")("two", [ValueError(1), OSError(2)]))]
         if sys.version_info >= (3, 11) else [])


def instances():
    error = Refused("too much", limit=3)
    error.hint = "less"
    slots = Slots()
    slots.left = [1]
    both = SlotsAndDict()
    both.left, both.extra = "l", {"e": 1}
    five = FiveParts("kept")
    five.note = "state"
    five.extend([1, "two"])
    five["key"] = "value"
    return [
        ("instance", Node("alone")),
        ("dataclass", Product("widget", 3, ["red", "round"])),
        ("frozen dataclass", Point(1.5, -2)),
        ("exception of one's own", error),
        ("slots", slots),
        ("slots, dict and one unset", both),
        ("enum", [Colour.RED, Access.READ | Access.WRITE, Number.ONE]),
        ("namedtuple", Pair(1, [2])),
        ("subclasses of built-in types", [Whole(7), Text("t"), Things([1, 2]), Mapping({"a": 1})]),
        ("all five parts of __reduce__", five),
        ("state setter", SetBy("function")),
        ("keyword arguments of __new__", KeywordOnly(width=2, height=3)),
        ("class references", [Node, Outer.Inner, dict, type(None), ValueError]),
        ("function references", [reducer, len, Outer.method, dict.fromkeys]),
        ("bound method", Node("bound").describe),
        ("instance of a nested class", Outer.Inner()),
    ]


def graphs():
    """Objects that reach themselves, or another twice."""
    items = []
    items.append(items)
    mapping = {}
    mapping["self"] = mapping
    loop = ([], "tuple")
    loop[0].append(loop)
    nested = ((("deep", []),),)
    nested[0][0][1].extend([nested, nested[0]])
    node = Node("root")
    node.next = Node("second", node)
    peer = Node("peer")
    peer.peers = {peer}
    frozen = Node("frozen")
    frozen.peers = frozenset([frozen])
    five = FiveParts("loop")
    five.append(five)
    five["me"] = five
    shared, text, raw, pair = [1], "shared " * 2, b"shared " * 2, ("a", ["b"])
    return [
        ("recursive list", items),
        ("recursive dict", mapping),
        ("recursive tuple", loop),
        ("nested recursive tuples", nested),
        ("recursive instances", node),
        ("instance in its own set", peer),
        ("instance in its own frozenset", frozen),
        ("five parts that hold itself", five),
        ("shared list", [shared, shared, [1], {"again": shared}]),
        ("shared string, bytes and tuple", [text, text, raw, raw, pair, pair]),
        ("shared instance", (lambda one: [one, {"one": one}, (one,)])(Product("s", 1, shared))),
        ("over 300 shared objects", (lambda many: many + many)([[i] for i in range(300)])),
    ]


def numpy_arrays():
    try:
        import numpy
    except ImportError:
        return []
    grid = numpy.arange(12, dtype="f4").reshape(3, 4)
    record = numpy.array([(1, 2.5)], dtype=[("id", "<i4"), ("x", ">f8")])
    return [
        ("numpy array", numpy.arange(10)),
        ("numpy arrays by column, by row, shared", [grid, numpy.asfortranarray(grid), grid]),
        ("numpy records and scalar", [record, numpy.float32(1.5)]),
        ("numpy objects", numpy.array([None, "text", [1]], dtype=object)),
    ]


# The classes of the instances above. No manager has them.


class Node:
    def __init__(self, name, following=None):
        self.name = name
        self.next = following

    def describe(self):
        return "node %s" % self.name


@dataclasses.dataclass
class Product:
    name: str
    count: int
    tags: list


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float


class Refused(Exception):
    def __init__(self, reason, limit=0):
        super().__init__(reason)
        self.limit = limit


class Slots:
    __slots__ = ("left", "right")


class SlotsAndDict(Slots):
    pass


class Colour(enum.Enum):
    RED = "red"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Number(enum.IntEnum):
    ONE = 1


Pair = collections.namedtuple("Pair", "first second")


class Whole(int):
    pass


class Text(str):
    pass


class Things(list):
    pass


class Mapping(dict):
    pass


class FiveParts:
    """Pickled as callable, arguments, state, list items and dict items."""

    def __init__(self, argument):
        self.argument = argument
        self.listed, self.mapped = [], {}

    def append(self, item):
        self.listed.append(item)

    def extend(self, items):
        self.listed.extend(items)

    def __setitem__(self, key, value):
        self.mapped[key] = value

    def __reduce__(self):
        state = {k: v for k, v in vars(self).items() if k not in ("argument", "listed", "mapped")}
        return reducer, (self.argument,), state, iter(self.listed), iter(self.mapped.items())


def reducer(argument):
    return FiveParts(argument)


class SetBy:
    """Pickled with the sixth part, which Python has since 3.8: a function that sets the state."""

    def __init__(self, who=None):
        self.who = who

    def __reduce__(self):
        return SetBy, (), self.who, None, None, set_who


def set_who(instance, who):
    instance.who = who


class KeywordOnly:
    def __new__(cls, *, width, height):
        self = super().__new__(cls)
        self.size = (width, height)
        return self

    def __getnewargs_ex__(self):
        return (), {"width": self.size[0], "height": self.size[1]}


class Outer:
    class Inner:
        pass

    @staticmethod
    def method():
        pass


def same(a, b):
    """Whether two object graphs agree in types, values, order and sharing."""
    return difference(a, b) is None


def difference(a, b):
    """Where two object graphs differ, as text; None when they do not.

    Both are taken apart as pickle takes them apart, side by side. What is one object in `a` must be
    one object in `b`. The reverse too, but for strings and other immutable objects.
    """
    # The partner of every object seen. It holds them: else an id could come back as another's.
    to_b, to_a = {}, {}
    pending = [("it", a, b)]
    while pending:
        path, a, b = pending.pop()
        if type(a) is not type(b):
            return "%s: %s became %s" % (path, type(a), type(b))
        if type(a) in UNSHARED:
            if not equal(a, b):
                return "%s: %.80r became %.80r" % (path, a, b)
            continue
        if id(a) in to_b:
            if to_b[id(a)][1] is not b:
                return "%s: no longer shared" % path
            continue
        if id(b) in to_a and not isinstance(a, IMMUTABLE):
            return "%s: shared with something else" % path
        to_b[id(a)] = to_a[id(b)] = (a, b)
        left, right = parts(a), parts(b)
        if left is None or right is None:
            if not equal(a, b):
                return "%s: %.80r became %.80r" % (path, a, b)
            continue
        if len(left) != len(right):
            return "%s: %d parts became %d" % (path, len(left), len(right))
        steps = ["%s.%d" % (path[-200:], i) for i in range(len(left))]
        pending.extend(reversed(list(zip(steps, left, right))))
    return None


# Pickle writes these anew each time.
UNSHARED = (type(None), bool, int, float, complex, type(...), type(NotImplemented))
IMMUTABLE = (int, str, bytes, tuple, frozenset)
REFERENCES = (type, types.FunctionType, enum.Enum)


def parts(value):
    """What pickle would write of an object; None when it has no parts."""
    kind = type(value)
    if kind in (str, bytes) or isinstance(value, REFERENCES):
        return None
    if kind in (list, tuple):
        return list(value)
    if kind is dict:
        return [part for item in value.items() for part in item]
    if kind in (set, frozenset):
        # A set of one needs no order; a longer one holds what has a plain repr.
        return sorted(value, key=repr) if len(value) > 1 else list(value)
    reduce = copyreg.dispatch_table.get(kind)
    reduced = reduce(value) if reduce else value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return None
    function, arguments, state, listed, mapped, setter = (reduced + (None,) * 4)[:6]
    return [function, arguments, state, list(listed or ()), list(mapped or ()), setter]


def equal(a, b):
    kind = type(a)
    if kind is float:
        # By bits: a NaN is like itself, and -0.0 is not 0.0.
        return a.hex() == b.hex()
    if kind is complex:
        return equal(a.real, b.real) and equal(a.imag, b.imag)
    return a == b if kind in (int, str, bytes) else a is b
