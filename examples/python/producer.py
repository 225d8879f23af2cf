"""producer.py [ADDRESS] [SECONDS]: puts a random integer, 1 to 10, every SECONDS."""

import random
import sys
import time

import common


def main():
    pause = common.seconds()
    tasks = common.connect("task_queue").task_queue()
    try:
        while True:
            item = random.randint(1, 10)
            tasks.put(item)
            print("put", item, flush=True)
            time.sleep(pause)
    except (EOFError, OSError):
        print("the manager has ended", file=sys.stderr)


if __name__ == "__main__":
    main()
