"""Everything that one run's test machines say (pure): the figures, their intervals, the curves.

`report` of `evaluate` is the short form; this is the long one, which the page draws and the JSON
beside it holds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_trainer.bootstrap import window_intervals
from foreshock_trainer.curves import (
    Calibration,
    Costs,
    Curve,
    calibration,
    cost_curve,
    coverage,
    pr_curve,
    recall_by_lead,
    roc_curve,
)
from foreshock_trainer.evaluate import NS_PER_HOUR, band_figures, lead_times, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from foreshock_trainer.bootstrap import Interval
    from foreshock_trainer.evaluate import Scored, WindowFigures

    Bool = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.floating[Any]]
    Ints = npt.NDArray[np.integer[Any]]

LEAD_BINS: Final = 12
LEAD_HORIZONS: Final = 2
"""The lead-time plot reaches this many horizons before a failure."""
TIMELINES: Final = 12
TIMELINE_POINTS: Final = 400


@dataclass(frozen=True, slots=True)
class Timeline:
    """One machine over its time: hours since its first window, probability, alarms, failures.

    A point is the highest probability of its stretch of windows, and alarms if one of them did.
    """

    machine: str
    hours: tuple[float, ...]
    probability: tuple[float, ...]
    alarm: tuple[bool, ...]
    failures_h: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Single:
    """The fixed-threshold baseline: the rule in words, and its figures on the same windows."""

    rule: str
    figures: WindowFigures


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model said of the test windows: all [N], sorted by machine and then by time.

    `probability` float[N] calibrated; `lead_time_h` float[N, Q] hours, outer quantiles first and
    last, or [N, 0]; `lead_level` the share that they should cover; `threshold` of `scored.score`,
    `limit` the same as a probability.
    """

    scored: Scored
    probability: Floats
    lead_time_h: Floats
    lead_level: float
    threshold: float
    limit: float
    horizon_h: float


@dataclass(frozen=True, slots=True)
class Study:
    """The long form of a run's figures.

    `band` is for failures between half a horizon and a horizon away; `lead_coverage` the share of
    alarming windows before a failure whose lead time lay inside the interval told;
    `first_warning_h` how long before each failure the first alarm within the horizon came, falling,
    NaN where none came.
    """

    intervals: Mapping[str, Interval]
    single: Single | None
    band: WindowFigures
    band_h: tuple[float, float]
    lead_coverage: float
    lead_level: float
    roc: Curve
    pr: Curve
    calibration: Calibration
    costs: Costs
    lead_edges_h: tuple[float, ...]
    lead_windows: tuple[int, ...]
    lead_recall: tuple[float, ...]
    first_warning_h: tuple[float, ...]
    limit: float
    timelines: tuple[Timeline, ...]

    def brief(self) -> dict[str, Any]:
        """Return the figures without the curves, as plain values, NaN left out."""
        return {
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "single_threshold": self.single
            and {"rule": self.single.rule} | numbers(asdict(self.single.figures)),
            "lead_band": {"from_h": self.band_h[0], "to_h": self.band_h[1]}
            | numbers(asdict(self.band)),
            "lead_interval": numbers({"coverage": self.lead_coverage, "level": self.lead_level}),
            "calibration": numbers(
                {
                    "brier": self.calibration.brier,
                    "brier_constant": self.calibration.brier_constant,
                    "ece": self.calibration.ece,
                }
            ),
        }

    def points(self) -> dict[str, list[tuple[float, float]]]:
        """Return the curves that are functions of one value, as points (x, y), by name."""
        seen, costs = self.calibration, self.costs
        curves = {
            "roc_recall_over_fpr": (self.roc.x, self.roc.y),
            "pr_precision_over_recall": (self.pr.x, self.pr.y),
            "calibration_observed_over_predicted": (seen.predicted, seen.observed),
            "cost_over_miss_cost": (costs.ratio, costs.model),
            "recall_over_hours_left": (self.lead_edges_h[1:], self.lead_recall),
        }
        return {
            name: [(a, b) for a, b in zip(x, y, strict=True) if not np.isnan(b)]
            for name, (x, y) in curves.items()
        }

    def curves(self) -> dict[str, Any]:
        """Return the curves as plain values, None for NaN."""
        wanted = ("roc", "pr", "calibration", "costs", "lead_edges_h", "lead_windows")
        plain = {name: value for name, value in asdict(self).items() if name in wanted}
        return plain | {
            "lead_recall": _known(self.lead_recall),
            "first_warning_h": _known(self.first_warning_h),
            "timelines": [asdict(line) for line in self.timelines],
        }


