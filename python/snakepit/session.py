"""The session as a tool sees it, and what a worker holds of it between calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, MutableMapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import cached, codec
from .errors import ReadOnlyError, SessionError, Unencodable, step
from .programs import ProgramInfo, Programs

if TYPE_CHECKING:
    from typing import TypeVar

    from .calls import Exchange

    T = TypeVar("T")

_MISSING = object()
_IMMUTABLE = frozenset((str, int, float, bool, type(None)))

# The longest name of a variable, in bytes of UTF-8; the store's limit.
MAX_NAME = 512

# How many sessions' state a worker keeps between calls.
HELD_SESSIONS = 1024


class StateMissing(Exception):
    """The worker does not hold the state that a call relies on."""


class _Text:
    """The JSON text of a variable, as opposed to its parsed form."""

    __slots__ = ("json",)

    def __init__(self, json: bytes) -> None:
        self.json = json


class Held:
    """The state of one session, as the worker holds it between calls.

    ``values`` maps each variable to its parsed JSON as it came (with the
    one-key objects of the protocol still in it) or, once a tool has touched
    it, to its text. Neither is ever handed to a tool if it can be changed: a
    call works on copies, so that a call that fails leaves no trace and no
    tool can change a session through an object it kept.
    """

    __slots__ = (
        "incarnation", "version", "pending", "values", "special", "programs", "labels", "metadata", "local",
        "cache", "states",
    )  # fmt: skip

    def __init__(self, incarnation: str, version: int) -> None:
        self.incarnation = incarnation
        self.version = version
        self.pending = False  # changed, and not yet known to be committed
        self.values: dict[str, Any] = {}
        self.special = False
        self.programs: dict[str, ProgramInfo] = {}
        self.labels: Mapping[str, Any] = {}
        self.metadata: Mapping[str, Any] = {}
        self.local: dict[str, Any] = {}
        self.cache = cached.Cache()
        self.states = 0  # counts them as they follow one another here

    def load(self, params: dict[str, Any], special: bool) -> None:
        """Replace the state by what came with a call."""
        self.version = params["version"]
        self.pending = False
        self.states += 1
        self.values = params["vars"] or {}
        self.special = special
        self.programs = {p["name"]: ProgramInfo(p) for p in params.get("programs") or ()}
        self.labels = MappingProxyType(params.get("labels") or {})
        self.metadata = MappingProxyType(params.get("metadata") or {})


class Sessions:
    """Everything a worker holds of sessions; used on the main thread only.

    It keeps the most recently used ``limit`` sessions. Older ones are dropped,
    which only means that the host has to send their variables again; sessions
    with local objects are never dropped, even beyond the limit.
    """

    def __init__(self, limit: int = HELD_SESSIONS) -> None:
        self._limit = limit
        self._held: OrderedDict[str, Held] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def open(self, params: dict[str, Any], special: bool) -> Held:
        """The state for a call with these session parameters.

        Raises StateMissing if the call does not bring it and it is not held.
        """
        name, incarnation, version = params["id"], params["incarnation"], params["version"]
        held = self._held.get(name)
        if held is not None and held.incarnation != incarnation:
            del self._held[name]
            held = None
        if "vars" in params:
            if held is None:
                held = self._held[name] = Held(incarnation, version)
            held.load(params, special)
        elif held is None:
            raise StateMissing
        elif held.pending:
            if version <= held.version:
                raise StateMissing
            held.version, held.pending = version, False
        elif version != held.version:
            raise StateMissing
        self._held.move_to_end(name)
        if len(self._held) > self._limit:
            self._evict(name)
        return held

    def forget(self, name: str) -> None:
        self._held.pop(name, None)

    def _evict(self, keep: str) -> None:
        for name, held in self._held.items():
            if name != keep and not held.local:
                del self._held[name]
                return


class Change:
    """What a call changed: encoded variables to set, names to unset."""

    __slots__ = ("set", "unset")

    def __init__(self, set: dict[str, bytes], unset: list[str]) -> None:
        self.set = set
        self.unset = unset

    def __bool__(self) -> bool:
        return bool(self.set or self.unset)


class Vars(MutableMapping[str, Any]):
    """The variables of a session: a mapping of names to JSON values.

    Lists and dicts taken from it may be changed in place; the change is
    noticed at the end of the call. Values are encoded as the table in
    docs/python.md says; bytes are refused, keep them in session.programs.
    """

    # A thread that outlives its call may use this while the call is answered:
    # what it does after _held has become None is an error, told to it, and what
    # it did before that is part of the change.
    __slots__ = ("_held", "_readonly", "_touched", "_deleted", "_read", "_read_all")

    def __init__(self, held: Held, readonly: bool, want_read: bool = False) -> None:
        self._held: Held | None = held
        self._readonly = readonly
        self._touched: dict[str, Any] = {}  # copies handed out, and values assigned
        self._deleted: set[str] = set()
        # Names that were read or looked for, and whether all may have been; not
        # kept unless the host wants to know.
        self._read: set[object] | None = set() if want_read else None
        self._read_all = False

    def _state(self) -> Held:
        if self._held is None:
            raise SessionError("session.vars was used after its call had ended")
        return self._held

    def _writable(self, name: str) -> Held:
        held = self._state()
        if self._readonly:
            raise ReadOnlyError(f"session.vars[{name!r}] cannot be changed in a read-only call")
        return held

    def __getitem__(self, name: str) -> Any:
        held = self._state()
        if self._read is not None:
            self._read.add(name)
        value = self._touched.get(name, _MISSING)
        if value is not _MISSING:
            return value
        value = held.values[name]
        if name in self._deleted:
            raise KeyError(name)
        if type(value) is _Text:
            value = codec.parse(value.json)
            if type(value) in _IMMUTABLE:
                return value
        elif type(value) in _IMMUTABLE:
            return value
        else:
            # From here on its text is what is held, and the parsed value is
            # the tool's own copy.
            if held.special:
                value = codec.decode(value, [])
            held.values[name] = _Text(encode_var(name, value))
        self._touched[name] = value
        self._state()
        return value

    def __setitem__(self, name: str, value: object) -> None:
        self._writable(name)
        if not isinstance(name, str):
            raise TypeError(f"names of session variables are str, not {type(name).__name__}")
        if not 0 < len(name.encode(errors="surrogatepass")) <= MAX_NAME:
            raise ValueError(f"names of session variables have 1 to {MAX_NAME} bytes of UTF-8, not {name[:40]!r}")
        self._deleted.discard(name)
        self._touched[name] = value
        self._state()

    def __delitem__(self, name: str) -> None:
        held = self._writable(name)
        if name not in self:
            raise KeyError(name)
        self._touched.pop(name, None)
        if name in held.values:
            self._deleted.add(name)
        self._state()

    def __contains__(self, name: object) -> bool:
        if self._read is not None:
            self._read.add(name)
        return name in self._touched or (name in self._state().values and name not in self._deleted)

    def __iter__(self) -> Iterator[str]:
        self._read_all = True
        values = self._state().values
        names = [name for name in values if name not in self._deleted]
        names += [name for name in self._touched if name not in values]
        return iter(names)

    def __len__(self) -> int:
        self._read_all = True
        values = self._state().values
        return len(values) - len(self._deleted) + sum(name not in values for name in self._touched)

    def __repr__(self) -> str:
        return repr(dict(self)) if self._held is not None else "<session.vars of a call that has ended>"

    def _change(self, held: Held) -> Change:
        """What differs from the state before the call. Raises Unencodable."""
        change = self._difference(held)
        changed = change.set
        if changed and self._readonly:
            name = next(iter(changed))
            raise ReadOnlyError(f"session.vars[{name!r}] was changed inside in a read-only call")
        return change

    def _difference(self, held: Held) -> Change:
        touched, deleted = dict(self._touched), set(self._deleted)
        changed: dict[str, bytes] = {}
        for name, value in touched.items():
            text = encode_var(name, value)
            before: object = held.values.get(name, _MISSING)
            if before is _MISSING or text != _text_of(before, held.special, name):
                changed[name] = text
        return Change(changed, sorted(deleted.difference(changed)))

    def _text(self, held: Held, name: str) -> bytes | None:
        """The text of a variable as this call sees it; None if there is none."""
        if name in self._touched:
            return encode_var(name, self._touched[name])
        if name in self._deleted or name not in held.values:
            return None
        return _text_of(held.values[name], held.special, name)

    def _names_read(self) -> list[str] | bool | None:
        """What the call has read: names, True for all, None if nobody asked."""
        if self._read is None:
            return None
        return self._read_all or sorted(name for name in self._read if isinstance(name, str))


def _text_of(before: object, special: bool, name: str) -> bytes | None:
    """The text a held variable would have; None if it is nothing a tool can read."""
    if type(before) is _Text:
        return before.json
    try:
        return encode_var(name, codec.decode(before, []) if special else before)
    except (codec.DecodeError, Unencodable):
        return None


def encode_var(name: str, value: object) -> bytes:
    """The JSON text of a variable. Raises Unencodable."""
    path = "session.vars" + step(name)
    return codec.encode_json(value, path, "cannot be kept in session.vars; use session.programs")


class Session:
    """The session a call belongs to. It is valid until the call ends.

    ``vars``
        the variables, a mapping of names to JSON values; what the tool
        changes is committed with its result, and dropped if it raises
    ``programs``
        named bytes, read and written through the host, committed with vars
    ``local``
        a dict for objects of this process (a parsed model, an open
        connection): it stays as long as this worker holds the session and is
        gone afterwards. It is not committed, not rolled back and not moved.
        While there is something in it, calls of tools that use it wait for
        this worker.
    ``cached(key, make)``
        a value that can be made from the state, kept as long as it fits
    ``id``, ``labels``, ``metadata``, ``readonly``
        what the host says of the session and this call
    """

    __slots__ = ("_held", "_id", "_readonly", "_vars", "_programs", "_local", "_local_used")

    def __init__(
        self, id: str, held: Held, readonly: bool, exchange: Exchange, local: bool | None = None, want_read: bool = False
    ) -> None:
        self._id = id
        self._local = local  # what the tool has declared
        self._local_used = False
        self._held = held
        self._readonly = readonly
        self._vars = Vars(held, readonly, want_read)
        self._programs = Programs(held.programs, readonly, exchange)

    @property
    def id(self) -> str:
        return self._id

    @property
    def readonly(self) -> bool:
        return self._readonly

    @property
    def vars(self) -> Vars:
        return self._vars

    @property
    def programs(self) -> Programs:
        return self._programs

    @property
    def local(self) -> dict[str, Any]:
        if self._local is False:
            raise SessionError("this tool is declared with local=False; it has no session.local")
        if self._vars._held is None:
            raise SessionError("session.local was used after its call had ended")
        self._local_used = True
        return self._held.local

    def cached(
        self,
        key: Hashable,
        make: Callable[[], T],
        *,
        vars: Iterable[str] | None = None,
        programs: Iterable[str] | None = None,
    ) -> T:
        """What make() returns, kept in this worker until the state changes.

        ``session.cached("pattern", lambda: re.compile(session.vars["pattern"]))``
        runs make once in each worker and again whenever the variables or
        programs of the session have changed, here or anywhere. With ``vars=``
        and ``programs=``, lists of names, only changes of these count. Unlike
        session.local it holds up no call.

        A value made after this call has changed the state is kept only if it
        names what it depends on. Do not change a value that is kept.
        """
        held = self._vars._held
        if held is None:
            raise SessionError("session.cached was used after its call had ended")
        # What make reads is not read again when its value is found.
        if vars is None and programs is None:
            self._vars._read_all = True
            return held.cache.get(key, self._state, make)
        on_vars, on_programs = cached.names(vars, "vars"), cached.names(programs, "programs")

        def basis() -> Hashable:
            if self._vars._read is not None:
                self._vars._read.update(on_vars)
            texts = [cached.digest(self._vars._text(self._held, name)) for name in on_vars]
            sums = [self._programs.info(name).sha256 if name in self._programs else None for name in on_programs]
            return (on_vars, on_programs, *texts, *sums)

        return held.cache.get(key, basis, make)

    def _state(self) -> int | None:
        """The number of the state, None if this call has changed it."""
        if self._programs._changed or self._vars._difference(self._held):
            return None
        return self._held.states

    @property
    def labels(self) -> Mapping[str, str]:
        return self._held.labels

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._held.metadata

    def __repr__(self) -> str:
        return f"<snakepit.Session {self._id!r}>"

    # What the runtime does with it when the tool has ended.

    def _change(self) -> Change:
        return self._vars._change(self._held)

    def _names_read(self) -> list[str] | bool | None:
        return self._vars._names_read()

    def _commit(self, change: Change) -> None:
        """Make the held state the one after the call."""
        held = self._held
        for name in change.unset:
            del held.values[name]
        for name, text in change.set.items():
            held.values[name] = _Text(text)
        if self._programs._changed:
            held.programs = self._programs._table
        held.pending = bool(change) or self._programs._changed
        held.states += held.pending

    def _end(self) -> None:
        """Make further use of the variables an error."""
        self._vars._held = None
