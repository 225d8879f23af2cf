"""queue_semantics.py [ADDRESS]: one line for each call of a queue's proxy, with what came of it.

With ADDRESS it calls the manager there, else a BaseManager of its own that serves queue.Queue. Whoever
compares the two outputs sees where the managers differ.
"""

import multiprocessing.managers
import queue
import re
import sys
import threading
from multiprocessing.managers import BaseManager

KEY = b"semantics"


class Manager(BaseManager):
    pass


class Unpicklable:
    def __reduce__(self):
        raise ValueError("not me")


# Each is evaluated with q, a queue without bounds, b, one of two places, and m, the manager. A line
# that begins with a name and a colon runs in a thread of that name; "wait NAME" shows what came of it.
CALLS = """
m.Queue().qsize()
m.Queue(2).full()
m.Queue(maxsize=2).full()
m.Queue(-1).full()
m.Queue(0).full()
m.Queue(1, 2)
m.Queue(size=1)
m.Nothing()
m.Nothing() # is framed
[name for name in sorted(dir(type(q))) if not name.startswith("_")]
str(q)
repr(q)
q == m.Queue()
q._getvalue()
q.maxsize
q.unknown()
q._callmethod("unknown")
q._callmethod("_put", (1,))
q._callmethod("__init__")
q._callmethod("mutex")
q._callmethod("__str__").startswith("<queue.Queue object at")
q._callmethod("__repr__") == q._callmethod("__str__")
len(q)
iter(q)
bool(q)

q.put(1)
q.put(2, True)
q.put(3, False)
q.put(4, block=False)
q.put(5, timeout=1)
q.put(6, True, 5)
q.put(6.5, True, None)
q.put(item=7)
q.put(item=8, block=True, timeout=0.5)
q.put(timeout=1, item=9)
q.put_nowait(10)
q.put_nowait(item=11)
q.put(12, "yes")
q.put(13, 0)
q.put(14, False, -1)
q.put(15, False, "soon")
q.qsize()
q.empty()
q.full()
q.get()
q.get(True)
q.get(True, 5)
q.get(True, None)
q.get(False)
q.get(block=False)
q.get(timeout=0.05)
q.get(timeout=0)
q.get(timeout=True)
q.get(block=True, timeout=1)
q.get(False, "soon")
q.get(False, -1)
q.get_nowait()
[q.get() for _ in range(q.qsize())]
q.qsize()
q.empty()

u = m.Queue()
u.put(1, timeout=-1)
u.put(2, timeout="soon")
u.qsize()

q.get(False)
q.get(block=False)
q.get(0)
q.get([])
q.get(None)
q.get_nowait()
q.get(timeout=0)
q.get(timeout=0.0)
q.get(timeout=0.05)
q.get(timeout=False)
q.get(True, 0.05)
q.get("yes", 0.05)
q.get(timeout=-1)
q.get(timeout=-0.001)
q.get(True, -5)
q.get(timeout=-10**30)
q.get(timeout=float("-inf"))
q.get(timeout="soon")
q.get(timeout=b"1")
q.get(timeout=[1])
q.get(timeout=(1, 2))
q.get(timeout={})
q.get(timeout=1j)
q.get(False, -1)
q.get(False, timeout="soon")
q.get(1, 2, 3)
q.get(True, 1, timeout=2)
q.get(True, block=True)
q.get(wait=1)
q.get(item=1)
q.get(block=False, wait=1)
q.get_nowait(1)
q.get_nowait(1, 2)
q.get_nowait(timeout=1)
q.put()
q.put(block=False)
q.put(1, 2, 3, 4)
q.put(1, True, 1, timeout=1)
q.put(1, item=1)
q.put(1, thing=2)
q.put(thing=2)
q.put_nowait()
q.put_nowait(1, 2)
q.put_nowait(thing=2)
q.put_nowait(1, item=2)
q.qsize(1)
q.qsize(exact=True)
q.empty(1)
q.full(1, 2)
q.task_done(1)
q.join(1)
q.join(timeout=1)
q.put(Unpicklable())
q.qsize()

q.put(None)
q.put((1, [2, {3: "four"}], {5}, b"six"))
q.put(2**100)
q.put(1.5)
q.put(float("nan"))
q.put("\\ud800")
q.put(ValueError("carried, not raised"))
q.put(queue.Empty())
q.put(print)
q.put("#RETURN")
[repr(q.get()) for _ in range(q.qsize())]

b.put(1)
b.qsize()
b.full()
b.put(2)
b.full()
b.empty()
b.put(3, False)
b.put(3, block=False)
b.put_nowait(3)
b.put(3, timeout=0)
b.put(3, timeout=0.05)
b.put(3, True, 0.05)
b.put(3, timeout=-1)
b.put(3, timeout="soon")
b.put(3, False, -1)
b.put(3, False, "soon")
b.qsize()
putter: b.put(3)
b.get()
wait putter
[b.get(), b.get()]
getter: b.get()
b.put(4)
wait getter
getter: b.get(timeout=20)
b.put(5, timeout=20)
wait getter

b.task_done()
[b.task_done() for _ in range(3)]
joiner: b.join()
b.task_done()
wait joiner
b.join()
b.task_done()
b.task_done()
b.join()
""".strip()

