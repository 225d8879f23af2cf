"""build_one.py ADDRESS    puts every object of the corpus into a lesson's queue, and compares each with what comes back"""

import sys

from corpus import COLLISIONS, Manager, objects, use_protocol


def framed():
    """Objects whose pickles are split into several frames, at each place where a request may be split."""
    for size in range(65_450, 65_550):
        yield "bytes of %d" % size, bytes(size)
        yield "list with %d bytes" % size, [bytes(size), "end"]
    large = bytes(100_000)
    yield "large bytes twice", [large, "between", large, "between"]


def main(address):
    host, _, port = address.rpartition(":")
    Manager.register("task_queue")
    manager = Manager((host, int(port)), b"producer")
    manager.connect()
    tasks = manager.task_queue()
    everything = objects.everything() + COLLISIONS + list(framed())
    for protocol in 4, 5:
        use_protocol(protocol)
        for name, value in everything:
            tasks.put(value)
            why = objects.difference(value, tasks.get())
            if why:
                sys.exit("protocol %d: %s: %s" % (protocol, name, why))
    print(len(everything), "objects")


if __name__ == "__main__":
    main(sys.argv[1])
