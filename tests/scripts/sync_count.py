"""Prints how many objects a manager shares, each time that a proxy left a container and was dropped: the
manager at ADDRESS, or with no argument one of Python's own."""

import sys
from multiprocessing import current_process
from multiprocessing.managers import SyncManager


def run(manager):
    outer, names, queue = manager.list(), manager.dict(), manager.Queue()
    print(manager._number_of_objects())

    outer.append(manager.list())
    inner = outer.pop()
    print(manager._number_of_objects())
    del inner
    print(manager._number_of_objects())

    names["a"] = manager.Namespace()
    del names["a"]
    print(manager._number_of_objects())
    names["b"] = manager.dict()
    names.pop("b")
    print(manager._number_of_objects())

    queue.put(manager.Value("i", 1))
    queue.get()
    print(manager._number_of_objects())

    outer.append([manager.list(), manager.list()])
    kept, _ = outer.pop()
    del _
    print(manager._number_of_objects())
    del kept
    print(manager._number_of_objects())


def main():
    current_process().authkey = b"key"  # For proxies inside other objects.
    if len(sys.argv) == 1:
        with SyncManager(authkey=b"key") as manager:
            run(manager)
    else:
        host, port = sys.argv[1].rsplit(":", 1)
        manager = SyncManager((host, int(port)), authkey=b"key")
        manager.connect()
        run(manager)


if __name__ == "__main__":
    main()
