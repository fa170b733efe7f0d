"""What a training is worth, told by all machines: each is judged by a model that never saw it.

Every fold trains, stops, calibrates and sets its threshold as `fit` always does, on the machines
outside of it. The lead-time interval is judged where it is shown: on windows that alarm.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost as xgb

from foreshock_trainer.evaluate import Report, numbers, report
from foreshock_trainer.fit import QUANTILES, fit, lead_times, margin_of
from foreshock_trainer.gathered import gather
from foreshock_trainer.splits import folds_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from foreshock_trainer.examples import Examples, Progress
    from foreshock_trainer.gathered import Gathered
    from foreshock_trainer.settings import LearnSettings
    from foreshock_trainer.splits import Split

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LeadTimes:
    """How good the interval is on alarming windows with a known failure; hours.

    `coverage` is the share of failures inside the interval, which promises `promised`; `error_p50`
    the median distance of the middle quantile from the truth.
    """

    windows: int
    promised: float
    coverage: float
    error_h_p50: float
    error_h_mean: float
    width_h_p50: float


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """The figures over all machines, every window scored by the fold that did not know it."""

    folds: int
    machines: int
    figures: Report
    lead_time: LeadTimes

    def as_json(self) -> dict[str, Any]:
        """Return plain values, NaN left out."""
        return {
            "folds": self.folds,
            "machines": self.machines,
            "metrics": self.figures.flat(),
            "lead_time": numbers(asdict(self.lead_time)),
        }

    def lines(self) -> list[str]:
        """Return the figures for a person."""
        return [self._per_window(), self._per_event(), self._lead_times()]

    def _per_window(self) -> str:
        window = self.figures.window
        return (
            f"{self.machines} machines in {self.folds} folds: F1 {window.f1:.3f} (always yes "
            f"{window.always_yes_f1:.3f}), FPR {window.fpr:.2%}, PR-AUC {window.pr_auc:.3f} "
            f"(constant {window.prevalence:.3f}), accuracy {window.accuracy:.3f} (always no "
            f"{window.always_no_accuracy:.3f})"
        )

    def _per_event(self) -> str:
        event = self.figures.event
        return (
            f"failures foretold: {event.recall:.0%} of {event.failures}, half of them at least "
            f"{event.lead_time_h_p50:.0f} h ahead"
        )

    def _lead_times(self) -> str:
        lead = self.lead_time
        return (
            f"lead time on {lead.windows} alarming windows: the {lead.promised:.0%} interval holds "
            f"the failure in {lead.coverage:.1%}; its middle is off by {lead.error_h_p50:.1f} h "
            "(median)"
        )


def cross_validate(
    settings: LearnSettings,
    folds: int,
    say: Callable[[str], object] = lambda _: None,
    progress: Progress | None = None,
) -> CrossValidated:
    """Train `folds` times; `say` is told after each, `progress` after each machine that was read.

    Raises:
        ForeshockError: the lake cannot train that many models; says what it lacks.
    """
    with xgb.config_context(nthread=1):
        gathered = gather(settings, progress)
        examples = gathered.examples
        seen = _Seen.empty(len(examples))
        splits = folds_of((examples.machines[i] for i in np.unique(examples.machine)), folds)
        for number, split in enumerate(splits, start=1):
            _judge_fold(gathered, split, settings, seen)
            say(f"fold {number} of {folds} is done")
    return CrossValidated(
        folds=folds,
        machines=sum(len(split.test) for split in splits),
        figures=report(examples.scored(seen.above), 0.0, settings.cut.stride_ns),
        lead_time=lead_time_figures(examples, seen.above >= 0, seen.lead_time_h),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """Per window: margin above its fold's threshold, float64[N]; lead time float32[N, Q]."""

    above: Float64
    lead_time_h: Float32

    @classmethod
    def empty(cls, count: int) -> _Seen:
        return cls(np.full(count, np.nan), np.full((count, len(QUANTILES)), np.nan, np.float32))


def _judge_fold(gathered: Gathered, split: Split, settings: LearnSettings, seen: _Seen) -> None:
    examples, features = gathered.examples, gathered.features
    fitted = fit(features, examples, split, settings.horizon_h, settings.training)
    rows = rows_of(examples.machine, examples.machines, split.test)
    margin = margin_of(fitted.heads.fault, features[rows]).astype(np.float64)
    seen.above[rows] = margin - fitted.threshold_margin
    seen.lead_time_h[rows] = lead_times(fitted.heads, features[rows])


def lead_time_figures(examples: Examples, alarm: Bool, predicted_h: Float32) -> LeadTimes:
    """Judge intervals float32[N, Q] on the windows that alarm (bool[N]) before a known failure."""
    rows = alarm & np.isfinite(examples.lead_time_h)
    actual, low, high = examples.lead_time_h[rows], predicted_h[rows, 0], predicted_h[rows, -1]
    off = np.abs(actual - predicted_h[rows, len(QUANTILES) // 2])
    some = bool(rows.any())
    return LeadTimes(
        windows=int(np.count_nonzero(rows)),
        promised=QUANTILES[-1] - QUANTILES[0],
        coverage=float(np.mean((low <= actual) & (actual <= high))) if some else float("nan"),
        error_h_p50=float(np.median(off)) if some else float("nan"),
        error_h_mean=float(np.mean(off)) if some else float("nan"),
        width_h_p50=float(np.median(high - low)) if some else float("nan"),
    )
