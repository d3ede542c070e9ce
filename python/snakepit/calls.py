"""The running call, and what tools may ask of it from anywhere.

``current_call`` is a context variable: what a tool starts with asyncio or
``contextvars.copy_context().run`` belongs to the call, other threads do not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Optional

from . import codec
from .duty import Once
from .errors import Error

if TYPE_CHECKING:
    from .session import Session

# The raw parts of a message.
Parts = Sequence[bytes]
# note(result) takes note of an answer.
Note = Callable[[dict[str, Any]], object]
# What the host answers to a request: a result and raw parts.
Answer = tuple[dict[str, Any], list[Any]]
# exchange(method, params, parts, note) asks the host.
Exchange = Callable[[str, dict[str, Any], Parts, Optional[Note]], Answer]

# How many chunks may be sent if the host does not say.
_WINDOW = 64

current_call: ContextVar[Call | None] = ContextVar("snakepit_call")


class Call:
    """One call while it runs."""

    def __init__(self, runtime: Any, number: int, params: dict[str, Any], stop: Callable[[], object]) -> None:
        self.number = number
        self.info = CallInfo(params)
        self.stream: bool = params.get("stream", False)
        self.session: Session | None = None
        self.ended = False
        self.sent = 0  # chunks
        self.cancelled = False  # written by whoever reads the connection
        self.runtime = runtime
        self._thread = threading.get_ident()  # on which the tool runs
        self._lock = threading.Lock()  # guards what follows, and ended
        self._open = 0  # exchanges of other threads
        self._closed: Once | None = None  # happens with the end of the last one
        self._stop = stop
        self._granted: int = params.get("window", _WINDOW)  # chunks that may be sent in all
        self._credit: Once | None = None  # happens when there is more

    def cancel(self) -> None:
        """Make the tool's code end early."""
        with self._lock:
            self.cancelled, stop = True, self._stop
        stop()

    def stop_by(self, stop: Callable[[], object]) -> None:
        """Replace the way to end the code early, that cancel takes."""
        with self._lock:
            self._stop, cancelled = stop, self.cancelled
        if cancelled:
            stop()

    def full(self) -> bool:
        """Whether as many chunks were sent as are allowed at present."""
        return self.sent >= self._granted

    def grant(self, n: int) -> None:
        """Allow n more chunks."""
        with self._lock:
            self._granted += n
            credit, self._credit = self._credit, None
        if credit is not None:
            credit.set()

    def when_granted(self, credit: Once) -> bool:
        """Set the Once ``credit`` at the next grant; False if none is needed."""
        with self._lock:
            if not self.full():
                return False
            self._credit = credit
            return True

    def seal(self) -> Once | None:
        """Let the tool's threads change nothing any more: the call is about to be answered.

        Returns what happens when the exchanges that are under way have ended;
        None if none are.
        """
        with self._lock:
            self.ended = True
            if self._open:
                self._closed = Once()
        if self.session is not None:
            self.session._end()
        return self._closed

    def exchange(
        self, method: str, params: dict[str, Any], parts: Parts, note: Note | None = None
    ) -> Answer:
        """As request, for what belongs to the answer, which waits for its end.

        note(result) is called in the order in which the host did what was asked.
        """
        # What runs on the tool's own thread has ended before the answer, and
        # a cancel may interrupt it anywhere.
        counted = threading.get_ident() != self._thread
        if counted:
            with self._lock:
                if self.ended:
                    raise self.over()
                self._open += 1
        try:
            answer: Answer = self.runtime.request(self, method, params, parts, note)
            return answer
        finally:
            if counted:
                with self._lock:
                    self._open -= 1
                    closed = None if self._open else self._closed
                if closed is not None:
                    closed.set()

    def over(self) -> Error:
        """The error of who asks after the end."""
        return Error(f"the call of {self.info.tool!r} has ended; the host answers only while it runs")

    def request(self, method: str, params: dict[str, Any], parts: Parts) -> Answer:
        """Ask the host for something and wait for the answer. Raises HostError."""
        answer: Answer = self.runtime.request(self, method, params, parts)
        return answer

    async def request_async(self, method: str, params: dict[str, Any], parts: Parts) -> Answer:
        """As request, for async tools."""
        answer: Answer = await self.runtime.request_async(self, method, params, parts)
        return answer


