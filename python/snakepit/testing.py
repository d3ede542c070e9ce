"""Call tools from tests, without a host.

    from snakepit import testing
    from tools import remember

    def test_remember():
        session = testing.Session()
        assert testing.call(remember, session=session, text="milk") == {"count": 1}
        assert session.vars == {"notes": ["milk"]}

Arguments, results, chunks and variables are checked, encoded and decoded as
between a real host and worker: what would fail there fails here. Exceptions of
the tool come as they are.
"""

from __future__ import annotations

import contextvars
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import codec
from .cached import Cache
from .calls import Answer, Call, Note, Parts, current_call, params_json
from .errors import HostError, type_name
from .session import Held, encode_var
from .session import Session as _Session
from .tools import Tool, as_tool

if TYPE_CHECKING:
    import asyncio

__all__ = ["Session", "call", "stream"]


class Session:
    """A session for tests.

    ``vars`` and ``programs`` are plain dicts of what is committed: set them
    up before a call, look at them after it. A tool that raises, or a stream
    that is not read to its end, leaves them unchanged. ``local`` lives as long
    as this object, and so does what is cached. ``last_change`` is what the last call changed in vars, as
    ``{"set": {...}, "unset": [...]}``, or None if that was nothing.
    """

    def __init__(
        self,
        vars: Mapping[str, object] | None = None,
        programs: Mapping[str, bytes] | None = None,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        id: str = "test",
        readonly: bool = False,
    ) -> None:
        self.id = id
        self.vars = dict(vars or {})
        self.programs = dict(programs or {})
        self.labels = dict(labels or {})
        self.metadata = dict(metadata or {})
        self.readonly = readonly
        self.local: dict[str, Any] = {}
        self._cache = Cache()
        self._state = ""  # the one of the last call, and how many there were
        self._states = 0
        self.last_change: dict[str, Any] | None = None
        self._content_types: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<testing.Session {self.id!r}>"


def call(
    tool: Callable[..., Any],
    /,
    *,
    session: Session | None = None,
    host_tools: Mapping[str, Callable[..., Any]] | None = None,
    **args: object,
) -> Any:
    """Run a tool and return its result; a list of the chunks if it streams.

    ``host_tools`` are what ``snakepit.host.call`` finds. Raises what the tool
    raises, InvalidArguments and Unencodable.
    """
    made = as_tool(tool)
    if made.streams:
        return list(stream(tool, session=session, host_tools=host_tools, **args))
    run = _Run(made, session, host_tools, args)
    try:
        value = run.step(run.function)
        if hasattr(value, "__await__"):
            value = run.step_async(value)
        value = _round_trip(value, "result")
        run.commit()
        return value
    finally:
        run.end()


def stream(
    tool: Callable[..., Any],
    /,
    *,
    session: Session | None = None,
    host_tools: Mapping[str, Callable[..., Any]] | None = None,
    **args: object,
) -> Iterator[Any]:
    """Run a streaming tool; yield its chunks as they are asked for.

    Closing the iterator early is what a cancel is to a running stream.
    """
    made = as_tool(tool)
    if not made.streams:
        raise TypeError(f"tool {made.name!r} does not stream; use testing.call")
    run = _Run(made, session, host_tools, args)
    try:
        index = 0
        for value in run.chunks():
            yield _round_trip(value, f"chunk[{index}]")
            index += 1
        run.commit()
    finally:
        run.end()


_END = object()


