"""What is set on validation machines once the boosters stand (pure).

Platt's line, the threshold, and the conformal shift of the lead-time quantiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.floating[Any]]

NEWTON_STEPS: Final = 100
FEWEST_LEAD_TIMES: Final = 20
"""With fewer known lead times than this there is nothing to shift by."""


class CalibrationError(ForeshockError):
    """The validation machines cannot calibrate this model."""


def platt_line(margin: Floats, label: Bool) -> tuple[float, float]:
    """Return (a, b) of probability = sigmoid(a * margin + b), by Newton's method.

    Targets are smoothed as in Platt (1999), so that perfectly separated classes keep finite slopes.

    Raises:
        CalibrationError: one class is missing, or a higher margin does not mean more failures.
    """
    positives = int(np.count_nonzero(label))
    negatives = len(label) - positives
    if not positives or not negatives:
        raise CalibrationError(
            f"the validation windows hold {positives} before a failure and {negatives} others: "
            "both are needed to calibrate; record more machines"
        )
    target = np.where(label, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    a, b = _newton(np.asarray(margin, np.float64), target)
    if not a > 0:
        raise CalibrationError(
            "on the validation machines a higher margin means fewer failures: the model learnt "
            "nothing that holds on machines it has not seen"
        )
    return a, b


def best_threshold(margin: Floats, label: Bool, max_fpr: float) -> float:
    """Return the margin with the best F1 among those whose false-positive rate stays below a cap.

    It lies halfway between two neighbouring margins, so that rounding cannot move a decision.

    Raises:
        CalibrationError: no threshold keeps the cap and finds a failure.
    """
    ranked = _Ranked.of(margin, label)
    tp, fp = ranked.tp, ranked.fp
    f1 = 2 * tp / (tp + fp + tp[-1])
    allowed = ranked.ends & (fp < max_fpr * max(int(fp[-1]), 1)) & (tp > 0)
    if not allowed.any():
        raise CalibrationError(
            f"no threshold finds a failure with a false-positive rate below {max_fpr:.0%} on the "
            "validation machines: the sensors may not show these failures"
        )
    return ranked.below(int(np.argmax(np.where(allowed, f1, -1.0))))


def cheapest_threshold(margin: Floats, label: Bool, miss_cost: float) -> float:
    """Return the margin whose alarms cost least: the lowest point of the cost curve.

    A missed window costs `miss_cost` false ones. Where several cost the same, the one with the
    fewest alarms. It lies halfway between two neighbouring margins, as in `best_threshold`.

    Raises:
        CalibrationError: never to alarm is cheaper.
    """
    ranked = _Ranked.of(margin, label)
    cost = miss_cost * (ranked.tp[-1] - ranked.tp) + ranked.fp
    cost = np.where(ranked.ends, cost, np.inf)
    best = int(np.argmin(cost))
    if not cost[best] < miss_cost * ranked.tp[-1]:
        raise CalibrationError(
            f"when a missed window costs {miss_cost:g} false ones, no alarm of this model is worth "
            "its cost on the validation machines: give a higher --miss-cost, or more machines"
        )
    return ranked.below(best)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Windows by falling margin[N]: true and false alarms int64[N] down to each.

    `ends` bool[N]: a threshold below this window is possible, because the next margin is lower.
    """

    margin: npt.NDArray[np.float64]
    tp: npt.NDArray[np.int64]
    fp: npt.NDArray[np.int64]
    ends: Bool

    @classmethod
    def of(cls, margin: Floats, label: Bool) -> _Ranked:
        order = np.argsort(-np.asarray(margin, np.float64), kind="stable")
        margin, label = np.asarray(margin, np.float64)[order], label[order]
        ends = np.append(margin[1:] != margin[:-1], True)
        return cls(margin, np.cumsum(label), np.cumsum(~label), ends)

    def below(self, at: int) -> float:
        """Return the threshold halfway between this window's margin and the next."""
        following = self.margin[at + 1] if at + 1 < len(self.margin) else self.margin[at] - 1.0
        return float((self.margin[at] + following) / 2)


def conformal_shift(
    predicted: Floats, actual_h: Floats, quantiles: tuple[float, ...]
) -> tuple[float, ...]:
    """Return the hours to add to each predicted quantile so that it covers what it says.

    One-sided split-conformal per quantile (Romano, Patterson, Candes 2019): the shift is the
    quantile of the residuals, with the finite-sample correction away from the median.

    Args:
        predicted: float[N, Q] hours, on machines that trained nothing.
        actual_h: float[N] hours to the failure.
        quantiles: the levels, rising.
    """
    if len(actual_h) < FEWEST_LEAD_TIMES:
        return (0.0,) * len(quantiles)
    residual = actual_h[:, None] - predicted
    return tuple(
        float(np.quantile(residual[:, i], _corrected(level, len(actual_h))))
        for i, level in enumerate(quantiles)
    )


def _corrected(level: float, n: int) -> float:
    if level == 0.5:  # noqa: PLR2004 - the median has no side
        return level
    return min(1.0, level * (n + 1) / n) if level > 0.5 else max(0.0, 1 - (1 - level) * (n + 1) / n)  # noqa: PLR2004


def _newton(
    margin: npt.NDArray[np.float64], target: npt.NDArray[np.float64]
) -> tuple[float, float]:
    rows = np.stack([margin, np.ones_like(margin)])
    line = np.array([1.0, 0.0])
    loss = _loss(line @ rows, target)
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-(line @ rows)))
        gradient = rows @ (p - target)
        hessian = (rows * (p * (1 - p))) @ rows.T + 1e-9 * np.eye(2)
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while size > 1e-8 and _loss((line - size * step) @ rows, target) > loss:  # noqa: PLR2004
            size /= 2
        line = line - size * step
        if np.abs(size * step).max() < 1e-9:  # noqa: PLR2004 - converged
            break
        loss = _loss(line @ rows, target)
    return float(line[0]), float(line[1])


def _loss(z: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> float:
    return float(np.sum(np.logaddexp(0, z) - target * z))
