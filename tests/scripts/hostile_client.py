"""Sends hostile bytes to the manager at ADDRESS, before and after the handshake, and prints what comes back.

python hostile_client.py ADDRESS AUTHKEY
"""

import os
import pickle
import socket
import struct
import sys
from multiprocessing.connection import Client


def frame(payload):
    return struct.pack("!i", len(payload)) + payload


def long_frame(length, payload):
    return struct.pack("!iQ", -1, length) + payload


def request(*parts):
    return frame(pickle.dumps(parts))


DUMMY = request(None, "dummy", (), {})
ACCEPT = request(None, "accept_connection", ("hostile",), {})
PUT = request("id", "put", (1,), {})

BEFORE = [
    b"",
    b"\0",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x80\0\0\0",
    b"\xff" * 12,
    frame(b""),
    frame(b"x" * 16),
    frame(b"x" * 300),
    frame(b"{md5}" + b"x" * 16),
    frame(b"{sha256}" + b"x" * 32),
    frame(b"#WELCOME#") * 3,
]
AFTER = [
    b"",
    b"\0\0",
    b"\xff\xff\xff\xf0",
    b"\x7f\xff\xff\xff" + b"x" * 100,
    DUMMY,
    DUMMY + DUMMY,
    frame(b""),
    frame(b"garbage"),
    request(1),
    request(None, "nothing", (), {}),
    request(None, "create", ("nothing",), {}),
    long_frame(20, b"garbage"),
    long_frame(len(DUMMY) - 4, DUMMY[4:]),
    ACCEPT,
    ACCEPT + b"\x80\0\0\0",
    ACCEPT + frame(b"garbage") + PUT,
    ACCEPT + PUT * 20 + b"\0\0\0",
    ACCEPT + frame(pickle.dumps(None)),
    ACCEPT + frame(b"x" * 100000) + DUMMY,
    ACCEPT + long_frame(len(PUT) - 4, PUT[4:]) + long_frame(1 << 40, b"more"),
]


def rest(stream):
    """What comes until the end, which may be a reset. Some versions leave the connection open, and say nothing."""
    stream.settimeout(1)
    got = b""
    try:
        stream.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    try:
        while True:
            more = stream.recv(65536)
            if not more:
                return got
            got += more
    except OSError:
        return got


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    address = host, int(port)
    for data in BEFORE:
        stream = socket.create_connection(address)
        # The challenge is random.
        challenge = stream.recv(4, socket.MSG_WAITALL)
        stream.recv(struct.unpack("!i", challenge)[0], socket.MSG_WAITALL)
        stream.sendall(data)
        print(rest(stream))
    for data in AFTER:
        connection = Client(address, authkey=sys.argv[2].encode())
        stream = socket.socket(fileno=os.dup(connection.fileno()))
        connection.close()
        stream.sendall(data)
        print(rest(stream))


if __name__ == "__main__":
    main()
