"""What the outside asks of a running agent: signals become values that one thread waits for."""

from __future__ import annotations

import queue
import signal
from enum import Enum, auto


class Ask(Enum):
    """What can be asked."""

    STOP = auto()
    RELOAD = auto()


class Asks:
    """The asks in their order; `post` may be called in a signal handler and from any thread.

    (An Event may not: its `set` waits for a lock that the interrupted thread may hold.)
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Ask] = queue.SimpleQueue()

    def post(self, ask: Ask) -> None:
        """Ask."""
        self._queue.put(ask)

    def hear_signals(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP reloads."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.post(Ask.STOP))
        signal.signal(signal.SIGHUP, lambda *_: self.post(Ask.RELOAD))

    def next(self, timeout_s: float | None) -> Ask | None:
        """Return the next ask, or None when none came in time."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
