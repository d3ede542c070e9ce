"""print() and logging go to the host's log, with the call they belong to.

Before the host has answered hello, and in forked children, both go to the
process's own stdout and stderr, which the host logs too, as plain lines.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

# Longer lines come in pieces, longer messages are cut.
LIMIT = 65536

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

# emit(level, logger, message, attrs) sends one message.
Emit = Callable[[str, str, str, "dict[str, Any] | None"], None]


class Logs:
    """Takes over sys.stdout, sys.stderr and the root logger."""

    def __init__(self) -> None:
        self._streams: tuple[Any, Any] = (sys.stdout, sys.stderr)
        self.stdout = LineWriter("stdout", "info", sys.stdout, 1)
        self.stderr = LineWriter("stderr", "warning", sys.stderr, 2)
        self._handler = _Handler(self.stderr)

    def install(self) -> None:
        """Before the tools are loaded, so that whatever they keep is ours."""
        streams: Any = sys  # whose names want a TextIO, and take any stream
        streams.stdout, streams.stderr = self.stdout, self.stderr
        logging.getLogger().addHandler(self._handler)

    def connect(self, emit: Emit, level: str) -> None:
        """From now on the host gets everything from this level on."""
        lowest = _LEVELS.get(level, logging.INFO)
        self._handler.setLevel(lowest)
        root = logging.getLogger()
        if root.level == logging.WARNING:  # nobody has set it
            root.setLevel(lowest)
        self._handler.emit_to = emit
        for writer in (self.stdout, self.stderr):
            writer.flush()
            writer.emit_to = emit if _LEVELS[writer.level] >= lowest else _drop

    def end_call(self) -> None:
        """Send what was printed without a line end."""
        if self.stdout.begun:
            self.stdout.end_line()
        if self.stderr.begun:
            self.stderr.end_line()

    def uninstall(self) -> None:
        """Give the process its own streams back, as a forked child needs them."""
        for writer in (self.stdout, self.stderr):
            writer.emit_to = None
        self._handler.emit_to = None
        streams: Any = sys
        if streams.stdout is self.stdout:
            streams.stdout = self._streams[0]
        if streams.stderr is self.stderr:
            streams.stderr = self._streams[1]


def _drop(level: str, logger: str, message: str, attrs: dict[str, Any] | None) -> None:
    pass


class LineWriter(io.TextIOBase):
    """A text stream that sends each line as a log message.

    Every thread has a line of its own. What stands before a carriage return
    is overwritten, as on a terminal. ``flush`` does not end a line; the end
    of the call does.
    """

    def __init__(self, logger: str, level: str, stream: Any, fd: int) -> None:
        super().__init__()
        self.level = level
        self.emit_to: Emit | None = None
        self.begun = False  # whether any thread may have a line without its end
        self._logger = logger
        self._stream = stream
        self._fd = fd
        self._local = threading.local()
        self.buffer = _Bytes(self)

    encoding = "utf-8"
    errors = "backslashreplace"

    @property
    def name(self) -> str:
        return f"<{self._logger}>"

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.emit_to is None:
            if self._stream is not None:
                self._stream.write(text)
                if "\n" in text:
                    self._stream.flush()
            return len(text)
        line = getattr(self._local, "line", "") + text
        if "\n" in line:
            *lines, line = line.split("\n")
            for whole in lines:
                self._emit(whole)
        if "\r" in line[:-1]:
            line = line[line.rindex("\r", 0, -1) + 1 :]
        if len(line) > LIMIT:
            self._emit(line)
            line = ""
        self._local.line = line
        self.begun = True
        return len(text)

    def end_line(self) -> None:
        """Send the line of this thread as far as it has come."""
        self.begun = False
        line = getattr(self._local, "line", "")
        if line:
            self._local.line = ""
            self._emit(line)

    def _emit(self, line: str) -> None:
        line = line.rstrip("\r").rpartition("\r")[2]
        for start in range(0, len(line), LIMIT):  # not at all for an empty line
            if self.emit_to is not None:
                self.emit_to(self.level, self._logger, clean(line[start : start + LIMIT]), None)

    def flush(self) -> None:
        if self.emit_to is None and self._stream is not None:
            self._stream.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        """The process's own stream, for child processes."""
        return self._fd

    def reconfigure(self, **options: object) -> None:
        """Accepted for the sake of programs that configure sys.stdout."""

    def close(self) -> None:
        """It stays open: others print to it, too."""


class _Bytes(io.RawIOBase):
    """The ``buffer`` of a LineWriter."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        data = bytes(data)
        self._writer.write(data.decode("utf-8", "replace"))
        return len(data)

    def flush(self) -> None:
        self._writer.flush()

    def fileno(self) -> int:
        return self._writer.fileno()

    def close(self) -> None:
        pass


# What every record has; the rest came with extra=.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Handler(logging.Handler):
    """Sends log records; needs no lock of its own, sending has one."""

    def __init__(self, fallback: LineWriter) -> None:
        super().__init__()
        self.emit_to: Emit | None = None
        self._fallback = fallback

    def handle(self, record: logging.LogRecord) -> bool:
        if not self.filter(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.emit_to is None:
                self._fallback.write(self.format(record) + "\n")
                return
            attrs = {key: _attr(value) for key, value in vars(record).items() if key not in _STANDARD}
            if record.exc_info:
                attrs["exception"] = clean(logging.Formatter().formatException(record.exc_info))
            if record.stack_info:
                attrs["stack"] = clean(record.stack_info)
            self.emit_to(_level(record.levelno), record.name, clean(record.getMessage()), attrs or None)
        except Exception:
            self.handleError(record)


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


def _attr(value: object) -> object:
    """A value as JSON can show it in a log."""
    if value is None or type(value) in (bool, int):
        return value
    if type(value) is float and value - value == 0:  # neither NaN nor infinite
        return value
    return clean(str(value))


def clean(text: str) -> str:
    """A text that can be sent: valid Unicode, and not too long."""
    if len(text) > LIMIT:
        text = f"{text[:LIMIT]}... ({len(text)} characters)"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
