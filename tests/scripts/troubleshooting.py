"""troubleshooting.py NAME [ADDRESS]: provokes the error NAME. The name "serve" is CPython's manager for the others.

An error that is not caught ends the script with the text that a user sees. A script that goes on after an error prints
that text itself.
"""

import http.client
import multiprocessing
import pickle
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Client
from multiprocessing.managers import BaseManager, SyncManager

KEY = b"producer"
ADDRESS = ("127.0.0.1", 0)
if len(sys.argv) > 2:
    host, _, port = sys.argv[2].rpartition(":")
    ADDRESS = host, int(port)

# A function without a name, at the top of a module: pickle cannot find it by its name.
make_queue = lambda: queue.Queue()  # noqa: E731


def connect(key=KEY, address=ADDRESS, cls=SyncManager):
    manager = cls(address, key)
    manager.connect()
    return manager


def task_queue():
    BaseManager.register("task_queue")
    return connect(cls=BaseManager).task_queue()


def show(error):
    """Prints the last line of what Python prints of an error that is not caught."""
    text = "".join(traceback.format_exception_only(type(error), error))
    print(text.rstrip("-\n").splitlines()[-1], flush=True)


def obey():
    """Evaluates the lines that the test sends."""
    for line in sys.stdin:
        try:
            print(eval(line), flush=True)
        except Exception as error:
            show(error)


def fix():
    """Runs the code of the page, which the test sends."""
    exec(sys.stdin.read(), globals())


def serve():
    tasks = queue.Queue()
    SyncManager.register("task_queue", callable=lambda: tasks)
    server = SyncManager(ADDRESS, KEY).get_server()
    print("listening on %s:%d" % server.address, flush=True)
    server.serve_forever()


# Starting a manager.


def port_in_use():
    BaseManager(ADDRESS, KEY).get_server()


def start_port_in_use():
    BaseManager(ADDRESS, KEY).start()


def text_key():
    BaseManager(ADDRESS, "producer")


def empty_key():
    server = BaseManager(ADDRESS, b"").get_server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connect(b"", server.address)
    print("connected", flush=True)


def start_lambda():
    BaseManager.register("task_queue", callable=make_queue)
    BaseManager(ctx=multiprocessing.get_context("spawn")).start()


def start_lambda_by_default():
    BaseManager.register("task_queue", callable=make_queue)
    BaseManager().start()
    print("started", flush=True)


def no_guard():
    # The child process imports this file, and comes to this line again.
    BaseManager(ctx=multiprocessing.get_context("spawn")).start()


def exposed():
    class Manager(BaseManager):
        pass

    Manager.register("task_queue", queue.Queue, exposed=["_qsize"])
    server = Manager(ADDRESS, KEY).get_server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tasks = connect(address=server.address, cls=Manager).task_queue()
    print(tasks._qsize(), hasattr(tasks, "put"), flush=True)


# Connecting.


def only_connect():
    connect()


def any_address():
    connect(address=("0.0.0.0", ADDRESS[1]))
    connect(address=("", ADDRESS[1]))
    print("connected", flush=True)


def ipv6():
    connect(address=("::1", ADDRESS[1]))


def wrong_key():
    connect(b"another")


def nested_proxy():
    outer = connect().list()
    outer.append(connect().list())
    outer[0]


def nested_proxy_with_key():
    fix()
    nested_proxy()
    print("connected", flush=True)


def browser():
    browser = http.client.HTTPConnection(*ADDRESS)
    browser.request("GET", "/")
    browser.getresponse()


def pipe():
    Client(r"\\.\pipe\manager", authkey=KEY)


def not_connected():
    BaseManager.register("task_queue")
    BaseManager(ADDRESS, KEY).task_queue()


def not_registered_here():
    connect(cls=BaseManager).task_queue()


def not_registered_there():
    BaseManager.register("jobs")
    connect(cls=BaseManager).jobs()


# Calling.


def not_exposed():
    task_queue()._callmethod("_qsize")


def no_attribute():
    task_queue().maxsize


def subscript():
    task_queue()[0]


def auto_proxy():
    multiprocessing.current_process().authkey = KEY
    outer = connect().list()
    outer.append(task_queue())
    outer[0]
    print("stored", flush=True)


def nested_change():
    global table
    table = connect().dict(names=[])
    table["names"].append("ann")
    print(table, flush=True)
    fix()
    print(table, flush=True)


def freed():
    multiprocessing.current_process().authkey = KEY
    items = connect().list()
    sent = pickle.dumps(items)
    del items
    pickle.loads(sent)


def freed_manager():
    with SyncManager() as manager:
        items = manager.list()
    items.append(1)


def put_class():
    # A class that the manager's process does not have.
    global Job
    Job = type("Job", (), {"__module__": "__main__"})
    tasks = task_queue()
    tasks.put(Job())
    print("put", flush=True)
    del Job
    tasks.get()


def too_large():
    task_queue().put(bytes(256 << 20))


# After a restart, and after Ctrl-C.


def wait_for_item():
    tasks = task_queue()
    tasks.qsize()
    print("ready", flush=True)
    tasks.get()


def use():
    global tasks
    tasks = task_queue()
    print(tasks.qsize(), flush=True)
    obey()


def interrupt():
    global tasks
    # The tests may have been started with SIGINT ignored, as by a shell in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    tasks = task_queue()
    print(tasks.qsize(), flush=True)
    try:
        tasks.get()
    except KeyboardInterrupt as error:
        show(error)
    obey()


if __name__ == "__main__" or sys.argv[1] == "no_guard":
    globals()[sys.argv[1]]()
