"""Uses the manager at ADDRESS, or with no argument one of its own, through a library that copies
`multiprocessing`: `multiprocess` or `billiard`, the first argument."""

import importlib
import sys

fork = importlib.import_module(sys.argv[1])
managers = importlib.import_module(sys.argv[1] + ".managers")
SyncManager = managers.SyncManager


def run(manager):
    items = manager.list(range(5))
    assert items[1:3] == [1, 2] and items[::-2] == [4, 2, 0] and items[:] == [0, 1, 2, 3, 4]
    items[1:4] = range(3)
    assert items[:] == [0, 0, 1, 2, 4]
    del items[:2]
    items.extend(range(7, 0, -3))
    assert items[:] == [1, 2, 4, 7, 4, 1]
    items.extend(list(zip([1], [2])))
    items.extend(list(enumerate("a")))
    items.append(bytearray(b"x"))
    assert items[-3:] == [(1, 2), (0, "a"), bytearray(b"x")] and bytearray(b"x") in items

    outer = manager.list()
    inner = manager.list(["alive"])
    outer.append(inner)
    outer.append({"deep": [inner]})
    names = manager.dict()
    names["inner"] = inner
    value = manager.Value("O", inner)
    space = manager.Namespace()
    space.inner = inner
    tasks = manager.Queue()
    tasks.put(inner)
    tasks.put([inner])
    flat = manager.list(inner)
    flat.extend(inner)
    assert flat[:] == ["alive", "alive"]
    del inner
    for stored in (outer[0], outer[1]["deep"][0], names["inner"], value.value, space.inner):
        assert stored[0] == "alive", stored
    assert tasks.get()[0] == "alive" and tasks.get()[0][0] == "alive"
    assert str(outer[0]) == "['alive']"
    array = manager.Array("i", range(4))
    assert list(array[1:3]) == [1, 2]
    counted = manager._number_of_objects()
    del names["inner"], space.inner, stored
    outer[:] = []
    value.value = None
    return counted - manager._number_of_objects()


def main():
    fork.current_process().authkey = b"key"
    if len(sys.argv) == 2:
        with SyncManager(authkey=b"key") as manager:
            run(manager)
    else:
        host, port = sys.argv[2].rsplit(":", 1)
        manager = SyncManager((host, int(port)), authkey=b"key")
        manager.connect()
        assert run(manager) == 1, "the inner list goes with its last container"


if __name__ == "__main__":
    main()
