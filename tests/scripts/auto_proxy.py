"""Uses objects of other types than queues through the AutoProxy that Python makes when it is told no proxy type:
of the manager at ADDRESS, or with no argument of one of Python's own. Prints what comes of it."""

from multiprocessing.managers import BaseManager, DictProxy, Namespace, RemoteError, Value
from threading import Barrier

from both import run_with_manager


# Functions of the module, which a manager process that is not forked can import.
def get_barrier():
    return Barrier(1)


def number():
    return Value("i", 7)


THINGS = {
    "get_namespace": Namespace,
    "get_barrier": get_barrier,
    "ages": dict,
    "names": list,
    "number": number,
}


class Manager(BaseManager):
    pass


for name, thing in THINGS.items():
    Manager.register(name, thing)


def show(call, *args):
    try:
        print(repr(call(*args)))
    except RemoteError as error:
        print("RemoteError", "is not in exposed" in str(error))
    except Exception as error:
        print(type(error).__name__, error)


def run(manager):
    namespace = manager.get_namespace()
    print(type(namespace).__name__, str(namespace))
    # An attribute of the proxy alone, in the one manager as in the other.
    namespace.number = 7
    print(namespace.number, str(namespace), hasattr(namespace, "other"))
    print([name for name in vars(type(namespace)) if not name.startswith("__")])
    again = manager.get_namespace()
    print(type(again).__name__, repr(again._getvalue()))

    barrier = manager.get_barrier()
    print(sorted(name for name in vars(type(barrier)) if not name.startswith("__")))
    show(barrier.wait)
    show(barrier.reset)

    number = manager.number()
    show(number.get)

    count = manager._number_of_objects()
    ages = manager.ages()
    ages.update({"Ada": 36})
    show(iter, ages)
    show(list, ages)
    show(lambda: [name for name in ages])
    show(lambda: "Ada" in ages)
    show(ages.keys)
    show(ages.get, "Ada")
    print(manager._number_of_objects() - count, "more")


def more(manager):
    """What works here, and in CPython if the server is told the proxy type."""
    Manager.register("Iterator", exposed=("__next__",))
    Manager.register("typed", proxytype=DictProxy)
    ages = manager.typed()
    ages["Ada"] = 36
    assert list(ages) == ["Ada"] and ages["Ada"] == 36 and len(ages) == 1
    Manager.register("chosen")
    chosen = manager.chosen()
    chosen["Ada"] = 36
    assert chosen["Ada"] == 36 and not hasattr(chosen, "get")


if __name__ == "__main__":
    run_with_manager(run, more, Manager)
