"""The least a worker can do: the limit the transport is measured against.

Length prefix, json.loads, a function, json.dumps; nothing that could go wrong
is looked at.
"""

import json
import os
import socket
import struct


def echo(value):
    return value


def main():
    sock = socket.socket(fileno=int(os.environ["SNAKEPIT_FD"]))
    tools = {"echo": echo}
    stream = sock.makefile("rb", 65536)
    while True:
        prefix = stream.read(4)
        if not prefix:
            return
        request = json.loads(stream.read(struct.unpack(">I", prefix)[0]))
        value = tools[request["tool"]](**request["args"])
        answer = json.dumps({"value": value}).encode()
        sock.sendall(struct.pack(">I", len(answer)) + answer)


main()
