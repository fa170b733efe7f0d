"""A curve of any length in bounded memory (pure).

It is exact while it is short. Beyond that, time falls into equal steps of which the least and the
greatest value stay: a spike is seen however much there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]
    Float64 = npt.NDArray[np.float64]

MOST_STEPS: Final = 1000
"""About as many as a picture has columns of pixels to spare."""

TOGETHER: Final = 4 * MOST_STEPS
"""So many points are gathered before they are thinned."""


class Thinned:
    """Points (UTC ns, value) in any order; what is no finite number is left out.

    With a `count`, they lie from `first_ns` to `last_ns`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first_ns, self.last_ns = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        self._shift = 0
        self._at = np.empty(0, np.int64)
        self._low = np.empty(0, np.float64)
        self._high = np.empty(0, np.float64)
        self._fresh: list[tuple[Int64, Float64]] = []
        self._waiting = 0

    def add(self, time_ns: Int64, value: npt.NDArray[np.floating[Any]]) -> None:
        """Take points: int64[n], float[n]."""
        known = np.isfinite(value)
        if not known.any():
            return
        times = time_ns[known]
        self._fresh.append((times, value[known].astype(np.float64)))
        self.first_ns = min(self.first_ns, int(times.min()))
        self.last_ns = max(self.last_ns, int(times.max()))
        self.count += len(times)
        self._waiting += len(times)
        if self._waiting > TOGETHER:
            self._thin()

    @property
    def step_ns(self) -> int:
        """How long a step is; 0 where every point is there."""
        self._thin()
        return 1 << self._shift if self._shift else 0

    def points(self) -> tuple[Int64, Float64]:
        """Return the curve in the order of time, with two points for a step."""
        self._thin()
        middle = (self._at << self._shift) + (self.step_ns >> 1)
        middle = np.clip(middle, self.first_ns, self.last_ns)
        both = np.stack([self._low, self._high], axis=1).ravel()
        twice = np.repeat(middle, 2)
        kept = np.ones(len(both), np.bool_)
        kept[1::2] = self._low != self._high
        return twice[kept], both[kept]

    def _thin(self) -> None:
        if not self._fresh:
            return
        times = np.concatenate([time_ns for time_ns, _ in self._fresh]) >> self._shift
        values = np.concatenate([value for _, value in self._fresh])
        self._fresh, self._waiting = [], 0
        self._at = np.concatenate([self._at, times])
        self._low = np.concatenate([self._low, values])
        self._high = np.concatenate([self._high, values])
        self._merge()
        while len(self._at) > MOST_STEPS:
            self._at, self._shift = self._at >> 1, self._shift + 1
            self._merge()

    def _merge(self) -> None:
        """Make one of what falls into the same step."""
        if not len(self._at):
            return
        order = np.argsort(self._at, kind="stable")
        self._at, first = np.unique(self._at[order], return_index=True)
        self._low = np.minimum.reduceat(self._low[order], first)
        self._high = np.maximum.reduceat(self._high[order], first)
