"""Frames over the socket that the host handed down.

docs/protocol.md, "Frames", is the specification. Any thread may send. Only
one at a time may receive; which one is decided in ``duty.py``.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any

from . import codec
from .codec import DICT, LIST

MAX_FRAME = 134217728  # before the host has said otherwise
_LENGTHS = struct.Struct(">II")
_BUFFER = 65536
_JOIN = 65536  # bodies up to this size are joined with their header: one system call


class Closed(Exception):
    """The host has closed the connection."""


class ProtocolError(Exception):
    """The host sent something that is not a frame of this protocol."""


class Message:
    """One received frame.

    ``special`` says that the header may hold values that codec.decode has to
    look at.
    """

    __slots__ = ("header", "parts", "special")

    def __init__(self, header: dict[str, Any], parts: list[Any], special: bool) -> None:
        self.header = header
        self.parts = parts
        self.special = special


class Connection:
    """Sends and receives frames on a connected stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.max_frame = MAX_FRAME
        self._sock = sock
        self._sending = threading.Lock()
        # Received bytes lie in _buffer[_start:_end]. A frame that is larger
        # than the buffer gets one of its own for the time of its arrival.
        self._small: memoryview = memoryview(bytearray(_BUFFER))
        self._buffer: memoryview = self._small
        self._start = self._end = 0

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def stop_receiving(self) -> None:
        """Make receive raise Closed once what has arrived is read."""
        try:
            self._sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # the host was faster

    # -- sending

    def send(self, header: bytes, parts: Sequence[bytes] = ()) -> None:
        """Send one frame. Raises Closed; the caller has checked fits()."""
        size = len(header)
        body = sum(map(len, parts)) if parts else 0
        pieces = [_LENGTHS.pack(4 + size + body, size) + header, *parts]
        if body <= _JOIN:
            pieces = [b"".join(pieces)]
        try:
            with self._sending:
                for piece in pieces:
                    self._sock.sendall(piece)
        except OSError as e:
            raise Closed(str(e)) from e

    def excess(self, header: bytes, parts: Sequence[bytes] = ()) -> int:
        """By how many bytes a frame would be too large; 0 if it fits."""
        return max(0, 4 + len(header) + sum(map(len, parts)) - self.max_frame)

    # -- receiving

    def receive(self) -> Message:
        """Wait for the next frame. Raises Closed, ProtocolError."""
        while True:
            if self._end:
                message = self.buffered()
                if message is not None:
                    return message
            self.fill()

    def fill(self) -> None:
        """Receive once, waiting for at least one byte. Raises Closed."""
        try:
            n = self._sock.recv_into(self._buffer[self._end :] if self._end else self._buffer)
        except OSError as e:
            raise Closed(str(e)) from e
        if not n:
            raise Closed("end of the stream")
        self._end += n

    def buffered(self) -> Message | None:
        """The next frame if it has arrived completely, else None.

        Afterwards the buffer has room for at least one more byte.
        """
        have = self._end - self._start
        if have < 8:
            self._make_room(8)
            return None
        length, header = _LENGTHS.unpack_from(self._buffer, self._start)
        if length > self.max_frame:
            raise ProtocolError(f"a frame of {length} bytes; at most {self.max_frame} are allowed")
        if header > length - 4:
            raise ProtocolError(f"a header of {header} bytes in a frame of {length}")
        size = 4 + length
        if have < size:
            self._make_room(size)
            return None
        at = self._start + 8
        self._start += size
        message = _parse(self._buffer[at : at + header], self._buffer[at + header : self._start])
        if self._start == self._end:
            self._buffer, self._start, self._end = self._small, 0, 0
        return message

    def _make_room(self, size: int) -> None:
        """See to it that a frame of this size fits behind _start."""
        if self._start + size <= len(self._buffer):
            return
        rest = bytes(self._buffer[self._start : self._end])
        self._buffer = self._small if size <= _BUFFER else memoryview(bytearray(size))
        self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)


def _parse(header: memoryview, body: memoryview) -> Message:
    text = ""
    try:
        text = str(header, "utf-8")
        message = codec.loads(text)
    except RecursionError:
        return Message(_too_deep(text), [], False)
    except ValueError as e:
        raise ProtocolError(f"a header that is not JSON: {e}") from None
    if not isinstance(message, DICT):
        raise ProtocolError("a header that is not an object")
    special = codec.may_be_special(text)
    # Without a body there may still be parts of no bytes, which are special.
    parts = _split(message, body) if body or special else []
    return Message(message, parts, special)


def _split(message: dict[str, Any], body: memoryview) -> list[Any]:
    container: Any = message.get("params") or message.get("result")
    lengths: Any = container.get("parts", []) if isinstance(container, DICT) else []
    if not isinstance(lengths, LIST) or not all(type(n) is int and n >= 0 for n in lengths) or sum(lengths) != len(body):
        raise ProtocolError(f"parts {lengths!r} do not match a body of {len(body)} bytes")
    parts: list[bytes] = []
    at = 0
    for n in lengths:
        parts.append(bytes(body[at : at + n]))
        at += n
    return parts


# The method of a request that is nested more deeply than Python's json reads.
TOO_DEEP = "$too_deep"

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]')
_NUMBER = re.compile(r"\s*:\s*(\d+)")


def _too_deep(text: str) -> dict[str, Any]:
    """What can be said of a message that is nested too deeply."""
    depth, number, method = 0, None, False
    for token in _TOKENS.finditer(text):
        mark = token.group()
        if mark in "{[":
            depth += 1
        elif mark in "}]":
            depth -= 1
        elif depth == 1 and mark == '"id"':
            found = _NUMBER.match(text, token.end())
            number = int(found.group(1)) if found else None
        elif depth == 1 and mark == '"method"':
            method = True
    if method:
        return {"id": number, "method": TOO_DEEP}
    return {"id": number, "error": {"code": -32603, "message": "the answer is nested too deeply"}}
