"""The tool set of workertest's suite, for the Python SDK. See workertest/doc.go."""

import contextvars
import logging
import os
import threading
import time

from snakepit import Cancelled, Error, host, tool


@tool
def echo(value):
    return value


@tool(idempotent=True)
def add(a: int, b: int) -> int:
    return a + b


@tool
def fail(message: str):
    raise ValueError(message)


@tool
def sleep(seconds: float, notify: str = "") -> str:
    _notify(notify)
    time.sleep(seconds)
    return "slept"


@tool
def slow_cancel(seconds: float, notify: str = "") -> str:
    end = time.monotonic() + seconds
    while True:  # Cancelled is raised once, anywhere in here
        try:
            name, notify = notify, ""
            _notify(name)
            while (left := end - time.monotonic()) > 0:
                time.sleep(left)
            return "slept"
        except Cancelled:
            pass


@tool
def count(n: int, notify: str = ""):
    for i in range(n):
        _notify(notify, i=i)
        yield {"i": i}


@tool
def remember(text: str, session) -> dict:
    notes = session.vars.setdefault("notes", [])
    notes.append(text)
    return {"count": len(notes)}


@tool(readonly=True)
def recall(session) -> list:
    return session.vars.get("notes", [])


@tool
def hold(session) -> dict:
    session.local["held"] = session.local.get("held", 0) + 1
    return {"count": session.local["held"]}


@tool
def remember_and_fail(text: str, session):
    session.vars.setdefault("notes", []).append(text)
    raise ValueError("failed after a change")


@tool
def crash(code: int):
    os._exit(code)


@tool
def big(size: int) -> dict:
    return {"size": size, "data": b"\x5a" * size}


@tool
def unencodable():
    return object()


@tool
def program_put(name: str, data: bytes, session) -> dict:
    session.programs[name] = data
    return {"size": len(data)}


@tool
def program_get(name: str, session) -> bytes:
    return session.programs[name]


@tool
def linger(session):
    begun = threading.Event()

    def go_on():
        try:
            while True:
                begun.set()
                session.programs["lingering"] = b"x"
        except Error as e:
            logging.getLogger("workertest").info("refused", extra={"error": str(e)})

    threading.Thread(target=contextvars.copy_context().run, args=(go_on,)).start()
    begun.wait()


@tool
def host_call(tool: str, args: dict = {}):
    return host.call(tool, **args)


@tool
def log(message: str, level: str = "info"):
    logging.getLogger("workertest").log(getattr(logging, level.upper()), message)


def _notify(name, **args):
    if name:
        host.call(name, **args)
