"""What the examples share: reading the command line, and connecting."""

import os
import signal
import sys
from multiprocessing import AuthenticationError
from multiprocessing.managers import BaseManager

DEFAULT_ADDRESS = "127.0.0.1:5000"


def address():
    """The first argument, as multiprocessing wants it: a (host, port), or the path of a socket."""
    text = sys.argv[1] if len(sys.argv) > 1 else DEFAULT_ADDRESS
    if "/" in text:
        return text
    host, _, port = text.rpartition(":")
    if ":" in host:
        sys.exit("%s: Python's managers do not speak IPv6; give an IPv4 address" % text)
    if not host or not port.isdigit():
        sys.exit("%s: expected HOST:PORT, or a path with a '/'" % text)
    return host, int(port)


def show(address):
    """The address as it is given on the command line."""
    return address if isinstance(address, str) else "%s:%d" % address


def seconds():
    """The second argument: the pause between two products."""
    return float(sys.argv[2]) if len(sys.argv) > 2 else 2.0


def authkey():
    """The secret that the manager and its clients share."""
    return os.fsencode(os.environ.get("MANAGER_AUTHKEY", "producer"))


def connect(*typeids):
    """A connected manager, whose methods are named after `typeids`."""

    class Manager(BaseManager):
        pass

    for typeid in typeids:
        Manager.register(typeid)
    # Ctrl-C ends the program, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    manager = Manager(address(), authkey())
    try:
        manager.connect()
    except (AuthenticationError, EOFError, OSError) as error:
        sys.exit("cannot connect to %s: %r" % (show(manager.address), error))
    return manager
