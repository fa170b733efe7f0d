"""The gateway's clock, whether it can be believed, and when it was set.

Readings without a time of their own are stamped on arrival, by a clock that may not have its time
yet, or a wrong one. What was set by how much is noted, so that such stamps can be put right later;
they are never rewritten.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final, Protocol

from foreshock_wire.messages import ClockKind, ClockNoted

PLAUSIBLE_NS: Final = 1_735_689_600_000_000_000
"""2025-01-01T00:00:00Z: a gateway that says it is earlier has not got its time yet."""

STEP_NS: Final = 1_000_000_000
"""A clock that moved less against the time since boot is being slewed, or counted rounded."""

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""random(4): another one at each boot of the machine. The service's sandbox hides it."""


class Clock(Protocol):
    """Where the time comes from; tests pass their own. `boot` is another name at each boot."""

    @property
    def boot(self) -> str:
        """Which boot of the machine this is, "" where nobody says."""
        ...

    def now_ns(self) -> int:
        """UTC nanoseconds."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never step; for timers only."""
        ...

    def boot_ns(self) -> int:
        """Nanoseconds since the machine booted, sleep included; no step of the clock moves it."""
        ...


class SystemClock:
    """The operating system's clock."""

    def __init__(self, boot: str = "") -> None:
        self.boot = boot

    def now_ns(self) -> int:
        """UTC nanoseconds."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Seconds that never step."""
        return time.monotonic()

    def boot_ns(self) -> int:
        """Nanoseconds since boot."""
        if sys.platform == "linux":
            return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return time.monotonic_ns()


def is_trusted(now_ns: int) -> bool:
    """Say whether a wall-clock time is plausible."""
    return now_ns >= PLAUSIBLE_NS


def boot_id(credentials: str | None) -> str:
    """Return which boot of the machine this is, "" where nobody says.

    `credentials` is the folder in which systemd lays what the unit's LoadCredential names.
    """
    places = [Path(credentials) / "boot-id"] if credentials else []
    for path in (*places, BOOT_ID):
        try:
            return path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return ""


class ClockWatch:
    """Notices that the clock was set: by how much it moved against the time since boot.

    If the process before began (at `last_start_ns`) without its time, this one notes the time that
    it finds, by which the stamps of that one can be put right.
    """

    def __init__(self, boot: str, last_start_ns: int | None = None) -> None:
        self._boot = boot
        self._was_unset = last_start_ns is not None and not is_trusted(last_start_ns)
        self._offset_ns: int | None = None

    def look(self, utc_ns: int, boot_ns: int) -> ClockNoted | None:
        """Return what is to be noted; its `readings_seq` is for the caller to fill in."""
        offset_ns, before_ns = utc_ns - boot_ns, self._offset_ns
        step_ns = 0 if before_ns is None else offset_ns - before_ns
        begins_unset = before_ns is None and not is_trusted(utc_ns)
        if before_ns is not None and abs(step_ns) < STEP_NS:
            return None
        self._offset_ns = offset_ns
        if before_ns is None and not (begins_unset or self._was_unset):
            return None
        return ClockNoted(
            time_ns=utc_ns,
            kind=ClockKind.UNSET if begins_unset else ClockKind.SET,
            step_ns=step_ns,
            boot=self._boot,
            boot_ns=boot_ns,
            readings_seq=1,
        )
