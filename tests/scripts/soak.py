"""soak.py PART ADDRESS …: a client that says each step before and after it, until it is killed."""

import random
import sys
import time
from multiprocessing.managers import BaseManager


class Manager(BaseManager):
    pass


def connect(address):
    host, _, port = address.rpartition(":")
    for typeid in "tasks", "plain", "lock", "counts":
        Manager.register(typeid)
    manager = Manager((host, int(port)), b"soak")
    manager.connect()
    return manager


def say(what, number):
    print("%s %s." % (what, number), flush=True)


def pause():
    time.sleep(random.random() * 0.02)


def producer(manager, typeid, first):
    queue = getattr(manager, typeid)()
    number = int(first)
    while True:
        say("try", number)
        queue.put("%d %s" % (number, "x" * random.choice([0, 100, 20000])))
        say("put", number)
        number += 1
        pause()


def consumer(manager, typeid):
    queue = getattr(manager, typeid)()
    while True:
        say("ask", 0)
        number, _, _ = queue.get().partition(" ")
        say("got", number)
        if number != "stop":
            pause()
        if typeid == "tasks":
            say("doing", number)
            try:
                queue.task_done()
                say("done", number)
            except ValueError:
                say("late", number)
        if number == "stop":
            break


def counter(manager):
    """Counts under a lock: whoever dies with it must neither keep it nor spoil the count."""
    lock, counts = manager.lock(), manager.counts()
    while True:
        lock.acquire()
        count = counts.get("count") + 1
        counts.update([("count", count)])
        lock.release()
        say("counted", count)
        pause()


def main():
    part, address, *rest = sys.argv[1:]
    {"producer": producer, "consumer": consumer, "counter": counter}[part](connect(address), *rest)


if __name__ == "__main__":
    main()
