"""Values on the wire: JSON, and what JSON lacks.

docs/protocol.md, "Values", is the specification. Two ways lead through this
module. The fast one is json's own C code over the whole value; it is taken
whenever the value holds nothing special, which is found out from the text it
made. The other walks the value in Python, replaces what JSON lacks by the
one-key objects of the table, replaces other Python values as values.py says,
and names the path of what cannot be encoded.

Integers may have any number of digits. Python's limit on the conversion
between int and str (3.11 and later) is lifted only while such a value is
converted here, so a tool's own ``int(text)`` keeps that protection.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from json import encoder as _json_encoder
from typing import TYPE_CHECKING, Any

from . import texts, values
from .errors import Unencodable, step, type_name
from .numpys import Plain

if TYPE_CHECKING:
    from typing import TypeVar

    V = TypeVar("V")
    R = TypeVar("R")

_INFINITY = float("inf")
_MARKERS = frozenset(("$float", "$bytes", "$datetime", "$date", "$time", "$object"))
_FLOATS = {"NaN": float("nan"), "Infinity": _INFINITY, "-Infinity": -_INFINITY}


class DecodeError(ValueError):
    """A value from the host is malformed."""


# ---- encoding


def encode(value: object, path: str = "result") -> tuple[bytes, list[Any]]:
    """Encode a value; return its JSON text and the raw parts it refers to.

    Raises Unencodable, with a path that starts with ``path``.
    """
    text = encode_plain(value)
    if text is not None:
        return text, []
    parts: list[Any] = []
    return _encode_special(value, path, parts), parts


def encode_json(value: object, path: str, no_bytes: str = "cannot be sent here") -> bytes:
    """Encode a value where raw parts have no place.

    Raises Unencodable also for bytes, for the reason given.
    """
    text = encode_plain(value)
    return text if text is not None else _encode_special(value, path, None, no_bytes)


class _Special(TypeError):
    """A value json does not know was met."""


def _special(value: object) -> object:
    raise _Special


# Circular values are found by the recursion limit, as in the walk below;
# keeping track of them would slow every call down.
_encoder = json.JSONEncoder(
    allow_nan=False, check_circular=False, ensure_ascii=False, separators=(",", ":"), default=_special
)
_dumps: Callable[[Any], str] = _encoder.encode
_c: Any = _json_encoder  # whose parts in C have no types
if _c.c_make_encoder is not None:
    # What JSONEncoder.encode builds anew in every call.
    _chunks = _c.c_make_encoder(None, _special, _c.encode_basestring, None, ":", ",", False, False, False)

    def _dumps_in_c(value: Any) -> str:
        return "".join(_chunks(value, 0))

    _dumps = _dumps_in_c


def encode_plain(value: object) -> bytes | None:
    """Encode a value that is plain JSON; None if it is not."""
    try:
        text = _dumps(value)
        if "{" in text:
            # An object whose first key begins with a dollar sign may be one
            # to escape. Inside of a string the quote would be escaped.
            if '{"$' in text:
                return None
            # json turns keys that are not strings into strings without a word.
            if not _keys_are_strings(value, text.count("{")):
                return None
        return text.encode()
    except (TypeError, ValueError, RecursionError):
        # An unknown type, NaN, too many digits or a lone surrogate; nested
        # too deeply.
        return None


# For isinstance, after which a type checker is to know no more of the items
# than that they are anything.
DICT: Any = dict
LIST: Any = list
_ARRAYS: Any = (list, tuple)
_BYTES: Any = (bytes, bytearray, memoryview)
_SETS: Any = (set, frozenset)

_LEAVES = frozenset((str, int, float, bool, type(None)))


def _keys_are_strings(value: object, objects: int) -> bool:
    """Whether all keys are strings, in a value with at most so many objects."""
    level: list[Any] = [value]
    try:
        while level:
            inner: list[Any] = []
            for item in level:
                if isinstance(item, DICT):
                    "".join(item)  # the fastest test of "all of these are str"
                    objects -= 1
                    inner += item.values()
                elif isinstance(item, _ARRAYS):
                    inner += item
            if objects <= 0:
                break
            level = [item for item in inner if type(item) not in _LEAVES]
    except TypeError:
        return False
    return True


def _encode_special(value: object, path: str, parts: list[Any] | None, no_bytes: str = "") -> bytes:
    walk = _Walk(parts, no_bytes)
    try:
        plain = walk.encode(value)
        return _with_all_digits(_dumps, plain).encode()
    except _Unencodable as e:
        raise Unencodable(path + "".join(reversed(e.path)), e.value_type, e.problem) from e.__cause__
    except RecursionError:
        raise Unencodable(path, type_name(type(value)), "is nested too deeply, or contains itself") from None


class _Unencodable(Exception):
    """Unencodable on its way up; collects the path from the inside out."""

    def __init__(self, value: object, problem: str) -> None:
        super().__init__()
        self.path: list[str] = []
        self.value_type = type_name(type(value))
        self.problem = problem


class _Walk:
    """One walk over a value that is not plain JSON."""

    def __init__(self, parts: list[Any] | None, no_bytes: str) -> None:
        self._parts = parts
        self._no_bytes = no_bytes

    def encode(self, value: object) -> object:
        kind = type(value)
        if kind is int or kind is bool or value is None:
            return value
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, float):
            if value != value:
                return {"$float": "NaN"}
            if value in (_INFINITY, -_INFINITY):
                return {"$float": "Infinity" if value > 0 else "-Infinity"}
            return value
        if isinstance(value, DICT):
            encoded = self._object(value)
            if len(encoded) == 1 and next(iter(encoded)) in _MARKERS:
                return {"$object": encoded}
            return encoded
        if isinstance(value, _ARRAYS):
            return self._array(value)
        if isinstance(value, int):
            return value
        if isinstance(value, _BYTES):
            return self._bytes(value)
        way = values.way_of(kind)
        if way is not None:
            return self._replaced(value, way)
        if isinstance(value, _SETS):
            return self._set(value)
        if isinstance(value, datetime):
            return {"$datetime": _iso(value, texts.is_datetime)}
        if isinstance(value, date):
            return {"$date": _iso(value, texts.is_date)}
        if isinstance(value, time):
            return {"$time": _iso(value, texts.is_time)}
        raise _Unencodable(value, f"{type_name(kind)} cannot be encoded{values.advice(kind)}")

    def _replaced(self, value: object, way: values.Way) -> object:
        try:
            nearer = way(value)
        except Exception as e:
            problem = f"{type_name(type(value))} cannot be encoded: {type_name(type(e))}: {e}"
            raise _Unencodable(value, problem) from e
        return nearer.value if type(nearer) is Plain else self.encode(nearer)

    def _set(self, value: Any) -> list[Any]:
        """An array in an order that is the same in every process."""
        try:
            if any(isinstance(item, frozenset) for item in value):
                raise TypeError  # they can be compared, but have no order
            return self._array(sorted(value))
        except TypeError:
            return sorted(self._array(list(value)), key=_dumps)

    def _object(self, value: Any) -> dict[str, Any]:
        encoded: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise _Unencodable(key, f"the key {key!r} is a {_kind(key)}; keys must be str")
            try:
                encoded[_text(key)] = self.encode(item)
            except _Unencodable as e:
                e.path.append(step(key))
                raise
        return encoded

    def _array(self, value: Any) -> list[Any]:
        encoded: list[Any] = []
        for item in value:
            try:
                encoded.append(self.encode(item))
            except _Unencodable as e:
                e.path.append(f"[{len(encoded)}]")
                raise
        return encoded

    def _bytes(self, value: Any) -> dict[str, Any]:
        if self._parts is None:
            raise _Unencodable(value, f"{_kind(value)} {self._no_bytes}")
        # A copy of what can change: it travels later.
        self._parts.append(value if type(value) is bytes else bytes(value))
        return {"$bytes": len(self._parts) - 1}


def _kind(value: object) -> str:
    return type_name(type(value))


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Unencodable(value, f"str with a lone surrogate cannot be encoded: {value[:40]!a}") from None
    return value


def _iso(value: date | time, valid: Callable[[str], bool]) -> str:
    text = value.isoformat()
    if not valid(text):  # pandas.NaT is a datetime, for example
        raise _Unencodable(value, f"{type_name(type(value))} {text!r} cannot be encoded")
    return text


# ---- decoding


def may_be_special(text: str) -> bool:
    """Whether a JSON text may hold something for decode to replace."""
    return ("$" in text and '"$' in text) or ("\\" in text and "\\u0024" in text)


def parse(json_text: bytes) -> Any:
    """The value of a JSON text without parts."""
    text = json_text.decode()
    value = loads(text)
    return decode(value, []) if may_be_special(text) else value


def decode(value: Any, parts: list[Any]) -> Any:
    """Replace the one-key objects of a parsed value by what they stand for.

    Raises DecodeError.
    """
    if isinstance(value, DICT):
        if len(value) == 1:
            (key, content), = value.items()
            if key in _MARKERS:
                return _decode_marker(key, content, parts)
        return {key: decode(item, parts) for key, item in value.items()}
    if isinstance(value, LIST):
        return [decode(item, parts) for item in value]
    return value


def _decode_marker(key: str, content: Any, parts: list[Any]) -> object:
    try:
        if key == "$object":
            return {name: decode(item, parts) for name, item in content.items()}
        if key == "$float":
            return _FLOATS[content]
        if key == "$bytes":
            if type(content) is not int or content < 0:
                raise TypeError
            return bytes(parts[content])
        return _PARSERS[key](content)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):
        raise DecodeError(f"malformed {key}: {json.dumps(content)[:80]}") from None


_PARSERS: dict[str, Any] = {"$datetime": texts.parse_datetime, "$date": texts.parse_date, "$time": texts.parse_time}


# ---- JSON texts


def _no_constant(token: str) -> object:
    raise DecodeError(f"{token} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant)
_raw_decode = _decoder.raw_decode


def loads(text: str) -> Any:
    """Parse a JSON text. Raises ValueError, or RecursionError."""
    try:
        value, end = _raw_decode(text)
        if end == len(text):
            return value
        return _decoder.decode(text)  # white space around the value
    except json.JSONDecodeError:
        return _decoder.decode(text)
    except DecodeError:
        raise
    except ValueError:  # more digits than int() takes
        return _with_all_digits(_decoder.decode, text)


def _with_all_digits(convert: Callable[[V], R], value: V) -> R:
    """Call convert without the limit on the digits of an int."""
    if not hasattr(sys, "set_int_max_str_digits"):
        return convert(value)
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return convert(value)
    finally:
        sys.set_int_max_str_digits(limit)
