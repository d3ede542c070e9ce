"""Tools for the engine's tests."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import logging

import snakepit
from snakepit import host, tool


@tool
def echo(value=None):
    return value


@tool
def pid():
    return os.getpid()


@tool
def remember(text: str, session) -> dict:
    notes = session.vars.setdefault("notes", [])
    notes.append(text)
    return {"count": len(notes), "pid": os.getpid()}


@tool(readonly=True)
def recall(session) -> dict:
    return {"notes": session.vars.get("notes", []), "pid": os.getpid()}


@tool
def nest(depth: int, session):
    """Keeps a list of lists."""
    value = []
    for _ in range(depth - 1):
        value = [value]
    session.vars["nested"] = value


@tool
def look(session):
    """Reads, and changes nothing."""
    return len(session.vars.get("notes", []))


@tool
def about(session):
    return {"labels": dict(session.labels), "metadata": dict(session.metadata)}


@tool
def remember_then_raise(text: str, session):
    session.vars.setdefault("notes", []).append(text)
    raise ValueError("changed my mind")


@tool
def count_to(n: int, session):
    for i in range(n):
        session.vars["at"] = i + 1
        yield {"at": i + 1}


@tool
def count_slowly(n: int, seconds: float, session):
    for i in range(n):
        time.sleep(seconds)
        session.vars["at"] = i + 1
        yield i + 1


@tool
def pause(seconds: float, session=None):
    time.sleep(seconds)
    if session is not None:
        session.vars["paused"] = True
    return "done"


@tool
async def apause(seconds: float):
    await asyncio.sleep(seconds)


@tool
def wait_for(path: str, session=None):
    """Says that it runs by making PATH.running, and returns once PATH exists."""
    Path(path + ".running").touch()
    while not os.path.exists(path):
        time.sleep(0.005)
    return os.getpid()


@tool(readonly=True)
def wait_for_readonly(path: str, session):
    return wait_for(path)


def _crash_once(path: str):
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), 9)


@tool
def crash_once(path: str, session):
    _crash_once(path)
    session.vars["survived"] = True
    return "survived"


@tool(idempotent=True)
def crash_once_idempotent(path: str, session):
    _crash_once(path)
    session.vars["survived"] = True
    return "survived"


@tool(idempotent=True)
def crash_once_plain(path: str):
    _crash_once(path)
    return "survived"


@tool
def keep(value: int, session):
    """Keeps an object that only this process has."""
    session.local["kept"] = value
    return os.getpid()


@tool
def kept(session):
    return {"kept": session.local.get("kept"), "pid": os.getpid()}


@tool
def save(name: str, data: bytes, session):
    session.programs[name] = data
    return len(session.programs[name])


@tool
def save_then_raise(name: str, data: bytes, session):
    session.programs[name] = data
    raise RuntimeError("no")


@tool(readonly=True)
def load(name: str, session) -> bytes:
    return session.programs[name]


@tool
def drop(name: str, session):
    del session.programs[name]


@tool
def ask(name: str, session=None, **kwargs):
    """Calls a tool of the host."""
    return host.call(name, **kwargs)


@tool
def ask_and_load(name: str, program: str, session) -> bytes:
    host.call(name)
    return session.programs[program]


@tool
def speak(text: str, session=None):
    print("printed", text)
    logging.getLogger("tools").warning("logged %s", text)
    os.write(1, f"raw {text}\n".encode())


@tool
def echo_in_session(value, session):
    session.vars.get("value")
    return value


@tool
def store_in_session(value: str, session):
    previous = session.vars.get("value", "")
    session.vars["value"] = value + chr(97 + (ord(previous[-1:] or "a") - 96) % 26)
    return value


@tool
def report(name: str, measurements: dict, attrs: dict = {}, session=None):
    snakepit.event(name, measurements, attrs)


_told = []


@tool
def outlive(n: int, session) -> None:
    """Leaves a thread that goes on writing programs until it is told that the call has ended."""

    def go_on():
        size = 0
        try:
            while True:
                size += 1
                session.programs[f"p{size % 3}"] = b"x" * (n * 1000 + size)
        except snakepit.Error as e:
            _told.append(str(e))

    session.vars["n"] = n
    threading.Thread(target=go_on, daemon=True).start()
    session.programs["p0"] = b"y" * n


@tool(readonly=True)
def program_sizes(session) -> dict:
    return {name: session.programs.info(name).size for name in session.programs}


@tool(readonly=True)
def outlived(session) -> list:
    return _told


@tool
def hold_lock(seconds: int) -> None:
    """Sleeps in C code that does not release the interpreter's lock."""
    import ctypes

    ctypes.PyDLL(None).sleep(seconds)


@tool
def stop_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@tool
def tally(session):
    """Counts, and lets the host in between."""
    n = session.vars.get("n", 0)
    host.call("between")
    session.vars["n"] = n + 1
    return n + 1


@tool(on_conflict="retry")
def tally_again(session):
    return tally(session)


@tool
def sum_up(session):
    """Reads one variable and writes another."""
    n = session.vars.get("n", 0)
    host.call("between")
    session.vars["sum"] = n


@tool
def die() -> None:
    os._exit(1)


@tool
def tidy(path: str, seconds: float, session=None):
    """Runs until it is cancelled, and then takes that long to tidy up."""
    if session is not None:
        session.vars["begun"] = True
    Path(path + ".running").touch()
    try:
        while True:
            time.sleep(0.005)
    finally:
        time.sleep(seconds)
        Path(path + ".tidied").touch()


@tool
async def atidy(path: str, seconds: float):
    Path(path + ".running").touch()
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(seconds)
        Path(path + ".tidied").touch()


@tool
def stidy(path: str, seconds: float):
    Path(path + ".running").touch()
    try:
        while True:
            yield 1
    finally:
        time.sleep(seconds)
        Path(path + ".tidied").touch()
