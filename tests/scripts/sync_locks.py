"""One client of a manager that shares what synchronizes: HOST:PORT WHAT TYPEID."""

import signal
import sys
import threading
from multiprocessing.managers import BaseProxy, SyncManager


class Cell(BaseProxy):
    def get(self):
        return self._callmethod("get")

    def set(self, value):
        return self._callmethod("set", (value,))


SyncManager.register("Cell", proxytype=Cell, exposed=("get", "set"))


def say(text):
    print(text, flush=True)


def hold(shared):
    """Acquires it twice, if it can be, and keeps it."""
    shared.acquire()
    shared.acquire(False)
    say("held")
    signal.pause()


def acquire(shared):
    say("waiting")
    say(shared.acquire())


def wait(shared):
    """Waits for an event or in a barrier."""
    say("waiting")
    say(shared.wait())


def condition(shared):
    """Waits with two levels, which both come back."""
    shared.acquire()
    shared.acquire()
    say("waiting")
    say(shared.wait())
    shared.release()
    shared.release()
    try:
        shared.release()
    except RuntimeError as error:
        say(error)


def owner(shared):
    """What one thread acquires another cannot release."""
    shared.acquire()

    def other():
        try:
            shared.release()
        except RuntimeError as error:
            say(error)
        say(shared.acquire(False))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    shared.release()


def made(shared, manager):
    """A condition of a lock that is shared too."""
    condition = manager.Condition(shared)
    with condition:
        say(shared.acquire(False))
        say(condition.wait(0.01))
        condition.notify_all()
        shared.release()
        shared.acquire()
    say(shared.acquire(False))
    shared.release()


def count(shared, manager):
    cell = manager.Cell()
    for _ in range(50):
        with shared:
            cell.set(cell.get() + 1)


def main():
    address, what, typeid = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    manager = SyncManager(address=(host, int(port)), authkey=b"key")
    manager.connect()
    act = globals()[what]
    args = [getattr(manager, typeid)()]
    if act in (count, made):
        args.append(manager)
    act(*args)


if __name__ == "__main__":
    main()
