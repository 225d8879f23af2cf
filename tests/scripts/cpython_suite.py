"""Runs CPython's own tests of its managers (the classes WithManager...) against the manager at ADDRESS.

python cpython_suite.py ADDRESS AUTHKEY

The last line counts the tests; a line for each failure comes before it. Prints `no tests` if this Python was
installed without them.
"""

import multiprocessing
import os
import sys
import tempfile
import unittest
from multiprocessing.managers import SyncManager

# These classes start processes or managers of their own, or test no manager.
SKIPPED = 'Pool', 'MyManager', 'Process', 'Connection', 'Heap'
# The manager runs no functions, so a barrier takes no action.
NOT_HERE = 'test_action'


class Remote(SyncManager):
    """A manager that goes on when a class of tests is over."""

    def shutdown(self):
        pass

    def join(self, timeout=None):
        pass


def main(address, authkey):
    host, port = address.rsplit(':', 1)
    # Before the import, which sets another.
    multiprocessing.set_start_method('fork')
    try:
        from test import _test_multiprocessing as suite
    except ImportError:
        print('no tests')
        return
    multiprocessing.current_process().authkey = authkey.encode()

    def connect(cls):
        cls.manager = Remote((host, int(port)), authkey.encode())
        cls.manager.connect()

    def disconnect(cls):
        cls.manager = None

    names = {'__name__': 'cpython_suite'}
    suite.install_tests_in_module_dict(names, 'fork')
    tests = unittest.TestSuite()
    for name, cls in sorted(names.items()):
        if name.startswith('WithManager') and not any(skipped in name for skipped in SKIPPED):
            cls.setUpClass = classmethod(connect)
            cls.tearDownClass = classmethod(disconnect)
            if hasattr(cls, NOT_HERE):
                setattr(cls, NOT_HERE, None)
            tests.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(cls))
    with open(os.devnull, 'w') as nowhere:
        result = unittest.TextTestRunner(stream=nowhere).run(tests)
    for test, trace in result.failures + result.errors:
        print(test.id(), trace.strip().splitlines()[-1], sep='\t')
    print(result.testsRun, 'tests', len(result.skipped), 'skipped')


if __name__ == '__main__':
    # Some tests write to the current directory.
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        main(*sys.argv[1:])
        os.chdir('/')
