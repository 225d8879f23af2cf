"""Prints how many objects a manager shares, each time that a proxy left a container and was dropped: the
manager at ADDRESS, or with no argument one of Python's own."""

from both import run_with_manager


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


if __name__ == "__main__":
    run_with_manager(run)
