"""codec.py: says what CPython makes of pickles.

Reads questions on stdin and answers on stdout, until stdin ends. A question is a letter and a list of
byte strings, an answer such a list. A list is its length, and a byte string its length and its bytes;
each length is an unsigned 32-bit big-endian number.

    r  pickle, ...                      repr(), ascii() and the pickles in protocols 2 to 5, of each
    c                                   name, protocol, sort and pickle of each object in the corpus
    s  name, pickle, ...                how each differs from the corpus's object of that name
    a  name, pickle, ...                the same, but sharing does not count
    l  pickle, ...                      what unpickling each raises
    p  pickle, ...                      the same, with the unpickler that is written in Python
    j  theirs, ours, decoded, ...       see judge()
    f  request, reply, ...              whether the reply has the request's first argument, or `item`
    m  one, other, both, ...            whether both is a list of what one and other are

Where the answer is a difference or an exception, the empty string means that there is none.
"""

import codecs
import io
import pickle
import resource
import struct
import sys

import objects

PROTOCOLS = range(2, 6)
CORPUS = objects.everything()
BY_NAME = dict(CORPUS)


def roundtrip(pickles):
    for data in pickles:
        value = pickle.loads(data)
        yield repr(value)
        yield ascii(value)
        for protocol in PROTOCOLS:
            yield pickle.dumps(value, protocol)


def corpus(_):
    for protocol in PROTOCOLS:
        for name, value in CORPUS:
            yield from (name, str(protocol), sort(value), pickle.dumps(value, protocol))


def sort(value):
    """A `tree` holds nothing twice; a `graph` does; a `cycle` holds itself."""
    seen, path, kind = {}, set(), "tree"
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, Leave):
            path.discard(value.ident)
        elif id(value) in path:
            return "cycle"
        elif type(value) not in objects.UNSHARED:
            if id(value) in seen:
                kind = "graph"
            seen[id(value)] = value
            path.add(id(value))
            pending.append(Leave(id(value)))
            pending.extend(objects.parts(value) or ())
    return kind


class Leave:
    def __init__(self, ident):
        self.ident = ident


def same(questions):
    for name, data in zip(questions[::2], questions[1::2]):
        yield attempt(lambda: objects.difference(BY_NAME[name.decode()], pickle.loads(data)))


def alike(questions):
    for name, data in zip(questions[::2], questions[1::2]):
        yield attempt(lambda: difference(BY_NAME[name.decode()], pickle.loads(data)))


def difference(a, b):
    """Like `objects.difference`, but what was one object may have become several."""
    seen = {}
    pending = [(a, b)]
    while pending:
        a, b = pending.pop()
        if type(a) is not type(b):
            return "%s became %s" % (type(a), type(b))
        if (id(a), id(b)) in seen:
            continue
        seen[id(a), id(b)] = (a, b)
        left = right = None
        if type(a) not in objects.UNSHARED:
            left, right = objects.parts(a), objects.parts(b)
        if left is None or right is None:
            if not objects.equal(a, b):
                return "%.80r became %.80r" % (a, b)
        elif len(left) != len(right):
            return "%d parts became %d" % (len(left), len(right))
        else:
            pending.extend(zip(left, right))
    return None


def loads(pickles):
    for data in pickles:
        yield attempt(lambda: unpickle(data) and None)


def pure_loads(pickles):
    for data in pickles:
        yield attempt(lambda: unpickle(data, PureUnpickler) and None)


def judge(programs):
    """Whether we may have made `ours`, and `decoded`, of the pickle `theirs`.

    Each is empty if we refused. The answer is `-` if CPython refuses too, `+` if it agrees with us,
    and otherwise what is wrong.
    """
    for theirs, ours, decoded in zip(programs[::3], programs[1::3], programs[2::3]):
        yield verdict(lambda: unpickle(theirs), lambda: ours and [unpickle(ours)],
                      lambda: decoded and [unpickle(decoded)])


def forwarded(messages):
    for request, reply in zip(messages[::2], messages[1::2]):
        yield verdict(lambda: item(*unpickle(request)), lambda: [unpickle(reply)[1]])


