"""Tools of the tests with real Python workers."""

import logging
import os
import threading
import time

from snakepit import event, host, tool


@tool
def echo(value):
    return value


@tool
def copy(session):
    """What is in ``from`` is set in ``to``, through the encoder."""
    session.vars["to"] = [session.vars["from"]]
    return session.vars["from"]


@tool
def stuck():
    host.call("ready")
    while True:
        time.sleep(0.01)


@tool
def ask():
    return host.call("ready")


@tool
def fork():
    """A child that keeps the socket, and outlives its parent's crash."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        time.sleep(60)
        os._exit(0)
    os._exit(9)


@tool
def blocks(n: int, size: int):
    for i in range(n):
        yield bytes([i % 256]) * size


@tool
def talk(session):
    print("printed")
    logging.getLogger("mine").warning("logged", extra={"rows": 3})
    os.write(2, b"past the library\n")
    event("talked", {"rows": 3}, {"kind": "full"})


@tool
def later():
    """Say something when no call is running any more."""
    threading.Timer(0.05, print, ["said later"]).start()
