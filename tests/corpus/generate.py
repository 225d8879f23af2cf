"""Writes data/py3.X-protoN.bin: the corpus, pickled by this interpreter with protocols 2 to 5.

    python3.X tests/corpus/generate.py            writes the files
    python3.X tests/corpus/generate.py --large    writes data/large-protoN.bin instead
    python3.X tests/corpus/generate.py --numpy    writes data/numpy-protoN.bin instead
    ... --check                                   reads those files and compares

A file is, for each object, its length as an unsigned 32-bit big-endian number and its pickle. The
names are in data/py3.X.txt (large.txt, numpy.txt), a line each, in the same order.
"""

import os
import pickle
import struct
import sys

import objects

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
PROTOCOLS = range(2, 6)


def write(label, corpus):
    with open(os.path.join(DATA, label + ".txt"), "w", encoding="utf-8") as names:
        names.writelines(name + "\n" for name, _ in corpus)
    for protocol in PROTOCOLS:
        with open(path(label, protocol), "wb") as file:
            for _, value in corpus:
                data = pickle.dumps(value, protocol)
                file.write(struct.pack(">I", len(data)) + data)


def check(label, corpus):
    for protocol in PROTOCOLS:
        with open(path(label, protocol), "rb") as file:
            for name, value in corpus:
                (length,) = struct.unpack(">I", file.read(4))
                why = objects.difference(value, pickle.loads(file.read(length)))
                if why:
                    sys.exit("%s, protocol %d: %s: %s" % (label, protocol, name, why))
            if file.read(1):
                sys.exit("%s, protocol %d: more than is known" % (label, protocol))


def path(label, protocol):
    return os.path.join(DATA, "%s-proto%d.bin" % (label, protocol))


def main(arguments):
    # A set's order, and with it the bytes, would differ from run to run.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable] + sys.argv)
    os.makedirs(DATA, exist_ok=True)
    if "--large" in arguments:
        label, corpus = "large", objects.large()
    elif "--numpy" in arguments:
        label, corpus = "numpy", objects.numpy_arrays()
    else:
        label, corpus = "py%d.%d" % sys.version_info[:2], objects.corpus()
    if not corpus:
        sys.exit("NumPy is not installed")
    (check if "--check" in arguments else write)(label, corpus)


if __name__ == "__main__":
    main(sys.argv[1:])
