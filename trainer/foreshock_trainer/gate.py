"""The gate (pure): may this challenger go to the fleet?

It may when its file is proven equal to what was trained, when it has skill that no constant answer
has, and when it is not worse than the champion on the same permanent test machines, nor on what
came there after both models' cut-offs, if that was enough to judge. "Not worse" is
non-inferiority: the lower end of the bootstrap interval of the PR-AUC difference, by machine
(windows of one machine are not independent), lies above minus the margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_trainer.bootstrap import draw_machines
from foreshock_trainer.evaluate import pr_auc_sorted

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_trainer.bootstrap import Draws
    from foreshock_trainer.evaluate import WindowFigures

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]
    Floats = npt.NDArray[np.floating[Any]]
    Ints = npt.NDArray[np.integer[Any]]

MARGIN: Final = 0.03
"""PR-AUC that a challenger may lose against the champion and still count as not worse; equal models
pass it and models of half the data do not (docs/adr/0005-honest-split.md has the measurement)."""
CONFIDENCE: Final = 0.95
"""One-sided, for every bound that the gate reads."""
RESAMPLES: Final = 400
MIN_FAILURES: Final = 3
"""Fewer failures on test machines than this judge nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a challenger passed, every reason against it, and the measured bounds.

    `later_bound` is the bound of the difference after both models' cut-offs, and `later_failures`
    how many failures that was judged by; None and 0 where too little came after them.
    """

    passed: bool
    reasons: tuple[str, ...]
    skill_bound: float
    difference_bound: float | None = None
    later_bound: float | None = None
    later_failures: int = 0


@dataclass(frozen=True, slots=True)
class Contest:
    """Both models' scores of the same held-out windows, row by row.

    `machine` int[N], `label` bool[N], `challenger` and `champion` float[N]; no champion: None.
    """

    machine: Ints
    label: Bool
    challenger: Floats
    champion: Floats | None = None


def judge(  # the gate's whole question in one place
    contest: Contest,
    figures: WindowFigures,
    *,
    failures: int,
    parity_ok: bool,
    seed: int = 0,
    later: Contest | None = None,
    later_failures: int = 0,
) -> Verdict:
    """Return the verdict on a challenger.

    Args:
        contest: scores on the test machines.
        figures: the challenger's figures on the same windows.
        failures: failure events among them.
        parity_ok: the file gives what the estimators give.
        seed: of the bootstrap.
        later: scores of the windows after both models' cut-offs, the challenger's by its twin.
        later_failures: failure events among those.
    """
    draws = draw_machines(contest.machine, RESAMPLES, seed)
    skill = _lower(_boot(contest.label, contest.challenger, draws) - _rates(contest, draws))
    gain = _difference(contest, draws)
    if later is None or later_failures < MIN_FAILURES:
        later_gain, later_failures = None, 0
    else:
        later_gain = _difference(later, draw_machines(later.machine, RESAMPLES, seed))
    reasons = [
        *_file_reasons(parity_ok=parity_ok, failures=failures),
        *_skill_reasons(figures, skill),
        *_champion_reasons(gain, "the champion"),
        *_champion_reasons(later_gain, "the champion after both models' cut-offs"),
    ]
    return Verdict(not reasons, tuple(reasons), skill, gain, later_gain, later_failures)


def _file_reasons(*, parity_ok: bool, failures: int) -> list[str]:
    reasons = []
    if not parity_ok:
        reasons.append("the ONNX file does not repeat the trained model (parity)")
    if failures < MIN_FAILURES:
        reasons.append(
            f"the test machines saw {failures} failures, {MIN_FAILURES} are needed to judge"
        )
    return reasons


def _skill_reasons(figures: WindowFigures, skill: float) -> list[str]:
    reasons = []
    if not skill > 0:
        reasons.append(
            f"PR-AUC {figures.pr_auc:.3f} is not above the {figures.prevalence:.3f} of a "
            f"constant answer ({CONFIDENCE:.0%} bound of the difference {skill:+.3f})"
        )
    constant = max(figures.always_no_f1, figures.always_yes_f1)
    if not figures.f1 > constant:
        reasons.append(
            f"F1 {figures.f1:.3f} is not above the {constant:.3f} of the best constant answer"
        )
    return reasons


def _champion_reasons(gain: float | None, whom: str) -> list[str]:
    if gain is None or gain > -MARGIN:
        return []
    bound = f"{CONFIDENCE:.0%} bound of the PR-AUC difference {gain:+.3f}"
    return [f"it may be worse than {whom} ({bound}, allowed {-MARGIN:+.3f})"]


def _difference(contest: Contest, draws: Draws) -> float | None:
    if contest.champion is None:
        return None
    ours = _boot(contest.label, contest.challenger, draws)
    return _lower(ours - _boot(contest.label, contest.champion, draws))


def _boot(label: Bool, score: Floats, draws: Draws) -> Float64:
    order = np.argsort(-np.asarray(score, dtype=np.float64), kind="stable")
    label, score = label[order], score[order]
    return np.array([pr_auc_sorted(label, score, weight[order]) for weight in draws])


def _rates(contest: Contest, draws: Draws) -> Float64:
    return np.array([np.sum(weight[contest.label]) / np.sum(weight) for weight in draws])


def _lower(values: Float64) -> float:
    """Return the lower bound; resamples without a failure (NaN) say nothing."""
    known = values[~np.isnan(values)]
    return float(np.quantile(known, 1 - CONFIDENCE)) if len(known) else float("nan")