def item(ident, method, args, kwargs):
    return args[0] if args else kwargs["item"]


def joined(pickles):
    for one, other, both in zip(pickles[::3], pickles[1::3], pickles[2::3]):
        yield verdict(lambda: [unpickle(one), unpickle(other)], lambda: [unpickle(both)])


def verdict(theirs, ours, decoded=lambda: None):
    """Whether what these functions read is the same; `ours` and `decoded` give a list of it."""
    # Where a bytearray is cut short, CPython prints an error of its own besides raising one.
    sys.excepthook = lambda kind, *rest: kind is SystemError or sys.__excepthook__(kind, *rest)
    for hashable in (False, True):
        Recorder.__hash__ = Recorder.hash if hashable else None
        try:
            expected = theirs()
        except Exception:
            continue
        found = attempt(lambda: compare(objects.difference, expected, ours()))
        # What is shared within a set is not when decoded: instances become several.
        if not found and not hashable:
            found = attempt(lambda: compare(difference, expected, decoded() or [expected]))
            found = found and "decoded: " + found
        return found or "+"
    return "-"


def compare(how, expected, found):
    return how(expected, *found) if found else "refused, but CPython reads %.200r" % (expected,)


def attempt(action):
    """The difference that it returns, or the exception that it raises."""
    try:
        return action() or ""
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)


class Inert:
    """Imports nothing: every class is one that only writes down what is done to it.

    Except those by which older protocols write plain data.
    """

    classes = {}
    plain = {kind.__name__: kind for kind in (bytes, bytearray, set, frozenset)}

    def find_class(self, module, name):
        key = (module, name)
        if module in ("builtins", "__builtin__") and name in self.plain:
            return self.plain[name]
        if key == ("_codecs", "encode"):
            return codecs.encode
        if key not in self.classes:
            self.classes[key] = type("Recorder", (Recorder,), {"__doc__": "%s.%s" % key})
        return self.classes[key]


class Unpickler(Inert, pickle.Unpickler):
    pass


class PureUnpickler(Inert, pickle._Unpickler):
    """Python's own in Python: its memo is a dict, and no key costs memory."""


def unpickle(data, unpickler=Unpickler):
    return unpickler(io.BytesIO(data)).load()


class Recorder:
    __hash__ = None

    def hash(self):
        """The same for all, so that a set has them in the order in which it got them."""
        return 1

    def __new__(cls, *args, **kwargs):
        self = object.__new__(cls)
        self.calls = [("new", args, kwargs)]
        return self

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        self.calls.append(("state", state))

    def __setitem__(self, key, value):
        self.calls.append(("set", key, value))

    def append(self, item):
        self.calls.append(("append", item))

    def extend(self, items):
        self.calls.extend(("append", item) for item in items)

    def add(self, item):
        self.calls.append(("add", item))

    def __reduce_ex__(self, protocol):
        return type(self), (), self.calls

    def __repr__(self):
        return "<%s>" % type(self).__doc__


ANSWERS = {b"r": roundtrip, b"c": corpus, b"s": same, b"a": alike, b"l": loads, b"p": pure_loads,
           b"j": judge, b"f": forwarded, b"m": joined}


def read(size):
    data = sys.stdin.buffer.read(size)
    if len(data) < size:
        sys.exit("a question ended too early")
    return data


def number():
    return struct.unpack(">I", read(4))[0]


def main():
    # A memo key of 2**31 has CPython write to 32 GB. Here that is an error like any other.
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    while True:
        letter = sys.stdin.buffer.read(1)
        if not letter:
            return
        questions = [read(number()) for _ in range(number())]
        out = [b""]
        for answer in ANSWERS[letter](questions):
            if isinstance(answer, str):
                answer = answer.encode("utf-8", "backslashreplace")
            out.append(struct.pack(">I", len(answer)) + answer)
        out[0] = struct.pack(">I", len(out) - 1)
        sys.stdout.buffer.write(b"".join(out))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
