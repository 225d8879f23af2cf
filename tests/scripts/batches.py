"""batches.py ADDRESS KEY: puts and gets many items in one call, of a queue that a manager offers as `queue`."""

import datetime
import queue
import sys
from multiprocessing.managers import BaseManager


class Manager(BaseManager):
    pass


Manager.register("queue")
host, port = sys.argv[1].rsplit(":", 1)
manager = Manager((host, int(port)), sys.argv[2].encode())
manager.connect()
tasks = manager.queue()

shared = "shared" * 10
recursive = [1]
recursive.append(recursive)
day = datetime.date(2024, 2, 29)
items = [1, shared, (shared, shared), [shared, {"a": shared}], day, {day: shared}, b"x" * 70000, shared]
assert tasks.put_many(items) == len(items)
assert tasks.get() == 1
assert tasks.get_many(2) == items[1:3]
assert tasks.get_many(100, 5) == items[3:]

assert tasks.put_many((recursive, 2)) == 2
(first, second) = tasks.get_many(2)
assert first[1] is first and second == 2

part = ["part"]
pair = (["other"], part)
assert tasks.put_many([pair, (part, pair, pair)]) == 2
(_, (part, first, second)) = tasks.get_many(2)
assert first is second and part is first[1] and first == (["other"], ["part"])

assert tasks.put_many(list(range(5000)), timeout=None) == 5000
assert tasks.get_many(max=10000) == list(range(5000))

for wrong in (5, {1: 2}, {1, 2}, "text"):
    try:
        tasks.put_many(wrong)
    except TypeError as error:
        assert "a list, a tuple or a range" in str(error), error
    else:
        raise AssertionError(wrong)
try:
    tasks.get_many(3, 0.01)
except queue.Empty:
    print("well")
