"""Records the handshake between two real CPython interpreters, nonces fixed.

    python3 tests/data/handshake.py LISTENER CLIENT

LISTENER and CLIENT are interpreters, such as python3.13 and python3.8. Prints the frames in the
order they were sent, as the constants in src/handshake.rs have them. This program stands between
the two and writes down what it passes on.
"""

import multiprocessing.connection as mpc
import socket
import subprocess
import sys

AUTHKEY = "producer"

SIDE = """
import multiprocessing.connection as mpc, os, sys
fd, role, authkey = int(sys.argv[1]), sys.argv[2], sys.argv[3].encode()
first = {"listener": 0, "client": 100}[role]
os.urandom = lambda size: bytes(range(first, first + size))
connection = mpc.Connection(fd)
steps = [mpc.deliver_challenge, mpc.answer_challenge]
for step in steps if role == "listener" else reversed(steps):
    step(connection, authkey)
"""


def start(python, role):
    """Starts one side; what it gives back reads and writes that side's frames."""
    ours, theirs = socket.socketpair()
    fd = theirs.detach()
    command = [python, "-c", SIDE, str(fd), role, AUTHKEY]
    process = subprocess.Popen(command, pass_fds=[fd])
    return process, mpc.Connection(ours.detach())


def main(listener, client):
    sides = [start(listener, "listener"), start(client, "client")]
    # Challenge, answer and verdict one way, then the other way: the sides take turns.
    for turn in range(6):
        frame = sides[turn % 2][1].recv_bytes(256)
        print('    "%s",' % frame.hex())
        sides[(turn + 1) % 2][1].send_bytes(frame)
    sys.exit(max(process.wait() for process, _ in sides))


if __name__ == "__main__":
    main(*sys.argv[1:])
