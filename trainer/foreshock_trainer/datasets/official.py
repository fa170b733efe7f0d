"""A data set's own protocol: how its test machines are judged (pure).

The primary question is asked once per test machine, at the end of its recording: does it fail
within the horizon? Beside it stands every window before. A machine that got no score at its end
was not warned of, and counts as a plain no.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_trainer.evaluate import NS_PER_HOUR, WindowFigures, numbers, window_figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from foreshock_trainer.datasets.base import Life

    Bool = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]


ALWAYS_TOLD: Final = ("f1", "precision", "recall", "fpr", "always_no_accuracy")


@dataclass(frozen=True, slots=True)
class Told:
    """What was said about windows: `machine` int64[N] indexes the machines that are judged.

    `end_ns` int64[N]; `score` float[N], higher means sooner; `alarm` bool[N] is the decision.
    """

    machine: Int64
    end_ns: Int64
    score: npt.NDArray[np.floating[Any]]
    alarm: Bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The primary figures, one decision per machine, and beside them all windows.

    `unscored` machines had no score at the end of their recording.
    """

    primary: WindowFigures
    all_cycles: WindowFigures
    unscored: int

    def as_json(self) -> dict[str, Any]:
        """Return the primary figures, flat, and those of all windows; None has no meaning here."""
        every = numbers(asdict(self.all_cycles))
        return {
            **dict.fromkeys(ALWAYS_TOLD),
            **numbers(asdict(self.primary)),
            "all_cycles_f1": every.get("f1"),
            "all_cycles": every,
            "unscored": self.unscored,
        }


def judge_test(lives: Sequence[Life], horizon_h: float, told: Told) -> Evaluation:
    """Judge what was said about test machines against what became of them.

    Args:
        lives: the machines that `told.machine` indexes.
        horizon_h: how far ahead a failure counts.
        told: at most one row per machine and window end.
    """
    horizon_ns = round(horizon_h * NS_PER_HOUR)
    failure_ns = np.array([life.failure_ns for life in lives], np.int64)
    end_ns = np.array([life.end_ns for life in lives], np.int64)
    label = failure_ns[told.machine] - told.end_ns <= horizon_ns
    last = np.flatnonzero(told.end_ns == end_ns[told.machine])
    score, alarm = np.full(len(lives), -np.inf), np.zeros(len(lives), np.bool_)
    score[told.machine[last]], alarm[told.machine[last]] = told.score[last], told.alarm[last]
    return Evaluation(
        primary=window_figures(failure_ns - end_ns <= horizon_ns, score, alarm),
        all_cycles=window_figures(label, told.score, told.alarm),
        unscored=len(lives) - len(np.unique(told.machine[last])),
    )
