"""latency.py ADDRESS: medians in milliseconds of connect + create, and of a 20 kB put + get."""

import statistics
import sys
import time
from multiprocessing.managers import BaseManager


class Manager(BaseManager):
    pass


Manager.register("task_queue")


def address():
    text = sys.argv[1]
    host, _, port = text.rpartition(":")
    return text if "/" in text else (host, int(port))


def median(times, action):
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken)


def create():
    manager = Manager(address(), b"producer")
    manager.connect()
    return manager.task_queue()


def main():
    # More than 16 KiB: CPython writes the header by itself, where Nagle's algorithm bites.
    item = bytes(20_000)
    print("connect+create", median(20, create))
    tasks = create()

    def put_and_get():
        tasks.put(item)
        if tasks.get() != item:
            sys.exit("another item came back")

    print("put+get", median(50, put_and_get))


if __name__ == "__main__":
    main()