class _Run:
    """One call of a tool under test, and its host: the ``runtime`` of a Call."""

    def __init__(self, tool: Tool, session: Session | None, host_tools: Mapping[str, Any] | None, args: dict[str, Any]) -> None:
        if session is not None and not isinstance(session, Session):
            raise TypeError(f"session must be a testing.Session, not {type_name(type(session))}")
        tool.prepare()
        self._context = contextvars.copy_context()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._host_tools = host_tools or {}
        self._session = session
        self._programs = dict(session.programs) if session else {}
        self._content_types = dict(session._content_types) if session else {}
        self._uploads: dict[int, tuple[str, str, bytearray]] = {}
        params: dict[str, Any] = {"tool": tool.name, "correlation": "test"}
        if session is not None:
            params["session"] = {"id": session.id}
        self._call = Call(self, 1, params, lambda: None)
        if session is not None:
            readonly = session.readonly or tool.readonly
            self._call.session = _Session(session.id, self._held(session), readonly, self._call.exchange, tool.local)
        args = {name: _round_trip(value, f"argument {name!r}") for name, value in args.items()}
        self.function = tool.bind(args, self._call.session)
        self._context.run(current_call.set, self._call)

    def _held(self, session: Session) -> Held:
        held = Held("test", 1)
        state = {
            "version": 1,
            "vars": {
                name: codec.loads(encode_var(name, value).decode())
                for name, value in session.vars.items()
            },
            "programs": [self._entry(name) for name in self._programs],
            "labels": session.labels,
            "metadata": session.metadata,
        }
        held.load(state, special=True)
        held.local = session.local
        held.cache = session._cache
        now = repr(state)  # in which 1, 1.0 and True differ
        if session._state != now:
            session._state = now
            session._states += 1
        held.states = session._states
        return held

    def _entry(self, name: str) -> dict[str, Any]:
        data = self._programs[name]
        return {
            "name": name,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "content_type": self._content_types.get(name, ""),
        }

    # -- the tool's code

    def step(self, function: Callable[[], Any]) -> Any:
        return self._context.run(function)

    def step_async(self, awaitable: Awaitable[Any]) -> Any:
        import asyncio
        import threading

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        loop = self._loop
        outcome: list[Any] = []

        async def wait() -> object:
            return await awaitable

        def run() -> None:
            try:
                outcome[:] = [loop.run_until_complete(wait()), None]
            except BaseException as e:
                outcome[:] = [None, e]

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._context.run(run)
        else:  # the test is async itself: its loop cannot run another
            thread = threading.Thread(target=self._context.run, args=(run,))
            thread.start()
            thread.join()
        value, error = outcome
        if error is not None:
            raise error
        return value

    def chunks(self) -> Iterator[Any]:
        value = self.step(self.function)
        if hasattr(value, "__anext__"):
            try:
                while True:
                    try:
                        chunk = self.step_async(value.__anext__())
                    except StopAsyncIteration:
                        return
                    yield chunk
            finally:
                if hasattr(value, "aclose"):
                    self.step_async(value.aclose())
        try:
            while True:
                chunk = self.step(lambda: next(value, _END))
                if chunk is _END:
                    return
                yield chunk
        finally:
            if hasattr(value, "close"):
                self.step(value.close)

    def commit(self) -> None:
        """Make the test's session what it is after the call."""
        session, seen = self._session, self._call.session
        if session is None or seen is None:
            return
        self._call.seal()
        change = seen._change()
        session.vars.update((name, codec.parse(text)) for name, text in change.set.items())
        for name in change.unset:
            del session.vars[name]
        session.last_change = None
        if change:
            changed = {name: codec.parse(text) for name, text in change.set.items()}
            session.last_change = {"set": changed, "unset": change.unset}
        session.programs.clear()
        session.programs.update(self._programs)
        session._content_types = self._content_types

    def end(self) -> None:
        self._call.seal()
        if self._loop is not None:
            self._loop.close()

    # -- the host, as session.py and calls.py see it

    def request(
        self, call: Call, method: str, params: dict[str, Any], parts: Parts, note: Note | None = None
    ) -> Answer:
        if call.ended:
            raise call.over()
        result, received = getattr(self, "_" + method.replace(".", "_"))(parts, **params)
        if note is not None:
            note(result)
        return result, received

    async def request_async(self, call: Call, method: str, params: dict[str, Any], parts: Parts) -> Answer:
        return self.request(call, method, params, parts)

    def notify(self, method: str, params: dict[str, Any]) -> None:
        params_json(params)  # fails where it would fail in a worker

    def _host_call(self, parts: Parts, tool: str, args: bytes) -> Answer:
        function = self._host_tools.get(tool)
        if function is None:
            raise HostError(f"no host tool {tool!r}", "no_tool")
        try:
            value = function(**_decode_members(args))
        except Exception as e:
            raise HostError(f"host tool {tool!r}: {e}", "failed") from e
        return {"value": codec.loads(codec.encode_json(value, f"host tool {tool!r}").decode())}, []

    def _program_read(self, parts: Parts, name: str, offset: int, limit: int) -> Answer:
        data = self._programs[name][offset : offset + limit]
        return {"parts": [len(data)]}, [bytes(data)]

    def _program_open(self, parts: Parts, name: str, content_type: str) -> Answer:
        upload = len(self._uploads) + 1
        self._uploads[upload] = (name, content_type, bytearray())
        return {"upload": upload}, []

    def _program_write(self, parts: Parts, upload: int) -> Answer:
        self._uploads[upload][2].extend(parts[0])
        return {}, []

    def _program_close(self, parts: Parts, upload: int) -> Answer:
        name, content_type, data = self._uploads[upload]
        self._programs[name], self._content_types[name] = bytes(data), content_type
        return {"program": self._entry(name)}, []

    def _program_abort(self, parts: Parts, upload: int) -> Answer:
        self._uploads[upload][2].clear()
        return {}, []

    def _program_delete(self, parts: Parts, name: str) -> Answer:
        del self._programs[name]
        self._content_types.pop(name, None)
        return {}, []


def _round_trip(value: object, path: str) -> Any:
    """A value as it arrives at the other side."""
    text, parts = codec.encode(value, path)
    return codec.decode(codec.loads(text.decode()), parts)


def _decode_members(text: bytes) -> dict[str, Any]:
    """An object that is a table of values, which is no value itself."""
    return {name: codec.decode(value, []) for name, value in codec.loads(text.decode()).items()}
