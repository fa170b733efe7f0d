"""Which readings were stored lately, so that a copy is known without an index over all of them.

A unique index over (machine, channel, time) touches random pages at each commit, which is tens of
gigabytes a day. Here the keys of recent readings lie in sorted runs in memory; what is older than
the memory reaches is looked up in the chunks themselves (`chunks.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]

SMALL: Final = 4_096
"""Keys that are sorted again at each look-up; beyond it they are merged into the large run."""


class Run(NamedTuple):
    """Keys int64[n] and int64[n], sorted by track and then by time."""

    track: Int64
    time_ns: Int64

    @classmethod
    def of(cls, track: Int64, time_ns: Int64) -> Self:
        """Sort keys."""
        order = np.lexsort((time_ns, track))
        return cls(track[order], time_ns[order])

    def holds(self, track: Int64, time_ns: Int64) -> Bool:
        """Say of each key whether it is in the run: a binary search within each one's track."""
        low = np.searchsorted(self.track, track, "left")
        end = np.searchsorted(self.track, track, "right")
        high = end
        while (open_ := low < high).any():
            middle = (low + high) // 2
            below = open_ & (self.time_ns[np.minimum(middle, len(self.track) - 1)] < time_ns)
            low, high = np.where(below, middle + 1, low), np.where(open_ & ~below, middle, high)
        found = low < end
        found[found] = self.time_ns[low[found]] == time_ns[found]
        return found


def first_of_each(track: Int64, time_ns: Int64) -> Bool:
    """Say of each key whether it is the first of its kind in the order given."""
    order = np.lexsort((time_ns, track))
    sorted_track, sorted_time = track[order], time_ns[order]
    repeats = (sorted_track[1:] == sorted_track[:-1]) & (sorted_time[1:] == sorted_time[:-1])
    first = np.ones(len(track), np.bool_)
    first[order[1:][repeats]] = False
    return first


class Recent:
    """All keys that were added, less those that `forget` let go."""

    def __init__(self) -> None:
        none = np.empty(0, np.int64)
        self._large = Run(none, none)
        self._small = Run(none, none)
        self._fresh: list[Run] = []
        self._fresh_count = 0

    def __len__(self) -> int:
        return len(self._large.track) + len(self._small.track) + self._fresh_count

    def add(self, track: Int64, time_ns: Int64) -> None:
        """Remember keys; they are not sorted before somebody asks."""
        self._fresh.append(Run(track, time_ns))
        self._fresh_count += len(track)

    def holds(self, track: Int64, time_ns: Int64) -> Bool:
        """Say of each key whether it is remembered."""
        self._sort()
        return self._large.holds(track, time_ns) | self._small.holds(track, time_ns)

    def forget(self, before_ns: Int64) -> None:
        """Let go what is older than its track's entry in `before_ns` int64[tracks]."""
        runs = [self._large, self._small, *self._fresh]
        track, time_ns = (np.concatenate(part) for part in zip(*runs, strict=True))
        kept = time_ns >= before_ns[track]
        self._large = Run.of(track[kept], time_ns[kept])
        self._small = Run(track[:0], time_ns[:0])
        self._fresh, self._fresh_count = [], 0

    def _sort(self) -> None:
        if not self._fresh:
            return
        runs = [self._small, *self._fresh]
        self._fresh, self._fresh_count = [], 0
        self._small = _merged(runs)
        if len(self._small.track) > max(SMALL, len(self._large.track) // 4):
            self._large = _merged([self._large, self._small])
            self._small = Run(self._small.track[:0], self._small.time_ns[:0])


def _merged(runs: list[Run]) -> Run:
    return Run.of(*(np.concatenate(part) for part in zip(*runs, strict=True)))
