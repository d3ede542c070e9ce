"""A file of tools as users write it, for type checkers in their strict modes.

What they have to find wrong stands at the end: each line there is an error, and
a checker that does not find it complains of the comment instead.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, Optional
from uuid import UUID

import snakepit
from snakepit import ProgramInfo, Session, testing, tool

if TYPE_CHECKING:
    from typing_extensions import assert_type


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: float
    y: float = 0.0


@dataclass
class Order:
    id: UUID
    due: Optional[date] = None
    total: Decimal = Decimal(0)


class Money:
    def __init__(self, amount: int) -> None:
        self.amount = amount


@snakepit.encoder(Money)
def encode_money(value: Money) -> object:
    return {"amount": value.amount}


@tool(on_conflict="retry")
def remember(text: str, session: Session) -> dict[str, int]:
    notes = session.vars.setdefault("notes", [])
    notes.append(text)
    return {"count": len(notes)}


@tool(name="other", readonly=True, idempotent=True, local=False)
def recall(session: Session, limit: int = 10) -> list[str]:
    notes: list[str] = session.vars.get("notes", [])
    return notes[:limit]


@tool
def draw(points: list[Point], color: Color = Color.RED, *, width: float | None = None) -> str:
    return f"{len(points)} {color.value} {width}"


@tool
def order(order: Order, within: timedelta) -> Order:
    return Order(order.id, order.due, order.total + Decimal(within.days))


@tool
def countdown(n: int) -> Iterator[dict[str, int]]:
    while n:
        yield {"left": n}
        n -= 1


@tool
async def later(n: float) -> float:
    base: float = await snakepit.host.call_async("base", n=n)
    return base + n


@tool
async def slowly(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


@tool
def keep(name: str, data: bytes, session: Session) -> int:
    session.programs[name] = data
    info: ProgramInfo = session.programs.put("copy", bytearray(data), content_type="text/plain")
    with session.programs.write("log") as f:
        f.write(b"line")
    with session.programs.open("log") as reader:
        reader.readline()
    length = session.cached("length", lambda: len(data), programs=[name])
    session.local["length"] = length
    return info.size + length


@tool
def price(item: str) -> float:
    call = snakepit.current()
    if call.remaining() == 0.0:
        raise snakepit.Error("too late")
    base: float = snakepit.host.call("base_price", item=item)
    snakepit.event("price.found", {"base": base}, {"item": item, "tool": call.tool})
    return base * 1.19


def base(n: float) -> float:
    return n


def base_price(item: str) -> float:
    return 100.0


def check() -> None:
    """Call them all, as tests do and as other code does."""
    session = testing.Session(vars={"notes": ["a"]}, labels={"team": "x"})
    answer = testing.call(remember, session=session, text="milk")
    assert answer == {"count": 2}
    assert testing.call(recall, session=session)[1] == "milk"
    assert testing.call(draw, points=[Point(1)], color=Color.RED) == "1 red None"
    done = testing.call(order, order=Order(UUID(int=1)), within=timedelta(days=2))
    assert done["total"] == "2"
    assert [chunk["left"] for chunk in testing.stream(countdown, n=2)] == [2, 1]
    assert testing.call(later, n=1, host_tools={"base": base}) == 2.0
    assert testing.call(slowly, n=2) == [0, 1]
    assert testing.call(keep, session=session, name="new", data=b"abc") == 6
    assert testing.call(price, item="tea", host_tools={"base_price": base_price}) == 119.0
    assert session.vars["notes"] == ["a", "milk"] and session.last_change is None

    # A decorated function is what it was.
    assert draw([Point(1)], width=2) == "1 red 2"
    assert [chunk["left"] for chunk in countdown(1)] == [1]
    if TYPE_CHECKING:
        assert_type(answer, Any)
        assert_type(draw([], Color.RED), str)
        assert_type(countdown(1), Iterator[dict[str, int]])


def wrong(session: Session) -> None:
    remember(5, session)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    recall(session, limit="a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    draw([], Color.RED, 1.0)  # type: ignore[misc]  # pyright: ignore[reportCallIssue]
    tool(name=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    tool("name")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    number: str = session.cached("k", lambda: 1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    session.programs["p"] = "text"  # type: ignore[assignment]  # pyright: ignore[reportArgumentType]
    snakepit.event("e", {"n": "1"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    print(number)
