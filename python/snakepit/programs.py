"""Programs: named bytes of a session, kept by the host and read when needed."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from .errors import Error, HostError, ReadOnlyError

if TYPE_CHECKING:
    from .calls import Exchange

# How much one request carries.
_RANGE = 1 << 20
# How much a file-like reader asks for at a time.
_READ_AHEAD = 1 << 18


class ProgramInfo:
    """What is known of a program without reading it."""

    __slots__ = ("name", "size", "sha256", "content_type")

    def __init__(self, entry: dict[str, Any]) -> None:
        self.name: str = entry["name"]
        self.size: int = entry["size"]
        self.sha256: str = entry["sha256"]
        self.content_type: str = entry.get("content_type") or ""

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"ProgramInfo({fields})"


class Programs(MutableMapping[str, bytes]):
    """The programs of a session: a mapping of names to bytes.

    Nothing is read before it is asked for. What a tool writes or deletes is
    visible to itself at once and to others when its call commits; a call that
    raises leaves the programs as they were.

    The methods talk to the host and block. Async tools that must not block
    use ``asyncio.to_thread``.
    """

    __slots__ = ("_table", "_changed", "_readonly", "_exchange")

    def __init__(self, table: dict[str, ProgramInfo], readonly: bool, exchange: Exchange) -> None:
        self._table = table
        self._changed = False
        self._readonly = readonly
        # exchange(method, params, parts, note) -> (result, parts), see calls.py
        self._exchange = exchange

    def info(self, name: str) -> ProgramInfo:
        """Size, digest and content type of a program. Raises KeyError."""
        return self._table[name]

    def __getitem__(self, name: str) -> bytes:
        import hashlib  # not needed by most workers

        info = self._table[name]
        data = bytearray()
        while len(data) < info.size:
            piece = self._read(name, len(data), min(_RANGE, info.size - len(data)))
            if not piece:
                break
            data += piece
        if len(data) != info.size or hashlib.sha256(data).hexdigest() != info.sha256:
            raise HostError(f"program {name!r} arrived damaged", "damaged")
        return bytes(data)

    def __setitem__(self, name: str, data: bytes) -> None:
        self.put(name, data)

    def put(self, name: str, data: bytes | bytearray | memoryview, *, content_type: str = "") -> ProgramInfo:
        """Write a program from bytes (bytes, bytearray or memoryview)."""
        view = memoryview(data).cast("B")  # a TypeError if this is not bytes
        with self.write(name, content_type=content_type) as writer:
            writer.write(view)
        return writer.info

    def write(self, name: str, *, content_type: str = "") -> ProgramWriter:
        """Write a program piece by piece: ``with programs.write("m") as f: f.write(b"...")``.

        The program is there when the block ends; if it raises, it is not.
        """
        self._writable(name)
        if not isinstance(name, str):
            raise TypeError(f"names of programs are str, not {type(name).__name__}")
        return ProgramWriter(self, name, content_type)

    def open(self, name: str) -> io.BufferedReader:
        """A file-like reader, for programs too large to hold. Raises KeyError."""
        return io.BufferedReader(_ProgramReader(self, self._table[name]), _READ_AHEAD)

    def __delitem__(self, name: str) -> None:
        self._writable(name)
        self._table[name]  # KeyError
        self._exchange("program.delete", {"name": name}, (), functools.partial(self._forget, name))

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._table))

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"<programs {list(self._table)}>"

    def _writable(self, name: str) -> None:
        if self._readonly:
            raise ReadOnlyError(f"session.programs[{name!r}] cannot be changed in a read-only call")

    def _read(self, name: str, offset: int, limit: int) -> bytes:
        _, parts = self._exchange("program.read", {"name": name, "offset": offset, "limit": limit}, (), None)
        return bytes(parts[0]) if parts else b""

    def _forget(self, name: str, _: object) -> None:
        self._update(name, None)

    def _update(self, name: str, info: ProgramInfo | None) -> None:
        if not self._changed:
            self._table = dict(self._table)
            self._changed = True
        if info is None:
            self._table.pop(name, None)
        else:
            self._table[name] = info


class ProgramWriter:
    """Receives the bytes of a program; a context manager."""

    def __init__(self, programs: Programs, name: str, content_type: str) -> None:
        self._programs = programs
        self._name = name
        self._content_type = content_type
        self._upload: int | None = None
        self._buffer = bytearray()
        self._info: ProgramInfo | None = None

    def __enter__(self) -> ProgramWriter:
        result, _ = self._programs._exchange(
            "program.open", {"name": self._name, "content_type": self._content_type}, (), None
        )
        self._upload = result["upload"]
        return self

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes; return how many."""
        if self._upload is None:
            raise ValueError("a program is written inside of its with block")
        view = memoryview(data).cast("B")
        at = 0
        if self._buffer:
            at = min(len(view), _RANGE - len(self._buffer))
            self._buffer += view[:at]
            if len(self._buffer) == _RANGE:
                self._send(bytes(self._buffer))
                self._buffer.clear()
        while len(view) - at >= _RANGE:
            self._send(bytes(view[at : at + _RANGE]))
            at += _RANGE
        self._buffer += view[at:]
        return len(view)

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        upload, exchange = self._upload, self._programs._exchange
        if kind is not None:
            self._upload = None
            if issubclass(kind, Exception):  # a cancelled call is cleaned up by the host
                try:
                    exchange("program.abort", {"upload": upload}, (), None)
                except Error:
                    pass  # the error of the block tells more
            return
        if self._buffer:
            self._send(bytes(self._buffer))
        self._upload = None
        exchange("program.close", {"upload": upload}, (), self._done)

    def _done(self, result: dict[str, Any]) -> None:
        self._info = ProgramInfo(result["program"])
        self._programs._update(self._name, self._info)

    @property
    def info(self) -> ProgramInfo:
        """The finished program. Raises ValueError inside of the block."""
        if self._info is None:
            raise ValueError("the program is not written yet")
        return self._info

    def _send(self, data: bytes) -> None:
        self._programs._exchange("program.write", {"upload": self._upload}, (data,), None)


class _ProgramReader(io.RawIOBase):
    def __init__(self, programs: Programs, info: ProgramInfo) -> None:
        super().__init__()
        self._programs = programs
        self._info = info
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._info.size}[whence]
        if base + offset < 0:
            raise ValueError("seek before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        limit = min(len(buffer), _RANGE, self._info.size - self._at)
        if limit <= 0:
            return 0
        data = self._programs._read(self._info.name, self._at, limit)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
