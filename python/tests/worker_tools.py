"""The tools of the worker tests."""

import asyncio
import contextvars
import logging
import os
import signal
import sys
import threading
import time

import snakepit
from snakepit import tool


@tool
def echo(value=None):
    return value


@tool
def kinds(**values):
    """Name the type of each argument."""
    return {name: type(value).__name__ for name, value in values.items()}


@tool
def remember(text: str, session) -> dict:
    """Add a note.

    It is kept in the session.
    """
    notes = session.vars.setdefault("notes", [])
    notes.append(text)
    return {"count": len(notes)}


@tool(readonly=True)
def recall(session):
    return session.vars.get("notes")


@tool(idempotent=True, name="double")
def twice(n: int = 1) -> int:
    return 2 * n


@tool
def run(code: str, session=None, **given):
    """Execute a function body; what the tests need only once."""
    scope = {**globals(), "session": session, **given}
    body = "\n".join("    " + line for line in code.splitlines())
    exec(f"def body():\n{body}", scope)
    return scope["body"]()


@tool
def run_stream(code: str, session=None, **given):
    """Execute the body of a generator function."""
    scope = {**globals(), "session": session, **given}
    body = "\n".join("    " + line for line in code.splitlines())
    exec(f"def body():\n{body}", scope)
    yield from scope["body"]()


@tool
async def run_async(code: str, session=None, **given):
    """Execute the body of an async function."""
    scope = {**globals(), "session": session, **given}
    body = "\n".join("    " + line for line in code.splitlines())
    exec(f"async def body():\n{body}", scope)
    return await scope["body"]()


@tool
async def run_async_stream(code: str, session=None, **given):
    """Execute the body of an async generator function."""
    scope = {**globals(), "session": session, **given}
    body = "\n".join("    " + line for line in code.splitlines())
    exec(f"async def body():\n{body}", scope)
    values = scope["body"]()
    try:
        async for value in values:
            yield value
    finally:
        await values.aclose()


@tool
def countdown(n: int):
    while n:
        yield {"left": n}
        n -= 1


@tool
def boom(message: str = "no"):
    try:
        {}["missing"]
    except KeyError as e:
        raise ValueError(message) from e


# For the stress test: each takes about so many seconds and counts in the
# session, which only a call that is not cancelled may do.


def _count(session):
    session.vars["count"] = session.vars.get("count", 0) + 1
    return session.vars["count"]


@tool
def nap(seconds: float, session):
    count = _count(session)
    time.sleep(seconds)
    return count


@tool
def spin(seconds: float, session):
    count = _count(session)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return count


@tool
def chatter(seconds: float, session):
    count = _count(session)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        print("x" * 2000)
    return count


@tool
def ask(seconds: float, session):
    count = _count(session)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert snakepit.host.call("add", a=1, b=2) == 3
    return count


@tool
async def anap(seconds: float, session):
    count = _count(session)
    await asyncio.sleep(seconds)
    return count


@tool
def trickle(seconds: float, session):
    _count(session)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield 1


@tool
async def atrickle(seconds: float, session):
    _count(session)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(0.0005)
        yield 1
