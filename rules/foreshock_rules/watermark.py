"""A machine's own clock: how far its readings have come, less the lateness that is allowed."""

from __future__ import annotations


class Watermark:
    """The newest source time seen less `lateness_ns`; it only ever moves forward."""

    __slots__ = ("_newest_ns", "lateness_ns")

    def __init__(self, lateness_ns: int = 0) -> None:
        self.lateness_ns = lateness_ns
        self._newest_ns: int | None = None

    @property
    def time_ns(self) -> int | None:
        """Event time up to which everything is taken to have arrived; None before any reading."""
        return None if self._newest_ns is None else self._newest_ns - self.lateness_ns

    def advance(self, time_ns: int) -> bool:
        """Take a reading's source time; return whether the watermark moved."""
        if self._newest_ns is not None and time_ns <= self._newest_ns:
            return False
        self._newest_ns = time_ns
        return True
