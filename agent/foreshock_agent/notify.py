"""What systemd is told, if it started us: ready, still working, stuck, stopping (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

FEEDS_A_TIMEOUT: Final = 4
"""How often the watchdog is fed in its time; sd_watchdog_enabled(3) asks for twice at least."""


class Supervisor:
    """The socket that systemd gave us; without one nothing is said and nothing is fed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._status = ""
        self.feed_every_s = _period_s(environ) if self._address else None

    def ready(self) -> None:
        """All parts have started, or run by other settings."""
        self._say("READY=1")

    def reloading(self) -> None:
        """Other settings are being taken over; `ready` says when that is over."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun, in order."""
        self._say("STOPPING=1")

    def report(self, stuck: str, note: str = "") -> None:
        """Feed the watchdog unless something is stuck; say once what it is, and once that it went.

        A process that stays stuck is ended by systemd and started again. A note is only said.
        """
        status = stuck or note
        if status != self._status:
            self._status = status
            self._say(f"STATUS={status}")
        if not stuck:
            self._say("WATCHDOG=1")

    def _say(self, what: str) -> None:
        if not self._address:
            return
        address = self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall(what.encode())


def _period_s(environ: Mapping[str, str]) -> float | None:
    """Return how often to feed, or None where nobody watches this very process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    timeout_us = environ.get("WATCHDOG_USEC", "")
    return int(timeout_us) / 1e6 / FEEDS_A_TIMEOUT if timeout_us.isdecimal() else None
