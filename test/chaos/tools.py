"""The tool of the chaos test: an append-only log in a session."""

from snakepit import tool


@tool
def append(value: str, session) -> int:
    log = session.vars.setdefault("log", [])
    log.append(value)
    return len(log)
