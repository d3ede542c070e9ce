"""Interrupting the code of a tool on the main thread.

Python runs signal handlers on the main thread, between two steps of its code
and when a system call was interrupted. So a signal whose handler raises stops
a loop as well as a ``time.sleep``. It is SIGURG, which nothing else uses and
which is ignored where no handler is installed.

The handler raises only while code of the tool runs and its call is to be
cancelled: never in the SDK's own code, which would leave it half done (a
frame half sent, a lock held). ``with interrupts:`` shields such code where a
tool calls it; the interruption then comes at its end.

A signal may come just before the main thread enters a system call, which then
blocks nevertheless. So whoever reads the connection calls ``remind``, which
sends it again until it has worked.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

from .errors import Cancelled

if TYPE_CHECKING:
    from .calls import Call

_SIGNAL = signal.SIGURG
# Seconds between one signal and the next.
_FIRST_REMINDER = 0.002
_LAST_REMINDER = 0.1


class Interrupts:
    """Raises Cancelled in the main thread, at most once for a call.

    All methods but ``send`` and ``remind`` are for the main thread; it must
    create this.
    """

    def __init__(self) -> None:
        self.due = False  # Cancelled is to be raised when the last shield ends
        self._main = threading.get_ident()
        self._call: Call | None = None  # whose code is running and may be interrupted
        self._delivered: Call | None = None  # the call whose code has been interrupted
        self._depth = 0  # of shields
        self._reminder = _FIRST_REMINDER
        signal.signal(_SIGNAL, self._on_signal)
        self._unraisable = sys.unraisablehook
        sys.unraisablehook = self._on_unraisable

    def arm(self, call: Call) -> None:
        """The tool's code starts. Raises Cancelled if its call is cancelled already."""
        self.due = False
        self._call = call
        if call.cancelled:
            self._deliver()

    def disarm(self) -> None:
        """The tool's code has ended; nothing is raised any more."""
        self._call = self._delivered = None

    def send(self) -> None:
        """Interrupt the tool whose call has been marked as cancelled. Any thread."""
        signal.pthread_kill(self._main, _SIGNAL)

    def remind(self) -> float | None:
        """Send the signal again if the last may have been lost.

        Returns after how many seconds to ask again; None if there is nothing
        to interrupt. For the thread that reads the connection.
        """
        call = self._call
        if call is not None and call.cancelled:
            if not self.due:
                self.send()
        elif self._delivered is None:
            self._reminder = _FIRST_REMINDER
            return None
        delay = self._reminder
        self._reminder = min(2 * delay, _LAST_REMINDER)
        return delay

    def uninstall(self) -> None:
        """Leave signals to a forked child as it would find them."""
        signal.signal(_SIGNAL, signal.SIG_DFL)
        sys.unraisablehook = self._unraisable

    def _deliver(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._delivered = call
            raise Cancelled("the call was cancelled")

    def _on_signal(self, number: int, frame: object) -> None:
        call = self._call
        if call is None or not call.cancelled:
            return
        if self._depth:
            self.due = True
        else:
            self._deliver()

    def _on_unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is not Cancelled:
            self._unraisable(unraisable)
        elif self._delivered is not None:
            # It was raised within a __del__ or a callback, where Python drops
            # it. Once more, by the next reminder.
            self._call, self._delivered = self._delivered, None

    # -- the shield

    def __enter__(self) -> Interrupts:
        if threading.get_ident() == self._main:
            self._depth += 1
        return self

    def __exit__(self, *raised: object) -> None:
        if threading.get_ident() == self._main:
            self._depth -= 1
            if self.due and not self._depth:
                self.due = False
                self._deliver()
