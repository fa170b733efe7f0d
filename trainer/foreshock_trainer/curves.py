"""The curves behind the figures (pure): ROC, precision and recall, calibration, lead time, cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]
    Floats = npt.NDArray[np.floating[Any]]

CALIBRATION_BINS: Final = 10
CURVE_POINTS: Final = 200
COST_RATIOS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""How many false alarms a missed failure may cost as much as."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve, `x` rising; at most `CURVE_POINTS` of them."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether a probability is one.

    Per bin of equal width: the mean `predicted` probability, the `observed` share of failures and
    the number of `windows`; empty bins are left out. `brier` is the mean squared error (Brier
    1950), `brier_constant` that of always saying the prevalence; `ece` the mean distance of
    predicted and observed, weighted by windows (Naeini, Cooper, Hauskrecht 2015).
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    windows: tuple[int, ...]
    brier: float
    brier_constant: float
    ece: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Cost per window relative to never warning, by what a missed window costs in false alarms.

    `model` with its own threshold, `best` with the threshold that hindsight would choose for each
    ratio, `always_yes` for warning always. Never warning is 1.
    """

    ratio: tuple[float, ...]
    model: tuple[float, ...]
    best: tuple[float, ...]
    always_yes: tuple[float, ...]


def roc_curve(label: Bool, score: Floats) -> Curve:
    """Return the true-positive over the false-positive rate, from (0, 0) to (1, 1)."""
    tp, fp = _hits(label, score)
    return _thinned(fp / max(fp[-1], 1.0), tp / max(tp[-1], 1.0))


def pr_curve(label: Bool, score: Floats) -> Curve:
    """Return precision over recall, from the highest score down."""
    tp, fp = _hits(label, score)
    return _thinned(tp[1:] / max(tp[-1], 1.0), tp[1:] / (tp[1:] + fp[1:]))


def calibration(label: Bool, probability: Floats, bins: int = CALIBRATION_BINS) -> Calibration:
    """Return how labels bool[N] follow probabilities float[N]; NaN without a window."""
    p = np.asarray(probability, np.float64)
    rate = float(np.mean(label)) if len(label) else float("nan")
    at = np.clip((p * bins).astype(np.int64), 0, bins - 1)
    windows = np.bincount(at, minlength=bins)
    held = windows > 0
    predicted = np.bincount(at, p, bins)[held] / windows[held]
    observed = np.bincount(at, label, bins)[held] / windows[held]
    off = np.abs(predicted - observed) * windows[held]
    return Calibration(
        predicted=tuple(predicted.tolist()),
        observed=tuple(observed.tolist()),
        windows=tuple(windows[held].tolist()),
        brier=float(np.mean((p - label) ** 2)) if len(p) else float("nan"),
        brier_constant=rate * (1 - rate),
        ece=float(off.sum() / len(p)) if len(p) else float("nan"),
    )


def cost_curve(label: Bool, score: Floats, alarm: Bool) -> Costs:
    """Return what alarms cost, for missed windows that cost 1 to 1000 false alarms."""
    tp, fp = _hits(label, score)
    positives, negatives = float(tp[-1]), float(fp[-1])
    ratio = np.array(COST_RATIOS, np.float64)
    never = np.maximum(ratio * positives, 1e-12)
    missed, false = np.count_nonzero(label & ~alarm), np.count_nonzero(alarm & ~label)
    best = np.min(np.outer(ratio, positives - tp) + fp, axis=1)
    return Costs(
        ratio=tuple(ratio.tolist()),
        model=tuple(((ratio * missed + false) / never).tolist()),
        best=tuple((best / never).tolist()),
        always_yes=tuple((negatives / never).tolist()),
    )


def recall_by_lead(
    lead_time_h: Floats, alarm: Bool, edges_h: Sequence[float]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return per bin (edge, next edge] of time to failure: windows, and the share that alarms."""
    at = np.searchsorted(np.asarray(edges_h, np.float64), lead_time_h, side="left")
    inside = (at > 0) & (at < len(edges_h)) & ~np.isnan(lead_time_h)
    windows = np.bincount(at[inside], minlength=len(edges_h))[1:]
    alarms = np.bincount(at[inside & alarm], minlength=len(edges_h))[1:]
    share = np.divide(alarms, windows, out=np.full(len(windows), np.nan), where=windows > 0)
    return tuple(windows.tolist()), tuple(share.tolist())


def coverage(lower: Floats, upper: Floats, actual: Floats) -> float:
    """Return the share of actual values float[N] inside their intervals; NaN without any."""
    if not len(actual):
        return float("nan")
    return float(np.mean((lower <= actual) & (actual <= upper)))


def _hits(label: Bool, score: Floats) -> tuple[Float64, Float64]:
    """Return true and false positives at each distinct score, highest first, beginning with 0."""
    order = np.argsort(-np.asarray(score, np.float64), kind="stable")
    label, score = label[order], score[order]
    last = np.append(score[1:] != score[:-1], True)[: len(label)]
    tp = np.concatenate([[0.0], np.cumsum(label, dtype=np.float64)[last]])
    fp = np.concatenate([[0.0], np.cumsum(~label, dtype=np.float64)[last]])
    return tp, fp


def _thinned(x: Float64, y: Float64) -> Curve:
    """Keep at most `CURVE_POINTS`, the first and the last among them."""
    if len(x) > CURVE_POINTS:
        at = np.unique(np.linspace(0, len(x) - 1, CURVE_POINTS).round().astype(np.int64))
        x, y = x[at], y[at]
    return Curve(tuple(x.tolist()), tuple(y.tolist()))
