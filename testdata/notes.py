"""The tools of the examples."""

from snakepit import tool


@tool
def remember(text: str, session) -> dict:
    notes = session.vars.setdefault("notes", [])
    notes.append(text)
    return {"count": len(notes)}


@tool
def countdown(n: int):
    while n:
        yield {"left": n}
        n -= 1


@tool
def shout(text: str) -> str:
    return text.upper()
