"""The Python side of the benchmark, a server or an unmodified client: serve | turn PORT | batch PORT | connect PORT

It ends with its standard input.
"""

import os
import queue
import statistics
import sys
import threading
import time
from multiprocessing.managers import BaseManager

KEY = b"benchmark"
THOUSAND = list(range(1000))


class Manager(BaseManager):
    pass


def serve():
    tasks = queue.Queue()
    Manager.register("task_queue", callable=lambda: tasks)
    server = Manager(("127.0.0.1", 0), KEY).get_server()
    print("listening on %s:%d" % server.address, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


def connect(port):
    Manager.register("task_queue")
    manager = Manager(("127.0.0.1", port), KEY)
    manager.connect()
    return manager.task_queue()


def measure(once):
    """For each line, a number of seconds: how often `once` ran, how long, and its median time."""
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        begin = last = time.perf_counter()
        while last < begin + float(line):
            once()
            now = time.perf_counter()
            times.append(now - last)
            last = now
        print(len(times), last - begin, statistics.median(times), flush=True)


def main(role, *port):
    if role == "serve":
        serve()
    elif role == "connect":
        measure(lambda: connect(int(*port)).qsize())
    else:
        tasks = connect(int(*port))

        def turn():
            tasks.put(7)
            tasks.get()

        def batch():
            tasks.put_many(THOUSAND)
            tasks.get_many(1000)

        measure(batch if role == "batch" else turn)


main(*sys.argv[1:])
