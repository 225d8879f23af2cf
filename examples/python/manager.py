"""manager.py [ADDRESS]: shares one queue with all who know the authkey, until somebody closes it."""

import queue
import threading
from multiprocessing.managers import BaseManager

import common

# The client that asked still has a few words to say: it lets go of what `close` gave it.
GRACE = 0.5


class Manager(BaseManager):
    pass


def serve(tasks, ready=lambda: None):
    """Serves `tasks` until a client calls `close`, then ends the program."""

    def close():
        print("asked to end", flush=True)
        threading.Timer(GRACE, server.stop_event.set).start()

    Manager.register("task_queue", callable=lambda: tasks)
    Manager.register("close", callable=close)
    server = Manager(common.address(), common.authkey()).get_server()
    print("listening on", common.show(server.address), flush=True)
    ready()
    server.serve_forever()


if __name__ == "__main__":
    serve(queue.Queue())
