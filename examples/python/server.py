"""server.py [ADDRESS] [SECONDS]: manager and producer in one process."""

import queue
import random
import threading
import time

import common
import manager


def produce(tasks, pause):
    while True:
        item = random.randint(1, 10)
        tasks.put(item)
        print("put", item, flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    tasks = queue.Queue()
    producer = threading.Thread(target=produce, args=(tasks, common.seconds()), daemon=True)
    manager.serve(tasks, ready=producer.start)
