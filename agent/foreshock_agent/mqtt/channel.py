"""A socket that any thread may write to and one thread reads, and nobody waits for the other end.

What the socket does not take at once waits in a buffer and goes out from the reading thread. TLS
objects are not made for two threads, so each touch of the socket is under one lock; none blocks.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Final

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from foreshock_wire.broker import BrokerAddress

CONNECT_TIMEOUT_S: Final = 10.0
READ_BYTES: Final = 65_536
MOST_READ_BYTES: Final = 256 << 10
UNSENT_BYTES: Final = 4 << 20
"""What may wait for a broker that does not read; beyond it the connection is given up."""

_AGAIN: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ConnectionEndedError(ForeshockError):
    """The other end is gone, or must be taken for gone."""


class Channel:
    """One connection's bytes; closed by the thread that reads."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)  # noqa: FBT003
        self._socket = connected
        self._lock = threading.Lock()
        self._unsent = bytearray()
        self._failed: Exception | None = None
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)  # noqa: FBT003
        self._woken.setblocking(False)  # noqa: FBT003
        self.sent_s = time.monotonic()

    @classmethod
    def open(cls, broker: BrokerAddress, context: ssl.SSLContext | None) -> Channel:
        """Connect to a broker, by TLS if there is a context for it.

        Raises:
            OSError: it does not answer, or its certificate is not to be trusted.
        """
        connected = broker.connect(CONNECT_TIMEOUT_S)
        try:
            if context is not None:
                connected = context.wrap_socket(connected, server_hostname=broker.host)
            return cls(connected)
        except BaseException:
            connected.close()
            raise

    def close(self) -> None:
        """Let go of the socket; what is sent afterwards goes nowhere."""
        with self._lock:
            self._failed = self._failed or ConnectionEndedError("closed")
            for one in (self._socket, self._waker, self._woken):
                one.close()

    def send(self, data: bytes) -> None:
        """Send, now or as soon as the other end reads; from any thread, and never waits."""
        with self._lock:
            if self._failed is not None:
                return
            self._unsent += data
            self._flush()
            left, self.sent_s = len(self._unsent), time.monotonic()
        if left or self._failed is not None:
            self.wake()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except _AGAIN:
            if len(self._unsent) > UNSENT_BYTES:
                self._failed = ConnectionEndedError("the broker takes nothing any more")
        except OSError as error:
            self._failed = error

    def wake(self) -> None:
        """End the reading thread's wait."""
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def wait(self, timeout_s: float, *, reading: bool = True) -> bool:
        """Wait until something can be read or somebody wakes; send what waits; say if to read."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        asked = (select.POLLIN if reading else 0) | (select.POLLOUT if self._unsent else 0)
        if asked:
            poll.register(self._socket, asked)
        ready = dict(poll.poll(timeout_s * 1000))
        if self._woken.fileno() in ready:
            with contextlib.suppress(*_AGAIN):
                self._woken.recv(READ_BYTES)
        with self._lock:
            self._flush()
        readable = ready.get(self._socket.fileno(), 0) & ~select.POLLOUT
        return bool(readable) or self._failed is not None

    def read(self) -> bytes:
        """Return what has arrived, at most about a mebibyte, without waiting.

        Raises:
            ConnectionEndedError: the connection is over.
            OSError: it broke.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            while size < MOST_READ_BYTES:
                with self._lock:
                    piece = self._socket.recv(READ_BYTES)
                if not piece:
                    self._failed = ConnectionEndedError("the broker hung up")
                    break
                pieces.append(piece)
                size += len(piece)
        except _AGAIN:
            pass
        if self._failed is not None and not pieces:
            raise self._failed
        return b"".join(pieces)
