"""The figures of a model (pure): per window, per failure event, and beside them the idle baselines.

numpy only, equal to scikit-learn's where it has the same figure (tests hold them together): the
import of scikit-learn alone would take longer than all of this.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]
    Floats = npt.NDArray[np.floating[Any]]
    Ints = npt.NDArray[np.integer[Any]]

HOURS_PER_MONTH: Final = 730.5
NS_PER_HOUR: Final = 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """Per window; shares from 0 to 1, NaN where a figure has no meaning (no such class).

    `always_no_*` and `always_yes_f1` are what a constant answer would get on the same windows;
    `random_f1` is what as many alarms would get that fall anywhere. The PR-AUC of both is the
    `prevalence`, their balanced accuracy (the mean of recall and specificity) one half.
    """

    windows: int
    positives: int
    prevalence: float
    f1: float
    precision: float
    recall: float
    fpr: float
    accuracy: float
    balanced_accuracy: float
    roc_auc: float
    pr_auc: float
    always_no_accuracy: float
    always_no_f1: float
    always_yes_f1: float
    random_f1: float


@dataclass(frozen=True, slots=True)
class EventFigures:
    """Per failure event and alarm episode.

    An event counts when a window was scored in the horizon before it. `lead_time_h_*` runs from
    the first alarm inside the horizon to the failure. An episode is a run of alarming windows;
    it is false when no failure follows its first window within the horizon, and `early` of the
    false ones ran on into a failure's horizon.
    """

    failures: int
    recall: float
    lead_time_h_p10: float
    lead_time_h_p50: float
    lead_time_h_p90: float
    false_alarms: int
    early: int
    machine_months: float
    false_alarms_per_machine_month: float


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one model on one group of machines."""

    window: WindowFigures
    event: EventFigures

    def flat(self) -> dict[str, float]:
        """Return the figures by name, those of events as `event_*`, without the NaN ones."""
        figures = asdict(self.window) | {f"event_{k}": v for k, v in asdict(self.event).items()}
        return numbers(figures)


