"""The worker: greets the host, and runs its calls.

One call runs at a time, on the main thread, where the loop in ``serve`` reads
it. Who reads while it runs is decided in ``duty.py``; how its code runs, in
``execution.py``; how it is interrupted, in ``interrupts.py``. Messages that
arrive during a call are either handled at once by ``_dispatch`` (pings,
cancels, credit, answers) or wait in a queue for the main thread.
"""

from __future__ import annotations

import contextvars
import itertools
import json
import os
import signal
import socket
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

from . import __version__, calls, codec, failures, tools
from .calls import Answer, Call, Note, Parts
from .connection import TOO_DEEP, Closed, Connection, Message
from .duty import Duty, Once
from .errors import DefinitionError, Error, HostError, InvalidArguments, ReadOnlyError, Unencodable, type_name
from .execution import Executor, Failed
from .interrupts import Interrupts
from .logs import Logs
from .session import Change, Session, Sessions, StateMissing
from .tools import Tool

if TYPE_CHECKING:
    import asyncio

PROTOCOL = [1, 1]

METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
TOOL_RAISED = -32001
CANCELLED = -32002
STATE_MISSING = -32003
UNENCODABLE = -32004


class Runtime:
    """A worker on a connected socket. Create and run it on the main thread."""

    def __init__(self, sock: socket.socket, logs: Logs) -> None:
        self._connection = Connection(sock)
        self._logs = logs
        self._sessions = Sessions()
        self._tools: dict[str, Tool] = {}
        self._interrupts = Interrupts()
        self._executor = Executor(self._interrupts, self)
        self._queue: deque[Message] = deque()
        self._numbers = itertools.count(1)
        self._stopping = False
        self._forked = False
        self._pid = os.getpid()
        self._call: Call | None = None  # the running one
        self._answers: dict[int, _Answer] = {}  # requests to the host without one
        self._masks = threading.local()
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork_in_parent, after_in_child=self._after_fork
        )

    # -- start and end

    def load(self, target: str) -> None:
        """Load the tools. Raises whatever loading them raises, and DefinitionError."""
        tools.load(target)
        self._tools = tools.defined()
        if not self._tools:
            raise DefinitionError(f"{target} defines no tool; decorate a function with @snakepit.tool")
        # As it is: a schema may hold the protocol's markers as names.
        offer = [tool.describe() for tool in self._tools.values()]
        self._offer = json.dumps(offer, allow_nan=False, separators=(",", ":")).encode()

    def refuse(self, error: BaseException) -> None:
        """Tell the host that the tools could not be loaded."""
        message, data = failures.describe(error)
        self.notify("start_failed", {**data, "message": message})

    def greet(self) -> None:
        """Offer the tools to the host. Raises HostError if it refuses."""
        self._duty = Duty(self._connection, self._dispatch, self._failed, self._interrupts.remind)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        hello = {
            "protocol": PROTOCOL,
            "sdk": f"snakepit-python {__version__}",
            "runtime": _runtime_name(),
            "pid": self._pid,
            "capacity": 1,
            "tools": self._offer,
        }
        answer = self._ask("hello", calls.params_json(hello), (), Once())
        try:
            while not answer.once.done:
                self._dispatch(self._connection.receive())
        except Exception as e:
            self._failed(e)
        result, _ = answer.take()
        self._connection.max_frame = result.get("max_frame", self._connection.max_frame)
        calls.set_backend(self)
        self._logs.connect(self._log, result.get("log_level", "info"))

    def serve(self) -> None:
        """Run calls until the host or a signal ends the worker."""
        while not self._stopping:
            message = self._queue.popleft() if self._queue else self._next()
            if message is None:
                return
            method = message.header.get("method")
            if method == "call":
                self._run(message)
            elif method == "forget":
                for name in message.header["params"]["sessions"]:
                    self._sessions.forget(name)
            elif method == "shutdown":
                self._send(_result(message.header["id"], b"{}"))
                return
            else:
                self._dispatch(message)

    def close(self) -> None:
        """End what the tools have left running."""
        self._executor.close()

    def _next(self) -> Message | None:
        try:
            return self._connection.receive()
        except Exception as e:
            if self._stopping and isinstance(e, Closed):
                return None
            self._failed(e)

    def _failed(self, error: BaseException) -> NoReturn:
        """End the process at once: the host is gone, or cannot be understood."""
        if isinstance(error, Closed):
            os._exit(0)
        os.write(2, b"snakepit: worker ends: " + failures.trace(error).encode())
        os._exit(1)

    def _on_sigterm(self, number: int, frame: object) -> None:
        self._stopping = True
        if self._call is None:
            # Wakes the main thread, after it has read what is there already.
            self._connection.stop_receiving()

    def _before_fork(self) -> None:
        # A SIGTERM that reaches a child before our handler is gone there would
        # be lost, and whoever waits for its end (as multiprocessing does)
        # would wait for ever.
        self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def _after_fork_in_parent(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def _after_fork(self) -> None:
        """In a forked child: nothing of the worker is the child's."""
        self._forked = True
        self._connection.close()
        self._logs.uninstall()
        self._interrupts.uninstall()
        calls.set_backend(None)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    # -- messages

    def _dispatch(self, message: Message) -> None:
        """Handle a message that need not wait for the running call."""
        header = message.header
        method = header.get("method")
        if method is None:
            answer = self._answers.pop(header.get("id", 0), None)
            if answer is not None:
                answer.arrive(message)
        elif method in ("call", "forget", "shutdown"):
            self._queue.append(message)
        elif method == "ping":
            self._send(_result(header["id"], b"{}"))
        elif method == "cancel":
            self._cancel(header["params"]["call"])
        elif method == "credit":
            call = self._call
            if call is not None and call.number == header["params"]["call"]:
                call.grant(header["params"]["n"])
        elif header.get("id") is None:
            pass  # an unknown notification
        elif method == TOO_DEEP:
            self._send(_error(header["id"], INVALID_PARAMS, "the arguments are nested too deeply"))
        else:
            self._send(_error(header["id"], METHOD_NOT_FOUND, f"unknown method {method!r}"))

    def _cancel(self, number: int) -> None:
        call = self._call
        if call is not None and call.number == number:
            call.cancel()
        for message in list(self._queue):
            if message.header["method"] == "call" and message.header["id"] == number:
                self._queue.remove(message)
                self._send(_error(number, CANCELLED, "cancelled before it started"))

    def _send(self, header: bytes, parts: Parts = ()) -> None:
        try:
            self._connection.send(header, parts)
        except Closed as e:
            self._failed(e)

    # -- what tools ask of the host

    def request(
        self, call: Call, method: str, params: dict[str, Any], parts: Parts, note: Note | None = None
    ) -> Answer:
        """Send a request of a call and wait for the answer. Raises HostError.

        note(result) is called by whoever receives the answer, before the next one.
        """
        with self._interrupts:
            answer = self._ask(method, self._request_params(call, params, parts), parts, Once(), note)
        self._wait(answer.once)
        return answer.take()

    async def request_async(self, call: Call, method: str, params: dict[str, Any], parts: Parts) -> Answer:
        """As request, without blocking the event loop."""
        once, future = _async_once()
        answer = self._ask(method, self._request_params(call, params, parts), parts, once)
        self._duty.hurry()
        await future
        return answer.take()

    def _request_params(self, call: Call, params: dict[str, Any], parts: Parts) -> bytes:
        self._check_reachable()
        if call.ended:
            raise call.over()
        params = {"call": call.number, **params}
        if parts:
            params["parts"] = [len(part) for part in parts]
        return calls.params_json(params)

    def _check_reachable(self) -> None:
        if self._forked:
            raise Error("the host cannot be reached from a forked child process")

    def _ask(self, method: str, params: bytes, parts: Parts, once: Once, note: Note | None = None) -> _Answer:
        number = next(self._numbers)
        header = b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}' % (number, method.encode(), params)
        excess = self._connection.excess(header, parts)
        if excess:
            raise Error(f"the request {method} is {excess} bytes larger than a frame may be")
        answer = self._answers[number] = _Answer(once, note)
        self._send(header, parts)
        return answer

    def _wait(self, once: Once) -> None:
        """Block a thread of the tool until something that a message brings."""
        while True:
            with self._interrupts as interrupts:
                inline = self._duty.read_until(lambda: once.done or interrupts.due)
            if once.done:
                return
            if not inline:
                once.wait()

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification, for the call that runs here if one does."""
        self._check_reachable()
        call = calls.current_call.get(None)
        if call is not None and not call.ended:
            params = {"call": call.number, **params}
        header = b'{"jsonrpc":"2.0","method":"%b","params":%b}' % (method.encode(), calls.params_json(params))
        if self._connection.excess(header):
            raise Error(f"the notification {method} is larger than a frame may be")
        with self._interrupts:
            self._send(header)

    def _log(self, level: str, logger: str, message: str, attrs: dict[str, Any] | None) -> None:
        params: dict[str, Any] = {"level": level, "logger": logger, "message": message}
        if attrs:
            params["attrs"] = attrs
        self.notify("log", params)

    # -- chunks, for the executor

    def put(self, call: Call, index: int, value: object) -> None:
        text, parts = codec.encode(value, f"chunk[{index}]")
        header = b'{"jsonrpc":"2.0","method":"chunk","params":{"call":%d,"value":%b%b}}' % (
            call.number, text, _parts_field(parts),
        )  # fmt: skip
        self._check_size(header, parts, f"chunk[{index}]", value)
        call.sent += 1
        self._send(header, parts)

    def wait(self, call: Call) -> None:
        while call.full():
            once = Once()
            with self._interrupts:
                wanted = call.when_granted(once)
            if wanted:
                self._wait(once)

    async def wait_async(self, call: Call) -> None:
        while call.full():
            once, future = _async_once()
            if call.when_granted(once):
                self._duty.hurry()
                await future

    # -- a call

    def _run(self, message: Message) -> None:
        """Run one call and answer it."""
        number = message.header["id"]
        call = None
        try:
            params = message.header["params"]
            call = self._call = Call(self, number, params, self._interrupts.send)
            self._duty.begin()
            answer, parts = contextvars.copy_context().run(self._answer, call, params, message)
        except Exception as e:  # a malformed message, or a fault of ours
            data = {"traceback": failures.trace(e, internal=True)}
            answer, parts = _error(number, INTERNAL_ERROR, f"worker: {type(e).__name__}: {e}", data), []
        if self._forked:
            # The tool has forked, and this is the child come back from it.
            sys.stdout.flush()
            os._exit(0)
        self._call = None
        if call is not None:
            call.seal()
        self._send(answer, parts)
        self._duty.end()

    def _answer(self, call: Call, params: dict[str, Any], message: Message) -> tuple[bytes, list[Any]]:
        """Run a call in its own context; return the frame of the answer."""
        calls.current_call.set(call)
        tool = self._tools.get(call.info.tool)
        state: Any = params.get("session")
        try:
            if state is not None:
                # First of all: whatever becomes of the call, the host relies on it.
                held = self._sessions.open(state, message.special)
                readonly = state.get("readonly", False) or (tool is not None and tool.readonly)
                local = None if tool is None else tool.local
                want_read = state.get("want_read", False)
                call.session = Session(state["id"], held, readonly, call.exchange, local, want_read)
            if tool is None:
                raise _NoTool
            if tool.streams and not call.stream:
                raise InvalidArguments(f"tool {tool.name!r} streams; call it as a stream")
            args: dict[str, Any] = params.get("args") or {}
            if message.special and type(args) is dict:
                args = _decode_args(tool, args, message.parts)
            return self._result(call, self._executor.run(call, tool, tool.bind(args, call.session)))
        except Failed as e:
            if call.cancelled:
                return _error(call.number, CANCELLED, "cancelled"), []
            text, data = failures.describe(e.error)
            return _error(call.number, TOOL_RAISED, text, data), []
        except InvalidArguments as e:
            data = {"type": "InvalidArguments"}
            if e.parameter is not None:
                data["parameter"] = e.parameter
            return _error(call.number, INVALID_PARAMS, str(e), data), []
        except Unencodable as e:
            data = {"type": "Unencodable", "path": e.path, "value_type": e.value_type}
            return _error(call.number, UNENCODABLE, str(e), data), []
        except StateMissing:
            problem = f"the state of session {call.info.session_id!r} is not held here"
            return _error(call.number, STATE_MISSING, problem), []
        except _NoTool:
            problem = f"no tool {call.info.tool!r}; there are {', '.join(self._tools)}"
            return _error(call.number, METHOD_NOT_FOUND, problem, {"tool": call.info.tool}), []
        finally:
            self._logs.end_call()

    def _result(self, call: Call, value: object) -> tuple[bytes, list[Any]]:
        """The answer with a result; what the session changed becomes the held state."""
        text, parts = codec.encode(value)
        session, local = call.session, b""
        change: Change | None = None
        read: Any = None
        if session is not None:
            held = session._held
            under_way = call.seal()
            if under_way is not None:
                # It is the end of another thread's work, not a message, that is
                # waited for: the helper reads what that thread needs.
                self._duty.hurry()
                under_way.wait()
            try:
                change = session._change()
            except ReadOnlyError as e:
                raise Failed(e) from None
            read = session._names_read()
            local = b',"local":%b,"local_used":%b' % (_bool(held.local), _bool(session._local_used))
        header = b'{"jsonrpc":"2.0","id":%d,"result":{"value":%b%b%b%b%b}}' % (
            call.number, text, _parts_field(parts), _change_field(change), _read_field(read), local,
        )  # fmt: skip
        self._check_size(header, parts, "result", value)
        if session is not None and change is not None:
            session._commit(change)
        return header, parts

    def _check_size(self, header: bytes, parts: list[Any], path: str, value: object) -> None:
        excess = self._connection.excess(header, parts)
        if excess:
            problem = f"is {excess} bytes larger than a frame may be; stream it, or use session.programs"
            raise Unencodable(path, type_name(type(value)), problem)


class _NoTool(Exception):
    """The worker offers no tool of that name."""


class _Answer:
    """The answer to a request to the host, once it has come."""

    __slots__ = ("once", "message", "_note")

    def __init__(self, once: Once, note: Note | None) -> None:
        self.once = once
        self.message: Message | None = None
        self._note = note

    def arrive(self, message: Message) -> None:
        self.message = message
        if self._note is not None and message.header.get("error") is None:
            self._note(message.header.get("result") or {})
        self.once.set()

    def take(self) -> Answer:
        """Its result and parts. Raises HostError."""
        message = self.message
        assert message is not None  # the Once has happened
        header = message.header
        error = header.get("error")
        if error is not None:
            data: dict[str, Any] = error.get("data") or {}
            reason = data.get("reason")
            raise HostError(error.get("message") or "refused by the host", reason)
        return header.get("result") or {}, message.parts


def _async_once() -> tuple[Once, asyncio.Future[None]]:
    """A Once, and the future of the running event loop that it resolves."""
    import asyncio

    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def resolve() -> None:
        if not future.done():  # it may have been cancelled
            future.set_result(None)

    return Once(lambda: loop.call_soon_threadsafe(resolve)), future


def _decode_args(tool: Tool, args: dict[str, Any], parts: list[Any]) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for name, value in args.items():
        try:
            decoded[name] = codec.decode(value, parts)
        except codec.DecodeError as e:
            raise InvalidArguments(f"argument {name!r} of tool {tool.name!r}: {e}", name) from None
        except RecursionError:
            raise InvalidArguments(f"argument {name!r} of tool {tool.name!r} is nested too deeply", name) from None
    return decoded


def _bool(value: object) -> bytes:
    return b"true" if value else b"false"


def _parts_field(parts: list[Any]) -> bytes:
    return b',"parts":[%b]' % b",".join(b"%d" % len(part) for part in parts) if parts else b""


def _change_field(change: Change | None) -> bytes:
    if not change:
        return b""
    items = b",".join(codec.encode_json(name, name) + b":" + text for name, text in change.set.items())
    return b',"change":{"set":{%b},"unset":%b}' % (items, codec.encode_json(change.unset, "unset"))


def _read_field(read: list[str] | bool | None) -> bytes:
    return b"" if read is None else b',"read":' + codec.encode_json(read, "read")


def _result(number: int, text: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (number, text)


def _error(number: int, code: int, message: str, data: dict[str, Any] | None = None) -> bytes:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return json.dumps({"jsonrpc": "2.0", "id": number, "error": error}).encode()


def _runtime_name() -> str:
    name = sys.implementation.name
    version = ".".join(map(str, sys.version_info[:3]))
    return f"{'CPython' if name == 'cpython' else name} {version} ({sys.executable})"
