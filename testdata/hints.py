"""A tool for each kind of type hint, named after it; each takes x."""

from __future__ import annotations

import dataclasses
import enum
import typing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Literal, Optional, Set, Tuple, Union
from uuid import UUID

from snakepit import tool


class Color(enum.Enum):
    RED = "red"
    TWO = 2
    DAY = date(2026, 1, 31)


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Pair(typing.NamedTuple):
    x: float
    y: int = 0


@dataclasses.dataclass
class Item:
    name: str
    due: Optional[date] = None
    data: bytes = b""
    length: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.length = len(self.data)


class Options(typing.TypedDict, total=False):
    item: Item
    pairs: List[Pair]


def offer(name: str, hint: Any) -> None:
    """Make a tool that takes an x of this type and says how it got it."""

    def function(x):
        return repr(x)

    function.__annotations__ = {"x": hint}
    tool(name=name)(function)


for name, hint in {
    "any": Any, "none": None, "bool": bool, "int": int, "float": float, "str": str, "bytes": bytes,
    "bytearray": bytearray, "memoryview": memoryview, "datetime": datetime, "date": date, "time": time,
    "timedelta": timedelta, "uuid": UUID, "decimal": Decimal, "path": Path, "list": List[int],
    "tuple": Tuple[int, ...], "tuple_of_two": Tuple[int, str], "tuple_of_none": Tuple[()], "set": Set[str],
    "frozenset": FrozenSet[date], "dict": Dict[str, Decimal], "optional": Optional[List[Optional[datetime]]],
    "union": Union[int, bytes, List[str]], "literal": Literal["a", 1, True, None, Color.RED], "enum": Color,
    "flag": Access, "named_tuple": Pair, "dataclass": Item, "typed_dict": Options,
    "annotated": typing.Annotated[date, "the day"],
}.items():  # fmt: skip
    offer(name, hint)


@tool
def extra(**more: date):
    return repr(more)


@tool
def defaults(
    day: date = date(2026, 1, 31), color: Color = Color.DAY, pair: Pair = Pair(1.0, 2), price: Decimal = Decimal("1.50"),
    data: bytes = b"x", item: Optional[Item] = None, span: timedelta = timedelta(hours=1),
):  # fmt: skip
    return repr((day, color, pair, price, data, item, span))