def numbers(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures that have a value: NaN is left out, because JSON has no word for it."""
    return {name: float(value) for name, value in figures.items() if not math.isnan(value)}


@dataclass(frozen=True, slots=True)
class Scored:
    """Scored windows of known outcome, sorted by machine and then by time.

    `machine` int[N]; `end_ns` int64[N]; `label` bool[N]; `failure_ns` int64[N], the failure that
    a positive window foretells; `score` float[N], higher means sooner.
    """

    machine: Ints
    end_ns: Ints
    label: Bool
    failure_ns: Ints
    score: Floats


def report(scored: Scored, threshold: float, stride_ns: int) -> Report:
    """Return all figures, with an alarm wherever the score reaches the threshold."""
    alarm = scored.score >= threshold
    return Report(
        window_figures(scored.label, scored.score, alarm), event_figures(scored, alarm, stride_ns)
    )


def window_figures(label: Bool, score: Floats, alarm: Bool) -> WindowFigures:
    """Return the per-window figures of labels bool[N], scores float[N] and alarms bool[N]."""
    n, positives = len(label), int(np.count_nonzero(label))
    tp = int(np.count_nonzero(alarm & label))
    fp = int(np.count_nonzero(alarm & ~label))
    prevalence = _share(positives, n)
    recall, fpr = _share(tp, positives), _share(fp, n - positives)
    return WindowFigures(
        windows=n,
        positives=positives,
        prevalence=prevalence,
        f1=_share(2 * tp, tp + fp + positives),
        precision=_share(tp, tp + fp),
        recall=recall,
        fpr=fpr,
        accuracy=_share(n - positives - fp + tp, n),
        balanced_accuracy=(recall + 1 - fpr) / 2,
        roc_auc=roc_auc(label, score),
        pr_auc=pr_auc(label, score),
        always_no_accuracy=1.0 - prevalence,
        always_no_f1=0.0,
        always_yes_f1=_share(2 * positives, n + positives),
        random_f1=_share(2 * (tp + fp) * prevalence, tp + fp + positives),
    )


def band_figures(
    lead_time_h: Floats, score: Floats, alarm: Bool, *, nearest_h: float, farthest_h: float
) -> WindowFigures:
    """Return how well alarms tell failures that are some time away from none in sight.

    A window is positive when nearest < time to failure <= farthest, and negative when no failure
    comes within `farthest_h`. Windows with less than `nearest_h` left are neither: an alarm there
    is right, but not early.

    Args:
        lead_time_h: float[N] hours to the failure, NaN when none comes.
        score: float[N].
        alarm: bool[N].
        nearest_h: exclusive.
        farthest_h: inclusive.
    """
    asked = ~(lead_time_h <= nearest_h)
    label = lead_time_h[asked] <= farthest_h
    return window_figures(label, score[asked], alarm[asked])


def pr_auc(label: Bool, score: Floats, weight: Floats | None = None) -> float:
    """Return the average precision: the step-wise area under precision over recall.

    Equal scores make one step, as in scikit-learn's `average_precision_score`; NaN without a
    positive.
    """
    order = np.argsort(-np.asarray(score, dtype=np.float64), kind="stable")
    return pr_auc_sorted(label[order], score[order], None if weight is None else weight[order])


def pr_auc_sorted(label: Bool, score: Floats, weight: Floats | None = None) -> float:
    """Return `pr_auc` of rows that are sorted by falling score already (for the bootstrap)."""
    w = np.ones(len(label)) if weight is None else weight
    hits, seen = np.cumsum(w * label), np.cumsum(w)
    if not len(label) or not hits[-1] > 0:
        return float("nan")
    last = np.append(score[1:] != score[:-1], True)
    hits, seen = hits[last], seen[last]
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    return float(np.sum(np.diff(hits, prepend=0.0) * precision) / hits[-1])


def roc_auc(label: Bool, score: Floats) -> float:
    """Return the chance that a positive outranks a negative (Mann-Whitney), ties counting half."""
    positives, n = int(np.count_nonzero(label)), len(label)
    if not 0 < positives < n:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2
    total = float(np.sum(rank[inverse][label]))
    return (total - positives * (positives + 1) / 2) / (positives * (n - positives))


def event_figures(scored: Scored, alarm: Bool, stride_ns: int) -> EventFigures:
    """Return the per-event figures; `stride_ns` is the time that one window stands for."""
    first_alarm = lead_times(scored, alarm)
    found = first_alarm[~np.isnan(first_alarm)]
    false, early = _false_episodes(scored, alarm)
    months = np.count_nonzero(~scored.label) * stride_ns / NS_PER_HOUR / HOURS_PER_MONTH
    p10, p50, p90 = np.quantile(found, (0.1, 0.5, 0.9)) if len(found) else (float("nan"),) * 3
    return EventFigures(
        failures=len(first_alarm),
        recall=_share(len(found), len(first_alarm)),
        lead_time_h_p10=float(p10),
        lead_time_h_p50=float(p50),
        lead_time_h_p90=float(p90),
        false_alarms=false,
        early=early,
        machine_months=float(months),
        false_alarms_per_machine_month=_share(false, months),
    )


def lead_times(scored: Scored, alarm: Bool) -> Float64:
    """Return the lead time in h of each event's first alarm within the horizon; NaN if missed."""
    inside = scored.label
    machine, failure_ns = scored.machine[inside], scored.failure_ns[inside]
    _, event = np.unique(np.stack([machine, failure_ns]), axis=1, return_inverse=True)
    ahead_h = (failure_ns - scored.end_ns[inside]) / NS_PER_HOUR
    lead = np.where(alarm[inside], ahead_h, -np.inf)
    best = np.full(int(event.max()) + 1 if len(event) else 0, -np.inf)
    np.maximum.at(best, event, lead)
    return np.where(np.isinf(best), np.nan, best)


def _false_episodes(scored: Scored, alarm: Bool) -> tuple[int, int]:
    new_machine = np.diff(scored.machine, prepend=-1) != 0
    begins = alarm & (new_machine | ~np.roll(alarm, 1))
    if not begins.any():
        return 0, 0
    episode = np.cumsum(begins)[alarm] - 1
    reached = np.zeros(int(episode.max()) + 1, dtype=np.bool_)
    np.logical_or.at(reached, episode, scored.label[alarm])
    false = ~scored.label[begins]
    return int(np.count_nonzero(false)), int(np.count_nonzero(false & reached))


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")
