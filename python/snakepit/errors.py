"""The exceptions of the SDK."""

from __future__ import annotations

import json


class Error(Exception):
    """Base of every error the SDK raises itself."""


class DefinitionError(Error, TypeError):
    """A function cannot be a tool as it is written: the worker does not start."""


class InvalidArguments(Error, TypeError):
    """The arguments of a call do not fit the tool; the tool was not run.

    ``parameter`` names the parameter at fault, or is None if none is (a
    missing session, a streaming tool called without streaming).
    """

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class Unencodable(Error, TypeError):
    """A value cannot travel to the host.

    ``path`` says where in the value ("result.items[3].when"), ``value_type``
    which type was found there ("numpy.ndarray").
    """

    def __init__(self, path: str, value_type: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.value_type = value_type


class HostError(Error):
    """The host refused a request or failed to carry it out.

    ``reason`` is the host's short word for it ("no_program"), or None.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class SessionError(Error):
    """A session was used where that is not possible, for example after its call."""


class ReadOnlyError(SessionError):
    """A read-only call tried to change its session."""


class Cancelled(BaseException):
    """Raised inside a running tool when its call is cancelled.

    It derives from BaseException so that ``except Exception`` does not stop
    it. Clean up in ``finally`` and let it pass. Async tools see
    ``asyncio.CancelledError`` instead.
    """


for _error in (
    Error, DefinitionError, InvalidArguments, Unencodable, HostError, SessionError, ReadOnlyError, Cancelled,
):  # fmt: skip
    _error.__module__ = "snakepit"  # the name users import them by
del _error


def type_name(kind: type) -> str:
    """The name of a type as users know it: "ValueError", "numpy.ndarray"."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def step(key: str) -> str:
    """One step of a path: ``.name``, or ``["any text"]``."""
    return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"
