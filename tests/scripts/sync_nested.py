"""Reads the list that a Rust program stored in the list `outer` at ADDRESS, and stores things itself."""

import sys
from multiprocessing import current_process
from multiprocessing.managers import ListProxy, SyncManager

SyncManager.register("outer", proxytype=ListProxy)


def main():
    current_process().authkey = b"key"  # For proxies inside other objects.
    host, port = sys.argv[1].rsplit(":", 1)
    manager = SyncManager((host, int(port)), authkey=b"key")
    manager.connect()
    outer = manager.outer()
    for stored in (outer[0], outer[1]["deep"][0], manager.list(outer)[0]):
        stored.append(type(stored).__name__)
    queue = outer[1]["queue"]
    queue.put(type(queue).__name__)
    event = outer[2]
    event.set()
    outer.append(manager.list(["from Python"]))
    outer.append([manager.Value("i", 7), manager.dict(a=manager.Namespace(x=1))])
    endless = []
    endless.append(endless)
    outer.append(endless)
    endless = outer[-1]
    assert endless[0] is endless, "a list that holds itself passes through"
    outer.extend([object, 3 + 4j])
    assert outer[-2:] == [object, 3 + 4j]
    assert outer.count(3 + 4j) == 1


if __name__ == "__main__":
    main()