class CallInfo:
    """What a tool may know of the call it runs in.

    ``tool``
        the tool's name
    ``correlation``
        the id that connects the caller, the host's log and this call
    ``session_id``
        the session's id, or None
    ``deadline``
        when the caller stops waiting, on the clock of ``time.monotonic()``; or
        None
    """

    __slots__ = ("tool", "correlation", "session_id", "deadline")

    def __init__(self, params: dict[str, Any]) -> None:
        self.tool: str = params["tool"]
        self.correlation: str = params.get("correlation") or ""
        session = params.get("session")
        self.session_id: str | None = session["id"] if session else None
        timeout = params.get("timeout_ms")
        self.deadline: float | None = None if timeout is None else time.monotonic() + timeout / 1000

    def remaining(self) -> float | None:
        """Seconds until the deadline, not below 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"CallInfo({fields})"


def current() -> CallInfo:
    """The call that is running here. Raises snakepit.Error outside of one."""
    return _call("snakepit.current()").info


def event(name: str, measurements: Mapping[str, float] | None = None, attrs: Mapping[str, object] | None = None) -> None:
    """Report a telemetry event to the host: numbers, and what they belong to.

    ``event("index.built", {"rows": 3}, {"kind": "full"})``. Outside of a call
    the event belongs to the worker.
    """
    for key, number in (measurements or {}).items():
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise TypeError(f"measurement {key!r} is a {type(number).__name__}; measurements are numbers")
    call = current_call.get(None)
    runtime = backend() if call is None else call.runtime
    runtime.notify("event", {"name": name, "measurements": measurements or {}, "attrs": attrs or {}})


class Host:
    """The host of this worker, as ``snakepit.host``."""

    def call(self, name: str, /, **args: object) -> Any:
        """Run a tool of the host and return its result.

        Raises HostError if it fails, Unencodable if an argument cannot travel
        (bytes cannot), snakepit.Error outside of a call. It blocks; async
        tools use call_async.
        """
        call = _call("snakepit.host.call")
        result, _ = call.request("host.call", {"tool": name, "args": _args(args)}, ())
        return _value(result)

    async def call_async(self, name: str, /, **args: object) -> Any:
        """As call, for async tools: other tasks go on meanwhile."""
        call = _call("snakepit.host.call_async")
        result, _ = await call.request_async("host.call", {"tool": name, "args": _args(args)}, ())
        return _value(result)

    def __repr__(self) -> str:
        return "<snakepit.host>"


host = Host()


def _args(args: dict[str, Any]) -> bytes:
    items = (
        codec.encode_json(name, name) + b":" + codec.encode_json(value, f"args.{name}", "cannot be sent to a host tool")
        for name, value in args.items()
    )
    return b"{" + b",".join(items) + b"}"


def _value(result: dict[str, Any]) -> Any:
    return codec.decode(result.get("value"), [])


def params_json(params: dict[str, Any]) -> bytes:
    """Encode the parameters of a message; values may be encoded already."""
    items = (
        codec.encode_json(name, name) + b":" + (value if isinstance(value, bytes) else codec.encode_json(value, name))
        for name, value in params.items()
    )
    return b"{" + b",".join(items) + b"}"


def _call(what: str) -> Call:
    call = current_call.get(None)
    if call is None:
        raise Error(
            f"{what} works inside of a tool's call; a thread that a tool starts belongs to the call if it runs in "
            "contextvars.copy_context().run(...)"
        )
    return call


_backend: Any = None


def backend() -> Any:
    """The runtime of this worker, for what belongs to no call."""
    if _backend is None:
        raise Error("there is no host: this process is not a worker")
    return _backend


def set_backend(runtime: Any) -> None:
    """Make a runtime the one of this process."""
    global _backend
    _backend = runtime
