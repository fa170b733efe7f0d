"""How fast a backlog goes up: a bound on its rate, and no stampede after an outage.

Alarms and events wait for nothing of this. Scores and readings may use so many bytes a second, and
after an outage a gateway waits a random part of it first, so that a fleet whose broker returns does
not come all at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BURST_S: Final = 1.0
"""For how long what was not used may be saved up."""

SPREAD: Final = 0.5
SPREAD_MAX_S: Final = 60.0
"""The longest wait after an outage, as a part of the outage and in seconds."""


@dataclass(slots=True)
class Pace:
    """A token bucket that may be overdrawn once: what is sent is paid for before the next."""

    bytes_per_s: float
    _level: float = 0.0
    _at_s: float = float("-inf")

    def free_at(self, now_s: float) -> bool:
        """Say whether more may go up at this time (monotonic)."""
        return self._filled(now_s) >= 0

    def charge(self, size: int, now_s: float) -> None:
        """Count bytes that go up now."""
        self._level = self._filled(now_s) - size
        self._at_s = now_s

    def _filled(self, now_s: float) -> float:
        gained = (now_s - self._at_s) * self.bytes_per_s
        return min(self._level + gained, self.bytes_per_s * BURST_S)


def longest_wait_s(outage_s: float) -> float:
    """Return the most that a gateway waits with its backlog after an outage."""
    return min(SPREAD_MAX_S, SPREAD * max(0.0, outage_s))