def study(seen: Seen, machines: Sequence[str], single: Single | None, *, seed: int) -> Study:
    """Return the long form; `machines` are the names that `scored.machine` indexes."""
    scored = seen.scored
    label, score = scored.label, scored.score
    alarm = score >= seen.threshold
    lead_h = _hours_left(scored)
    band_h = (seen.horizon_h / 2, seen.horizon_h)
    edges_h = np.linspace(0, LEAD_HORIZONS * seen.horizon_h, LEAD_BINS + 1)
    windows, share = recall_by_lead(lead_h, alarm, edges_h.tolist())
    return Study(
        intervals=window_intervals(scored.machine, label, alarm, seed=seed),
        single=single,
        band=band_figures(
            np.where(label, lead_h, np.nan), score, alarm, nearest_h=band_h[0], farthest_h=band_h[1]
        ),
        band_h=band_h,
        lead_coverage=_covered(seen, alarm & label, lead_h),
        lead_level=seen.lead_level,
        roc=roc_curve(label, score),
        pr=pr_curve(label, score),
        calibration=calibration(label, seen.probability),
        costs=cost_curve(label, score, alarm),
        lead_edges_h=tuple(edges_h.tolist()),
        lead_windows=windows,
        lead_recall=share,
        first_warning_h=tuple((-np.sort(-lead_times(scored, alarm))).tolist()),
        limit=seen.limit,
        timelines=_timelines(seen, alarm, machines),
    )


def _known(values: Sequence[float]) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values]


def _hours_left(scored: Scored) -> Floats:
    hours = (scored.failure_ns - scored.end_ns) / NS_PER_HOUR
    return np.where(scored.failure_ns > 0, hours, np.nan)


def _covered(seen: Seen, rows: Bool, lead_h: Floats) -> float:
    if not seen.lead_time_h.shape[1]:
        return float("nan")
    told = seen.lead_time_h[rows]
    return coverage(told[:, 0], told[:, -1], lead_h[rows])


def _timelines(seen: Seen, alarm: Bool, machines: Sequence[str]) -> tuple[Timeline, ...]:
    """Return the machines that failed most first, and fill up with healthy ones."""
    scored = seen.scored
    numbers_of, first, count = np.unique(scored.machine, return_index=True, return_counts=True)
    failures = [
        np.unique(scored.failure_ns[a : a + n][scored.label[a : a + n]])
        for a, n in zip(first, count, strict=True)
    ]
    order = sorted(range(len(first)), key=lambda i: -len(failures[i]))[:TIMELINES]
    return tuple(
        _timeline(
            machines[numbers_of[i]], seen, alarm, slice(first[i], first[i] + count[i]), failures[i]
        )
        for i in order
    )


def _timeline(machine: str, seen: Seen, alarm: Bool, rows: slice, failure_ns: Ints) -> Timeline:
    end_ns = seen.scored.end_ns[rows]
    begin_ns = int(end_ns[0])
    starts = np.unique(np.linspace(0, len(end_ns), TIMELINE_POINTS, endpoint=False).astype(int))
    return Timeline(
        machine=machine,
        hours=_rounded((end_ns[starts] - begin_ns) / NS_PER_HOUR, 2),
        probability=_rounded(np.maximum.reduceat(seen.probability[rows], starts), 4),
        alarm=tuple(np.logical_or.reduceat(alarm[rows], starts).tolist()),
        failures_h=_rounded((failure_ns - begin_ns) / NS_PER_HOUR, 2),
    )


def _rounded(values: Floats, digits: int) -> tuple[float, ...]:
    return tuple(np.round(values.astype(np.float64), digits).tolist())
