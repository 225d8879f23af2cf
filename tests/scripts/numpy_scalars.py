"""Calls methods with NumPy's scalars in place of numbers and truth values: of the manager at ADDRESS, or with no
argument of one of Python's own."""

import queue
import time
from multiprocessing.managers import BaseManager

import numpy as np

from both import KEY, run_with_manager


def raises(error, call, *args, **kwargs):
    begin = time.monotonic()
    try:
        call(*args, **kwargs)
    except error:
        return time.monotonic() - begin
    raise AssertionError("it does not raise " + error.__name__)


def run(manager):
    tasks = manager.Queue(np.int64(1))
    assert raises(queue.Empty, tasks.get, timeout=np.float64(0.05)) > 0.04
    assert raises(queue.Empty, tasks.get, np.False_) < 5
    tasks.put(np.int64(7), np.True_, np.float64(5))
    raises(queue.Full, tasks.put, 1, np.False_)
    raises(queue.Full, tasks.put, 1, np.bool_(1), np.float64(0.01))
    item = tasks.get(np.True_, np.float64(5))
    assert type(item) is np.int64 and item == 7

    items = manager.list(range(5))
    assert items[np.int64(1)] == 1 and items[np.int8(-1)] == 4 and items[np.uint64(2)] == 2
    assert items[np.int32(1) : np.int32(4) : np.int16(2)] == [1, 3]
    items[np.int64(0)] = np.float64(0.5)
    assert type(items[0]) is np.float64
    items[0] = 0
    items *= np.int64(1)
    assert len(items) == 5
    items.insert(np.int64(0), np.int64(-1))
    assert items.index(-1) == 0 and items.index(np.int8(-1)) == 0 and type(items[0]) is np.int64
    assert items.count(np.float64(3)) == 1 and np.uint8(4) in items
    items.extend([np.float32(2.5), np.int64(-3)])
    items.sort(reverse=np.True_)
    assert items[:] == [4, 3, 2.5, 2, 1, 0, -1, -3], items
    assert items.pop(np.int64(2)) == 2.5
    del items[np.int64(0)]
    items[np.int64(0) : np.int64(2)] = range(np.int64(3))
    assert items[:3] == [0, 1, 2]
    items.remove(np.int64(-3))

    names = manager.dict()
    names[2] = "two"
    names[np.int64(2)] = "zwei"
    names[np.float64(2)] = "deux"
    assert names.items() == [(2, "deux")], names
    names[np.float64(0.5)] = "half"
    assert names[0.5] == "half" and names.pop(np.float32(0.5)) == "half"
    names[(np.int64(1), "a")] = 1
    assert names[(1, "a")] == 1 and names[(True, "a")] == 1
    names[np.True_] = "one"
    assert names[1] == "one" and names[np.uint8(1)] == "one"
    names[np.uint64(2**64 - 1)] = "most"
    assert names[2**64 - 1] == "most"

    array = manager.Array("i", [np.int64(1), np.int8(2)])
    array[np.int64(0)] = np.int32(7)
    assert array[0] == 7 and list(array) == [7, 2]
    floats = manager.Array("d", [np.float32(0.5)])
    floats[0] = np.float64(1.5)
    assert floats[0] == 1.5

    event = manager.Event()
    assert event.wait(np.float64(0.01)) is False
    lock = manager.Lock()
    assert lock.acquire(np.True_) is True and lock.acquire(np.False_) is False
    assert lock.acquire(np.True_, np.float64(0.01)) is False
    semaphore = manager.Semaphore(np.int64(2))
    assert semaphore.acquire() and semaphore.acquire() and not semaphore.acquire(np.False_)
    barrier = manager.Barrier(np.int64(1), None, np.float64(5))
    assert barrier.wait(np.float64(1)) == 0
    value = manager.Value("d", np.float64(0.5))
    assert type(value.get()) is np.float64


def more(manager):
    """What CPython's manager does not have."""
    class Many(BaseManager):
        pass

    Many.register("many")
    many = Many(manager.address, KEY)
    many.connect()
    tasks = many.many()
    raises(queue.Empty, tasks.get, timeout=np.float32(0.05))
    assert tasks.put_many(range(np.int64(10)), timeout=np.float64(1)) == 10
    assert tasks.get_many(np.int64(4), np.float64(1)) == [0, 1, 2, 3]
    assert tasks.get_many(9) == [4, 5, 6, 7, 8, 9]
    assert tasks.put_many(range(5, 0, -2)) == 3 and tasks.get_many(9) == [5, 3, 1]
    assert tasks.put_many(range(0)) == 0
    raises(MemoryError, tasks.put_many, range(10**12))
    raises(TypeError, tasks.put_many, range(10**30))
    raises(TypeError, tasks.put_many, 7)


if __name__ == "__main__":
    run_with_manager(run, more)
    print(np.__version__)
