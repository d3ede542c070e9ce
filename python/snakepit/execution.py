"""Running the code of a tool: plain, generator, async, async generator."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from .interrupts import Interrupts
from .tools import Tool

if TYPE_CHECKING:
    import asyncio

    from .calls import Call

_END = object()


class Failed(Exception):
    """The code of a tool ended with an exception, ``error``."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Executor:
    """Runs tools on the main thread.

    ``chunks`` sends what streaming tools yield: ``put(call, index, value)``
    encodes and sends, and raises Unencodable; ``wait(call)`` and ``await
    wait_async(call)`` return when the next one may be sent; ``call.full()`` says
    whether that needs waiting.
    """

    def __init__(self, interrupts: Interrupts, chunks: Any) -> None:
        self._interrupts = interrupts
        self._chunks = chunks
        self._loop: asyncio.AbstractEventLoop | None = None  # the event loop of all async tools, once there is one

    def run(self, call: Call, tool: Tool, function: Callable[[], Any]) -> object:
        """Run a tool to its end; return its value, None if it streamed.

        Raises Failed, and Unencodable for a chunk.
        """
        value = self._step(call, function)
        if tool.streams:
            if hasattr(value, "__anext__"):
                return self._run_async(call, self._stream_async(call, value))
            if hasattr(value, "__next__"):
                self._stream(call, value)
                return None
        elif tool.is_coroutine and hasattr(value, "__await__"):
            return self._run_async(call, _await(value))
        return value  # a decorator of the user's may have made it a plain function

    def _step(self, call: Call, function: Callable[[], Any]) -> Any:
        """Run code that a cancel may interrupt."""
        interrupts = self._interrupts
        try:
            try:
                interrupts.arm(call)
                return function()
            finally:
                interrupts.disarm()
        except BaseException as e:
            # Also a Cancelled that came just before disarm.
            raise Failed(e) from None

    def _stream(self, call: Call, iterator: Any) -> None:
        chunks, index = self._chunks, 0
        advance = functools.partial(next, iterator, _END)
        try:
            while True:
                value = self._step(call, advance)
                if value is _END:
                    return
                if call.full():
                    self._step(call, functools.partial(chunks.wait, call))
                chunks.put(call, index, value)
                index += 1
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                try:
                    close()
                except BaseException as e:
                    raise Failed(e) from None

    # -- async

    def _run_async(self, call: Call, coroutine: Coroutine[Any, Any, object]) -> object:
        import asyncio  # only workers with async tools need it

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        loop = self._loop
        task = loop.create_task(coroutine)
        call.stop_by(lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError as e:  # between two steps of the tool
            raise Failed(e) from None

    async def _stream_async(self, call: Call, iterator: Any) -> None:
        chunks, index = self._chunks, 0
        try:
            while True:
                try:
                    value = await iterator.__anext__()
                except StopAsyncIteration:
                    return
                except BaseException as e:
                    raise Failed(e) from None
                if call.full():
                    await chunks.wait_async(call)
                chunks.put(call, index, value)
                index += 1
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                try:
                    await close()
                except BaseException as e:
                    raise Failed(e) from None

    def close(self) -> None:
        """End what async tools have left running, as asyncio.run does."""
        if self._loop is not None:
            import asyncio

            with contextlib.suppress(Exception):
                tasks = asyncio.all_tasks(self._loop)
                for task in tasks:
                    task.cancel()
                self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


async def _await(awaitable: Awaitable[object]) -> object:
    try:
        return await awaitable
    except BaseException as e:  # SystemExit, too: it would tear the loop apart
        raise Failed(e) from None
