"""``python -m snakepit TOOLS``: a worker, started by its host.

TOOLS is the path of a .py file or the name of a module.
"""

from __future__ import annotations

import faulthandler
import os
import socket
import sys

from .errors import HostError
from .logs import Logs
from .runtime import Runtime

USAGE = 2
LOAD_FAILED = 3
REFUSED = 4


def main() -> int:
    """Run a worker; return its exit status."""
    fd = os.environ.pop("SNAKEPIT_FD", "")
    if len(sys.argv) != 2 or not fd.isdigit():
        sys.stderr.write(
            "usage: SNAKEPIT_FD=n python -m snakepit TOOLS\n"
            "A worker is started by its host, for example: snakepit serve --python TOOLS\n"
        )
        return USAGE
    target = sys.argv[1]
    sys.argv = [target]
    sock = socket.socket(fileno=int(fd))
    sock.set_inheritable(False)
    faulthandler.enable(2)  # a crash in C code leaves a traceback in the host's log
    logs = Logs()
    logs.install()
    runtime = Runtime(sock, logs)
    try:
        runtime.load(target)
    except BaseException as e:  # SystemExit, too: the host has to know
        runtime.refuse(e)
        return LOAD_FAILED
    try:
        runtime.greet()
    except HostError as e:
        sys.stderr.write(f"snakepit: the host refused this worker: {e}\n")
        return REFUSED
    runtime.serve()
    runtime.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
