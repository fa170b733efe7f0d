"""The gateway's clock, and whether it can be believed."""

from __future__ import annotations

import time
from typing import Final, Protocol

PLAUSIBLE_NS: Final = 1_735_689_600_000_000_000
"""2025-01-01T00:00:00Z: a gateway that says it is earlier has not got its time yet."""


class Clock(Protocol):
    """Where the time comes from; tests pass their own."""

    def now_ns(self) -> int:
        """UTC nanoseconds."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never step; for timers only."""
        ...


class SystemClock:
    """The operating system's clock."""

    def now_ns(self) -> int:
        """UTC nanoseconds."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Seconds that never step."""
        return time.monotonic()


def is_trusted(now_ns: int) -> bool:
    """Say whether a wall-clock time is plausible."""
    return now_ns >= PLAUSIBLE_NS