# Since Python 3.13; each with a new queue s without bounds, and a new b of two places.
SHUTDOWN = """
s.shutdown(1, 2)
s.shutdown(now=True)
s.put(1)
s.put(2)
s.shutdown()
s.put(3)
s.put(3, timeout=-1)
s.put(3, timeout="soon")
s.put_nowait(3)
s.qsize()
s.get()
s.get(timeout=1)
s.get()
s.get(False)
s.get_nowait()
s.get(timeout=0.05)
s.get(timeout=-1)
s.get(timeout="soon")
s.empty()
s.task_done()
joiner: s.join()
s.task_done()
wait joiner
s.shutdown()
s.shutdown(immediate=True)
b.put(1)
b.put(2)
putter: b.put(3)
b.shutdown(True)
wait putter
b.qsize()
b.join()
b.task_done()
b.get()
b.put(4)
c = m.Queue()
getter: c.get()
c.shutdown()
wait getter
d = m.Queue(1)
d.put(1)
joiner: d.join()
d.shutdown(immediate=True)
wait joiner
""".strip()


def outcome(expression, scope):
    """What a call gave or raised, without what differs from run to run."""
    text = evaluate(expression, scope)
    text = re.sub("0x[0-9a-f]+", "0x?", text)
    return re.sub("'[0-9a-f]{10,}'", "'ID'", text)


def evaluate(expression, scope):
    try:
        name, equals, value = expression.partition(" = ")
        if equals and name.isidentifier():
            scope[name] = eval(value, scope)
            return "set"
        return repr(eval(expression, scope))
    except BaseException as error:
        text = str(error)
        if isinstance(error, multiprocessing.managers.RemoteError):
            # A traceback, framed by two lines of dashes: what counts is its last line.
            if expression.endswith("# is framed"):
                return repr(set(text.splitlines()[-1]) == {"-"})
            lines = [line.rstrip("-") for line in text.splitlines()]
            text = next(line for line in reversed(lines) if line)
        return "%s.%s: %s" % (type(error).__module__, type(error).__qualname__, text)


def run(calls, scope):
    threads = {}
    for line in filter(None, calls.splitlines()):
        name, colon, expression = line.partition(": ")
        if line.startswith("wait "):
            thread, results = threads.pop(line.split()[1])
            thread.join(20)
            print(line, "->", results, flush=True)
        elif colon and name.isidentifier():
            results = []
            call = lambda e=expression, r=results: r.append(outcome(e, scope))
            thread = threading.Thread(target=call, daemon=True)
            thread.start()
            thread.join(0.02)
            threads[name] = thread, results
        else:
            print(line, "->", outcome(line, scope), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Manager.register("Queue")
        Manager.register("Nothing")
        host, port = sys.argv[1].rsplit(":", 1)
        m = Manager((host, int(port)), KEY)
        m.connect()
    else:
        Manager.register("Queue", queue.Queue)
        m = Manager(("127.0.0.1", 0), KEY)
        m.start()
        # The client knows of one typeid that the manager does not.
        Manager.register("Nothing")
    run(CALLS, dict(globals(), m=m, q=m.Queue(), b=m.Queue(2)))
    if hasattr(queue, "ShutDown"):
        run(SHUTDOWN, dict(globals(), m=m, s=m.Queue(), b=m.Queue(2)))
