"""Values that a worker keeps for a session only as long as they fit its state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any

# How many values a worker keeps for each session; the least recently used go first.
MAX_CACHED = 64

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

_NOTHING: Any = object()


class Cache:
    """The values of one session.

    Each has the basis it was made on, which says what of the state it depends
    on. A value of another basis is as good as none.
    """

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()

    def get(self, key: Hashable, basis: Callable[[], Hashable], make: Callable[[], T]) -> T:
        """The value under a key, made anew if there is none on this basis.

        The basis None fits nothing: such a value is not kept.
        """
        now = basis()
        found, value = self._values.get(key, (None, _NOTHING))
        if now is not None and found == now:
            self._values.move_to_end(key)
            kept: T = value
            return kept
        made = make()
        if hasattr(made, "__await__"):
            raise TypeError("session.cached keeps values, not awaitables: await first, and cache the result")
        if now is not None and basis() == now:
            self._values[key] = (now, made)
            self._values.move_to_end(key)
            if len(self._values) > MAX_CACHED:
                self._values.popitem(last=False)
        return made


def digest(text: bytes | None) -> bytes | None:
    """What stands for a text in a basis."""
    if text is None or len(text) <= 64:
        return text
    import hashlib  # not needed by most workers

    return hashlib.sha256(text).digest()


def names(given: Iterable[str] | None, what: str) -> tuple[str, ...]:
    """The names that a value depends on."""
    if isinstance(given, str):
        raise TypeError(f"{what} of session.cached is a list of names, not a text; write [{given!r}]")
    return tuple(given or ())
