"""Tools for the scripts."""

import logging
import os
import time
from pathlib import Path

from snakepit import tool


@tool
def echo(value=None):
    """Returns its argument."""
    return value


@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool
def remember(text: str, session) -> dict:
    """Adds a note to the session."""
    notes = session.vars.setdefault("notes", [])
    notes.append(text)
    return {"count": len(notes)}


@tool(readonly=True)
def recall(session) -> list:
    """Returns the notes of the session."""
    return session.vars.get("notes", [])


@tool
def countdown(n: int):
    """Counts down to one."""
    while n:
        yield {"left": n}
        n -= 1


@tool
def raise_halfway(session):
    """Changes its session, yields once, and raises."""
    session.vars["notes"] = []
    yield 1
    raise RuntimeError("halfway")


@tool
def divide(a: float, b: float) -> float:
    """Divides, and raises as Python does."""
    return a / b


@tool
def pid(session=None) -> int:
    """Returns the id of the worker's process."""
    return os.getpid()


@tool
def die(session):
    """Ends its worker after it has changed its session."""
    session.vars["notes"] = ["never committed"]
    os.kill(os.getpid(), 9)


@tool
def wait_for(path: str, session) -> str:
    """Makes PATH.running, waits for PATH, and notes that in the session."""
    Path(path + ".running").touch()
    while not os.path.exists(path):
        time.sleep(0.005)
    session.vars.setdefault("notes", []).append("waited")
    return "done"


@tool
def raw(size: int) -> bytes:
    """Returns so many bytes."""
    return bytes(i % 256 for i in range(size))


@tool
def length(data: bytes) -> int:
    """Returns the length of raw bytes."""
    return len(data)


@tool
def save(name: str, text: str, session) -> int:
    """Saves a program."""
    session.programs[name] = text.encode()
    return len(text)


@tool
def pack(data: bytes) -> dict:
    """Returns bytes inside of a value, and what only looks like them."""
    return {"data": data, "plain": {"$bytes": 0}, "size": 12345678901234567890}


@tool
def beat(path: str, session):
    """Yields once, waits for PATH, and yields again."""
    session.vars["beats"] = [1]
    yield 1
    while not os.path.exists(path):
        time.sleep(0.005)
    session.vars["beats"].append(2)
    yield 2


@tool
def say(text: str, session=None):
    """Writes a record to the log."""
    logging.getLogger("tools").warning(text)
