"""Runs the same calls of Python's own manager and of another, for comparison."""

import sys
from multiprocessing import current_process
from multiprocessing.managers import SyncManager

KEY = b"key"


def run_with_manager(run, more=None, kind=SyncManager):
    """With ADDRESS as argument uses the manager there, and also runs `more`, which CPython's cannot do; without
    one starts one of Python's own."""
    current_process().authkey = KEY  # For proxies inside other objects.
    if len(sys.argv) == 1:
        with kind(authkey=KEY) as manager:
            run(manager)
    else:
        host, port = sys.argv[1].rsplit(":", 1)
        manager = kind((host, int(port)), authkey=KEY)
        manager.connect()
        run(manager)
        if more:
            more(manager)
