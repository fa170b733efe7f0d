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
    """All keys that were added, less those that `forget` let go.

    They lie in two columns: a large sorted run, a small sorted one, and what is not sorted yet.
    Keys are copied into these: thousands of small arrays that live on would leave holes in memory.
    """

    def __init__(self) -> None:
        self._keys = Run(np.empty(SMALL, np.int64), np.empty(SMALL, np.int64))
        self._large_end = self._small_end = self._end = 0

    def __len__(self) -> int:
        return self._end

    def add(self, track: Int64, time_ns: Int64) -> None:
        """Remember keys; they are not sorted before somebody asks."""
        end = self._end + len(track)
        self._make_room(end)
        self._put(self._end, Run(track, time_ns))
        self._end = end

    def holds(self, track: Int64, time_ns: Int64) -> Bool:
        """Say of each key whether it is remembered."""
        self._sort()
        large = self._part(0, self._large_end)
        small = self._part(self._large_end, self._small_end)
        return large.holds(track, time_ns) | small.holds(track, time_ns)

    def forget(self, before_ns: Int64) -> None:
        """Let go what is older than its track's entry in `before_ns` int64[tracks]."""
        keys = self._part(0, self._end)
        kept = keys.time_ns >= before_ns[keys.track]
        for column in keys:
            left = column[kept]
            column[: len(left)] = left
        ends = (self._large_end, self._small_end, self._end)
        self._large_end, self._small_end, self._end = (
            int(np.count_nonzero(kept[:end])) for end in ends
        )

    def _part(self, begin: int, end: int) -> Run:
        return Run(self._keys.track[begin:end], self._keys.time_ns[begin:end])

    def _put(self, begin: int, keys: Run) -> None:
        for column, values in zip(self._keys, keys, strict=True):
            column[begin : begin + len(values)] = values

    def _make_room(self, count: int) -> None:
        have = len(self._keys.track)
        if count > have:
            held, room = self._part(0, self._end), max(count, have * 3 // 2)
            self._keys = Run(np.empty(room, np.int64), np.empty(room, np.int64))
            self._put(0, held)

    def _sort(self) -> None:
        """Sort what is not: into the small run, or all into the large one when that has grown."""
        if self._small_end == self._end:
            return
        if self._end - self._large_end > max(SMALL, self._large_end // 4):
            self._large_end = self._end
        begin = 0 if self._large_end == self._end else self._large_end
        self._put(begin, Run.of(*self._part(begin, self._end)))
        self._small_end = self._end
