"""numpy's scalars and arrays, when the user's code has imported numpy.

Out, a scalar becomes the Python value it stands for and an array a list of
them. In, the hints ``numpy.ndarray``, ``NDArray[numpy.float64]`` and the scalar
types take the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from . import hints
from .errors import DefinitionError


class Plain:
    """A value that is JSON already, so that nobody need look at its items."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


# What datetime can hold, in microseconds from 1970 on.
_FIRST, _LAST = -62135596800000000, 253402300799999999


def _numpy() -> Any:
    module = sys.modules.get("numpy")
    return module if hasattr(module, "ndarray") and hasattr(module, "generic") else None


# ---- out


def way_of(kind: type) -> Callable[[Any], object] | None:
    """How values of this type travel; None if it is none of numpy's."""
    numpy = _numpy()
    if numpy is None or not issubclass(kind, (numpy.ndarray, numpy.generic)):
        return None
    return _python_value


def _python_value(value: Any) -> object:
    """A scalar or array as Python values."""
    kind = value.dtype.kind
    if kind in "Mm":
        # In nanoseconds numpy would give bare numbers; Python has microseconds.
        value = value.astype(f"{kind}8[us]")
        if _numpy().isnat(value).any():
            raise ValueError("NaT is no time")
        if kind == "M" and not ((_FIRST <= value.astype("i8")) & (value.astype("i8") <= _LAST)).all():
            raise ValueError("Python's datetime has the years 1 to 9999")
    elif kind == "f" and value.dtype.itemsize > 8:
        value = value.astype("f8")
    elif kind not in "biufO" and not value.dtype.names and kind not in "SU":
        raise ValueError(f"the type {value.dtype} has no form in JSON")
    python = value.tolist()
    if kind in "biu" or (kind == "f" and _numpy().isfinite(value).all()):
        return Plain(python)
    return python


# ---- in

_ITEMS = "biufU"  # kinds of dtypes that arguments can have: bool, numbers, texts


def compile_hint(origin: type, args: tuple[Any, ...]) -> hints.Hint | None:
    """The hint of an array or scalar type; None if it is none of numpy's."""
    numpy = _numpy()
    if numpy is None:
        return None
    if issubclass(origin, numpy.ndarray):
        return _array(numpy, args)
    return _scalar(numpy, origin) if issubclass(origin, numpy.generic) else None


def _array(numpy: Any, args: tuple[Any, ...]) -> hints.Hint:
    # NDArray[T] is ndarray[Any, dtype[T]].
    given = getattr(args[1], "__args__", (None,))[0] if len(args) == 2 else None
    dtype = numpy.dtype(given) if isinstance(given, type) and issubclass(given, numpy.generic) else None
    if dtype is not None and dtype.kind not in _ITEMS:
        raise DefinitionError(f"an array of {dtype} is not one that arguments can have; take a list")
    name = "array of numbers" if dtype is None else f"array of {dtype}"

    def check(value: object) -> object:
        if type(value) is not list:
            raise hints.Mismatch(name, value)
        try:
            made = numpy.asarray(value)
        except (ValueError, TypeError, OverflowError):
            raise hints.Misfit(f"expected {name}; its rows differ in length or kind") from None
        if made.dtype.kind not in _ITEMS and made.size:
            raise hints.Misfit(f"expected {name}; it holds other values, or rows of different length")
        if dtype is None:
            return made
        integers = dtype.kind in "iu" and made.dtype.kind in "iu"
        if made.size and not (integers or numpy.can_cast(made.dtype, dtype, "same_kind")):
            raise hints.Misfit(f"expected {name}, got one of {made.dtype}")
        cast = made.astype(dtype, copy=False)
        if integers and not (cast == made).all():
            raise hints.Misfit(f"expected {name}; a number is outside of its range")
        return cast

    return hints.Hint(name, {"type": "array"}, check)


def _scalar(numpy: Any, kind: type) -> hints.Hint:
    inner: dict[str, hints.Hint] = {
        "b": hints.BOOL, "i": hints.INT, "u": hints.INT, "f": hints.FLOAT, "U": hints.STR,
        "M": hints.SIMPLE[datetime], "m": hints.SIMPLE[timedelta],
    }  # fmt: skip
    try:
        dtype = numpy.dtype(kind)
        base = inner[dtype.kind]
    except (TypeError, KeyError):
        raise DefinitionError(f"the type numpy.{kind.__name__} is not one that arguments can have") from None
    schema = base.schema
    limits: Any = None
    if dtype.kind in "iu":
        limits = numpy.iinfo(dtype)
        schema = {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    elif dtype.kind == "M":
        schema = {**schema, "examples": ["2026-01-31T12:30:00"]}  # the format's own have an offset

    def check(value: object) -> object:
        python: Any = base.check(value)
        if limits is not None and not limits.min <= python <= limits.max:
            raise hints.Misfit(f"expected {dtype}, which goes from {limits.min} to {limits.max}, got {python}")
        if dtype.kind == "M" and python.tzinfo is not None:
            raise hints.Misfit("numpy's times have no offset; give the time without one")
        return kind(python)

    return hints.Hint(str(dtype) if dtype.kind in "iuf" else base.name, schema, check)
