"""Ordinary Python values that JSON lacks: what each becomes on its way out.

docs/python.md, "Values", is the rule. ``way_of`` gives the function that turns
a value of some type into one that is nearer to JSON, which is encoded in turn.
Encoders that users register come first, those for ``object`` last.

Nothing is imported for this: a value of a library's type exists only if the
user's code has imported that library.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any

from . import numpys, pydantics, texts

if TYPE_CHECKING:
    from typing import TypeVar

    F = TypeVar("F", bound=Callable[[Any], object])

Way = Callable[[Any], object]

_registered: dict[type, Way] = {}

# The ways by exact type, None for no way; forgotten when an encoder is added.
_known: dict[type, Way | None] = {}
_KNOWN_LIMIT = 1000  # of types, which a program can make at will


def encoder(kind: type) -> Callable[[F], F]:
    """Say how values of a type travel, where JSON has no form for them.

        @snakepit.encoder(Money)
        def money(value):
            return {"amount": str(value.amount), "currency": value.currency}

    The function gets a value of that class or a subclass and returns one that
    can travel. The class nearest to the value's own decides. An encoder goes
    before the rules of the SDK, so that it can replace them (``Decimal`` as
    float); one for ``object`` comes after them and takes whatever is left, as
    ``default`` of json.dumps does. JSON's own types and their subclasses are
    never asked about.
    """
    if not isinstance(kind, type):
        raise TypeError(f"@encoder takes a class, as in @encoder(Money); this is {kind!r}")

    def register(function: F) -> F:
        _registered[kind] = function
        _known.clear()
        return function

    return register


def way_of(kind: type[Any]) -> Way | None:
    """What turns a value of this type into something nearer to JSON."""
    try:
        return _known[kind]
    except KeyError:
        if len(_known) >= _KNOWN_LIMIT:
            _known.clear()
        way = _known[kind] = _find(kind)
        return way


def _find(kind: type[Any]) -> Way | None:
    for base in kind.__mro__[:-1]:
        if base in _registered:
            return _registered[base]
    if any(own in kind.__mro__ for own in _OWN):
        return None
    if timedelta in kind.__mro__:
        return texts.format_timedelta
    if _is_of(kind, "enum", "Enum"):
        return _value_of
    if any(_is_of(kind, *name) for name in _AS_TEXT):
        return str
    if hasattr(kind, "__dataclass_fields__"):
        return _fields_of
    return pydantics.way_of(kind) or numpys.way_of(kind) or _registered.get(object)


_OWN: tuple[type[Any], ...] = (date, time, set, frozenset)  # which codec.py encodes itself
_AS_TEXT = (("uuid", "UUID"), ("decimal", "Decimal"), ("pathlib", "PurePath"))


def _is_of(kind: type, module: str, name: str) -> bool:
    """Whether kind is or derives from a class, without importing its module."""
    base = getattr(sys.modules.get(module), name, None)
    return isinstance(base, type) and issubclass(kind, base)


def _value_of(member: Any) -> object:
    return member.value


def _fields_of(value: Any) -> object:
    import dataclasses  # imported already

    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


_HINTS = (
    ("to_dicts", ".to_dicts()"),  # a DataFrame of polars
    ("to_records", '.to_dict(orient="records")'),  # one of pandas
    ("tolist", ".tolist()"),
    ("to_list", ".to_list()"),
    ("to_dict", ".to_dict()"),
    ("_asdict", "._asdict()"),
    ("keys", "dict()"),
    ("__next__", "list()"),
    ("__fspath__", "str()"),
)


def advice(kind: type) -> str:
    """What to do about a value that cannot be encoded, if that is known."""
    for attribute, conversion in _HINTS:
        if hasattr(kind, attribute):
            return f"; convert it with {conversion}"
    return ""
