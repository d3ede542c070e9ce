"""Tools for snakepit, written in Python. See docs/python.md of the project.

    from snakepit import tool

    @tool
    def remember(text: str, session) -> dict:
        notes = session.vars.setdefault("notes", [])
        notes.append(text)
        return {"count": len(notes)}
"""

import sys

__version__ = "0.1.0"

if sys.version_info < (3, 9):  # this file and the next must be readable for any Python
    from ._refuse import refuse

    refuse()

from .calls import CallInfo, current, event, host
from .errors import (
    Cancelled,
    DefinitionError,
    Error,
    HostError,
    InvalidArguments,
    ReadOnlyError,
    SessionError,
    Unencodable,
)
from .programs import ProgramInfo
from .session import Session
from .tools import tool
from .values import encoder

__all__ = [
    "CallInfo",
    "Cancelled",
    "DefinitionError",
    "Error",
    "HostError",
    "InvalidArguments",
    "ProgramInfo",
    "ReadOnlyError",
    "Session",
    "SessionError",
    "Unencodable",
    "current",
    "encoder",
    "event",
    "host",
    "tool",
]
