"""corpus.py ADDRESS put|hop TYPEID    puts every object of the corpus, in protocols 2 to 5
corpus.py ADDRESS got|hopped TYPEID    gets them, and compares each with what was put

`put` and `got` take each object through every form of the call, and sharing counts. For `hop` and
`hopped`, where a Rust client has opened each object and put it again, it does not, but for an object
that holds nothing twice. Ends with a line that tells how many objects there were.
"""

import multiprocessing.reduction
import sys
from multiprocessing.managers import BaseManager

import codec

objects = codec.objects

# What a request itself holds: pickle writes such an item as a reference to that part of the request.
COLLISIONS = [
    ("collision %r" % (value,), value)
    for value in ["put", "get", "item", {"put": "put"}, ["item", ("put", "item")], (), {}, None, True]
]
PROTOCOLS = range(2, 6)
END = "the end of the corpus"


class Manager(BaseManager):
    pass


def use_protocol(protocol, dumps=multiprocessing.reduction.ForkingPickler.dumps):
    """Has this process pickle its messages in this protocol: stock Python always takes its default."""
    multiprocessing.reduction.ForkingPickler.dumps = lambda obj, _=None: dumps(obj, protocol)


def forms(role):
    yield lambda queue, value: queue.put(value)
    if role in ("put", "got"):
        yield lambda queue, value: queue.put(item=value)
        yield lambda queue, value: queue.put(value, True, 5)


def put(queue, role, corpus):
    for protocol in PROTOCOLS:
        use_protocol(protocol)
        for _, value in corpus:
            for form in forms(role):
                form(queue, value)
    queue.put(END)


def compare(queue, role, corpus):
    for protocol in PROTOCOLS:
        for name, value in corpus:
            exact = role == "got" or codec.sort(value) == "tree"
            difference = objects.difference if exact else codec.difference
            for _ in forms(role):
                why = difference(value, queue.get(True, 20))
                if why:
                    sys.exit("protocol %d: %s: %s" % (protocol, name, why))
    if queue.get(True, 20) != END:
        sys.exit("more has come than was put")


def main(address, role, typeid):
    host, _, port = address.rpartition(":")
    Manager.register(typeid)
    manager = Manager((host, int(port)), b"producer")
    manager.connect()
    queue = getattr(manager, typeid)()
    corpus = objects.everything() + COLLISIONS
    (put if role in ("put", "hop") else compare)(queue, role, corpus)
    numpy = "with" if objects.numpy_arrays() else "without"
    print("%d objects, %s NumPy" % (len(corpus), numpy))


if __name__ == "__main__":
    main(*sys.argv[1:])
