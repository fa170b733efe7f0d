"""Affiliation precision and recall for anomaly data (pure; Huet, Navarro, Rossi, KDD 2022).

Time is cut into zones, one per true event: the instants that lie nearest to it. In each zone the
distance of what was predicted to the event, and of the event to what was predicted, is turned into
the chance that a random instant of the zone would have been no nearer. So a detector that fires a
little beside an event is nearly right, a random one gets about one half, and no adjustment of
points can turn one lucky hit into a perfect event.

Intervals are half open; the integrands are piecewise linear, so that the trapezoidal rule over
their breakpoints is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]

Span = tuple[float, float]
"""An interval of time, its end exclusive."""


@dataclass(frozen=True, slots=True)
class Affiliation:
    """Precision, recall and their harmonic mean, each from 0 to 1; NaN where nothing is known.

    Precision is the mean over the zones in which something was predicted, recall over all zones.
    """

    precision: float
    recall: float
    f1: float


def affiliation(
    predicted: Sequence[Span], events: Sequence[Span], begin: float, end: float
) -> Affiliation:
    """Return the affiliation metrics of predicted intervals against the true events.

    Args:
        predicted: intervals, sorted and disjoint.
        events: intervals, sorted and disjoint.
        begin: where time begins.
        end: where it ends.

    Raises:
        ForeshockError: there is no event, or an interval is empty, out of order or out of time.
    """
    _check(predicted, begin, end)
    _check(events, begin, end)
    if not events:
        raise ForeshockError("affiliation needs at least one true event")
    precisions, recalls = [], []
    for event, zone in zip(events, _zones(events, begin, end), strict=True):
        inside = _clipped(predicted, zone)
        if inside:
            precisions.append(_precision(inside, event, zone))
        recalls.append(_recall(inside, event, zone))
    precision = float(np.mean(precisions)) if precisions else float("nan")
    recall = float(np.mean(recalls))
    both = precision + recall
    return Affiliation(precision, recall, 2 * precision * recall / both if both > 0 else both)


def spans_of(flags: Bool) -> list[Span]:
    """Return the runs of true flags bool[N] as intervals of sample numbers."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(float(a), float(b)) for a, b in edges.reshape(-1, 2)]


def _check(spans: Sequence[Span], begin: float, end: float) -> None:
    edges = [begin, *(edge for span in spans for edge in span), end]
    if any(a > b for a, b in pairwise(edges)) or any(a >= b for a, b in spans):
        raise ForeshockError(
            f"intervals must be sorted, disjoint, not empty and within {begin:g} to {end:g}"
        )


def _zones(events: Sequence[Span], begin: float, end: float) -> list[Span]:
    borders = [(one[1] + following[0]) / 2 for one, following in pairwise(events)]
    return list(pairwise([begin, *borders, end]))


def _clipped(spans: Sequence[Span], zone: Span) -> list[Span]:
    cut = [(max(a, zone[0]), min(b, zone[1])) for a, b in spans]
    return [(a, b) for a, b in cut if a < b]


def _precision(predicted: Sequence[Span], event: Span, zone: Span) -> float:
    (begin, end), (low, high) = event, zone

    def no_nearer(x: Float64) -> Float64:
        """Return the share of the zone that is at least as far from the event as x is."""
        away = np.maximum(np.maximum(begin - x, x - end), 0.0)
        beyond = np.maximum(begin - away - low, 0) + np.maximum(high - end - away, 0)
        return np.where(away > 0, beyond / (high - low), 1.0)

    # At the event's edges the share jumps to one: each side is integrated by itself.
    inside = sum(b - a for a, b in _clipped(predicted, event))
    outside = [*_clipped(predicted, (low, begin)), *_clipped(predicted, (end, high))]
    breaks = [begin + end - high, begin + end - low]
    total = inside + sum(_integral(no_nearer, part, breaks, open_ends=True) for part in outside)
    return total / sum(b - a for a, b in predicted)


def _recall(predicted: Sequence[Span], event: Span, zone: Span) -> float:
    if not predicted:
        return 0.0
    low, high = zone
    starts, ends = np.array(predicted).T

    def no_nearer(y: Float64) -> Float64:
        """Return the share of the zone that is at least as far from y as the predictions are."""
        away = np.maximum(np.maximum(starts - y[:, None], y[:, None] - ends), 0.0).min(axis=1)
        beyond = np.maximum(y - away - low, 0) + np.maximum(high - y - away, 0)
        share: Float64 = beyond / (high - low)
        return share

    edges = np.concatenate([starts, ends])
    middles = (ends[:-1] + starts[1:]) / 2
    breaks = [*edges, *middles, *(edges + low) / 2, *(edges + high) / 2]
    return _integral(no_nearer, event, breaks) / (event[1] - event[0])


def _integral(
    function: Callable[[Float64], Float64],
    span: Span,
    breaks: Sequence[float],
    *,
    open_ends: bool = False,
) -> float:
    """Integrate a function that is linear between breaks; `open_ends`: it may jump at the ends."""
    inner = [b for b in breaks if span[0] < b < span[1]]
    x = np.array(sorted({*span, *inner}))
    if not open_ends:
        return float(np.trapezoid(function(x), x))
    # A linear piece is known from any two of its points: take them from its inside.
    thirds = (2 * x[:-1] + x[1:]) / 3, (x[:-1] + 2 * x[1:]) / 3
    return float(np.sum((function(thirds[0]) + function(thirds[1])) / 2 * np.diff(x)))
