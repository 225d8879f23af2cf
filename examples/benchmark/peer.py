"""The Python side of the benchmark, a server or an unmodified client: serve | turn PORT | batch PORT | connect PORT |
redis PORT (of Redis itself)

It ends with its standard input.
"""

import os
import pickle
import queue
import socket
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


def redis(port):
    """Puts and gets with the commands that a manager uses, without a library, which would be slower."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    replies = connection.makefile("rb")

    def send(*commands):
        data = []
        for words in commands:
            data.append(b"*%d\r\n" % len(words))
            data += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
        connection.sendall(b"".join(data))
        return [reply() for _ in commands]

    def reply():
        line = replies.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"*":
            return [reply() for _ in range(int(rest))]
        return replies.read(int(rest) + 2)[:-2] if kind == b"$" and rest != b"-1" else rest

    consumer = b"%d" % os.getpid()
    send([b"XGROUP", b"CREATE", b"direct", b"clients", b"0", b"MKSTREAM"])

    def turn():
        send([b"XADD", b"direct", b"*", b"item", pickle.dumps(7)])
        read = b"XREADGROUP", b"GROUP", b"clients", consumer, b"COUNT", b"1", b"STREAMS", b"direct", b">"
        [[[_, [[number, [_, item]]]]]] = send(read)
        pickle.loads(item)
        send([b"XACK", b"direct", b"clients", number], [b"XDEL", b"direct", number])

    measure(turn)


def main(role, *port):
    if role == "serve":
        serve()
    elif role == "redis":
        redis(int(*port))
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
