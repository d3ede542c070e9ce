"""Which thread reads the connection while a tool runs.

A tool runs on the thread that read its call, the main thread: a permanent
reader thread would cost every call two thread switches. But pings, cancels,
credit and answers must be heard during a long call. So a helper thread looks
every few milliseconds whether the same call is still running, and only then
reads in the main thread's place, until the call ends.

The main thread itself reads, inline, when its tool waits for the host before
the helper has taken over.

At every moment at most one thread reads:

* the main thread, when no call is running (between end and begin);
* the helper, while ``_helping``: set by the helper itself under the lock, when
  a call is running and the main thread does not read inline; given back at
  the call's end, which waits for it;
* the main thread inside of a call, while ``_inline``: set under the lock when
  the helper is not reading.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

from .connection import Connection, Message

# A call that is still running after one to two ticks is a long one.
TICK = 0.005
# After so many ticks without a call the helper sleeps until the next one.
_QUIET_TICKS = 100


class Once:
    """Something that happens once and can be waited for."""

    __slots__ = ("done", "_lock", "_notify")

    def __init__(self, notify: Callable[[], object] | None = None) -> None:
        self.done = False
        self._notify = notify
        if notify is None:
            self._lock = threading.Lock()
            self._lock.acquire()

    def set(self) -> None:
        """It has happened. Call it once."""
        self.done = True
        if self._notify is not None:
            self._notify()
        else:
            self._lock.release()

    def wait(self) -> None:
        """Block until it has happened; one thread may wait."""
        if not self.done:
            self._lock.acquire()


class Duty:
    """Passes the duty of reading between the main thread and a helper.

    ``dispatch`` is called with every message that arrives while a call is
    running, on whichever thread has read it. ``failed`` is called with what
    ends the reading then; it must not return. ``remind`` is called by the
    helper before it waits, and says for how many seconds at most; None is
    without limit.
    """

    def __init__(
        self,
        connection: Connection,
        dispatch: Callable[[Message], object],
        failed: Callable[[BaseException], object],
        remind: Callable[[], float | None],
    ) -> None:
        self._connection = connection
        self._dispatch = dispatch
        self._failed = failed
        self._remind = remind
        self._main = threading.get_ident()
        self._wake_helper, self._wake_main = os.pipe()
        # Binary semaphores: released to wake the one who acquires them.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._returned = threading.Lock()
        self._returned.acquire()

        self._lock = threading.Lock()  # guards what follows
        self._running = False
        self._turn = 0  # counts calls, so that the helper can tell them apart
        self._helping = False
        self._inline = False
        self._hurried = False  # the helper shall take over at once
        self._parked = False  # the helper sleeps until the bell rings
        threading.Thread(target=self._help, name="snakepit-helper", daemon=True).start()

    # -- the main thread

    def begin(self) -> None:
        """A call starts: from now on the helper may read."""
        with self._lock:
            self._running = True
            self._turn += 1
            parked, self._parked = self._parked, False
        if parked:
            self._ring()

    def end(self) -> None:
        """The call has ended; afterwards the main thread reads again."""
        with self._lock:
            self._running = self._hurried = False
            if not self._helping:
                return
        os.write(self._wake_main, b"\0")
        self._returned.acquire()

    def read_until(self, ready: Callable[[], bool]) -> bool:
        """Read inline until ready() says true.

        Returns False, without reading, if this is not for the caller to do:
        the helper reads already, or the caller is another thread of the tool.
        Then the helper is told to hurry, and the caller waits in its own way.
        """
        inline = False
        with self._lock:
            if threading.get_ident() == self._main and not self._helping:
                self._inline = inline = True
        if not inline:
            self.hurry()
            return False
        try:
            while not ready():
                self._dispatch(self._connection.receive())
        except Exception as e:
            self._failed(e)
        finally:
            with self._lock:
                self._inline = False
        return True

    def hurry(self) -> None:
        """Let the helper take over now rather than after a tick or two."""
        with self._lock:
            if self._helping or self._hurried:
                return
            self._hurried = True
        self._ring()

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            pass  # it rings already

    # -- the helper thread

    def _help(self) -> None:
        try:
            seen = quiet = 0
            timeout = TICK
            while True:
                self._bell.acquire(timeout=timeout)
                with self._lock:
                    same = self._turn == seen
                    seen = self._turn
                    take = self._running and not self._inline and (same or self._hurried)
                    quiet = quiet + 1 if same and not self._running else 0
                    if take:
                        self._helping, self._hurried = True, False
                    self._parked = quiet > _QUIET_TICKS
                    timeout = -1 if self._parked else TICK
                if take:
                    self._read_until_woken()
                    with self._lock:
                        self._helping = False
                    self._returned.release()
        except BaseException as e:
            self._failed(e)

    def _read_until_woken(self) -> None:
        connection = self._connection
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        poll.register(self._wake_helper, select.POLLIN)
        while True:
            message = connection.buffered()
            if message is not None:
                self._dispatch(message)
                continue
            seconds = self._remind()
            ready = [fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)]
            if self._wake_helper in ready:
                os.read(self._wake_helper, 1)
                return
            if ready:
                connection.fill()
