"""Compiled type hints of simple types: their JSON Schema, and their check.

A check returns the value as the tool shall get it (an int as float, a text as
UUID) or raises Mismatch. schema.py makes hints of composed types from these.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

from . import texts
from .errors import type_name


class Mismatch(Exception):
    """A value does not fit its type hint.

    ``path`` leads to it, and grows from the inside out. The message is made
    when it is asked for: a union tries one hint after the other.
    """

    def __init__(self, expected: str, value: object) -> None:
        super().__init__()
        self.path: list[str] = []
        self._expected = expected
        self._value = value

    def problem(self) -> str:
        """What is wrong, for people."""
        return f"expected {self._expected}, got {_shown(self._value)}"


class Misfit(Mismatch):
    """A value has the right type and is wrong in another way."""

    def __init__(self, problem: str) -> None:
        super().__init__("", None)
        self._problem = problem

    def problem(self) -> str:
        return self._problem


def _shown(value: object) -> str:
    if value is None:
        return "None"
    kind = type_name(type(value))
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return kind
    return f"{kind} {text}" if len(text) <= 60 else f"{kind} {text[:57]}..."


Check = Callable[[object], object]
Schema = dict[str, Any]


class Hint:
    """A compiled type hint: its name for messages, JSON Schema and check."""

    __slots__ = ("name", "schema", "check")

    def __init__(self, name: str, schema: Schema, check: Check) -> None:
        self.name = name
        self.schema = schema
        self.check = check


def _exactly(kind: type, name: str, schema: Schema) -> Hint:
    def check(value: object) -> object:
        if type(value) is kind:
            return value
        raise Mismatch(name, value)

    return Hint(name, schema, check)


def check_float(value: object) -> object:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise Mismatch("float", value) from None
    raise Mismatch("float", value)


def _check_any(value: object) -> object:
    return value


def _marker(name: str, content: Schema) -> Schema:
    return {"type": "object", "properties": {name: content}, "required": [name], "additionalProperties": False}


_BYTES = _marker("$bytes", {"type": "integer", "minimum": 0})


def _from_bytes(convert: Callable[[bytes], object]) -> Hint:
    def check(value: object) -> object:
        if type(value) is bytes:
            return convert(value)
        raise Mismatch("bytes", value)

    return Hint("bytes", _BYTES, check)


def _moment(kind: type, parse: Callable[[str], object], format: str, example: str) -> Hint:
    """A date or time: the protocol's own form, or the bare text."""
    text = {"type": "string", "format": format}
    expected = f"{kind.__name__} like {json.dumps(example)}"

    def check(value: object) -> object:
        if type(value) is kind:
            return value
        if type(value) is str:
            try:
                return parse(value)
            except ValueError:
                pass
        raise Mismatch(expected, value)

    return Hint(kind.__name__, {"anyOf": [text, _marker(f"${kind.__name__}", text)]}, check)


def _check_timedelta(value: object) -> object:
    try:
        if type(value) is str:
            return texts.parse_timedelta(value)
        if type(value) is int or type(value) is float:
            return timedelta(seconds=value)
    except (ValueError, OverflowError):
        pass
    raise Mismatch('timedelta like "P1DT2H30M" or a number of seconds', value)


ANY = Hint("any value", {}, _check_any)
BOOL = _exactly(bool, "bool", {"type": "boolean"})
INT = _exactly(int, "int", {"type": "integer"})
FLOAT = Hint("float", {"type": "number"}, check_float)
STR = _exactly(str, "str", {"type": "string"})
NONE = _exactly(type(None), "None", {"type": "null"})

SIMPLE: dict[object, Hint] = {
    object: ANY,
    type(None): NONE,
    None: NONE,
    bool: BOOL,
    int: INT,
    float: FLOAT,
    str: STR,
    bytes: _exactly(bytes, "bytes", _BYTES),
    bytearray: _from_bytes(bytearray),
    memoryview: _from_bytes(memoryview),
    datetime: _moment(datetime, texts.parse_datetime, "date-time", "2026-01-31T12:30:00+01:00"),
    date: _moment(date, texts.parse_date, "date", "2026-01-31"),
    time: _moment(time, texts.parse_time, "time", "12:30:00"),
    timedelta: Hint(
        "timedelta", {"anyOf": [{"type": "string", "format": "duration"}, {"type": "number"}]}, _check_timedelta
    ),
}


# ---- types that travel as texts, of modules that only some programs import

_DECIMAL = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|NaN|-?Infinity")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


def as_text(kind: type) -> Hint | None:
    """The hint of a class whose values travel as text; None for another class."""
    module = sys.modules.get(kind.__module__.partition(".")[0])
    for name, make in (("UUID", _uuid), ("Decimal", _decimal)):
        if kind.__name__ == name and getattr(module, name, None) is kind:
            return make(kind)
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and issubclass(kind, pathlib.PurePath):
        return _path(kind)
    return None


def _uuid(kind: type) -> Hint:
    def check(value: object) -> object:
        if type(value) is str and _UUID.fullmatch(value):
            return kind(value)
        raise Mismatch('UUID like "123e4567-e89b-12d3-a456-426614174000"', value)

    return Hint("UUID", {"type": "string", "format": "uuid"}, check)


def _decimal(kind: type) -> Hint:
    def check(value: object) -> object:
        if type(value) is int:
            return kind(value)
        if type(value) is float:
            return kind(repr(value))  # the digits that stand in JSON, as far as a float keeps them
        if type(value) is str and _DECIMAL.fullmatch(value):
            return kind(value)
        raise Mismatch('Decimal like "19.90"', value)

    text = {"type": "string", "pattern": f"^({_DECIMAL.pattern})$", "examples": ["19.90"]}
    return Hint("Decimal", {"anyOf": [text, {"type": "number"}]}, check)


def _path(kind: type) -> Hint:
    def check(value: object) -> object:
        if type(value) is str:
            return kind(value)
        raise Mismatch("path", value)

    return Hint("path", {"type": "string"}, check)
