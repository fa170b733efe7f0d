"""How far the features of late windows have gone from those that a model was trained on.

Each feature's values are counted in the bins of the model's reference; the population stability
index compares the two shares bin by bin: sum of (now - then) ln(now / then). Source: Siddiqi
(2006), Credit Risk Scorecards, chapter 8; by custom 0.1 is a small shift and 0.25 one to act on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from foreshock_wire.spec import Histogram

ENOUGH: Final = 200
"""Values of a feature below which nothing is said of it."""
FORGET_AT: Final = 20_000
"""Windows after which all counts are halved, so that old ones fade."""
GATHERED: Final = 64
"""Windows that are counted together: one by one they would cost as much as the model."""
TOLD: Final = 16


class DriftSketch:
    """Counts features float32[N, F] in the reference's bins; `indices` says how far they went."""

    def __init__(self, names: Sequence[str], reference: Mapping[str, Histogram]) -> None:
        self._columns = [place for place, name in enumerate(names) if name in reference]
        self._names = [names[place] for place in self._columns]
        known = [reference[name] for name in self._names]
        self._bins = max((len(one.counts) for one in known), default=1)
        # What lies outside the reference belongs to its first or last bin.
        self._inner = np.full((len(known), self._bins - 1), np.inf)
        self._then = np.zeros((len(known), self._bins))
        for row, one in enumerate(known):
            self._inner[row, : len(one.counts) - 1] = one.edges[1:-1]
            self._then[row, : len(one.counts)] = one.counts
        self._now = np.zeros_like(self._then)
        self._waiting: list[npt.NDArray[np.float32]] = []
        self._rows = self._windows = 0

    def add(self, features: npt.NDArray[np.float32]) -> None:
        """Take the features of some windows; missing values count for nothing."""
        self._waiting.append(features)
        self._rows += len(features)
        if self._rows >= GATHERED:
            self._count()

    def _count(self) -> None:
        values = np.concatenate(self._waiting)[:, self._columns]
        self._waiting, self._rows = [], 0
        bins = (values[:, :, np.newaxis] >= self._inner).sum(axis=2)
        flat = bins + np.arange(len(self._names)) * self._bins
        seen = np.bincount(flat[np.isfinite(values)], minlength=self._now.size)
        self._windows += len(values)
        if self._windows >= FORGET_AT:
            self._now, self._windows = self._now / 2, self._windows // 2
        # A new array: another thread may read the old one meanwhile.
        self._now = self._now + seen.reshape(self._now.shape)

    def indices(self) -> dict[str, float]:
        """Return the largest indices by feature, the largest first; at most 16 of them."""
        now, then = self._now, self._then
        enough = np.flatnonzero((now.sum(axis=1) >= ENOUGH) & (then.sum(axis=1) > 0))
        found = _stability(now[enough], then[enough])
        order = np.argsort(-found)[:TOLD]
        return {self._names[enough[place]]: round(float(found[place]), 4) for place in order}


def _stability(
    now: npt.NDArray[np.float64], then: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the index of each row of counts; half a count keeps an empty bin finite."""
    real = np.arange(then.shape[1]) <= _last_bin(then)[:, np.newaxis]
    p, q = ((counts + 0.5) * real for counts in (then, now))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(real, (q - p) * np.log(q / p), 0.0)
    found: npt.NDArray[np.float64] = parts.sum(axis=1)
    return found


def _last_bin(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return each row's last bin that was ever filled: what follows only fills the table up."""
    found: npt.NDArray[np.int64] = counts.shape[1] - 1 - np.argmax(counts[:, ::-1] > 0, axis=1)
    return found
