"""Accelerated failure time: the distribution that `survival:aft` puts around a booster's margin.

ln(time) = margin + scale * Z, so a quantile of the time is exp(margin + scale * z_q) (Wei 1992;
Barnwal, Cho and Hocking 2022 for XGBoost). It is trained on censored fleets: a machine that has not
failed yet says "longer than this".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

from foreshock_converter.errors import UnsupportedModelError

if TYPE_CHECKING:
    from collections.abc import Callable

STANDARD_QUANTILE: Final[dict[str, Callable[[float], float]]] = {
    "normal": NormalDist().inv_cdf,
    "logistic": lambda q: math.log(q / (1 - q)),
    # XGBoost's `extreme` is Gumbel's distribution of minima: F(z) = 1 - exp(-exp(z)).
    "extreme": lambda q: math.log(-math.log1p(-q)),
}
"""z_q of each distribution that XGBoost has, 0 < q < 1."""


@dataclass(frozen=True, slots=True)
class FailureTime:
    """The distribution of Z by XGBoost's name, and its scale."""

    distribution: str
    scale: float

    def __post_init__(self) -> None:
        if self.distribution not in STANDARD_QUANTILE or not 0 < self.scale < math.inf:
            raise UnsupportedModelError(
                f"aft_loss_distribution {self.distribution!r} of scale {self.scale}; supported are "
                f"{', '.join(STANDARD_QUANTILE)} of a positive scale"
            )

    def offset(self, quantile: float) -> float:
        """Return what a quantile adds to the margin, in ln(time)."""
        return self.scale * STANDARD_QUANTILE[self.distribution](quantile)
