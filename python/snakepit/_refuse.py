"""Says that this Python is too old, to its user and to the host.

Readable for Python 2.7 and every 3.
"""

import json
import os
import socket
import struct
import sys


def refuse():
    """Raise ImportError; end the process if it was to become a worker."""
    version = ".".join(str(n) for n in sys.version_info[:3])
    problem = "snakepit needs Python 3.9 or newer; this is %s (%s)" % (version, sys.executable)
    fd = os.environ.get("SNAKEPIT_FD", "")
    if not fd.isdigit():
        raise ImportError(problem)
    params = {"type": "ImportError", "message": problem, "traceback": ""}
    header = json.dumps({"jsonrpc": "2.0", "method": "start_failed", "params": params}).encode("utf-8")
    sock = socket.fromfd(int(fd), socket.AF_UNIX, socket.SOCK_STREAM)
    sock.sendall(struct.pack(">II", 4 + len(header), len(header)) + header)
    sys.stderr.write(problem + "\n")
    sys.stderr.flush()
    os._exit(3)
