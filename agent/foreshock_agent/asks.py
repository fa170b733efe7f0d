"""What the outside asks of a running agent: signals become values that one thread waits for."""

from __future__ import annotations

import queue
import select
import signal
import socket
from contextlib import suppress
from enum import Enum, auto


class Ask(Enum):
    """What can be asked."""

    STOP = auto()
    RELOAD = auto()


class Asks:
    """The asks in their order; `post` may be called in a signal handler and from any thread.

    The wait is for a socket that the signal itself writes to (`signal.set_wakeup_fd`). A wait for a
    lock would miss a signal that comes between the last look and the wait, until the next one.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Ask] = queue.SimpleQueue()
        self._bell, self._cord = socket.socketpair()
        self._bell.settimeout(0)
        self._cord.settimeout(0)

    def post(self, ask: Ask) -> None:
        """Ask."""
        self._queue.put(ask)
        with suppress(BlockingIOError):  # full: it rings already
            self._cord.send(b"!")

    def hear_signals(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP reloads; only the main thread may call this."""
        signal.set_wakeup_fd(self._cord.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.post(Ask.STOP))
        signal.signal(signal.SIGHUP, lambda *_: self.post(Ask.RELOAD))

    def close(self) -> None:
        """Let go of the sockets."""
        self._bell.close()
        self._cord.close()

    def next(self, timeout_s: float | None) -> Ask | None:
        """Return the next ask, or None when none came in time (or the bell rang for nothing)."""
        with suppress(queue.Empty):
            return self._queue.get_nowait()
        select.select([self._bell], [], [], timeout_s)
        with suppress(BlockingIOError):
            self._bell.recv(4096)
        with suppress(queue.Empty):
            return self._queue.get_nowait()
        return None
