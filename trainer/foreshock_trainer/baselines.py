"""The fixed-threshold baseline (pure): what one limit on one feature would do, fairly chosen.

It is chosen as a model's threshold is, on validation machines and under the same false-positive
cap, out of every feature in either direction. A model that is hardly better than it is not worth
its trouble.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_trainer.calibrate import CalibrationError, best_threshold
from foreshock_trainer.evaluate import window_figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from foreshock_trainer.evaluate import WindowFigures

    Bool = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.floating[Any]]

ABSENT: Final = -3.4e38
"""Stands for a feature without a value: it never alarms."""


@dataclass(frozen=True, slots=True)
class SingleThreshold:
    """An alarm where `sign` x feature reaches `limit`; `column` indexes the features."""

    column: int
    sign: int
    limit: float

    def score(self, features: Floats) -> Floats:
        """Return what is held against the limit, float[N] of features float[N, F]."""
        return _signed(features[:, self.column], self.sign)

    def figures(self, features: Floats, label: npt.NDArray[np.bool_]) -> WindowFigures:
        """Return its figures on features float[N, F] with labels bool[N]."""
        score = self.score(features)
        return window_figures(label, score, score >= self.limit)

    def text(self, names: Sequence[str]) -> str:
        """Return the rule in words, with the features' names."""
        side = ">=" if self.sign > 0 else "<="
        return f"{names[self.column]} {side} {self.sign * self.limit:.4g}"


def single_threshold(features: Floats, label: Bool, max_fpr: float) -> SingleThreshold | None:
    """Return the limit with the best F1 whose false-positive rate stays below the cap.

    Args:
        features: float[N, F] of validation machines, NaN = no value.
        label: bool[N].
        max_fpr: the cap.

    Returns:
        The limit; None when no limit on any feature finds a failure under the cap.
    """
    found = [
        (figure, rule)
        for column in range(features.shape[1])
        for sign in (1, -1)
        if (rule := _best_on(features[:, column], label, max_fpr, column, sign))
        and (figure := rule.figures(features, label).f1) > 0
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _best_on(
    feature: Floats, label: Bool, max_fpr: float, column: int, sign: int
) -> SingleThreshold | None:
    try:
        limit = best_threshold(_signed(feature, sign), label, max_fpr)
    except CalibrationError:
        return None
    return SingleThreshold(column, sign, limit)


def _signed(feature: Floats, sign: int) -> Floats:
    return np.where(np.isnan(feature), ABSENT, sign * feature)
