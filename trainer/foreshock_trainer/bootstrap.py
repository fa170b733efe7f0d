"""How far figures would move with other machines (pure): the bootstrap over whole machines.

Windows of one machine are not independent, so whole machines are drawn with replacement (cluster
bootstrap; Field and Welsh 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.integer[Any]]

COVERED: Final = 0.95
"""Share of the resamples between an interval's ends."""
RESAMPLES: Final = 1000

Interval = tuple[float, float]
"""The lower and the upper end."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Machines drawn with replacement: `times` int[R, M]; `of` int[N] is each window's machine."""

    times: Ints
    of: Ints

    def __iter__(self) -> Iterator[Float64]:
        """Yield each resample's weight of every window, float64[N]."""
        return (drawn.astype(np.float64)[self.of] for drawn in self.times)

    def counts(self, chosen: Bool) -> Float64:
        """Return how many of the chosen windows (bool[N]) each resample holds, float64[R]."""
        per_machine = np.bincount(self.of[chosen], minlength=self.times.shape[1])
        return (self.times @ per_machine).astype(np.float64)


def draw_machines(machine: Ints, count: int, seed: int) -> Draws:
    """Draw whole machines `count` times; `machine` int[N] is each window's."""
    names, of = np.unique(machine, return_inverse=True)
    share = np.full(len(names), 1 / max(len(names), 1))
    times = np.random.default_rng(seed).multinomial(len(names), share, size=count)
    return Draws(times, of)


def window_intervals(
    machine: Ints, label: Bool, alarm: Bool, *, seed: int = 0
) -> Mapping[str, Interval]:
    """Return the 95 % interval of each figure that counts alarms, by its name in `WindowFigures`.

    Args:
        machine: int[N], each window's machine.
        label: bool[N].
        alarm: bool[N].
        seed: of the draws.
    """
    draws = draw_machines(machine, RESAMPLES, seed)
    tp, fp = draws.counts(alarm & label), draws.counts(alarm & ~label)
    positives, negatives = draws.counts(label), draws.counts(~label)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, fpr = tp / positives, fp / negatives
        resampled = {
            "f1": 2 * tp / (tp + fp + positives),
            "precision": tp / (tp + fp),
            "recall": recall,
            "fpr": fpr,
            "accuracy": (tp + negatives - fp) / (positives + negatives),
            "balanced_accuracy": (recall + 1 - fpr) / 2,
        }
    return {name: interval(values) for name, values in resampled.items()}


def interval(values: Float64) -> Interval:
    """Return the percentile interval of resampled values; those without a value say nothing."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)
