"""What the host is told of an exception."""

from __future__ import annotations

import os
import traceback
from typing import Any

from .errors import type_name

_SDK = os.path.dirname(os.path.abspath(__file__)) + os.sep
_LIMIT = 65536  # characters of a traceback


def describe(error: BaseException) -> tuple[str, dict[str, Any]]:
    """An exception as the message and the data of an error answer."""
    data: dict[str, Any] = {"type": type_name(type(error)), "traceback": trace(error)}
    causes: list[dict[str, str]] = []
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        causes.append({"type": type_name(type(cause)), "message": text(cause)})
        cause = cause.__cause__
    if causes:
        data["causes"] = causes
    return text(error), data


def trace(error: BaseException, internal: bool = False) -> str:
    """The traceback with the frames of the user's code only, or with all."""
    try:
        formatted = traceback.TracebackException(type(error), error, error.__traceback__)
        if not internal:
            _trim(formatted, set())
        whole = "".join(formatted.format())
    except Exception as e:  # a __str__ or __repr__ that raises
        whole = f"{type_name(type(error))} (its traceback cannot be shown: {type_name(type(e))})\n"
    if len(whole) > _LIMIT:
        whole = whole[: _LIMIT // 2] + "\n  ...\n" + whole[-_LIMIT // 2 :]
    return whole.encode("utf-8", "backslashreplace").decode()


def _trim(formatted: traceback.TracebackException, seen: set[int]) -> None:
    if id(formatted) in seen:
        return
    seen.add(id(formatted))
    frames = [frame for frame in formatted.stack if not _internal(frame.filename)]
    formatted.stack = traceback.StackSummary.from_list(frames)
    related = [formatted.__cause__, formatted.__context__, *(getattr(formatted, "exceptions", None) or ())]
    for other in related:
        if other is not None:
            _trim(other, seen)


def _internal(filename: str) -> bool:
    return filename.startswith(_SDK) or filename.startswith("<frozen importlib")


def text(error: BaseException) -> str:
    """str(error), whatever it does."""
    try:
        return str(error).encode("utf-8", "backslashreplace").decode()
    except Exception as e:
        return f"(its message cannot be shown: {type_name(type(e))})"
