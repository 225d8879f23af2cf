"""consumer.py [ADDRESS]: prints each item as it comes, until the manager ends."""

import sys

import common


def main():
    tasks = common.connect("task_queue").task_queue()
    try:
        while True:
            print(tasks.get(), flush=True)
    except (EOFError, OSError):
        print("the manager has ended", file=sys.stderr)


if __name__ == "__main__":
    main()
